// SPDX-License-Identifier: MIT
//
// What a warpgroup does in every step of the chapter: its part of the rows, and its two products.
// A tile lies in shared memory as TMA brings it with the swizzle of 128 bytes: panels of 64 columns
// one behind the other, each row of a panel 128 bytes, and of those chunk c, 16 bytes, where chunk
// c ^ (row % 8) would lie. So every 8 rows of a panel are a pattern of 1024 bytes.
#pragma once

#include "common/device/fragment_rows.cuh"
#include "common/device/wgmma.cuh"

namespace attn::hopper {

inline constexpr int kChunk = 8;            // elements of 2 bytes
inline constexpr unsigned kPattern = 1024;  // bytes of 8 rows of a panel
inline constexpr unsigned kRowBytes = 128;  // of a panel

/// The rows of Q that a warpgroup has, and the tiles of keys that they see.
struct Rows {
  std::int64_t head;
  std::int64_t first;  // the warpgroup's first row
  int whole;           // tiles that all of its rows see whole
  int end;             // tiles that some row of the block sees
};

/// tile: the number of the block's tile of Q, counted over all heads.
template <class Tiles>
__device__ __forceinline__ Rows rows_of(std::int64_t tile, int consumer, const Shape& shape,
                                        std::int64_t diagonal) {
  const std::int64_t tiles = (shape.Nq + Tiles::kBr - 1) / Tiles::kBr;
  const std::int64_t i0 = tile % tiles * Tiles::kBr;
  const std::int64_t first = i0 + Tiles::kRows * consumer;
  const std::int64_t last = (i0 + Tiles::kBr < shape.Nq ? i0 + Tiles::kBr : shape.Nq) - 1;
  const std::int64_t least = visible_keys(first, diagonal, shape.Nk);
  const std::int64_t most = visible_keys(last, diagonal, shape.Nk);
  const int whole = static_cast<int>(least / Tiles::kBc);
  const int end = static_cast<int>((most + Tiles::kBc - 1) / Tiles::kBc);
  return {tile / tiles, first, min(whole, end), end};  // rows beyond Nq could see more
}

/// S = Q K^T, (64, Bc): a group of products is under way. sQ: the warpgroup's (64, D); sK: (Bc, D).
/// Both are K-major: a step of 16 along the sum is 32 bytes within a row.
template <class T, class Tiles>
__device__ __forceinline__ void issue_scores(float (&acc_s)[Tiles::kBc / 8][4], const T* sQ,
                                             const T* sK) {
  const unsigned q = device::shared_address(sQ), k = device::shared_address(sK);
#pragma unroll
  for (int c = 0; c < Tiles::kD; c += 16) {
    const unsigned panel = c / Tiles::kPanel, within = c % Tiles::kPanel * 2;
    device::wgmma_ss<T>(acc_s,
                        device::matrix_descriptor(q + panel * Tiles::kRows * kRowBytes + within, 16,
                                                  kPattern, Swizzle::k128),
                        device::matrix_descriptor(k + panel * Tiles::kBc * kRowBytes + within, 16,
                                                  kPattern, Swizzle::k128),
                        c > 0);
  }
  device::wgmma_commit();
}

/// P as the fragments A of the next product.
template <class T, int kTiles>
__device__ __forceinline__ void pack_rows(unsigned (&p)[kTiles / 2][4],
                                          const float (&acc_s)[kTiles][4]) {
#pragma unroll
  for (int k = 0; k < kTiles / 2; ++k) {
    device::pack_fragment<T>(p[k], acc_s[2 * k], acc_s[2 * k + 1]);
  }
}

/// O += P V, (64, D): a group of products is under way. sV: (Bc, D), MN-major: a step of 16 along
/// the sum is 16 rows, and a panel is Bc rows behind the one before it.
template <class T, class Tiles>
__device__ __forceinline__ void issue_values(float (&acc_o)[Tiles::kD / 8][4],
                                             const unsigned (&p)[Tiles::kBc / 16][4], const T* sV) {
  const unsigned v = device::shared_address(sV);
#pragma unroll
  for (int k = 0; k < Tiles::kBc / 16; ++k) {
    device::wgmma_rs<T, true>(
        acc_o, p[k],
        device::matrix_descriptor(v + 2 * kPattern * k, Tiles::kBc * kRowBytes, kPattern,
                                  Swizzle::k128),
        true);
  }
  device::wgmma_commit();
}

/// Calls `run.operator()<kD>()` with d, 64 or 128.
template <class Run>
void with_columns(std::int64_t d, Run run) {
  if (d == 64) return run.template operator()<64>();
  run.template operator()<128>();
}

}  // namespace attn::hopper
