// SPDX-License-Identifier: MIT
//
// What all steps share: how the lanes of a warp divide a tile, and the two products of matrices,
// each with its result in registers.
//
// A warp owns kRows rows of S and of O. Its 32 lanes stand in a grid of 4 rows and 8 columns; the
// lane at (row, column) holds
//   of S   rows row + 4 m, keys column + 8 n                       m < TM, n < TN
//   of O   rows row + 4 m, columns 4 column + 32 h + e, e < 4      m < TM, h < TC
// A number that it has fetched from shared memory meets all that it holds in the other direction:
// TM + TN loads of 16 bytes feed 4 TM TN multiply-adds.
#pragma once

#include <initializer_list>

#include "chapters/08_register_tiles/register_tiles.hpp"
#include "common/device/cuda.cuh"
#include "common/device/tiles.cuh"

namespace attn::register_tiles {

inline constexpr int kWarp = 32;
inline constexpr int kLaneRows = 4;
inline constexpr int kLaneColumns = 8;

/// The lanes in reading order: lane = 8 row + column.
struct PlainLanes {
  int row = static_cast<int>(threadIdx.x) % kWarp / kLaneColumns;
  int column = static_cast<int>(threadIdx.x) % kLaneColumns;
  // The 8 lanes of a row differ in these bits of their number.
  static constexpr int kBit0 = 1, kBit1 = 2, kBit2 = 4;
};

/// The same grid, dealt so that lanes n and n ^ 1 have one row, and lanes n and n ^ 2 one column.
/// Shared memory serves a load of 16 bytes in four turns of 8 lanes; but in two, if lanes n and
/// n ^ 1 always ask for the same address, or always lanes n and n ^ 2.
struct PairedLanes {
  int row = static_cast<int>(threadIdx.x >> 1 & 1u) | static_cast<int>(threadIdx.x >> 4 & 1u) << 1;
  int column = static_cast<int>(threadIdx.x & 1u) | static_cast<int>(threadIdx.x >> 2 & 3u) << 1;
  static constexpr int kBit0 = 1, kBit1 = 4, kBit2 = 8;
};

/// The maximum over the 8 lanes of a row, in each of them. All 32 lanes must call it.
template <class Lanes>
__device__ __forceinline__ float row_maximum(float value) {
  value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, Lanes::kBit0));
  value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, Lanes::kBit1));
  return fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, Lanes::kBit2));
}

/// The sum over the 8 lanes of a row, in each of them.
template <class Lanes>
__device__ __forceinline__ float row_total(float value) {
  value += __shfl_xor_sync(0xFFFFFFFFu, value, Lanes::kBit0);
  value += __shfl_xor_sync(0xFFFFFFFFu, value, Lanes::kBit1);
  return value + __shfl_xor_sync(0xFFFFFFFFu, value, Lanes::kBit2);
}

/// Four neighbouring floats, 16-byte aligned, by one load. In an array, whose index must be known
/// to the compiler wherever it is used: registers have no index.
__device__ __forceinline__ void load4(float (&x)[4], const float* address) {
  const float4 four = *reinterpret_cast<const float4*>(address);
  x[0] = four.x;
  x[1] = four.y;
  x[2] = four.z;
  x[3] = four.w;
}

/// By one store.
__device__ __forceinline__ void store4(float* address, const float* x) {
  *reinterpret_cast<float4*>(address) = make_float4(x[0], x[1], x[2], x[3]);
}

/// acc[m][n] += a[4 m] . b[8 n], rows of kD floats, kStride apart. a: the lane's first row of one
/// factor, b: of the other.
template <int kD, int kStride, int kUnroll, int TM, int TN>
__device__ __forceinline__ void add_dots(float (&acc)[TM][TN], const float* a, const float* b) {
  static_assert(kD % 4 == 0 && kStride % 4 == 0);
#pragma unroll kUnroll
  for (int c = 0; c < kD; c += 4) {
    float a4[TM][4];
#pragma unroll
    for (int m = 0; m < TM; ++m) load4(a4[m], a + kLaneRows * m * kStride + c);
#pragma unroll
    for (int n = 0; n < TN; ++n) {
      float b4[4];
      load4(b4, b + kLaneColumns * n * kStride + c);
#pragma unroll
      for (int m = 0; m < TM; ++m) {
        acc[m][n] += a4[m][0] * b4[0];  // each in turn: one multiply-add after the other
        acc[m][n] += a4[m][1] * b4[1];
        acc[m][n] += a4[m][2] * b4[2];
        acc[m][n] += a4[m][3] * b4[3];
      }
    }
  }
}

