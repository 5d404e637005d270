// SPDX-License-Identifier: MIT
//
// Solution: FlashAttention-1 in one kernel. forward.cu is the same, cut into functions.
#include "chapters/05_fused_forward/exercises/write_it.hpp"
#include "chapters/05_fused_forward/fused_forward.hpp"
#include "common/columns.hpp"
#include "common/device/online_softmax.cuh"
#include "common/device/tiles.cuh"
#include "common/device/warp_reduce.cuh"
#include "common/exercise/show_tile.cuh"

namespace attn::fused_forward {
namespace {

constexpr int kWarp = 32;

/// Grid: (B*H); block: kWarps warps. gMax, gSum: m and l of every row (B*H, Nq).
template <int kBr, int kBc, int kD, int kWarps>
__global__ void write_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                             float* gLSE, float* gMax, float* gSum, std::int64_t Nq,
                             std::int64_t Nk, std::int64_t d, std::int64_t diagonal, float scale,
                             float* gSeen) {
  constexpr int kThreads = kWarps * kWarp;
  float* sQ = dynamic_shared<float>();  // (kBr, kD + 1)
  float* sK = sQ + kBr * (kD + 1);      // (kBc, kD + 1)
  float* sV = sK + kBc * (kD + 1);      // (kBc, kD)
  float* sS = sV + kBc * kD;            // (kBr, kBc + 1)
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  const std::int64_t head = blockIdx.x;
  gQ += head * Nq * d;
  gK += head * Nk * d;
  gV += head * Nk * d;
  gO += head * Nq * d;
  gLSE += head * Nq;
  gMax += head * Nq;
  gSum += head * Nq;
  if (gSeen != nullptr) gSeen += head * Nq * Nk;

  // Stage 1: the two loops, and a tile of S. (Stage 4: the first round also runs without a key.)
  for (std::int64_t j0 = 0; j0 < Nk || j0 == 0; j0 += kBc) {
    device::load_tile<kThreads, kBc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kThreads, kBc, kD>(sV, kD, gV + j0 * d, Nk - j0, d);
    for (std::int64_t i0 = 0; i0 < Nq; i0 += kBr) {
      device::load_tile<kThreads, kBr, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
      __syncthreads();  // wait until the tiles are complete
      for (int n = threadIdx.x; n < kBr * kBc; n += kThreads) {
        const int r = n / kBc;  // neighbouring lanes take neighbouring keys
        const int j = n % kBc;
        float dot = 0.0f;
        for (int c = 0; c < d; ++c) dot += sQ[r * (kD + 1) + c] * sK[j * (kD + 1) + c];
        sS[r * (kBc + 1) + j] = scale * dot;
      }
      __syncthreads();  // wait until all scores are there
      exercise::show_tile<kThreads, kBr, kBc>(gSeen, sS, i0, j0, Nq, Nk);

      // Stage 2: m and l of every row of the tile. (Stage 4: rows up to Nq, keys that a row sees.)
      for (int r = warp; r < kBr && i0 + r < Nq; r += kWarps) {
        const std::int64_t i = i0 + r;
        const std::int64_t left = visible_keys(i, diagonal, Nk) - j0;
        const int keys = left < 0 ? 0 : left < kBc ? static_cast<int>(left) : kBc;
        if (keys == 0 && j0 > 0) continue;
        float* s = sS + r * (kBc + 1);
        float old_max = -INFINITY;
        float old_sum = 0.0f;
        if (lane == 0 && j0 > 0) {
          old_max = gMax[i];
          old_sum = gSum[i];
        }
        old_max = __shfl_sync(device::kAllLanes, old_max, 0);  // one load for the whole warp
        old_sum = __shfl_sync(device::kAllLanes, old_sum, 0);
        float tile_max = -INFINITY;
        for (int j = lane; j < keys; j += kWarp) tile_max = fmaxf(tile_max, s[j]);
        const float new_max = fmaxf(old_max, device::warp_max(tile_max));
        const float reference = device::reference_point(new_max);
        float tile_sum = 0.0f;
        for (int j = lane; j < keys; j += kWarp) {
          const float p = expf(s[j] - reference);
          s[j] = p;
          tile_sum += p;
        }
        const float old_weight = old_sum * expf(old_max - reference);
        const float new_sum = old_weight + device::warp_sum(tile_sum);
        if (lane == 0) {
          gMax[i] = new_max;
          gSum[i] = new_sum;
        }
        __syncwarp();  // wait until every lane has written its P

        // Stage 3: O of the same row.
        for (int c = lane; c < d; c += kWarp) {
          float pv = 0.0f;
          for (int j = 0; j < keys; ++j) pv += s[j] * sV[j * kD + c];
          const float old_o = old_max == -INFINITY ? 0.0f : gO[i * d + c];
          gO[i * d + c] = keys == 0 ? 0.0f : (old_weight * old_o + pv) / new_sum;
        }
      }
      __syncthreads();  // wait until everyone is done with the tiles
    }
  }

  // Stage 4: LSE of every row.
  for (std::int64_t i = threadIdx.x; i < Nq; i += kThreads) {
    gLSE[i] = device::log_sum_exp(gMax[i], gSum[i]);
  }
}

template <int kBr, int kBc, int kD, int kWarps>
void run_written(const ForwardArgs& args, float* gSeen) {
  constexpr Tiles kT{.D = kD, .Br = kBr, .Bc = kBc};
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  float* gMax = static_cast<float*>(args.workspace);  // (B*H, Nq)
  float* gSum = gMax + B * H * Nq;                    // (B*H, Nq)
  launch(write_kernel<kBr, kBc, kD, kWarps>, static_cast<unsigned>(B * H), kWarps * kWarp,
         kT.floats() * sizeof(float), nullptr, args.q, args.k, args.v, args.o, args.lse, gMax, gSum,
         Nq, Nk, d, attn::diagonal(args.mask, Nq, Nk), args.scale, gSeen);
}

}  // namespace

void write_forward(const ForwardArgs& args, bool small_tiles, float* gSeen) {
  if (small_tiles) return run_written<2, 2, 32, 2>(args, gSeen);
  with_columns(args.shape.d, [&]<int kD>() {
    constexpr Tiles kT = tiles_for(kD);
    run_written<kT.Br, kT.Bc, kD, 4>(args, gSeen);
  });
}

}  // namespace attn::fused_forward
