// SPDX-License-Identifier: MIT
//
// Step 2: step 1 with asynchronous copies. While a warp multiplies, what it needs next arrives:
//   1. copy Q_i and K_0;  O = 0, row_max = -inf, row_sum = 0, in registers
//   for each tile j of K and V that a row sees a key of:
//     2. wait for K_j;  start to copy V_j
//     3. S = Q_i K_j^T, in fragments of 16 x 8
//     4. start to copy K_j+1 over K_j;  P = exp(S - row_max), in place
//     5. wait for V_j;  O = rescaled O + P V_j, in fragments
//   6. store O / row_sum and LSE
#include "chapters/10_async_pipeline/async_pipeline.hpp"
#include "chapters/10_async_pipeline/swizzle.cuh"

namespace attn::async_pipeline {
namespace {

/// Starts to copy a tile of rows of d elements to shared memory. What lies beyond the matrix (from
/// row `rows` or column d on) arrives as zeros. Call it with all kThreads threads; each waits for
/// its own copies, and for the others' by a barrier.
template <int kThreads, int kRows, int kColumns, class T>
__device__ __forceinline__ void copy_tile(T* sTile, const T* gRows, int rows, std::int64_t d) {
  constexpr int kPerRow = kColumns / kChunk;   // threads
  constexpr int kAtOnce = kThreads / kPerRow;  // rows
  static_assert(kRows % kAtOnce == 0);
  const int chunk = static_cast<int>(threadIdx.x) % kPerRow;
  const int first = static_cast<int>(threadIdx.x) / kPerRow;
  const int left = chunk * kChunk < d ? rows - first : 0;  // beyond d there is nothing to copy
  gRows += first * d + chunk * kChunk;
#pragma unroll 8
  for (int r = 0; r < kRows; r += kAtOnce) {
    T* to = sTile + swizzled<kColumns>(first + r, chunk);
    device::cp_async_16(device::shared_address(to), gRows, r < left);
    gRows += kAtOnce * d;
  }
}

/// 16 x 16 elements, from row `row` and chunk `chunk` of a tile on: a fragment A, or (kTransposed)
/// two fragments B, {x[0], x[1]} and {x[2], x[3]}, of a matrix whose rows are the tile's.
template <bool kTransposed, int kColumns, class T>
__device__ __forceinline__ void load_square(unsigned (&x)[4], const T* sTile, int row, int chunk) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  device::ldmatrix_x4<kTransposed>(x,
                                   sTile + swizzled<kColumns>(row + lane % 16, chunk + lane / 16));
}

/// Two fragments B of a matrix whose columns are the tile's rows.
template <int kColumns, class T>
__device__ __forceinline__ void load_columns(unsigned (&x)[4], const T* sTile, int row, int chunk) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  device::ldmatrix_x4(
      x, sTile + swizzled<kColumns>(row + lane % 8 + lane / 16 * 8, chunk + lane / 8 % 2));
}

/// Grid: B*H times the Q tiles of a head; block: Tiles::kThreads; dynamic shared memory:
/// Tiles::kBytes.
template <class T, class Tiles>
__global__ void __launch_bounds__(Tiles::kThreads)
    forward_kernel(const __grid_constant__ ForwardArgsOf<T> args, std::int64_t diagonal) {
  constexpr int kM = Tiles::kM, kD = Tiles::kD, kBc = Tiles::kBc;
  T* sQ = dynamic_shared<T>();   // (Br, D)
  T* sK = sQ + Tiles::kBr * kD;  // (Bc, D)
  T* sV = sK + Tiles::kBc * kD;  // (Bc, D)
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
  const int whole = static_cast<int>(least / kBc);             // tiles that every row sees whole
  const int end = static_cast<int>((most + kBc - 1) / kBc);    // tiles that some row sees
  const int tail = static_cast<int>(most - std::int64_t{kBc} * (end - 1));  // keys of the last
  const std::int64_t reach = i0 + row + device::fragment_row() + diagonal + 1;

  float acc_o[kM][kD / 8][4] = {};
  device::FragmentRows rows[kM];
  const int queries = Nq - i0 < Tiles::kBr ? static_cast<int>(Nq - i0) : Tiles::kBr;
  copy_tile<Tiles::kThreads, Tiles::kBr, kD>(sQ, args.q + (head * Nq + i0) * d, queries, d);
  if (end > 0) copy_tile<Tiles::kThreads, kBc, kD>(sK, gK, end == 1 ? tail : kBc, d);
  device::cp_async_commit();
  const auto visit_tile = [&]<bool kMasked>(int j) {
    const int tile_keys = j + 1 < end ? kBc : tail;
    device::cp_async_wait<0>();
    __syncthreads();  // wait until K_j is complete, and everyone is done with V_j-1
    // Keys that no row sees become zeros: P is 0 there, and 0 times NaN is NaN.
    copy_tile<Tiles::kThreads, kBc, kD>(sV, gV, tile_keys, d);
    gV += kBc * d;
    device::cp_async_commit();
    float s[kM][kBc / 8][4] = {};
#pragma unroll 1  // unrolled, it keeps its addresses: at d = 128 there is no register left for them
    for (int c = 0; c < kD / kChunk; c += 2) {
      unsigned q[kM][4];
#pragma unroll
      for (int m = 0; m < kM; ++m) load_square<false, kD>(q[m], sQ, row + 16 * m, c);
#pragma unroll
      for (int n = 0; n < kBc / 8; n += 2) {
        unsigned k[4];
        load_columns<kD>(k, sK, 8 * n, c);
#pragma unroll
        for (int m = 0; m < kM; ++m) {
          device::mma_m16n8k16<T>(s[m][n], q[m], k[0], k[1]);
          device::mma_m16n8k16<T>(s[m][n + 1], q[m], k[2], k[3]);
        }
      }
    }
    __syncthreads();  // wait until everyone is done with K_j
    gK += kBc * d;
    if (j + 1 < end) {
      copy_tile<Tiles::kThreads, kBc, kD>(sK, gK, j + 2 < end ? kBc : tail, d);
    }
    device::cp_async_commit();  // a group without copies, where K ends
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
        load_square<true, kD>(v, sV, 16 * k, n);
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
void forward_async(const ForwardArgsOf<T>& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  with_columns(d, [&]<int kD>() {
    using L = Tiles32<kD>;
    launch(forward_kernel<T, L>, grid_size(B * H * ceil_div(Nq, L::kBr)), L::kThreads, L::kBytes,
           nullptr, args, attn::diagonal(args.mask, Nq, Nk));
  });
}
template void forward_async(const ForwardArgsOf<bfloat16>& args);
template void forward_async(const ForwardArgsOf<float16>& args);

}  // namespace attn::async_pipeline
