// SPDX-License-Identifier: MIT
//
// From global memory to shared memory, and from there to the registers of a product. All fragments
// are read as squares of 16 x 16 elements; x[j] holds the 8 x 8 elements from row 8 (j % 2), column
// 8 (j / 2) of the square on, with g = lane / 4 and t = lane % 4:
//   row g, columns 2t and 2t + 1; or, transposed, column g, rows 2t and 2t + 1
// What is it to mma?
//   A, 16 x 16             {x[0], x[1], x[2], x[3]}
//   B, 16 x 8, whose columns are rows here (K in Q K^T): {x[0], x[2]} the first 8 rows, and
//                          {x[1], x[3]} the others
//   B, whose rows are rows here (V in P V), transposed:  {x[0], x[1]} the first 8 columns, and
//                          {x[2], x[3]} the others
#pragma once

#include <initializer_list>

#include "common/device/fragment_rows.cuh"
#include "common/device/mma.cuh"

namespace attn::tensor_cores {

/// Step 1: as loads of C++ have it.
struct PlainLoads {
  template <bool kTransposed, int kStride, class T>
  static __device__ __forceinline__ void load(unsigned (&x)[4], const T* square) {
    const int g = device::fragment_row(), t2 = device::fragment_column();
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const T* from = square + 8 * (j % 2) * kStride + 8 * (j / 2);
      if constexpr (kTransposed) {
        const T first = from[t2 * kStride + g];
        const T second = from[(t2 + 1) * kStride + g];
        x[j] = first.bits | unsigned{second.bits} << 16;
      } else {
        x[j] = *reinterpret_cast<const unsigned*>(from + g * kStride + t2);
      }
    }
  }
};

/// Step 2: by one instruction. Lane 8 j + r names row r of x[j]; each lane gets what others asked
/// for.
struct MatrixLoads {
  template <bool kTransposed, int kStride, class T>
  static __device__ __forceinline__ void load(unsigned (&x)[4], const T* square) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    device::ldmatrix_x4<kTransposed>(x, square + lane % 16 * kStride + lane / 16 * 8);
  }
};

/// acc[m] += a_m B^T for the warp's kM x 16 rows of A, from a on, and 8 kTiles rows of B, from b
/// on, all of kD elements: Q K^T.
template <class Loads, int kD, int kStride, class T, int kM, int kTiles>
__device__ __forceinline__ void add_dots(float (&acc)[kM][kTiles][4], const T* a, const T* b) {
#pragma unroll
  for (int c = 0; c < kD; c += 16) {
    unsigned rows[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
      Loads::template load<false, kStride>(rows[m], a + 16 * m * kStride + c);
    }
#pragma unroll
    for (int n = 0; n < kTiles; n += 2) {
      unsigned x[4];
      Loads::template load<false, kStride>(x, b + 8 * n * kStride + c);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        device::mma_m16n8k16<T>(acc[m][n], rows[m], x[0], x[2]);
        device::mma_m16n8k16<T>(acc[m][n + 1], rows[m], x[1], x[3]);
      }
    }
  }
}

/// acc[m] += w_m V for 16 rows of V, from v on, of 8 kTiles elements, and as many columns of w:
/// P V.
template <class Loads, int kStride, class T, int kM, int kTiles>
__device__ __forceinline__ void add_weighted(float (&acc)[kM][kTiles][4],
                                             const unsigned (&w)[kM][4], const T* v) {
#pragma unroll
  for (int n = 0; n < kTiles; n += 2) {
    unsigned x[4];
    Loads::template load<true, kStride>(x, v + 8 * n);
#pragma unroll
    for (int m = 0; m < kM; ++m) {
      device::mma_m16n8k16<T>(acc[m][n], w[m], x[0], x[1]);
      device::mma_m16n8k16<T>(acc[m][n + 1], w[m], x[2], x[3]);
    }
  }
}

/// Copies a tile of rows of d elements to shared memory, rows kStride elements apart there. What
/// lies beyond the matrix (row >= rows_left or column >= d) becomes zero. wide: d % 8 = 0, and
/// gRows is 16-byte aligned. Call it with all kThreads threads, and put a barrier before the tile
/// is read.
template <int kThreads, int kRows, int kColumns, int kStride, class T>
__device__ __forceinline__ void load_tile(T* sTile, const T* gRows, std::int64_t rows_left,
                                          std::int64_t d, bool wide) {
  constexpr int kPerRow = kColumns / 8;        // threads, if wide
  constexpr int kAtOnce = kThreads / kPerRow;  // rows
  constexpr int kWarps = kThreads / 32;
  static_assert(kRows % kAtOnce == 0 && kRows % kWarps == 0 && kColumns % 32 == 0);
  const int thread = static_cast<int>(threadIdx.x);
  const int rows = rows_left < kRows ? static_cast<int>(rows_left) : kRows;
  if (wide) {
    const int c = thread % kPerRow * 8;
    const int first = thread / kPerRow;
    const int left = c < d ? rows - first : 0;  // beyond d there is nothing to load in any row
    gRows += first * d + c;
    sTile += first * kStride + c;
#pragma unroll 8
    for (int r = 0; r < kRows; r += kAtOnce) {
      uint4 eight = {};
      if (r < left) eight = *reinterpret_cast<const uint4*>(gRows);
      *reinterpret_cast<uint4*>(sTile) = eight;
      gRows += kAtOnce * d;
      sTile += kAtOnce * kStride;
    }
    return;
  }
  const int lane = thread % 32;
  const int first = thread / 32;
  const int width = static_cast<int>(d) - lane;
  gRows += first * d + lane;
  sTile += first * kStride + lane;
#pragma unroll 4
  for (int r = 0; r < kRows; r += kWarps) {
    for (int c = 0; c < kColumns; c += 32) {
      T one = {};
      if (r < rows - first && c < width) one = gRows[c];
      sTile[c] = one;
    }
    gRows += kWarps * d;
    sTile += kWarps * kStride;
  }
}

/// Whether rows of d elements at all these addresses can be moved 16 bytes at a time.
inline bool rows_are_wide(std::int64_t d, std::initializer_list<const void*> arrays) {
  bool wide = d % 8 == 0;
  for (const void* array : arrays) wide = wide && reinterpret_cast<std::uintptr_t>(array) % 16 == 0;
  return wide;
}

/// Calls `run.operator()<kD>()` with d rounded up to 64 or 128.
template <class Run>
void with_columns(std::int64_t d, Run run) {
  if (d <= 64) return run.template operator()<64>();
  run.template operator()<128>();
}

}  // namespace attn::tensor_cores
