// SPDX-License-Identifier: MIT
//
// Step 1: grouped heads. Chapter 12's kernel with one change: query head h reads the head of K and
// V that its group of H / Hkv neighbours shares. What the band leaves of a tile is a word per row.
#include "chapters/16_heads/heads.hpp"
#include "common/columns.hpp"
#include "common/device/band.hpp"
#include "common/device/masked_rows.cuh"
#include "common/device/row_words.cuh"
#include "common/device/tiles.cuh"

namespace attn::heads {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;

/// The tiles, and behind them a word per row.
template <int kD>
constexpr std::size_t kSharedBytes = tiles_for(kD).floats() * sizeof(float) +
                                     tiles_for(kD).Br * sizeof(unsigned);

/// Grid: B*H times the Q tiles of a head; block: kThreads; dynamic shared memory: kSharedBytes<kD>.
template <int kD>
__global__ void forward_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                               float* gLSE, std::int64_t H, std::int64_t Hkv, std::int64_t Nq,
                               std::int64_t Nk, std::int64_t d, Mask mask, float scale) {
  constexpr Tiles kT = tiles_for(kD);
  constexpr int kRows = kT.Br / kWarps;  // of a warp: w, w + kWarps, w + 2 kWarps, ...
  float* sQ = dynamic_shared<float>();   // (Br, D + 1)
  float* sK = sQ + kT.Br * (kD + 1);     // (Bc, D + 1)
  float* sV = sK + kT.Bc * (kD + 1);     // (Bc, D)
  float* sS = sV + kT.Bc * kD;           // (Br, Bc + 1)
  unsigned* sWords = reinterpret_cast<unsigned*>(sS + kT.Br * (kT.Bc + 1));  // (Br)
  const std::int64_t tiles = (Nq + kT.Br - 1) / kT.Br;
  const std::int64_t head = blockIdx.x / tiles;  // blocks that run side by side share K and V
  const std::int64_t i0 = blockIdx.x % tiles * kT.Br;
  const std::int64_t b = head / H, h = head % H;
  const std::int64_t kv_head = b * Hkv + h / (H / Hkv);
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  gQ += head * Nq * d;
  gK += kv_head * Nk * d;
  gV += kv_head * Nk * d;
  gO += head * Nq * d;
  gLSE += head * Nq;

  float row_max[kRows];
  float row_sum[kRows];
  float acc_o[kRows][kD / kWarp] = {};
#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    // One key of weight exp(-inf) and no V. The first key that a row sees makes its 1 a 0; without
    // one O is 0 / 1.
    row_max[n] = -INFINITY;
    row_sum[n] = 1.0f;
  }

  device::load_tile<kThreads, kT.Br, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
  const device::Band band = device::band_of(mask, Nq, Nk);
  const std::int64_t i1 = i0 + kT.Br < Nq ? i0 + kT.Br : Nq;
  const Range some = band.some(i0, i1);
  const Range every = band.every(i0, i1);
  for (std::int64_t j0 = some.empty() ? some.end : some.begin / kT.Bc * kT.Bc; j0 < some.end;
       j0 += kT.Bc) {
    device::load_tile<kThreads, kT.Bc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kThreads, kT.Bc, kD>(sV, kD, gV + j0 * d, Nk - j0, d);
    const device::TileBand seen = band.in_tile(i0, j0, kT.Bc);
    if (threadIdx.x < kT.Br) {
      const int r = threadIdx.x;
      sWords[r] = device::word_of(seen.begin_of_row(r), seen.end_of_row(r));
    }
    __syncthreads();  // wait until the tiles and words are complete
    device::scores<kWarps, kT.Br, kT.Bc, kD>(sQ, sK, sS, d, scale);
    __syncwarp();  // wait until the warp's own scores are there
    if (every.begin <= j0 && j0 + kT.Bc <= every.end) {
      device::update_rows<kWarps, kT.Br, kT.Bc, kD>(sS, sV, device::UnmaskedTile<kT.Bc>(), row_max,
                                                    row_sum, acc_o);
    } else {
      device::update_rows<kWarps, kT.Br, kT.Bc, kD>(sS, sV, device::WordTile{sWords}, row_max,
                                                    row_sum, acc_o);
    }
    __syncthreads();  // wait until everyone is done with K_j, V_j and the words
  }

#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    const std::int64_t i = i0 + n * kWarps + warp;
    if (i >= Nq) continue;
    const float lse = device::log_sum_exp(row_max[n], row_sum[n]);
    for (int m = 0; m < kD / kWarp; ++m) {
      const int c = lane + m * kWarp;
      if (c < d) gO[i * d + c] = acc_o[n][m] / row_sum[n];
    }
    if (lane == 0) gLSE[i] = lse;
  }
}

template <int kD>
void run(const ForwardArgs& args) {
  constexpr Tiles kT = tiles_for(kD);
  static_assert(kT.Bc <= 32 && kSharedBytes<kD> <= 48 * 1024);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(forward_kernel<kD>, grid_size(B * H * ceil_div(Nq, kT.Br)), kThreads, kSharedBytes<kD>,
         nullptr, args.q, args.k, args.v, args.o, args.lse, H, Hkv, Nq, Nk, d, args.mask,
         args.scale);
}

}  // namespace

std::size_t no_workspace_bytes(const Shape&) { return 0; }

void forward_groups(const ForwardArgs& args) {
  with_columns<kMaxColumns>(args.shape.d, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::heads
