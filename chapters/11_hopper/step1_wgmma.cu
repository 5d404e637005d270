// SPDX-License-Identifier: MIT
//
// Step 1: chapter 10's first step with products of whole warpgroups. A warp no longer loads what it
// multiplies: descriptors say where Q, K and V lie, and the tensor cores read them. Only P is in
// registers. One block of two warpgroups per tile of Q:
//   1. load Q_i;  O = 0, row_max = -inf, row_sum = 0, in registers
//   for each tile j of K and V that a row sees a key of:
//     2. load K_j, V_j
//     3. S = Q_i K_j^T, 64 rows a warpgroup
//     4. P = exp(S - row_max), in place
//     5. O = rescaled O + P V_j
//   6. store O / row_sum and LSE
#include "chapters/11_hopper/hopper.hpp"
#include "chapters/11_hopper/panels.cuh"
#include "common/device/async_proxy.cuh"
#include "common/device/fragment_rows.cuh"

namespace attn::hopper {
namespace {

/// Copies a tile of kRows rows to shared memory; from row `rows` on it becomes zero. Call it with
/// all kThreads threads; a fence between the proxies and a barrier come before the tile is read.
template <int kThreads, int kRows, int kColumns, class T>
__device__ __forceinline__ void load_tile(T* sTile, const T* gRows, int rows) {
  constexpr int kChunk = 8;                    // elements
  constexpr int kPerRow = kColumns / kChunk;   // threads
  constexpr int kAtOnce = kThreads / kPerRow;  // rows
  static_assert(kRows % kAtOnce == 0 && kAtOnce % 8 == 0, "rows that are swizzled alike");
  const int chunk = static_cast<int>(threadIdx.x) % kPerRow;
  const int first = static_cast<int>(threadIdx.x) / kPerRow;
  T* to = sTile + chunk / 8 * kRows * kPanel + first * kPanel + ((chunk ^ first) & 7) * kChunk;
  const T* from = gRows + first * kColumns + chunk * kChunk;
#pragma unroll 8
  for (int r = 0; r < kRows; r += kAtOnce) {
    uint4 eight = {};
    if (first + r < rows) eight = *reinterpret_cast<const uint4*>(from + r * kColumns);
    *reinterpret_cast<uint4*>(to + r * kPanel) = eight;
  }
}

/// Grid: B*H times the Q tiles of a head; block: Tiles::kThreads; dynamic shared memory:
/// Tiles::kBytes.
template <class T, class Tiles>
__global__ void __launch_bounds__(Tiles::kThreads)
    forward_kernel(const __grid_constant__ ForwardArgsOf<T> args, std::int64_t diagonal) {
  constexpr int kD = Tiles::kD, kBr = Tiles::kBr, kBc = Tiles::kBc;
  T* sQ = dynamic_shared<T>();  // (Br, D), in panels of 64 columns
  T* sK = sQ + kBr * kD;        // (Bc, D)
  T* sV = sK + kBc * kD;        // (Bc, D)
  const std::int64_t Nq = args.shape.Nq, Nk = args.shape.Nk;
  const std::int64_t tiles = (Nq + kBr - 1) / kBr;
  const std::int64_t head = blockIdx.x / tiles;
  const std::int64_t i0 = blockIdx.x % tiles * kBr;
  const T* gK = args.k + head * Nk * kD;
  const T* gV = args.v + head * Nk * kD;
  const int first = 64 * device::warpgroup_index();  // row of the warpgroup's products
  const std::int64_t i = i0 + static_cast<int>(threadIdx.x) / 32 * 16;  // the warp's first row
  const std::int64_t last = (i0 + kBr < Nq ? i0 + kBr : Nq) - 1;
  const std::int64_t least = visible_keys(i0, diagonal, Nk);   // what every row of the tile sees
  const std::int64_t most = visible_keys(last, diagonal, Nk);  // what some row of it sees
  const int whole = static_cast<int>(least / kBc);             // tiles that every row sees whole
  const int end = static_cast<int>((most + kBc - 1) / kBc);    // tiles that some row sees
  const int tail = static_cast<int>(most - std::int64_t{kBc} * (end - 1));  // keys of the last

  float acc_o[kD / 8][4] = {};
  device::FragmentRows rows;
  const int queries = Nq - i0 < kBr ? static_cast<int>(Nq - i0) : kBr;
  load_tile<Tiles::kThreads, kBr, kD>(sQ, args.q + (head * Nq + i0) * kD, queries);
  const auto visit_tile = [&]<bool kMasked>(int j) {
    const int tile_keys = j + 1 < end ? kBc : tail;
    __syncthreads();  // wait until everyone is done with the last K and V
    // Keys that no row sees become zeros: P is 0 there, and 0 times NaN is NaN.
    load_tile<Tiles::kThreads, kBc, kD>(sK, gK + std::int64_t{kBc} * j * kD, tile_keys);
    load_tile<Tiles::kThreads, kBc, kD>(sV, gV + std::int64_t{kBc} * j * kD, tile_keys);
    device::fence_async_proxy();
    __syncthreads();  // wait until the tiles are complete, and wgmma sees them
    float s[kBc / 8][4];
    device::wgmma_fence(s);
#pragma unroll
    for (int c = 0; c < kD / 16; ++c) {
      device::wgmma_ss<T>(s, rows_descriptor<kBr>(device::shared_address(sQ), first, c),
                          rows_descriptor<kBc>(device::shared_address(sK), 0, c), c > 0);
    }
    device::wgmma_commit();
    device::wgmma_wait<0>(s);
    int keys[2] = {};
    if constexpr (kMasked) {
      device::keys_of_rows<kBc>(keys, i, std::int64_t{kBc} * j, diagonal, Nk);
    }
    device::softmax_rows<kMasked>(s, args.scale, keys, rows, acc_o);
    unsigned p[kBc / 16][4];
#pragma unroll
    for (int k = 0; k < kBc / 16; ++k) device::pack_fragment<T>(p[k], s[2 * k], s[2 * k + 1]);
    device::wgmma_fence(acc_o, p);
#pragma unroll
    for (int k = 0; k < kBc / 16; ++k) {
      device::wgmma_rs<T, true>(acc_o, p[k], columns_descriptor<kBc>(device::shared_address(sV), k),
                                true);
    }
    device::wgmma_commit();
    device::wgmma_wait<0>(acc_o);
  };
  int j = 0;
  for (; j < whole; ++j) visit_tile.template operator()<false>(j);
  for (; j < end; ++j) visit_tile.template operator()<true>(j);

  float lse[2];
  device::finish_rows(acc_o, lse, rows, i, diagonal, Nk);
  device::store_rows(args.o + (head * Nq + i) * kD, Nq - i, kD, true, acc_o);
  device::store_row_values(args.lse + head * Nq + i, Nq - i, lse);
}

}  // namespace

template <class T>
void forward_wgmma(const ForwardArgsOf<T>& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  with_columns(d, [&]<int kD>() {
    using L = Tiles<kD, 128, 128>;
    launch(forward_kernel<T, L>, grid_size(B * H * ceil_div(Nq, L::kBr)), L::kThreads, L::kBytes,
           nullptr, args, attn::diagonal(args.mask, Nq, Nk));
  });
}
template void forward_wgmma(const ForwardArgsOf<bfloat16>& args);
template void forward_wgmma(const ForwardArgsOf<float16>& args);

std::size_t no_workspace_bytes(const Shape& /*shape*/) { return 0; }

}  // namespace attn::hopper
