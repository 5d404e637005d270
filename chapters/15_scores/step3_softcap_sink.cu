// SPDX-License-Identifier: MIT
//
// Step 3: step 2 with two more numbers. Softcap c squeezes a score into (-c, c) by a tanh, before
// bias and mask: behind them it would turn -inf into -c. And a learned sink per head, a logit that
// every row has beside those of its keys: the row starts with it as its maximum.
#include "chapters/15_scores/bias.hpp"
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

/// The tiles, and a word per row.
template <int kD>
constexpr std::size_t kSharedBytes = tiles_for(kD).floats() * sizeof(float) +
                                     tiles_for(kD).Br * sizeof(unsigned);

/// What is done to the scores of a tile.
struct ScoreRule {
  float scale;
  float softcap;  // 0: none
  BiasRows bias;  // from the tile's corner on
  float slope;    // of ALiBi
  float own_key;  // of the tile's first row, counted from the tile's first key
  device::TileBand band;
  int rows;  // of the tile that lie inside the matrix
};

/// The scores of this warp's rows, which are the only ones it will read: sS (Br, Bc + 1), and in
/// sWords (Br) which of them count. Every product is rounded by itself, as it is where the backward
/// pass makes the scores again. True, in every lane, if all of them count.
template <int kD>
__device__ __forceinline__ bool scores(const float* sQ, const float* sK, float* sS,
                                       unsigned* sWords, std::int64_t d, const ScoreRule& rule) {
  constexpr Tiles kT = tiles_for(kD);
  const int columns = static_cast<int>(d);
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  bool whole = true;
  for (int n = lane; n < kRows<kD> * kT.Bc; n += kWarp) {
    const int i = n / kT.Bc * kWarps + warp;  // neighbouring lanes take neighbouring keys
    const int j = n % kT.Bc;
    float dot = 0.0f;
#pragma unroll 8
    for (int c = 0; c < columns; ++c) dot += sQ[i * (kD + 1) + c] * sK[j * (kD + 1) + c];
    float s = __fmul_rn(rule.scale, dot);
    if (rule.softcap > 0.0f) s = __fmul_rn(rule.softcap, tanhf(s / rule.softcap));
    bool seen = i < rule.rows && rule.band.sees(i, j);
    if (seen && rule.bias.gBias != nullptr) {
      const float bias = rule.bias.at(i, j);
      seen = bias != -INFINITY;
      s += bias;
    }
    s -= __fmul_rn(rule.slope, fabsf(rule.own_key + static_cast<float>(i - j)));
    const unsigned votes = __ballot_sync(device::kAllLanes, seen);
    sS[i * (kT.Bc + 1) + j] = s;
    whole = whole && votes == device::kAllLanes;
    // A row of 16 keys has half the votes.
    if (j == 0) sWords[i] = votes >> lane & ~0u >> (32 - kT.Bc);
  }
  return whole;
}

/// Grid: B*H times the Q tiles of a head; block: kThreads; dynamic shared memory: kSharedBytes<kD>.
template <int kD>
__global__ void forward_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                               float* gLSE, std::int64_t H, std::int64_t Nq, std::int64_t Nk,
                               std::int64_t d, Mask mask, float scale, float softcap,
                               BiasArray bias_array, const float* gSlopes, const float* gSinks) {
  constexpr Tiles kT = tiles_for(kD);
  float* sQ = dynamic_shared<float>();                                       // (Br, D + 1)
  float* sK = sQ + kT.Br * (kD + 1);                                         // (Bc, D + 1)
  float* sV = sK + kT.Bc * (kD + 1);                                         // (Bc, D)
  float* sS = sV + kT.Bc * kD;                                               // (Br, Bc + 1)
  unsigned* sWords = reinterpret_cast<unsigned*>(sS + kT.Br * (kT.Bc + 1));  // (Br) what a row sees
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
  const BiasRows bias = bias_array.head(head / H, head % H);
  const float slope = gSlopes == nullptr ? 0.0f : gSlopes[head % H];
  const float sink = gSinks == nullptr ? -INFINITY : gSinks[head % H];

  float row_max[kRows<kD>];
  float row_sum[kRows<kD>];
  float acc_o[kRows<kD>][kD / kWarp] = {};
#pragma unroll
  for (int n = 0; n < kRows<kD>; ++n) {
    // As if the row had seen one key already, with this logit and no V. Kept apart until the end,
    // exp(sink - row_max) could be infinite. No sink is one of -inf: its 1 becomes 1 * exp(-inf) at
    // the first tile of which the row sees a key.
    row_max[n] = sink;
    row_sum[n] = 1.0f;
  }

  device::load_tile<kThreads, kT.Br, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
  const device::Band band = device::band_of(mask, Nq, Nk);
  const int rows = Nq - i0 < kT.Br ? static_cast<int>(Nq - i0) : kT.Br;
  const Range some = band.some(i0, i0 + rows);
  for (std::int64_t j0 = some.empty() ? some.end : some.begin / kT.Bc * kT.Bc; j0 < some.end;
       j0 += kT.Bc) {
    device::load_tile<kThreads, kT.Bc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kThreads, kT.Bc, kD>(sV, kD, gV + j0 * d, Nk - j0, d);
    const std::int64_t own_key = i0 + own_key_of_first_row(mask, Nq, Nk) - j0;
    const ScoreRule rule{.scale = scale,
                         .softcap = softcap,
                         .bias = bias.from(i0, j0),
                         .slope = slope,
                         .own_key = static_cast<float>(own_key),
                         .band = band.in_tile(i0, j0, kT.Bc),
                         .rows = rows};
    __syncthreads();  // wait until the tiles are complete
    const bool whole = scores<kD>(sQ, sK, sS, sWords, d, rule);
    __syncwarp();  // wait until the warp's own scores and words are there
    if (whole) {
      device::update_rows<kWarps, kT.Br, kT.Bc, kD>(sS, sV, device::UnmaskedTile<kT.Bc>(), row_max,
                                                    row_sum, acc_o);
    } else {
      device::update_rows<kWarps, kT.Br, kT.Bc, kD>(sS, sV, device::WordTile{sWords}, row_max,
                                                    row_sum, acc_o);
    }
    __syncthreads();  // wait until everyone is done with K_j and V_j
  }

#pragma unroll
  for (int n = 0; n < kRows<kD>; ++n) {
    const std::int64_t i = i0 + n * kWarps + warp;
    if (i >= Nq) continue;
    for (int m = 0; m < kD / kWarp; ++m) {
      const int c = lane + m * kWarp;
      if (c < d) gO[i * d + c] = acc_o[n][m] / row_sum[n];
    }
    if (lane == 0) gLSE[i] = device::log_sum_exp(row_max[n], row_sum[n]);
  }
}

template <int kD>
void run(const ForwardArgs& args) {
  constexpr Tiles kT = tiles_for(kD);
  static_assert(kT.Bc <= 32 && kSharedBytes<kD> <= 48 * 1024);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(forward_kernel<kD>, grid_size(B * H * ceil_div(Nq, kT.Br)), kThreads, kSharedBytes<kD>,
         nullptr, args.q, args.k, args.v, args.o, args.lse, H, Nq, Nk, d, args.mask, args.scale,
         args.extras.softcap, bias_array_of(args.extras), args.extras.alibi,
         args.extras.sink_logits);
}

}  // namespace

void forward_softcap_sink(const ForwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::scores
