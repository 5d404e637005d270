// SPDX-License-Identifier: MIT
//
// From step 3 on: what a thread needs to know of addresses, made once. Shared memory is addressed
// by 32 bits, as the instructions take it. All tiles of a block start at multiples of 1024 bytes,
// and rows that are a multiple of 8 apart are swizzled alike: the distance between them is a
// constant, which an instruction adds for nothing.
#pragma once

#include "chapters/10_async_pipeline/swizzle.cuh"

namespace attn::async_pipeline {

/// Where this lane's row of the first 16 x 16 elements of a tile at `tile` starts, for ldmatrix: a
/// fragment A, or two fragments B of a matrix whose rows are the tile's (transposed).
template <int kColumns>
__device__ __forceinline__ unsigned square_address(unsigned tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return tile + 2u * static_cast<unsigned>(swizzled<kColumns>(lane % 16, lane / 16));
}

/// The same for two fragments B of a matrix whose columns are the tile's rows.
template <int kColumns>
__device__ __forceinline__ unsigned columns_address(unsigned tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = lane % 8 + lane / 16 * 8;
  return tile + 2u * static_cast<unsigned>(swizzled<kColumns>(row, lane / 8 % 2));
}

/// From there to what starts at chunk c, an even one. The lower three bits of a chunk's number are
/// exchanged with the row's: four different exchanges in all. The fourth bit, in tiles of 128
/// columns, stays as it is.
__device__ __forceinline__ unsigned at_chunk(unsigned square, int c) {
  return (square ^ static_cast<unsigned>(c % 8 * 16)) + static_cast<unsigned>(c / 8 * 128);
}

/// x, of which the compiler no longer knows where it comes from. It then makes what follows from x
/// behind this point, again in every turn of a loop, and does not keep it all in registers.
__device__ __forceinline__ unsigned fresh(unsigned x) {
#ifdef __CUDACC__
  asm volatile("" : "+r"(x));
#endif
  return x;
}

/// What a thread copies of every tile: one chunk of the rows that are kAtOnce apart.
template <int kThreads, int kColumns>
struct TileCopy {
  static constexpr int kPerRow = kColumns / kChunk;   // threads
  static constexpr int kAtOnce = kThreads / kPerRow;  // rows
  static_assert(kThreads % kPerRow == 0 && kAtOnce % 8 == 0, "rows that are swizzled alike");

  unsigned to;  // its first chunk in a tile at address 0,
  int from;     // and in a matrix, in elements
  int first;    // the chunk's row; one beyond all where the chunk lies beyond d
  int step;     // kAtOnce rows of the matrix, in elements

  __device__ __forceinline__ explicit TileCopy(std::int64_t d) {
    const int chunk = static_cast<int>(threadIdx.x) % kPerRow;
    const int row = static_cast<int>(threadIdx.x) / kPerRow;
    to = 2u * static_cast<unsigned>(swizzled<kColumns>(row, chunk));
    from = row * static_cast<int>(d) + chunk * kChunk;
    first = chunk * kChunk < d ? row : 1 << 16;
    step = kAtOnce * static_cast<int>(d);
  }

  /// Starts to copy kRows rows to the tile at address `tile`; of them the first `rows` exist, the
  /// others arrive as zeros. gRows: the first of them in the matrix, plus `from`.
  template <int kRows, class T>
  __device__ __forceinline__ void start(unsigned tile, const T* gRows, int rows) const {
    static_assert(kRows % kAtOnce == 0);
    const int left = rows - first;
#pragma unroll
    for (int n = 0; n < kRows / kAtOnce; ++n) {
      device::cp_async_16(tile + to + 2u * n * kAtOnce * kColumns, gRows + n * step,
                          n * kAtOnce < left);
    }
  }
};

}  // namespace attn::async_pipeline
