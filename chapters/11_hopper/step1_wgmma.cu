// SPDX-License-Identifier: MIT
//
// Step 1: chapter 10's forward pass with products of warpgroups: wgmma reads Q, K and V from shared
// memory by itself, and nobody fills fragments any more. One block per tile of Q, 64 rows for each
// warpgroup:
//   1. load Q_i;  O = 0, row_max = -inf, row_sum = 0, in registers
//   for each tile j of K and V that a row sees a key of:
//     2. load K_j, V_j
//     3. S = Q_i K_j^T, 64 x 128
//     4. P = exp(S - row_max), in place
//     5. O = rescaled O + P V_j
//   6. store O / row_sum and LSE
#include "chapters/11_hopper/hopper.hpp"
#include "chapters/11_hopper/warpgroup.cuh"
#include "common/device/async_proxy.cuh"

namespace attn::hopper {
namespace {

/// Copies a tile of rows of kColumns elements to shared memory, in panels. What lies beyond the
/// matrix (from row `rows` on) becomes zero. Call it with kThreads threads, which have numbers that
/// follow each other. Before wgmma reads the tile, each of them needs a fence, and all a barrier.
template <int kThreads, int kRows, int kColumns, class T>
__device__ __forceinline__ void load_tile(T* sTile, const T* gRows, std::int64_t rows) {
  constexpr int kPerRow = kColumns / kChunk;  // chunks
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x) % kThreads; i < kRows * kPerRow; i += kThreads) {
    const int row = i / kPerRow, chunk = i % kPerRow;
    uint4 eight = {};
    if (row < rows) eight = *reinterpret_cast<const uint4*>(gRows + i * kChunk);
    const int panel_row = chunk / 8 * kRows + row;
    *reinterpret_cast<uint4*>(sTile + (panel_row * 8 + (chunk % 8 ^ row % 8)) * kChunk) = eight;
  }
}

/// Grid: B*H times the Q tiles of a head; block: Tiles::kThreads; dynamic shared memory: kBytes.
template <class T, class Tiles>
__global__ void __launch_bounds__(Tiles::kThreads, 1)
    forward_kernel(const __grid_constant__ ForwardArgsOf<T> args, std::int64_t diagonal) {
  constexpr int kD = Tiles::kD, kBc = Tiles::kBc;
  const int consumer = device::warpgroup_index();
  T* sK = dynamic_shared<T>();                           // (Bc, D)
  T* sV = sK + kBc * kD;                                 // (Bc, D)
  T* sQ = sV + kBc * kD + consumer * Tiles::kRows * kD;  // (64, D), the warpgroup's
  const std::int64_t Nq = args.shape.Nq, Nk = args.shape.Nk;
  const Rows rows = rows_of<Tiles>(blockIdx.x, consumer, args.shape, diagonal);
  const std::int64_t i = rows.first + static_cast<int>(threadIdx.x) % 128 / 32 * 16;  // the warp's
  const std::int64_t seen = visible_keys(Nq - 1, diagonal, Nk);  // keys that some row sees
  const T* gK = args.k + rows.head * Nk * kD;
  const T* gV = args.v + rows.head * Nk * kD;

  float acc_o[kD / 8][4] = {};
  device::FragmentRows softmax;
  load_tile<128, Tiles::kRows, kD>(sQ, args.q + (rows.head * Nq + rows.first) * kD,
                                   Nq - rows.first);
  const auto visit_tile = [&]<bool kMasked>(int j) {
    const std::int64_t j0 = std::int64_t{kBc} * j;
    __syncthreads();  // wait until everyone is done with the last K and V
    // Keys that no row sees become zeros: P is 0 there, and 0 times NaN is NaN.
    load_tile<Tiles::kThreads, kBc, kD>(sK, gK + j0 * kD, seen - j0);
    load_tile<Tiles::kThreads, kBc, kD>(sV, gV + j0 * kD, seen - j0);
    device::fence_async_proxy();
    __syncthreads();  // wait until the tiles are complete
    float acc_s[kBc / 8][4];
    device::wgmma_fence(acc_s);
    issue_scores<T, Tiles>(acc_s, sQ, sK);
    device::wgmma_wait<0>(acc_s);
    int keys[2] = {};
    if constexpr (kMasked) device::keys_of_rows<kBc>(keys, i, j0, diagonal, Nk);
    device::softmax_rows<kMasked>(acc_s, args.scale, keys, softmax, acc_o);
    unsigned p[kBc / 16][4];
    pack_rows<T>(p, acc_s);
    device::wgmma_fence(acc_o, p);
    issue_values<T, Tiles>(acc_o, p, sV);
    device::wgmma_wait<0>(acc_o);
  };
  int j = 0;
  for (; j < rows.whole; ++j) visit_tile.template operator()<false>(j);
  for (; j < rows.end; ++j) visit_tile.template operator()<true>(j);

  float lse[2];
  device::finish_rows(acc_o, lse, softmax, i, diagonal, Nk);
  device::store_rows(args.o + (rows.head * Nq + i) * kD, Nq - i, kD, true, acc_o);
  device::store_row_values(args.lse + rows.head * Nq + i, Nq - i, lse);
}

}  // namespace

template <class T>
void forward_wgmma(const ForwardArgsOf<T>& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  with_columns(d, [&]<int kD>() {
    using L = Tiles<kD>;
    constexpr std::size_t kBytes = sizeof(T) * kD * (L::kBr + 2 * L::kBc);  // Q, K, V
    launch(forward_kernel<T, L>, grid_size(B * H * ceil_div(Nq, L::kBr)), L::kThreads, kBytes,
           nullptr, args, attn::diagonal(args.mask, Nq, Nk));
  });
}
template void forward_wgmma(const ForwardArgsOf<bfloat16>& args);
template void forward_wgmma(const ForwardArgsOf<float16>& args);

std::size_t no_workspace_bytes(const Shape& /*shape*/) { return 0; }

}  // namespace attn::hopper
