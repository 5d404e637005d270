// SPDX-License-Identifier: MIT
//
// Step 2: step 1 with a block per head of K and V. The rows of its tiles are the queries of all
// heads of the group, and so K and V are loaded once for all of them. A long prompt fills its tiles
// as before, in other blocks, and asks for as many bytes; one new token with a long cache fills a
// tile with its group, where each head had one of its own for one row.
#include "chapters/16_heads/heads.hpp"
#include "common/columns.hpp"
#include "common/device/band.hpp"
#include "common/device/group.hpp"
#include "common/device/load_rows.cuh"
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

/// Grid: B*Hkv times the tiles of a group's rows; block: kThreads; dynamic shared memory:
/// kSharedBytes<kD>.
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
  const int group = static_cast<int>(H / Hkv);
  const std::int64_t tiles = (Nq * group + kT.Br - 1) / kT.Br;
  const std::int64_t kv_head = blockIdx.x / tiles;  // blocks that run side by side share K and V
  const std::int64_t b = kv_head / Hkv;
  const device::RowTile rows =
      device::row_tile(blockIdx.x % tiles * kT.Br, kT.Br, Nq, kv_head % Hkv, group);
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  const auto place = [&](int r) { return (b * H + rows.head(r)) * Nq + rows.i0 + rows.token(r); };
  gK += kv_head * Nk * d;
  gV += kv_head * Nk * d;

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

  device::load_rows<kThreads, kT.Br, kD>(sQ, kD + 1, rows.rows, d,
                                         [&](int r) { return gQ + place(r) * d; });
  const device::Band band = device::band_of(mask, Nq, Nk);
  const Range tokens = rows.tokens();
  const Range some = band.some(tokens.begin, tokens.end);
  const Range every = band.every(tokens.begin, tokens.end);
  for (std::int64_t j0 = some.empty() ? some.end : some.begin / kT.Bc * kT.Bc; j0 < some.end;
       j0 += kT.Bc) {
    device::load_tile<kThreads, kT.Bc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kThreads, kT.Bc, kD>(sV, kD, gV + j0 * d, Nk - j0, d);
    const device::TileBand seen = band.in_tile(rows.i0, j0, kT.Bc);
    if (threadIdx.x < kT.Br) {
      const int token = rows.token(threadIdx.x);
      sWords[threadIdx.x] = device::word_of(seen.begin_of_row(token), seen.end_of_row(token));
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
    const int r = n * kWarps + warp;
    if (r >= rows.rows) continue;
    const std::int64_t row = place(r);
    const float lse = device::log_sum_exp(row_max[n], row_sum[n]);
    for (int m = 0; m < kD / kWarp; ++m) {
      const int c = lane + m * kWarp;
      if (c < d) gO[row * d + c] = acc_o[n][m] / row_sum[n];
    }
    if (lane == 0) gLSE[row] = lse;
  }
}

template <int kD>
void run(const ForwardArgs& args) {
  constexpr Tiles kT = tiles_for(kD);
  static_assert(kT.Bc <= 32 && kSharedBytes<kD> <= 48 * 1024);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(forward_kernel<kD>, grid_size(B * Hkv * ceil_div(Nq * (H / Hkv), kT.Br)), kThreads,
         kSharedBytes<kD>, nullptr, args.q, args.k, args.v, args.o, args.lse, H, Hkv, Nq, Nk, d,
         args.mask, args.scale);
}

}  // namespace

void forward_pack(const ForwardArgs& args) {
  with_columns<kMaxColumns>(args.shape.d, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::heads
