// SPDX-License-Identifier: MIT
//
// Steps 1 to 4: chapter 08's forward pass with both products on the tensor cores. One block per
// tile of Q:
//   1. load Q_i;  O = 0, row_max = -inf, row_sum = 0, in registers
//   for each tile j of K and V that a row sees a key of:
//     2. load K_j, V_j
//     3. S = Q_i K_j^T, in fragments of 16 x 8
//     4. P = exp(S - row_max), in place, then as 16-bit elements to the fragments A of the second
//        product: by way of the warp's own rows of shared memory (steps 1 and 2), or as it is
//     5. O = rescaled O + P V_j, in fragments
//   6. store O / row_sum and LSE
// Tiles that every row sees whole come first, in a loop that knows of no mask.
#pragma once

#include "chapters/09_tensor_cores/fragments.cuh"
#include "chapters/09_tensor_cores/tensor_cores.hpp"

namespace attn::tensor_cores {

/// Stores 16 rows of P as elements to shared memory, at p.
template <class T, class Tiles>
__device__ __forceinline__ void store_weights(T* p, const float (&s)[Tiles::kBc / 8][4]) {
  p += device::fragment_row() * Tiles::kPStride + device::fragment_column();
#pragma unroll
  for (int n = 0; n < Tiles::kBc / 8; ++n) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const unsigned both = device::pack<T>(s[n][2 * h], s[n][2 * h + 1]);
      *reinterpret_cast<unsigned*>(p + 8 * h * Tiles::kPStride + 8 * n) = both;
    }
  }
}

/// Grid: B*H times the Q tiles of a head; block: Tiles::kThreads; dynamic shared memory:
/// Tiles::kBytes, and Tiles::kPBytes unless kPInRegisters. wide: d % 8 = 0, and Q, K, V and O are
/// 16-byte aligned.
template <class T, class Tiles, class Loads, bool kPInRegisters>
static __global__ void __launch_bounds__(Tiles::kThreads)
    forward_kernel(const __grid_constant__ ForwardArgsOf<T> args, std::int64_t diagonal,
                   bool wide) {
  constexpr int kM = Tiles::kM, kStride = Tiles::kStride;
  T* sQ = dynamic_shared<T>();        // (Br, D + 8)
  T* sK = sQ + Tiles::kBr * kStride;  // (Bc, D + 8)
  T* sV = sK + Tiles::kBc * kStride;  // (Bc, D + 8)
  T* sP = sV + Tiles::kBc * kStride;  // (Br, Bc + 8), unless kPInRegisters
  const std::int64_t Nq = args.shape.Nq, Nk = args.shape.Nk, d = args.shape.d;
  const std::int64_t tiles = (Nq + Tiles::kBr - 1) / Tiles::kBr;
  const std::int64_t head = blockIdx.x / tiles;
  const std::int64_t i0 = blockIdx.x % tiles * Tiles::kBr;
  const T* gK = args.k + head * Nk * d;
  const T* gV = args.v + head * Nk * d;
  const int row = static_cast<int>(threadIdx.x) / 32 * Tiles::kRows;  // the warp's first
  const std::int64_t last = (i0 + Tiles::kBr < Nq ? i0 + Tiles::kBr : Nq) - 1;
  const std::int64_t least = visible_keys(i0, diagonal, Nk);   // what every row of the tile sees
  const std::int64_t most = visible_keys(last, diagonal, Nk);  // what some row of it sees

  float acc_o[kM][Tiles::kD / 8][4] = {};
  device::FragmentRows rows[kM];
  load_tile<Tiles::kThreads, Tiles::kBr, Tiles::kD, kStride>(sQ, args.q + (head * Nq + i0) * d,
                                                             Nq - i0, d, wide);
  const auto visit_tile = [&]<bool kMasked>(std::int64_t j0) {
    __syncthreads();  // wait until everyone is done with the last K and V
    // Keys that no row sees become zeros: P is 0 there, and 0 times NaN is NaN.
    load_tile<Tiles::kThreads, Tiles::kBc, Tiles::kD, kStride>(sK, gK + j0 * d, most - j0, d, wide);
    load_tile<Tiles::kThreads, Tiles::kBc, Tiles::kD, kStride>(sV, gV + j0 * d, most - j0, d, wide);
    __syncthreads();  // wait until the tiles are complete
    float s[kM][Tiles::kBc / 8][4] = {};
    add_dots<Loads, Tiles::kD, kStride>(s, sQ + row * kStride, sK);
#pragma unroll
    for (int m = 0; m < kM; ++m) {
      int keys[2] = {};
      if constexpr (kMasked) {
        device::keys_of_rows<Tiles::kBc>(keys, i0 + row + 16 * m, j0, diagonal, Nk);
      }
      device::softmax_rows<kMasked>(s[m], args.scale, keys, rows[m], acc_o[m]);
      if constexpr (!kPInRegisters) {
        store_weights<T, Tiles>(sP + (row + 16 * m) * Tiles::kPStride, s[m]);
      }
    }
    if constexpr (!kPInRegisters) __syncwarp();  // wait until the warp's rows of P are complete
#pragma unroll
    for (int k = 0; k < Tiles::kBc / 16; ++k) {
      unsigned p[kM][4];
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        if constexpr (kPInRegisters) {
          device::pack_fragment<T>(p[m], s[m][2 * k], s[m][2 * k + 1]);
        } else {
          Loads::template load<false, Tiles::kPStride>(
              p[m], sP + (row + 16 * m) * Tiles::kPStride + 16 * k);
        }
      }
      add_weighted<Loads, kStride>(acc_o, p, sV + 16 * k * kStride);
    }
  };
  std::int64_t j0 = 0;
  for (; j0 + Tiles::kBc <= least; j0 += Tiles::kBc) visit_tile.template operator()<false>(j0);
  for (; j0 < most; j0 += Tiles::kBc) visit_tile.template operator()<true>(j0);

#pragma unroll
  for (int m = 0; m < kM; ++m) {
    const std::int64_t i = i0 + row + 16 * m;
    float lse[2];
    device::finish_rows(acc_o[m], lse, rows[m], i, diagonal, Nk);
    device::store_rows(args.o + (head * Nq + i) * d, Nq - i, d, wide, acc_o[m]);
    device::store_row_values(args.lse + head * Nq + i, Nq - i, lse);
  }
}

/// One launch. Tiles: for this d.
template <class T, class Tiles, class Loads, bool kPInRegisters>
void launch_forward(const ForwardArgsOf<T>& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(forward_kernel<T, Tiles, Loads, kPInRegisters>,
         grid_size(B * H * ceil_div(Nq, Tiles::kBr)), Tiles::kThreads,
         Tiles::kBytes + (kPInRegisters ? 0 : Tiles::kPBytes), nullptr, args,
         attn::diagonal(args.mask, Nq, Nk), rows_are_wide(d, {args.q, args.k, args.v, args.o}));
}

}  // namespace attn::tensor_cores
