// SPDX-License-Identifier: MIT
//
// Taught in chapter 09: the softmax of rows that lie in fragments. As in mma.cuh g = lane / 4 and
// t = lane % 4. Of every 16 x 8 fragment of S, O or a gradient a thread holds columns 2t and 2t + 1
// of rows g and g + 8: x[n][2 h + e] is row g + 8 h, column 8 n + 2 t + e. So 4 lanes share a row,
// and a thread has two of a warp's 16.
#pragma once

#include "common/device/exp2.cuh"
#include "common/device/mma.cuh"
#include "common/device/online_softmax.cuh"
#include "common/device/warp_reduce.cuh"
#include "common/mask.hpp"

namespace attn::device {

inline constexpr float kLog2E = 1.44269504f;

/// Where a thread stands in a fragment: its first row, and its first column.
__device__ __forceinline__ int fragment_row() { return static_cast<int>(threadIdx.x) % 32 / 4; }
__device__ __forceinline__ int fragment_column() { return static_cast<int>(threadIdx.x) % 4 * 2; }

/// What a thread knows of its two rows.
struct FragmentRows {
  float maximum[2] = {-INFINITY, -INFINITY};
  float sum[2] = {};  // of the thread's own columns: the 4 lanes of a row add them up at the end
};

/// The maximum over the 4 lanes of a row, in each of them. All 32 lanes must call it.
__device__ __forceinline__ float row_maximum(float value) {
  value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, 1));
  return fmaxf(value, __shfl_xor_sync(kAllLanes, value, 2));
}

/// The sum over the 4 lanes of a row, in each of them.
__device__ __forceinline__ float row_total(float value) {
  value += __shfl_xor_sync(kAllLanes, value, 1);
  return value + __shfl_xor_sync(kAllLanes, value, 2);
}

/// How many of the keys j0 to j0 + kKeys - 1 the thread's rows see. i: row 0 of the fragment.
template <int kKeys>
__device__ __forceinline__ void keys_of_rows(int (&keys)[2], std::int64_t i, std::int64_t j0,
                                             std::int64_t diagonal, std::int64_t Nk) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const std::int64_t left = visible_keys(i + fragment_row() + 8 * h, diagonal, Nk) - j0;
    keys[h] = left < 0 ? 0 : left < kKeys ? static_cast<int>(left) : kKeys;
  }
}

/// Row g + 8 h of a tile of dot products s becomes P, where it lies, and the row's maximum and sum
/// those with the tile; returns the factor by which what was summed up before must be rescaled.
/// keys: how many keys of the tile the row sees (if kMasked).
template <bool kMasked, int kTiles>
__device__ __forceinline__ float softmax_row(float (&s)[kTiles][4], float scale, int keys, int h,
                                             FragmentRows& rows) {
  const int left = keys - fragment_column();
  float tile_max = -INFINITY;
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      float& x = s[n][2 * h + e];
      // Rounded: one multiply-add with the subtraction below would lose large logits.
      x = __fmul_rn(scale, x);
      if (kMasked && 8 * n + e >= left) x = -INFINITY;
      tile_max = fmaxf(tile_max, x);
    }
  }
  const float new_max = fmaxf(rows.maximum[h], row_maximum(tile_max));
  const float reference = reference_point(new_max);
  const float rescale = exp2<true>(kLog2E * (rows.maximum[h] - reference));
  rows.maximum[h] = new_max;
  rows.sum[h] *= rescale;
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      float& x = s[n][2 * h + e];
      x = exp2<true>(kLog2E * (x - reference));
      rows.sum[h] += x;
    }
  }
  return rescale;
}

/// Brings row g + 8 h of O up to a new maximum.
template <int kOutputTiles>
__device__ __forceinline__ void rescale_row(float (&acc_o)[kOutputTiles][4], float rescale, int h) {
#pragma unroll
  for (int n = 0; n < kOutputTiles; ++n) {
    acc_o[n][2 * h] *= rescale;
    acc_o[n][2 * h + 1] *= rescale;
  }
}

/// Turns a tile of dot products s into P, where it lies, and brings the rows and their O up to the
/// new maxima. keys[h]: how many keys of the tile row g + 8 h sees (if kMasked).
template <bool kMasked, int kTiles, int kOutputTiles>
__device__ __forceinline__ void softmax_rows(float (&s)[kTiles][4], float scale,
                                             const int (&keys)[2], FragmentRows& rows,
                                             float (&acc_o)[kOutputTiles][4]) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    rescale_row(acc_o, softmax_row<kMasked>(s, scale, keys[h], h, rows), h);
  }
}

/// Two neighbouring fragments of a result as the fragment A of the next product, 16 x 16: where mma
/// leaves a row's columns is where it wants them, and no lane needs another's.
template <class T>
__device__ __forceinline__ void pack_fragment(unsigned (&a)[4], const float (&left)[4],
                                              const float (&right)[4]) {
  a[0] = pack<T>(left[0], left[1]);
  a[1] = pack<T>(left[2], left[3]);
  a[2] = pack<T>(right[0], right[1]);
  a[3] = pack<T>(right[2], right[3]);
}

/// O = acc_o / sum, where acc_o lies, and LSE, in every lane of a row. i: row 0 of the fragment.
template <int kTiles>
__device__ __forceinline__ void finish_rows(float (&acc_o)[kTiles][4], float (&lse)[2],
                                            const FragmentRows& rows, std::int64_t i,
                                            std::int64_t diagonal, std::int64_t Nk) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float row_sum = row_total(rows.sum[h]);
    const bool empty = visible_keys(i + fragment_row() + 8 * h, diagonal, Nk) == 0;
    const float factor = 1.0f / row_sum;
    lse[h] = log_sum_exp(rows.maximum[h], row_sum);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& x = acc_o[n][2 * h + e];
        x = empty ? 0.0f : factor * x;
      }
    }
  }
}

/// Stores the thread's rows as elements to gRows, row 0 of the fragment, in a matrix of d columns;
/// rows from rows_left on and columns from d on do not exist. wide: d is even, and gRows aligned to
/// 4 bytes.
template <class T, int kTiles>
__device__ __forceinline__ void store_rows(T* gRows, std::int64_t rows_left, std::int64_t d,
                                           bool wide, const float (&x)[kTiles][4]) {
  const int width = static_cast<int>(d) - fragment_column();  // columns from the thread's first on
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = fragment_row() + 8 * h;
    if (row >= rows_left) continue;
    T* to = gRows + row * d + fragment_column();
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      if (wide) {
        const unsigned both = pack<T>(x[n][2 * h], x[n][2 * h + 1]);
        if (8 * n < width) *reinterpret_cast<unsigned*>(to + 8 * n) = both;
      } else {
        const T first = from_float<T>(x[n][2 * h]);
        const T second = from_float<T>(x[n][2 * h + 1]);
        if (8 * n < width) to[8 * n] = first;
        if (8 * n + 1 < width) to[8 * n + 1] = second;
      }
    }
  }
}

/// Stores one number for each of the thread's rows, by one of the row's lanes; gValues: of row 0.
__device__ __forceinline__ void store_row_values(float* gValues, std::int64_t rows_left,
                                                 const float (&x)[2]) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = fragment_row() + 8 * h;
    if (fragment_column() == 0 && row < rows_left) gValues[row] = x[h];
  }
}

}  // namespace attn::device
