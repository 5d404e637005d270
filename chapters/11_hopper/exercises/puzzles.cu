// SPDX-License-Identifier: MIT
//
// Two puzzles before chapter 11 (puzzles.md): a ring of tiles, and the products of a warpgroup. The
// checker goes through three stages, stops at the first that fails, and says what is wrong:
//   cmake --build build --target ch11_write && build/ch11_write
//   build/ch11_write 2        stage 2 alone
//   build/ch11_write --hint   a hint for the stage you are at (2 --hint: for stage 2)
#include "chapters/11_hopper/exercises/puzzles.cuh"

namespace attn::hopper {
namespace {

/// gSum (16, 32) = the sum of all tiles. One block: warp 0 has the thread that asks for tiles, lane
/// c of the two others adds up column c of every second row.
__global__ void __launch_bounds__(32 * (1 + kConsumers))
    ring_kernel(const __grid_constant__ device::TensorMap map, int tiles, float* gSum) {
  auto* sTiles = dynamic_shared<float>();  // (kRingStages, 16, 32)
  __shared__ device::Mbarrier full[kRingStages], empty[kRingStages];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kRingStages; ++stage) {
      full[stage].init(1);            // arrivals: of the thread that asks
      empty[stage].init(kConsumers);  // of one lane of each consumer
    }
    device::fence_mbarrier_init();
  }
  __syncthreads();  // wait until the barriers are initialised

  if (warp == 0) {
    for (int tile = 0; tile < tiles && lane == 0; ++tile) {
      const int stage = tile % kRingStages;
      // Stage 1: wait until the consumers are done with the tile that was here a round ago, then
      // announce kTileBytes.
      device::tma_load(sTiles + stage * kTileFloats, map, full[stage], 0, tile * kRingRows);
    }
    return;
  }

  float sum[kRingRows / kConsumers] = {};
  for (int tile = 0; tile < tiles; ++tile) {
    const int stage = tile % kRingStages;
    // Stage 1: wait until the tile is here.
    for (int n = 0; n < kRingRows / kConsumers; ++n) {
      const int row = kConsumers * n + warp - 1;
      sum[n] += sTiles[stage * kTileFloats + row * kRingColumns + lane];
    }
    // Stage 1: release the place, once for each warp.
  }
  for (int n = 0; n < kRingRows / kConsumers; ++n) {
    gSum[(kConsumers * n + warp - 1) * kRingColumns + lane] = sum[n];
  }
}

/// (64, 64) matrices: gS = Q K^T, gO = S V. One block, a warpgroup.
__global__ void __launch_bounds__(128) product_kernel(const bfloat16* gQ, const bfloat16* gK,
                                                      const bfloat16* gV, float* gS, float* gO) {
  auto* sQ = dynamic_shared<unsigned char>();  // (64, 64)
  unsigned char* sK = sQ + kMatrixBytes;       // (64, 64)
  unsigned char* sV = sK + kMatrixBytes;       // (64, 64)
  [[maybe_unused]] const unsigned q = device::shared_address(sQ);
  [[maybe_unused]] const unsigned k = device::shared_address(sK);
  [[maybe_unused]] const unsigned v = device::shared_address(sV);
  store_matrix(sQ, gQ);
  store_matrix(sK, gK);
  store_matrix(sV, gV);

  float acc_s[kSide / 8][4] = {};
  // Stage 2: let wgmma see what the threads have stored. Then S = Q K^T into acc_s, in four steps
  // of 16 columns, the group of them committed and waited for:
  //   device::wgmma_ss<bfloat16>(acc_s, descriptor of Q, descriptor of K, add to acc_s or not);
  // `#pragma unroll` in front of the loop.
  store_accumulators(gS, acc_s);
  if (gO == nullptr) return;

  unsigned a[kSide / 16][4];
  pack_rows(a, acc_s);
  float acc_o[kSide / 8][4] = {};
  // Stage 3: O = S V into acc_o, in four steps of 16 keys, of which a[step] has S:
  //   device::wgmma_rs<bfloat16, true>(acc_o, a[step], descriptor of V, add to acc_o or not);
  store_accumulators(gO, acc_o);
}

}  // namespace

void run_ring(const float* gTiles, int tiles, float* gSum) {
  launch(ring_kernel, 1, 32 * (1 + kConsumers), kRingStages * kTileBytes, nullptr,
         map_of_tiles(gTiles, tiles), tiles, gSum);
}

void run_product(const bfloat16* gQ, const bfloat16* gK, const bfloat16* gV, float* gS, float* gO) {
  launch(product_kernel, 1, 128, 3 * kMatrixBytes, nullptr, gQ, gK, gV, gS, gO);
}

}  // namespace attn::hopper
