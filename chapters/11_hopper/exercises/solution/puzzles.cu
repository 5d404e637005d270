// SPDX-License-Identifier: MIT
#include "chapters/11_hopper/exercises/puzzles.cuh"

namespace attn::hopper {
namespace {

__global__ void __launch_bounds__(32 * (1 + kConsumers))
    ring_kernel(const __grid_constant__ device::TensorMap map, int tiles, float* gSum) {
  auto* sTiles = dynamic_shared<float>();  // (kRingStages, 16, 32)
  __shared__ device::Mbarrier full[kRingStages], empty[kRingStages];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kRingStages; ++stage) {
      full[stage].init(1);
      empty[stage].init(kConsumers);
    }
    device::fence_mbarrier_init();
  }
  __syncthreads();  // wait until the barriers are initialised

  if (warp == 0) {
    for (int tile = 0; tile < tiles && lane == 0; ++tile) {
      const int stage = tile % kRingStages;
      const unsigned parity = tile / kRingStages % 2;
      empty[stage].wait(parity ^ 1);  // in the first round there is nothing to wait for
      full[stage].arrive_expect(kTileBytes);
      device::tma_load(sTiles + stage * kTileFloats, map, full[stage], 0, tile * kRingRows);
    }
    return;
  }

  float sum[kRingRows / kConsumers] = {};
  for (int tile = 0; tile < tiles; ++tile) {
    const int stage = tile % kRingStages;
    const unsigned parity = tile / kRingStages % 2;
    full[stage].wait(parity);
    for (int n = 0; n < kRingRows / kConsumers; ++n) {
      const int row = kConsumers * n + warp - 1;
      sum[n] += sTiles[stage * kTileFloats + row * kRingColumns + lane];
    }
    __syncwarp();  // wait until all lanes have read
    if (lane == 0) empty[stage].arrive();
  }
  for (int n = 0; n < kRingRows / kConsumers; ++n) {
    gSum[(kConsumers * n + warp - 1) * kRingColumns + lane] = sum[n];
  }
}

__global__ void __launch_bounds__(128) product_kernel(const bfloat16* gQ, const bfloat16* gK,
                                                      const bfloat16* gV, float* gS, float* gO) {
  auto* sQ = dynamic_shared<unsigned char>();  // (64, 64)
  unsigned char* sK = sQ + kMatrixBytes;       // (64, 64)
  unsigned char* sV = sK + kMatrixBytes;       // (64, 64)
  const unsigned q = device::shared_address(sQ);
  const unsigned k = device::shared_address(sK);
  const unsigned v = device::shared_address(sV);
  store_matrix(sQ, gQ);
  store_matrix(sK, gK);
  store_matrix(sV, gV);

  float acc_s[kSide / 8][4];
  device::fence_async_proxy();
  __syncthreads();  // wait until the matrices are complete
  device::wgmma_fence(acc_s);
#pragma unroll
  for (unsigned step = 0; step < 4; ++step) {
    device::wgmma_ss<bfloat16>(
        acc_s, device::matrix_descriptor(q + 32 * step, 16, 8 * kRowBytes, Swizzle::k128),
        device::matrix_descriptor(k + 32 * step, 16, 8 * kRowBytes, Swizzle::k128), step > 0);
  }
  device::wgmma_commit();
  device::wgmma_wait<0>(acc_s);
  store_accumulators(gS, acc_s);
  if (gO == nullptr) return;

  unsigned a[kSide / 16][4];
  pack_rows(a, acc_s);
  float acc_o[kSide / 8][4];
  device::wgmma_fence(acc_o, a);
#pragma unroll
  for (unsigned step = 0; step < 4; ++step) {
    device::wgmma_rs<bfloat16, true>(
        acc_o, a[step],
        device::matrix_descriptor(v + 16 * kRowBytes * step, kMatrixBytes, 8 * kRowBytes,
                                  Swizzle::k128),
        step > 0);
  }
  device::wgmma_commit();
  device::wgmma_wait<0>(acc_o);
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
