// SPDX-License-Identifier: MIT
//
// Taught in chapter 09: the instructions of the tensor cores that a warp executes together. In all
// of them g = lane / 4 and t = lane % 4, and a register holds two neighbouring 16-bit elements, the
// first in its lower half.
//
// A matrix that is spread over the registers of a warp is a fragment. For D = A B + C with A of
// 16 x 16, B of 16 x 8 and C, D of 16 x 8 (PTX ISA, "Matrix Fragments for mma.m16n8k16"):
//   a[r]   A[g + 8 (r % 2)][2t + 8 (r / 2)] and its right neighbour      r < 4
//   b[r]   B[2t + 8 r][g] and the element below it                      r < 2
//   c[i]   C[g + 8 (i / 2)][2t + i % 2], a float                        i < 4
#pragma once

#include <source_location>

#include "common/device/cuda.cuh"
#include "common/device/element.cuh"
#ifndef __CUDACC__
#include "common/simt/models/tensor_core.hpp"
#define ATTN_WHERE , std::source_location where = std::source_location::current()
#else
#define ATTN_WHERE
#endif

namespace attn::device {

/// Two elements in one register, each rounded to nearest, ties to even. (PTX ISA, "cvt")
template <class T>
__device__ __forceinline__ unsigned pack(float first, float second) {
#ifdef __CUDACC__
  unsigned both;
  if constexpr (kElementOf<T> == Element::kBfloat16) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
  }
  return both;
#else
  return simt::pack(kElementOf<T>, first, second);
#endif
}

/// The address of shared memory as the instructions below take it: 32 bits, counted from the start
/// of the block's shared memory. (On the CPU machine: of its dynamic shared memory.)
__device__ __forceinline__ unsigned shared_address(const void* p ATTN_WHERE) {
#ifdef __CUDACC__
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
#else
  return simt::shared_address(p, where);
#endif
}

/// Four matrices of 8 x 8 elements: lane 8 j + r names row r of matrix j, 16 bytes in shared
/// memory, 16-byte aligned. x[j] becomes elements 2t and 2t + 1 of row g of matrix j; if
/// kTransposed, of its column g. (PTX ISA, "ldmatrix")
template <bool kTransposed = false>
__device__ __forceinline__ void ldmatrix_x4(unsigned (&x)[4], unsigned row ATTN_WHERE) {
#ifdef __CUDACC__
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(row)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(row)
                 : "memory");
  }
#else
  const simt::FourWords loaded = simt::load_matrices(4, row, kTransposed, where);
  x[0] = loaded.x[0], x[1] = loaded.x[1], x[2] = loaded.x[2], x[3] = loaded.x[3];
#endif
}
/// The same with an address as C++ has it.
template <bool kTransposed = false>
__device__ __forceinline__ void ldmatrix_x4(unsigned (&x)[4], const void* row ATTN_WHERE) {
#ifdef __CUDACC__
  ldmatrix_x4<kTransposed>(x, shared_address(row));
#else
  ldmatrix_x4<kTransposed>(x, shared_address(row, where), where);
#endif
}

/// c += A B, in float32. T: bfloat16 or float16, what the fragments a and {b0, b1} hold.
/// (PTX ISA, "mma")
template <class T>
__device__ __forceinline__ void mma_m16n8k16(float (&c)[4], const unsigned (&a)[4], unsigned b0,
                                             unsigned b1 ATTN_WHERE) {
#ifdef __CUDACC__
  if constexpr (kElementOf<T> == Element::kBfloat16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
#else
  const simt::FourFloats sum = simt::multiply_add(kElementOf<T>, {{c[0], c[1], c[2], c[3]}},
                                                  {{a[0], a[1], a[2], a[3]}}, b0, b1, where);
  c[0] = sum.x[0], c[1] = sum.x[1], c[2] = sum.x[2], c[3] = sum.x[3];
#endif
}

}  // namespace attn::device

#undef ATTN_WHERE
