// SPDX-License-Identifier: MIT
#include "common/simt/atomics.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "common/simt/recorder.hpp"

namespace {

using attn::simt::Access;

/// Replaces *address by change(old) in one step and returns old.
template <class T, class Change>
[[gnu::always_inline]] inline T update(T* address, void* return_address, Change change) {
  if (attn::simt::Recorder* recorder = attn::simt::active_recorder) {
    attn::simt::active_recorder = nullptr;  // as in hooks.cpp
    recorder->access(reinterpret_cast<std::uintptr_t>(address), sizeof(T), Access::kAtomic,
                     reinterpret_cast<std::uintptr_t>(return_address));
    attn::simt::active_recorder = recorder;
  }
  std::atomic_ref<T> cell(*address);
  T old = cell.load(std::memory_order_relaxed);
  while (!cell.compare_exchange_weak(old, change(old), std::memory_order_relaxed)) {
  }
  return old;
}

}  // namespace

#define ATTN_ATOMIC(T, name, expression)                                  \
  T name(T* address, T value) {                                           \
    return update(address, __builtin_return_address(0),                   \
                  [value](T old) { return static_cast<T>(expression); }); \
  }

ATTN_ATOMIC(int, atomicAdd, static_cast<unsigned>(old) + static_cast<unsigned>(value))
ATTN_ATOMIC(unsigned, atomicAdd, old + value)
ATTN_ATOMIC(unsigned long long, atomicAdd, old + value)
ATTN_ATOMIC(float, atomicAdd, old + value)
ATTN_ATOMIC(double, atomicAdd, old + value)
ATTN_ATOMIC(int, atomicSub, static_cast<unsigned>(old) - static_cast<unsigned>(value))
ATTN_ATOMIC(unsigned, atomicSub, old - value)
ATTN_ATOMIC(int, atomicExch, (static_cast<void>(old), value))
ATTN_ATOMIC(unsigned, atomicExch, (static_cast<void>(old), value))
ATTN_ATOMIC(unsigned long long, atomicExch, (static_cast<void>(old), value))
ATTN_ATOMIC(float, atomicExch, (static_cast<void>(old), value))
ATTN_ATOMIC(int, atomicMin, std::min(old, value))
ATTN_ATOMIC(unsigned, atomicMin, std::min(old, value))
ATTN_ATOMIC(unsigned long long, atomicMin, std::min(old, value))
ATTN_ATOMIC(int, atomicMax, std::max(old, value))
ATTN_ATOMIC(unsigned, atomicMax, std::max(old, value))
ATTN_ATOMIC(unsigned long long, atomicMax, std::max(old, value))
ATTN_ATOMIC(int, atomicAnd, old& value)
ATTN_ATOMIC(unsigned, atomicAnd, old& value)
ATTN_ATOMIC(int, atomicOr, old | value)
ATTN_ATOMIC(unsigned, atomicOr, old | value)
ATTN_ATOMIC(int, atomicXor, old ^ value)
ATTN_ATOMIC(unsigned, atomicXor, old ^ value)
ATTN_ATOMIC(unsigned, atomicInc, old >= value ? 0u : old + 1u)
ATTN_ATOMIC(unsigned, atomicDec, old == 0u || old > value ? value : old - 1u)

#define ATTN_ATOMIC_CAS(T)                                                                 \
  T atomicCAS(T* address, T expected, T desired) {                                         \
    return update(address, __builtin_return_address(0),                                    \
                  [expected, desired](T old) { return old == expected ? desired : old; }); \
  }

ATTN_ATOMIC_CAS(int)
ATTN_ATOMIC_CAS(unsigned)
ATTN_ATOMIC_CAS(unsigned long long)

void __threadfence() {}
void __threadfence_block() {}
