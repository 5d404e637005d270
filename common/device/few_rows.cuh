// SPDX-License-Identifier: MIT
//
// Taught in chapter 17: a tile of few rows, of which often only one exists: no work for the others.
#pragma once

#include "common/device/cache.hpp"
#include "common/device/masked_rows.cuh"
#include "common/device/row_words.cuh"

namespace attn::decoding {

/// Bit j: whether token i sees key j0 + j.
__device__ __forceinline__ unsigned word_of_token(const SeenKeys& seen, std::int64_t i,
                                                  std::int64_t j0) {
  const device::TileBand row = seen.band.in_tile(i, j0, kBc);
  const int end = row.end_of_row(0);
  const std::int64_t sinks = seen.sinks - j0;
  const int sinks_end = sinks < 0 ? 0 : sinks < end ? static_cast<int>(sinks) : end;
  return device::word_of(row.begin_of_row(0), end) | device::word_of(0, sinks_end);
}

/// S = scale * sQ sK^T for those of this warp's rows w, w + kWarps, ... that exist. A lane has a
/// key, and will be the only one to read its score. sQ (Br, D), of which all lanes read the same 16
/// bytes at a time; sK (Bc, D + 1), zero beyond d; sS (Br, Bc + 1).
template <int kWarps, int kD>
__device__ __forceinline__ void scores(const float* sQ, const float* sK, float* sS, int rows,
                                       std::int64_t d, float scale) {
  static_assert(kBc == 32);
  const int columns = static_cast<int>(d);
  const int lane = threadIdx.x % 32;
  const float* k = sK + lane * (kD + 1);
  for (int r = threadIdx.x / 32; r < rows; r += kWarps) {
    float dot = 0.0f;
#pragma unroll 4
    for (int c = 0; c < columns; c += 4) {
      const float4 q = *reinterpret_cast<const float4*>(sQ + r * kD + c);
      dot += q.x * k[c];
      dot += q.y * k[c + 1];
      dot += q.z * k[c + 2];
      dot += q.w * k[c + 3];
    }
    sS[r * (kBc + 1) + lane] = __fmul_rn(scale, dot);
  }
}

}  // namespace attn::decoding
