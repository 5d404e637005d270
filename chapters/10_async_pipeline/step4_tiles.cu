// SPDX-License-Identifier: MIT
//
// Step 4: step 3 with room for two tiles of K: K_j+1 has the whole tile's time to arrive, and
// nobody waits for the last warp before it is copied. With 64 columns Q stays in registers. One
// block per tile of Q:
//   1. copy Q_i and K_0;  O = 0, row_max = -inf, row_sum = 0, in registers
//   for each tile j of K and V that a row sees a key of:
//     2. wait for K_j;  start to copy V_j, and K_j+1 to where K_j-1 was
//     3. S = Q_i K_j^T, in fragments of 16 x 8
//     4. P = exp(S - row_max), in place
//     5. wait for V_j;  O = rescaled O + P V_j, in fragments
//   6. store O / row_sum and LSE
#include "chapters/10_async_pipeline/addresses.cuh"
#include "chapters/10_async_pipeline/async_pipeline.hpp"

namespace attn::async_pipeline {
namespace {

/// Grid: B*H times the Q tiles of a head; block: Tiles::kThreads; dynamic shared memory:
/// Tiles::kBytes.
template <class T, class Tiles>
__global__ void __launch_bounds__(Tiles::kThreads)
    forward_kernel(const __grid_constant__ ForwardArgsOf<T> args, std::int64_t diagonal) {
  constexpr int kM = Tiles::kM, kD = Tiles::kD, kBc = Tiles::kBc;
  constexpr int kRowBytes = Tiles::kRowBytes;
  const unsigned sQ = device::shared_address(dynamic_shared<T>());  // (Br, D)
  const unsigned sK = sQ + Tiles::kBr * kRowBytes;                  // (2, Bc, D)
  const unsigned sV = sK + 2 * kBc * kRowBytes;                     // (Bc, D)
  const std::int64_t Nq = args.shape.Nq, Nk = args.shape.Nk, d = args.shape.d;
  const std::int64_t tiles = (Nq + Tiles::kBr - 1) / Tiles::kBr;
  const std::int64_t head = blockIdx.x / tiles;
  const std::int64_t i0 = blockIdx.x % tiles * Tiles::kBr;
  const TileCopy<Tiles::kThreads, kD> copy(d);
  const T* gQ = args.q + (head * Nq + i0) * d + copy.from;
  const T* gK = args.k + head * Nk * d + copy.from;  // of the tile that is copied next
  const T* gV = args.v + head * Nk * d + copy.from;
  const int row = static_cast<int>(threadIdx.x) / 32 * Tiles::kRows;  // the warp's first
  const std::int64_t last = (i0 + Tiles::kBr < Nq ? i0 + Tiles::kBr : Nq) - 1;
  const std::int64_t least = visible_keys(i0, diagonal, Nk);   // what every row of the tile sees
  const std::int64_t most = visible_keys(last, diagonal, Nk);  // what some row of it sees
  const int whole = static_cast<int>(least / kBc);             // tiles that every row sees whole
  const int end = static_cast<int>((most + kBc - 1) / kBc);    // tiles that some row sees
  const int tail = static_cast<int>(most - std::int64_t{kBc} * (end - 1));  // keys of the last
  const std::int64_t reach = i0 + row + device::fragment_row() + diagonal + 1;
  const unsigned q_rows = square_address<kD>(sQ) + row * kRowBytes;
  const unsigned k_rows = columns_address<kD>(sK);
  const unsigned v_rows = square_address<kD>(sV);

  float acc_o[kM][kD / 8][4] = {};
  device::FragmentRows rows[kM];
  const int queries = Nq - i0 < Tiles::kBr ? static_cast<int>(Nq - i0) : Tiles::kBr;
  copy.template start<Tiles::kBr>(sQ, gQ, queries);
  if (end > 0) copy.template start<kBc>(sK, gK, end == 1 ? tail : kBc);
  device::cp_async_commit();
  unsigned q[Tiles::kKeepsQ ? kD / 16 : 1][kM][4];  // of all chunks, or of those that are needed
  const auto load_q = [&](unsigned q_square, int c) {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
      device::ldmatrix_x4(q[Tiles::kKeepsQ ? c / 2 : 0][m],
                          at_chunk(q_square, c) + 16 * m * kRowBytes);
    }
  };
  if constexpr (Tiles::kKeepsQ) {
    device::cp_async_wait<0>();
    __syncthreads();  // wait until Q is complete
#pragma unroll
    for (int c = 0; c < kD / kChunk; c += 2) load_q(q_rows, c);
  }
  const auto visit_tile = [&]<bool kMasked>(int j) {
    const int tile_keys = j + 1 < end ? kBc : tail;
    device::cp_async_wait<0>();
    __syncthreads();  // wait until K_j is complete, and everyone is done with V_j-1
    // Keys that no row sees become zeros: P is 0 there, and 0 times NaN is NaN.
    copy.template start<kBc>(sV, gV, tile_keys);
    gV += kBc / copy.kAtOnce * copy.step;
    device::cp_async_commit();
    const unsigned stage = (j & 1) * kBc * kRowBytes;  // of K_j
    gK += kBc / copy.kAtOnce * copy.step;
    if (j + 1 < end) {
      copy.template start<kBc>(sK + (kBc * kRowBytes - stage), gK, j + 2 < end ? kBc : tail);
    }
    device::cp_async_commit();
    const unsigned q_square = fresh(q_rows), k_columns = fresh(k_rows + stage);
    const unsigned v_square = fresh(v_rows);
    float s[kM][kBc / 8][4] = {};
#pragma unroll
    for (int c = 0; c < kD / kChunk; c += 2) {
      if constexpr (!Tiles::kKeepsQ) load_q(q_square, c);
      const auto& a = q[Tiles::kKeepsQ ? c / 2 : 0];
#pragma unroll
      for (int n = 0; n < kBc / 8; n += 2) {
        unsigned k[4];
        device::ldmatrix_x4(k, at_chunk(k_columns, c) + 8 * n * kRowBytes);
#pragma unroll
        for (int m = 0; m < kM; ++m) {
          device::mma_m16n8k16<T>(s[m][n], a[m], k[0], k[1]);
          device::mma_m16n8k16<T>(s[m][n + 1], a[m], k[2], k[3]);
        }
      }
    }
#pragma unroll
    for (int m = 0; m < kM; ++m) {
      int keys[2] = {};
      if constexpr (kMasked) {
        keys_of_rows<Tiles>(keys, reach - std::int64_t{kBc} * j, m, tile_keys);
      }
      device::softmax_rows<kMasked>(s[m], args.scale, keys, rows[m], acc_o[m]);
    }
    device::cp_async_wait<1>();
    __syncthreads();  // wait until V_j is complete; K_j+1 may be under way
#pragma unroll
    for (int k = 0; k < kBc / 16; ++k) {
      unsigned p[kM][4];
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        device::pack_fragment<T>(p[m], s[m][2 * k], s[m][2 * k + 1]);
      }
#pragma unroll
      for (int n = 0; n < kD / 8; n += 2) {
        unsigned v[4];
        device::ldmatrix_x4<true>(v, at_chunk(v_square, n) + 16 * k * kRowBytes);
#pragma unroll
        for (int m = 0; m < kM; ++m) {
          device::mma_m16n8k16<T>(acc_o[m][n], p[m], v[0], v[1]);
          device::mma_m16n8k16<T>(acc_o[m][n + 1], p[m], v[2], v[3]);
        }
      }
    }
  };
  int j = 0;
  for (; j < whole; ++j) visit_tile.template operator()<false>(j);
  for (; j < end; ++j) visit_tile.template operator()<true>(j);
  device::cp_async_wait<0>();  // where no row sees a key, nobody has waited for Q

#pragma unroll
  for (int m = 0; m < kM; ++m) {
    const std::int64_t i = i0 + row + 16 * m;
    float lse[2];
    device::finish_rows(acc_o[m], lse, rows[m], i, diagonal, Nk);
    device::store_rows(args.o + (head * Nq + i) * d, Nq - i, d, true, acc_o[m]);
    device::store_row_values(args.lse + head * Nq + i, Nq - i, lse);
  }
}

}  // namespace

template <class T>
void forward_tiles(const ForwardArgsOf<T>& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  with_columns(d, [&]<int kD>() {
    using L = PipelineTiles<kD>;
    launch(forward_kernel<T, L>, grid_size(B * H * ceil_div(Nq, L::kBr)), L::kThreads, L::kBytes,
           nullptr, args, attn::diagonal(args.mask, Nq, Nk));
  });
}
template void forward_tiles(const ForwardArgsOf<bfloat16>& args);
template void forward_tiles(const ForwardArgsOf<float16>& args);

}  // namespace attn::async_pipeline