/// acc[m][4 h + e] += sum over j of w[4 m][j] * v[j][32 h + e], j < kKeys.
/// w: the lane's first row of weights, kWStride floats to the next; v: its first column of v, whose
/// rows are kVStride apart. keys[m]: how many keys row m sees. If kMasked, the weights of others do
/// not count: zero times NaN would still be NaN. If not, all count.
template <bool kMasked, int kKeys, int kWStride, int kVStride, int TM, int kColumns>
__device__ __forceinline__ void add_weighted(float (&acc)[TM][kColumns], const float* w,
                                             const float* v, const int (&keys)[TM]) {
  static_assert(kKeys % 4 == 0 && kWStride % 4 == 0 && kVStride % 4 == 0 && kColumns % 4 == 0);
#pragma unroll 1
  for (int j = 0; j < kKeys; j += 4) {
    float w4[TM][4];
#pragma unroll
    for (int m = 0; m < TM; ++m) load4(w4[m], w + kLaneRows * m * kWStride + j);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
#pragma unroll
      for (int h = 0; h < kColumns / 4; ++h) {
        float v4[4];
        load4(v4, v + (j + e) * kVStride + 32 * h);
#pragma unroll
        for (int m = 0; m < TM; ++m) {
          if (kMasked && j + e >= keys[m]) continue;
          acc[m][4 * h + 0] += w4[m][e] * v4[0];
          acc[m][4 * h + 1] += w4[m][e] * v4[1];
          acc[m][4 * h + 2] += w4[m][e] * v4[2];
          acc[m][4 * h + 3] += w4[m][e] * v4[3];
        }
      }
    }
  }
}

/// device::load_tile, 16 bytes at a time: d % 4 = 0, and gRows 16-byte aligned.
template <int kThreads, int kRows, int kColumns>
__device__ __forceinline__ void load_tile4(float* sTile, int stride, const float* gRows,
                                           std::int64_t rows_left, std::int64_t d) {
  constexpr int kPerRow = kColumns / 4;  // loads
  static_assert(kThreads % kPerRow == 0 && kRows * kPerRow % kThreads == 0);
  const int c = static_cast<int>(threadIdx.x) % kPerRow * 4;
  const int first = static_cast<int>(threadIdx.x) / kPerRow;
  // A thread has one column; beyond d it has nothing to load in any row.
  int left = c < d ? (rows_left < kRows ? static_cast<int>(rows_left) : kRows) - first : 0;
  gRows += first * d + c;
  sTile += first * stride + c;
#pragma unroll 8
  for (int r = 0; r < kRows; r += kThreads / kPerRow) {
    float value[4] = {};
    if (0 < left) load4(value, gRows);
    store4(sTile, value);
    gRows += kThreads / kPerRow * d;
    sTile += kThreads / kPerRow * stride;
    left -= kThreads / kPerRow;
  }
}

/// Whether rows of d floats at all these addresses can be moved 16 bytes at a time.
inline bool rows_are_wide(std::int64_t d, std::initializer_list<const float*> arrays) {
  bool wide = d % 4 == 0;
  for (const float* array : arrays) {
    wide = wide && reinterpret_cast<std::uintptr_t>(array) % sizeof(float4) == 0;
  }
  return wide;
}

/// Either of the two. kWide: 16 bytes at a time.
template <bool kWide, int kThreads, int kRows, int kColumns>
__device__ __forceinline__ void load_rows(float* sTile, int stride, const float* gRows,
                                          std::int64_t rows_left, std::int64_t d) {
  if constexpr (kWide) {
    load_tile4<kThreads, kRows, kColumns>(sTile, stride, gRows, rows_left, d);
  } else {
    device::load_tile<kThreads, kRows, kColumns>(sTile, stride, gRows, rows_left, d);
  }
}

/// Stores four neighbouring floats to columns c to c + 3 of a row of d; what lies beyond d is
/// dropped.
template <bool kWide>
__device__ __forceinline__ void store_in_row(float* gRow, int c, std::int64_t d,
                                             const float (&x)[4]) {
  if constexpr (kWide) {
    if (c < d) store4(gRow + c, x);
  } else {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (c + e < d) gRow[c + e] = x[e];
    }
  }
}

}  // namespace attn::register_tiles
