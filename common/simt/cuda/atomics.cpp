// SPDX-License-Identifier: MIT
#include "common/simt/cuda/atomics.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "common/simt/machine/worker.hpp"
#include "common/simt/watch/recorder.hpp"

namespace {

/// Replaces *address by change(old) in one step and returns old.
template <class T, class Change>
[[gnu::always_inline]] inline T update(T* address, void* return_address, Change change) {
  attn::simt::record_atomic(address, sizeof(T), return_address);
  std::atomic_ref<T> cell(*address);
  T old = cell.load(std::memory_order_relaxed);
  while (!cell.compare_exchange_weak(old, change(old), std::memory_order_relaxed)) {
  }
  return old;
}

/// One component of a vector.
float add(float& component, float value) {
  return std::atomic_ref<float>(component).fetch_add(value, std::memory_order_relaxed);
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
ATTN_ATOMIC(unsigned long long, atomicAnd, old& value)
ATTN_ATOMIC(unsigned long long, atomicOr, old | value)
ATTN_ATOMIC(unsigned long long, atomicXor, old ^ value)
ATTN_ATOMIC(long long, atomicMin, std::min(old, value))
ATTN_ATOMIC(long long, atomicMax, std::max(old, value))
ATTN_ATOMIC(unsigned, atomicInc, old >= value ? 0u : old + 1u)
ATTN_ATOMIC(unsigned, atomicDec, old == 0u || old > value ? value : old - 1u)

float2 atomicAdd(float2* address, float2 value) {
  attn::simt::record_atomic(address, sizeof(float2), __builtin_return_address(0));
  return {add(address->x, value.x), add(address->y, value.y)};
}
float4 atomicAdd(float4* address, float4 value) {
  attn::simt::record_atomic(address, sizeof(float4), __builtin_return_address(0));
  return {add(address->x, value.x), add(address->y, value.y), add(address->z, value.z),
          add(address->w, value.w)};
}

#define ATTN_ATOMIC_CAS(T)                                                                 \
  T atomicCAS(T* address, T expected, T desired) {                                         \
    if (attn::simt::Recorder* recorder = attn::simt::active_recorder) {                    \
      recorder->compare_and_swap(reinterpret_cast<std::uintptr_t>(address));               \
    }                                                                                      \
    attn::simt::Worker::running().yield();                                                 \
    return update(address, __builtin_return_address(0),                                    \
                  [expected, desired](T old) { return old == expected ? desired : old; }); \
  }

ATTN_ATOMIC_CAS(int)
ATTN_ATOMIC_CAS(unsigned)
ATTN_ATOMIC_CAS(unsigned long long)
ATTN_ATOMIC_CAS(unsigned short)

void __threadfence() {}
void __threadfence_block() {}
void __threadfence_system() {}
