// SPDX-License-Identifier: MIT
//
// Step 1: chapter 12's kernel for any set of pairs. An array has a byte for each of them, and the
// block reads those of a tile along with its keys; a vote of the warp makes a word of 32. Every
// head reads them again: S comes back, at a quarter of its size.
#include "chapters/14_masks/mask_array.hpp"
#include "chapters/14_masks/masks.hpp"
#include "chapters/14_masks/words.cuh"
#include "common/columns.hpp"
#include "common/device/masked_rows.cuh"
#include "common/device/tiles.cuh"

namespace attn::masks {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;

/// The tiles, and behind them what the rows see of one.
template <int kD>
constexpr std::size_t kSharedBytes = tiles_for(kD).floats() * sizeof(float) +
                                     tiles_for(kD).Br * sizeof(unsigned);

/// Grid: B*H times the Q tiles of a head; block: kThreads; dynamic shared memory: kSharedBytes<kD>.
template <int kD>
__global__ void forward_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                               float* gLSE, std::int64_t H, std::int64_t Nq, std::int64_t Nk,
                               std::int64_t d, Pairs pairs, float scale) {
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
  const std::int64_t mask_head = pairs.array.head_of(head / H, head % H);
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  gQ += head * Nq * d;
  gK += head * Nk * d;
  gV += head * Nk * d;
  gO += head * Nq * d;
  gLSE += head * Nq;

  float row_max[kRows];
  float row_sum[kRows] = {};
  float acc_o[kRows][kD / kWarp] = {};
#pragma unroll
  for (int n = 0; n < kRows; ++n) row_max[n] = -INFINITY;

  device::load_tile<kThreads, kT.Br, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
  const int row = warp * kRows + lane;  // whose words this lane has, if lane < kRows
  unsigned seen = 0;                    // what it saw of some tile
  const Range some = pairs.band.some(i0, i0 + kT.Br < Nq ? i0 + kT.Br : Nq);
  for (std::int64_t j0 = some.empty() ? some.end : some.begin / kT.Bc * kT.Bc; j0 < some.end;
       j0 += kT.Bc) {
    device::load_tile<kThreads, kT.Bc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kThreads, kT.Bc, kD>(sV, kD, gV + j0 * d, Nk - j0, d);
    const TilePairs tile = pairs.in_tile(mask_head, i0, j0, kT.Br, kT.Bc);
    const unsigned word =
        words_of_rows<kRows, kT.Bc>([&](int n, int j) { return tile.sees(warp * kRows + n, j); });
    if (lane < kRows) sWords[row] = word;
    seen |= word;
    __syncthreads();  // wait until the tiles and the words are complete
    device::scores<kWarps, kT.Br, kT.Bc, kD>(sQ, sK, sS, d, scale);
    __syncwarp();  // wait until the warp's own scores are there
    device::update_rows<kWarps, kT.Br, kT.Bc, kD>(sS, sV, device::WordTile{sWords}, row_max,
                                                  row_sum, acc_o);
    __syncthreads();  // wait until everyone is done with K_j, V_j and the words
  }
  if (lane < kRows) sWords[row] = seen;
  __syncthreads();  // wait until it is known which rows saw nothing

#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    const int r = n * kWarps + warp;
    if (i0 + r >= Nq) continue;
    const bool empty = sWords[r] == 0;
    for (int m = 0; m < kD / kWarp; ++m) {
      const int c = lane + m * kWarp;
      if (c < d) gO[(i0 + r) * d + c] = empty ? 0.0f : acc_o[n][m] / row_sum[n];
    }
    if (lane == 0) gLSE[i0 + r] = device::log_sum_exp(row_max[n], row_sum[n]);
  }
}

template <int kD>
void run(const ForwardArgs& args) {
  constexpr Tiles kT = tiles_for(kD);
  static_assert(kSharedBytes<kD> <= 48 * 1024);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(forward_kernel<kD>, grid_size(B * H * ceil_div(Nq, kT.Br)), kThreads, kSharedBytes<kD>,
         nullptr, args.q, args.k, args.v, args.o, args.lse, H, Nq, Nk, d, pairs_of(args),
         args.scale);
}

}  // namespace

std::size_t no_workspace_bytes(const Shape&) { return 0; }

void forward_bytes(const ForwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::masks
