// SPDX-License-Identifier: MIT
//
// Step 2: step 1 without the work that a mask makes needless.
//   - Tiles of keys that no row of the block sees are not loaded: the loop ends with the last row.
//   - Tiles of which every row sees every key need no mask: the number of keys is a constant there.
//     Only the tiles on the diagonal ask row by row.
#include "chapters/07_v2_loop_order/v2_loop_order.hpp"
#include "common/device/online_softmax.cuh"
#include "common/device/tiles.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::v2_loop_order {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;

/// S = scale * sQ sK^T for the rows of this warp, which are the only ones it will read: sS
/// (Br, Bc + 1). Warp w has rows w, w + 4, ...
template <int kD>
__device__ __forceinline__ void scores(const float* sQ, const float* sK, float* sS, std::int64_t d,
                                       float scale) {
  constexpr Tiles kT = tiles_for(kD);
  constexpr int kRows = kT.Br / kWarps;
  const int warp = threadIdx.x / kWarp;
  for (int n = threadIdx.x % kWarp; n < kRows * kT.Bc; n += kWarp) {
    const int i = n / kT.Bc * kWarps + warp;  // neighbouring lanes take neighbouring keys
    const int j = n % kT.Bc;
    float dot = 0.0f;
    for (int c = 0; c < d; ++c) dot += sQ[i * (kD + 1) + c] * sK[j * (kD + 1) + c];
    sS[i * (kT.Bc + 1) + j] = scale * dot;
  }
}

/// One warp brings one row up to date with `keys` new scores s. row_max and row_sum are the same in
/// all lanes; lane l has columns l, l + 32, ... of O in acc_o. `keys`: a constant where it can be.
template <int kD>
__device__ __forceinline__ void update_row(float* s, const float* sV, int keys, float& row_max,
                                           float& row_sum, float (&acc_o)[kD / kWarp]) {
  const int lane = threadIdx.x % kWarp;
  float tile_max = -INFINITY;
  for (int j = lane; j < keys; j += kWarp) tile_max = fmaxf(tile_max, s[j]);
  const float new_max = fmaxf(row_max, device::warp_max(tile_max));
  const float reference = device::reference_point(new_max);
  float tile_sum = 0.0f;
  for (int j = lane; j < keys; j += kWarp) {
    const float p = expf(s[j] - reference);
    s[j] = p;
    tile_sum += p;
  }
  const float rescale = expf(row_max - reference);
  row_max = new_max;
  row_sum = row_sum * rescale + device::warp_sum(tile_sum);
  __syncwarp();  // wait until every lane has written its P

#pragma unroll
  for (int m = 0; m < kD / kWarp; ++m) acc_o[m] *= rescale;
  for (int j = 0; j < keys; ++j) {
    const float p = s[j];  // once for all columns of the lane
#pragma unroll
    for (int m = 0; m < kD / kWarp; ++m) acc_o[m] += p * sV[j * kD + lane + m * kWarp];
  }
}

/// Grid: B*H times the Q tiles of a head; block: kThreads; dynamic shared memory:
/// tiles_for(kD).floats() floats.
template <int kD>
__global__ void forward_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                               float* gLSE, std::int64_t Nq, std::int64_t Nk, std::int64_t d,
                               std::int64_t diagonal, float scale) {
  constexpr Tiles kT = tiles_for(kD);
  constexpr int kRows = kT.Br / kWarps;
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

  float row_max[kRows];
  float row_sum[kRows] = {};
  float acc_o[kRows][kD / kWarp] = {};
#pragma unroll
  for (int n = 0; n < kRows; ++n) row_max[n] = -INFINITY;

  device::load_tile<kThreads>(sQ, kT.Br, kD, kD + 1, gQ + i0 * d, Nq - i0, d);
  const std::int64_t last = (i0 + kT.Br < Nq ? i0 + kT.Br : Nq) - 1;
  const std::int64_t least = visible_keys(i0, diagonal, Nk);   // what every row of the tile sees
  const std::int64_t most = visible_keys(last, diagonal, Nk);  // what some row of it sees
  for (std::int64_t j0 = 0; j0 < most; j0 += kT.Bc) {
    device::load_tile<kThreads>(sK, kT.Bc, kD, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kThreads>(sV, kT.Bc, kD, kD, gV + j0 * d, Nk - j0, d);
    __syncthreads();  // wait until the tiles are complete
    scores<kD>(sQ, sK, sS, d, scale);
    __syncwarp();  // wait until the warp's own scores are there
    const bool whole = j0 + kT.Bc <= least;
#pragma unroll
    for (int n = 0; n < kRows; ++n) {
      const int r = n * kWarps + warp;
      if (whole) {
        update_row<kD>(sS + r * (kT.Bc + 1), sV, kT.Bc, row_max[n], row_sum[n], acc_o[n]);
        continue;
      }
      const std::int64_t left = visible_keys(i0 + r, diagonal, Nk) - j0;
      const int keys = left < 0 ? 0 : left < kT.Bc ? static_cast<int>(left) : kT.Bc;
      if (keys == 0 || i0 + r >= Nq) continue;
      update_row<kD>(sS + r * (kT.Bc + 1), sV, keys, row_max[n], row_sum[n], acc_o[n]);
    }
    __syncthreads();  // wait until everyone is done with K_j and V_j
  }

#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    const std::int64_t i = i0 + n * kWarps + warp;
    if (i >= Nq) continue;
    const bool empty = visible_keys(i, diagonal, Nk) == 0;
#pragma unroll
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
  static_assert(kT.floats() * sizeof(float) <= 48 * 1024);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(forward_kernel<kD>, grid_size(B * H * ceil_div(Nq, kT.Br)), kThreads,
         kT.floats() * sizeof(float), nullptr, args.q, args.k, args.v, args.o, args.lse, Nq, Nk, d,
         attn::diagonal(args.mask, Nq, Nk), args.scale);
}

}  // namespace

void forward_skip(const ForwardArgs& args) {
  switch (tiles_for(args.shape.d).D) {
    case 32:
      return run<32>(args);
    case 64:
      return run<64>(args);
    default:
      return run<128>(args);
  }
}

}  // namespace attn::v2_loop_order
