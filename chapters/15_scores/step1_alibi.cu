// SPDX-License-Identifier: MIT
//
// Step 1: chapter 12's kernel, and what is done to a score between Q K^T and the softmax. ALiBi
// takes from it a slope times the distance between the row's own key and the key: both places are
// known, and so nothing is loaded but one number per head.
#include "chapters/15_scores/scores.hpp"
#include "common/columns.hpp"
#include "common/device/band.hpp"
#include "common/device/masked_rows.cuh"
#include "common/device/tiles.cuh"

namespace attn::scores {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;

/// Rows of the tile that one warp owns: w, w + kWarps, w + 2 kWarps, ...
template <int kD>
constexpr int kRows = tiles_for(kD).Br / kWarps;

/// What is done to the scores of a tile.
struct ScoreRule {
  float scale;
  float slope;    // of ALiBi
  float own_key;  // of the tile's first row, counted from the tile's first key
};

/// The scores of this warp's rows, which are the only ones it will read: sS (Br, Bc + 1). All their
/// pairs, also those that the mask hides. Every product is rounded by itself, as it is where the
/// backward pass makes the scores again.
template <int kD>
__device__ __forceinline__ void scores(const float* sQ, const float* sK, float* sS, std::int64_t d,
                                       const ScoreRule& rule) {
  constexpr Tiles kT = tiles_for(kD);
  const int columns = static_cast<int>(d);
  const int warp = threadIdx.x / kWarp;
  for (int n = threadIdx.x % kWarp; n < kRows<kD> * kT.Bc; n += kWarp) {
    const int i = n / kT.Bc * kWarps + warp;  // neighbouring lanes take neighbouring keys
    const int j = n % kT.Bc;
    float dot = 0.0f;
#pragma unroll 8
    for (int c = 0; c < columns; ++c) dot += sQ[i * (kD + 1) + c] * sK[j * (kD + 1) + c];
    float s = __fmul_rn(rule.scale, dot);
    s -= __fmul_rn(rule.slope, fabsf(rule.own_key + static_cast<float>(i - j)));
    sS[i * (kT.Bc + 1) + j] = s;
  }
}

/// A tile whose rows see what a band says, as words.
struct BandTile {
  device::TileBand band;

  __device__ __forceinline__ device::RowWord row(int r) const {
    const int begin = band.begin_of_row(r), end = band.end_of_row(r);
    return {begin >= end ? 0u : ~0u << begin & ~0u >> (32 - end)};
  }
};

/// Grid: B*H times the Q tiles of a head; block: kThreads; dynamic shared memory:
/// tiles_for(kD).floats() floats.
template <int kD>
__global__ void forward_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                               float* gLSE, std::int64_t H, std::int64_t Nq, std::int64_t Nk,
                               std::int64_t d, Mask mask, float scale, const float* gSlopes) {
  constexpr Tiles kT = tiles_for(kD);
  float* sQ = dynamic_shared<float>();  // (Br, D + 1)
  float* sK = sQ + kT.Br * (kD + 1);    // (Bc, D + 1)
  float* sV = sK + kT.Bc * (kD + 1);    // (Bc, D)
  float* sS = sV + kT.Bc * kD;          // (Br, Bc + 1)
  const std::int64_t tiles = (Nq + kT.Br - 1) / kT.Br;
  const std::int64_t head = blockIdx.x / tiles;  // blocks that run side by side share K and V
  const std::int64_t i0 = blockIdx.x % tiles * kT.Br;
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  gQ += head * Nq * d;
  gK += head * Nk * d;
  gV += head * Nk * d;
  gO += head * Nq * d;
  gLSE += head * Nq;
  const float slope = gSlopes == nullptr ? 0.0f : gSlopes[head % H];

  float row_max[kRows<kD>];
  float row_sum[kRows<kD>] = {};
  float acc_o[kRows<kD>][kD / kWarp] = {};
#pragma unroll
  for (int n = 0; n < kRows<kD>; ++n) row_max[n] = -INFINITY;

  device::load_tile<kThreads, kT.Br, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
  const device::Band band = device::band_of(mask, Nq, Nk);
  const std::int64_t i1 = i0 + kT.Br < Nq ? i0 + kT.Br : Nq;
  const Range some = band.some(i0, i1);
  const Range every = band.every(i0, i1);
  for (std::int64_t j0 = some.empty() ? some.end : some.begin / kT.Bc * kT.Bc; j0 < some.end;
       j0 += kT.Bc) {
    device::load_tile<kThreads, kT.Bc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kThreads, kT.Bc, kD>(sV, kD, gV + j0 * d, Nk - j0, d);
    const std::int64_t own_key = i0 + own_key_of_first_row(mask, Nq, Nk) - j0;
    const ScoreRule rule{.scale = scale, .slope = slope, .own_key = static_cast<float>(own_key)};
    __syncthreads();  // wait until the tiles are complete
    scores<kD>(sQ, sK, sS, d, rule);
    __syncwarp();  // wait until the warp's own scores are there
    if (every.begin <= j0 && j0 + kT.Bc <= every.end) {
      device::update_rows<kWarps, kT.Br, kT.Bc, kD>(sS, sV, device::UnmaskedTile<kT.Bc>(), row_max,
                                                    row_sum, acc_o);
    } else {
      device::update_rows<kWarps, kT.Br, kT.Bc, kD>(sS, sV, BandTile{band.in_tile(i0, j0, kT.Bc)},
                                                    row_max, row_sum, acc_o);
    }
    __syncthreads();  // wait until everyone is done with K_j and V_j
  }

#pragma unroll
  for (int n = 0; n < kRows<kD>; ++n) {
    const std::int64_t i = i0 + n * kWarps + warp;
    if (i >= Nq) continue;
    const bool empty = band.row(i).empty();
    for (int m = 0; m < kD / kWarp; ++m) {
      const int c = lane + m * kWarp;
      if (c < d) gO[i * d + c] = empty ? 0.0f : acc_o[n][m] / row_sum[n];
    }
    if (lane == 0) gLSE[i] = device::log_sum_exp(row_max[n], row_sum[n]);
  }
}

template <int kD>
void run(const ForwardArgs& args) {
  constexpr Tiles kT = tiles_for(kD);
  constexpr std::size_t kSharedBytes = kT.floats() * sizeof(float);
  static_assert(kT.Bc <= 32 && kSharedBytes <= 48 * 1024);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(forward_kernel<kD>, grid_size(B * H * ceil_div(Nq, kT.Br)), kThreads, kSharedBytes,
         nullptr, args.q, args.k, args.v, args.o, args.lse, H, Nq, Nk, d, args.mask, args.scale,
         args.extras.alibi);
}

}  // namespace

std::size_t no_workspace_bytes(const Shape&) { return 0; }

void forward_alibi(const ForwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::scores
