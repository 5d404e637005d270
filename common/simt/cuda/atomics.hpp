// SPDX-License-Identifier: MIT
//
// CUDA's atomics: relaxed read-modify-write on global or shared memory; each returns the old value.
// Defined in atomics.cpp, where the tracer sees them as atomics and not as loads and stores.
#pragma once

#include "common/simt/cuda/vector_types.hpp"

// name(address, value); name_block and name_system promise less and more of the order between
// blocks and devices, which is none of the CPU machine's business.
#define ATTN_ATOMIC(T, name)                                                   \
  T name(T* address, T value);                                                 \
  inline __attribute__((always_inline)) T name##_block(T* address, T value) {  \
    return name(address, value);                                               \
  }                                                                            \
  inline __attribute__((always_inline)) T name##_system(T* address, T value) { \
    return name(address, value);                                               \
  }
#define ATTN_ATOMIC_INTEGERS(name) \
  ATTN_ATOMIC(int, name)           \
  ATTN_ATOMIC(unsigned, name)      \
  ATTN_ATOMIC(unsigned long long, name)

ATTN_ATOMIC_INTEGERS(atomicAdd)
ATTN_ATOMIC(float, atomicAdd)
ATTN_ATOMIC(double, atomicAdd)
ATTN_ATOMIC(float2, atomicAdd)  // each component by itself; global memory only
ATTN_ATOMIC(float4, atomicAdd)
ATTN_ATOMIC(int, atomicSub)
ATTN_ATOMIC(unsigned, atomicSub)
ATTN_ATOMIC_INTEGERS(atomicExch)
ATTN_ATOMIC(float, atomicExch)
ATTN_ATOMIC_INTEGERS(atomicMin)
ATTN_ATOMIC(long long, atomicMin)
ATTN_ATOMIC_INTEGERS(atomicMax)
ATTN_ATOMIC(long long, atomicMax)
ATTN_ATOMIC_INTEGERS(atomicAnd)
ATTN_ATOMIC_INTEGERS(atomicOr)
ATTN_ATOMIC_INTEGERS(atomicXor)
/// old >= limit ? 0 : old + 1
ATTN_ATOMIC(unsigned, atomicInc)
/// old == 0 || old > limit ? limit : old - 1
ATTN_ATOMIC(unsigned, atomicDec)
#undef ATTN_ATOMIC_INTEGERS
#undef ATTN_ATOMIC

// Each lets the other lanes of the warp come to it first. So a loop that tries again until nobody
// has come between has the rounds, and the requests, that 32 lanes at once need.
int atomicCAS(int* address, int expected, int desired);
unsigned atomicCAS(unsigned* address, unsigned expected, unsigned desired);
unsigned long long atomicCAS(unsigned long long* address, unsigned long long expected,
                             unsigned long long desired);
unsigned short atomicCAS(unsigned short* address, unsigned short expected, unsigned short desired);
template <class T>
inline __attribute__((always_inline)) T atomicCAS_block(T* address, T expected, T desired) {
  return atomicCAS(address, expected, desired);
}
template <class T>
inline __attribute__((always_inline)) T atomicCAS_system(T* address, T expected, T desired) {
  return atomicCAS(address, expected, desired);
}

/// Orders this thread's memory accesses for others; on the CPU machine accesses are already in
/// program order.
void __threadfence();
void __threadfence_block();
void __threadfence_system();
