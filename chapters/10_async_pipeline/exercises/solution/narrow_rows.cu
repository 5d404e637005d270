// SPDX-License-Identifier: MIT
//
// A solution of the exercise: rows of 32 columns, swizzled, and asynchronous copies.
#include "chapters/10_async_pipeline/async_pipeline.hpp"
#include "chapters/10_async_pipeline/swizzle.cuh"

namespace attn::async_pipeline {
namespace {

constexpr int kColumns = 32, kBr = 128, kBc = 64, kThreads = 128;
constexpr int kRows = 32;  // of a warp

/// Where a chunk of a row starts in a tile, in elements. Two rows share the 32 banks, so pairs
/// of rows must differ.
__device__ __forceinline__ int place(int row, int chunk) {
  return row * kColumns + (chunk ^ (row / 2 & 3)) * kChunk;
}

/// Copies a tile of rows of d elements to shared memory. What lies beyond the matrix (from row
/// `rows` or column d on) becomes zero. Call it with all threads; each waits for its
/// own copies, and for the others' by a barrier.
template <int kTileRows, class T>
__device__ __forceinline__ void copy_tile(T* sTile, const T* gRows, int rows, std::int64_t d) {
  constexpr int kPerRow = kColumns / kChunk;   // threads
  constexpr int kAtOnce = kThreads / kPerRow;  // rows
  const int chunk = static_cast<int>(threadIdx.x) % kPerRow;
  const int first = static_cast<int>(threadIdx.x) / kPerRow;
  const int left = chunk * kChunk < d ? rows - first : 0;  // beyond d there is nothing to load
  gRows += first * d + chunk * kChunk;
#pragma unroll
  for (int r = 0; r < kTileRows; r += kAtOnce) {
    device::cp_async_16(device::shared_address(sTile + place(first + r, chunk)), gRows, r < left);
    gRows += kAtOnce * d;
  }
}

/// Grid: B*H times the Q tiles of a head; block: kThreads; dynamic shared memory: (kBr + 2 kBc)
/// kColumns elements.
template <class T>
__global__ void __launch_bounds__(kThreads)
    narrow_kernel(const __grid_constant__ ForwardArgsOf<T> args, std::int64_t diagonal) {
  T* sQ = dynamic_shared<T>();  // (Br, 32)
  T* sK = sQ + kBr * kColumns;  // (Bc, 32)
  T* sV = sK + kBc * kColumns;  // (Bc, 32)
  const std::int64_t Nq = args.shape.Nq, Nk = args.shape.Nk, d = args.shape.d;
  const std::int64_t tiles = (Nq + kBr - 1) / kBr;
  const std::int64_t head = blockIdx.x / tiles;
  const std::int64_t i0 = blockIdx.x % tiles * kBr;
  const T* gK = args.k + head * Nk * d;
  const T* gV = args.v + head * Nk * d;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = static_cast<int>(threadIdx.x) / 32 * kRows;  // the warp's first
  const std::int64_t last = (i0 + kBr < Nq ? i0 + kBr : Nq) - 1;
  const std::int64_t most = visible_keys(last, diagonal, Nk);  // what some row of the tile sees

  float acc_o[2][kColumns / 8][4] = {};
  device::FragmentRows rows[2];
  const int queries = Nq - i0 < kBr ? static_cast<int>(Nq - i0) : kBr;
  copy_tile<kBr>(sQ, args.q + (head * Nq + i0) * d, queries, d);
  const auto keys_from = [&](std::int64_t j0) {  // of the tile that starts with key j0
    return most - j0 < kBc ? static_cast<int>(most - j0) : kBc;
  };
  if (most > 0) copy_tile<kBc>(sK, gK, keys_from(0), d);
  device::cp_async_commit();
  for (std::int64_t j0 = 0; j0 < most; j0 += kBc) {
    device::cp_async_wait<0>();
    __syncthreads();  // wait until K_j is complete, and everyone is done with V_j-1
    copy_tile<kBc>(sV, gV + j0 * d, keys_from(j0), d);
    device::cp_async_commit();
    float s[2][kBc / 8][4] = {};
#pragma unroll
    for (int c = 0; c < kColumns / kChunk; c += 2) {
      unsigned q[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        device::ldmatrix_x4(q[m], sQ + place(row + 16 * m + lane % 16, c + lane / 16));
      }
#pragma unroll
      for (int n = 0; n < kBc / 8; n += 2) {
        unsigned k[4];
        device::ldmatrix_x4(k, sK + place(8 * n + lane % 8 + lane / 16 * 8, c + lane / 8 % 2));
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          device::mma_m16n8k16<T>(s[m][n], q[m], k[0], k[1]);
          device::mma_m16n8k16<T>(s[m][n + 1], q[m], k[2], k[3]);
        }
      }
    }
    __syncthreads();  // wait until everyone is done with K_j
    if (j0 + kBc < most) copy_tile<kBc>(sK, gK + (j0 + kBc) * d, keys_from(j0 + kBc), d);
    device::cp_async_commit();  // a group without copies, where K ends
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      int keys[2];
      device::keys_of_rows<kBc>(keys, i0 + row + 16 * m, j0, diagonal, Nk);
      device::softmax_rows<true>(s[m], args.scale, keys, rows[m], acc_o[m]);
    }
    device::cp_async_wait<1>();
    __syncthreads();  // wait until V_j is complete; K_j+1 may be under way
#pragma unroll
    for (int k = 0; k < kBc / 16; ++k) {
      unsigned p[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        device::pack_fragment<T>(p[m], s[m][2 * k], s[m][2 * k + 1]);
      }
#pragma unroll
      for (int n = 0; n < kColumns / 8; n += 2) {
        unsigned v[4];
        device::ldmatrix_x4<true>(v, sV + place(16 * k + lane % 16, n + lane / 16));
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          device::mma_m16n8k16<T>(acc_o[m][n], p[m], v[0], v[1]);
          device::mma_m16n8k16<T>(acc_o[m][n + 1], p[m], v[2], v[3]);
        }
      }
    }
  }
  device::cp_async_wait<0>();  // where no row sees a key, nobody has waited for Q

#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const std::int64_t i = i0 + row + 16 * m;
    float lse[2];
    device::finish_rows(acc_o[m], lse, rows[m], i, diagonal, Nk);
    device::store_rows(args.o + (head * Nq + i) * d, Nq - i, d, true, acc_o[m]);
    device::store_row_values(args.lse + head * Nq + i, Nq - i, lse);
  }
}

}  // namespace

template <class T>
void narrow_rows_forward(const ForwardArgsOf<T>& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(narrow_kernel<T>, grid_size(B * H * ceil_div(Nq, kBr)), kThreads,
         (kBr + 2 * kBc) * kColumns * sizeof(T), nullptr, args, attn::diagonal(args.mask, Nq, Nk));
}
template void narrow_rows_forward(const ForwardArgsOf<bfloat16>& args);
template void narrow_rows_forward(const ForwardArgsOf<float16>& args);

}  // namespace attn::async_pipeline
