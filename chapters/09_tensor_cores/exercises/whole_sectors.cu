// SPDX-License-Identifier: MIT
//
// Exercise: fill the sectors of global memory that O is stored to. See "Exercises" in the lesson.
// The kernel is step 3's and complete; how a warp stores its rows of O is yours. As it stands a
// thread stores two neighbouring elements at a time, as it holds them, so that 4 lanes fill half of
// a sector of 32 bytes, and every sector is stored to twice:
//   cmake --build build --target ch09_exercise && ./build/ch09_exercise
#include "chapters/09_tensor_cores/fragments.cuh"
#include "chapters/09_tensor_cores/tensor_cores.hpp"

namespace attn::tensor_cores {
namespace {

/// Stores a warp's 16 rows of O to gRows, in a matrix of d columns; rows from rows_left on do not
/// exist. wide: d % 8 = 0, and gRows is 16-byte aligned. sRows: the warp's own 16 rows of shared
/// memory, Tiles::kStride elements apart, where Q is; nobody else reads it.
template <class T, class Tiles>
__device__ __forceinline__ void store_output(T* gRows, std::int64_t rows_left, std::int64_t d,
                                             bool wide, const float (&o)[Tiles::kD / 8][4],
                                             [[maybe_unused]] T* sRows) {
  // Yours, where `wide`.
  device::store_rows(gRows, rows_left, d, wide, o);
}

/// Grid: B*H times the Q tiles of a head; block: Tiles::kThreads; dynamic shared memory:
/// Tiles::kBytes.
template <class T, class Tiles>
__global__ void __launch_bounds__(Tiles::kThreads)
    sectors_kernel(const __grid_constant__ ForwardArgsOf<T> args, std::int64_t diagonal,
                   bool wide) {
  constexpr int kStride = Tiles::kStride;
  T* sQ = dynamic_shared<T>();        // (Br, D + 8)
  T* sK = sQ + Tiles::kBr * kStride;  // (Bc, D + 8)
  T* sV = sK + Tiles::kBc * kStride;  // (Bc, D + 8)
  const std::int64_t Nq = args.shape.Nq, Nk = args.shape.Nk, d = args.shape.d;
  const std::int64_t tiles = (Nq + Tiles::kBr - 1) / Tiles::kBr;
  const std::int64_t head = blockIdx.x / tiles;
  const std::int64_t i0 = blockIdx.x % tiles * Tiles::kBr;
  const int row = static_cast<int>(threadIdx.x) / 32 * Tiles::kRows;  // the warp's first
  const std::int64_t i = i0 + row;
  const std::int64_t last = (i0 + Tiles::kBr < Nq ? i0 + Tiles::kBr : Nq) - 1;
  const std::int64_t most = visible_keys(last, diagonal, Nk);  // what some row of the tile sees

  float acc_o[1][Tiles::kD / 8][4] = {};
  device::FragmentRows rows;
  load_tile<Tiles::kThreads, Tiles::kBr, Tiles::kD, kStride>(sQ, args.q + (head * Nq + i0) * d,
                                                             Nq - i0, d, wide);
  for (std::int64_t j0 = 0; j0 < most; j0 += Tiles::kBc) {
    const T* gK = args.k + (head * Nk + j0) * d;
    const T* gV = args.v + (head * Nk + j0) * d;
    __syncthreads();  // wait until everyone is done with the last K and V
    load_tile<Tiles::kThreads, Tiles::kBc, Tiles::kD, kStride>(sK, gK, most - j0, d, wide);
    load_tile<Tiles::kThreads, Tiles::kBc, Tiles::kD, kStride>(sV, gV, most - j0, d, wide);
    __syncthreads();  // wait until the tiles are complete
    float s[1][Tiles::kBc / 8][4] = {};
    add_dots<MatrixLoads, Tiles::kD, kStride>(s, sQ + row * kStride, sK);
    int keys[2];
    device::keys_of_rows<Tiles::kBc>(keys, i, j0, diagonal, Nk);
    device::softmax_rows<true>(s[0], args.scale, keys, rows, acc_o[0]);
#pragma unroll
    for (int k = 0; k < Tiles::kBc / 16; ++k) {
      unsigned p[1][4];
      device::pack_fragment<T>(p[0], s[0][2 * k], s[0][2 * k + 1]);
      add_weighted<MatrixLoads, kStride>(acc_o, p, sV + 16 * k * kStride);
    }
  }
  if (most == 0) __syncthreads();  // wait until sQ is complete, for which no tile has waited
  float lse[2];
  device::finish_rows(acc_o[0], lse, rows, i, diagonal, Nk);
  store_output<T, Tiles>(args.o + (head * Nq + i) * d, Nq - i, d, wide, acc_o[0],
                         sQ + row * kStride);
  device::store_row_values(args.lse + head * Nq + i, Nq - i, lse);
}

}  // namespace

/// O and LSE of the contract.
template <class T>
void whole_sectors_forward(const ForwardArgsOf<T>& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  with_columns(d, [&]<int kD>() {
    using Tiles = Tiles16<kD>;
    launch(sectors_kernel<T, Tiles>, grid_size(B * H * ceil_div(Nq, Tiles::kBr)), Tiles::kThreads,
           Tiles::kBytes, nullptr, args, attn::diagonal(args.mask, Nq, Nk),
           rows_are_wide(d, {args.q, args.k, args.v, args.o}));
  });
}
template void whole_sectors_forward(const ForwardArgsOf<bfloat16>& args);
template void whole_sectors_forward(const ForwardArgsOf<float16>& args);

}  // namespace attn::tensor_cores
