// SPDX-License-Identifier: MIT
//
// What the two puzzles are given: sizes, a tensor map, and how matrices get into shared memory and
// out of registers.
#pragma once

#include "chapters/11_hopper/exercises/puzzles.hpp"
#include "common/device/async_proxy.cuh"
#include "common/device/tma.cuh"
#include "common/device/wgmma.cuh"

namespace attn::hopper {

inline constexpr int kConsumers = 2;  // warps that add up; one more has the thread that asks
inline constexpr int kTileFloats = kRingRows * kRingColumns;
inline constexpr unsigned kTileBytes = kTileFloats * sizeof(float);

/// The tiles one below the other, (tiles * 16, 32); a box is a tile.
inline device::TensorMap map_of_tiles(const float* gTiles, int tiles) {
  return device::make_tensor_map({.element = Element::kFloat32,
                                  .address = const_cast<float*>(gTiles),
                                  .rank = 2,
                                  .sizes = {kRingColumns, std::uint64_t{kRingRows} * tiles},
                                  .strides = {kRingColumns * sizeof(float)},
                                  .box = {kRingColumns, kRingRows}});
}

inline constexpr unsigned kRowBytes = 2 * kSide;  // of a matrix: as wide as the swizzle
inline constexpr unsigned kMatrixBytes = kSide * kRowBytes;

/// Copies a (64, 64) matrix to shared memory with the swizzle of 128 bytes.
__device__ __forceinline__ void store_matrix(unsigned char* sMatrix, const bfloat16* gMatrix) {
  for (int i = static_cast<int>(threadIdx.x); i < kSide * 8; i += 128) {
    const int row = i / 8, chunk = i % 8;  // of 16 bytes
    *reinterpret_cast<uint4*>(sMatrix + row * 128 + (chunk ^ row % 8) * 16) =
        *reinterpret_cast<const uint4*>(gMatrix + row * kSide + chunk * 8);
  }
}

/// The warpgroup's accumulators to a (64, 64) matrix.
__device__ __forceinline__ void store_accumulators(float* gMatrix,
                                                   const float (&acc)[kSide / 8][4]) {
  const int thread = static_cast<int>(threadIdx.x);
  const int row = thread / 32 * 16 + thread % 32 / 4, column = thread % 4 * 2;
#pragma unroll
  for (int n = 0; n < kSide / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      gMatrix[(row + 8 * (i / 2)) * kSide + 8 * n + column + i % 2] = acc[n][i];
    }
  }
}

/// The accumulators rounded to bfloat16, as A of the next product: a[step] are its columns 16 step
/// to 16 step + 15.
__device__ __forceinline__ void pack_rows(unsigned (&a)[kSide / 16][4],
                                          const float (&acc)[kSide / 8][4]) {
#pragma unroll
  for (int n = 0; n < kSide / 8; ++n) {
    a[n / 2][n % 2 * 2] = device::pack<bfloat16>(acc[n][0], acc[n][1]);
    a[n / 2][n % 2 * 2 + 1] = device::pack<bfloat16>(acc[n][2], acc[n][3]);
  }
}

}  // namespace attn::hopper
