// SPDX-License-Identifier: MIT
//
// Steps 5 and 6: the kernel that owns keys, with dQ (step 5) and without (step 6).
#pragma once

#include "chapters/10_async_pipeline/backward.cuh"

namespace attn::async_pipeline {

/// Tiles of 128 keys and 64 queries. A warp has kM x 16 keys. S^T and dP^T are made for kStrip
/// queries at a time, as many as the registers have room for beside dK and dV.
template <int D, int Strip = 32>
struct KeyTiles {
  static constexpr int kD = D;
  static constexpr int kBr = 64;
  static constexpr int kBc = 128;
  static constexpr int kWarps = D == 128 ? 8 : 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kBlocks = D == 128 ? 1 : 2;  // that the registers must suffice for, per SM
  static constexpr int kRows = kBc / kWarps;
  static constexpr int kM = kRows / 16;
  static constexpr int kStrip = Strip;
  static constexpr int kRowBytes = 2 * D;
  static_assert(kWarps * 32 * 32 == kBr * D, "each warp has 32 x 32 of dQ");
};

/// Where they lie in shared memory, in bytes.
template <class Tiles, bool kAddToDQ>
struct KeyMemory {
  static constexpr unsigned kK = 0;                                      // (Bc, D)
  static constexpr unsigned kV = kK + Tiles::kBc * Tiles::kRowBytes;     // (Bc, D)
  static constexpr unsigned kQ = kV + Tiles::kBc * Tiles::kRowBytes;     // (Br, D), dO behind it,
  static constexpr unsigned kDO = kQ + Tiles::kBr * Tiles::kRowBytes;    // (Br, D)
  static constexpr unsigned kStage = 2 * Tiles::kBr * Tiles::kRowBytes;  // and both twice
  static constexpr unsigned kDS = kQ + 2 * kStage;                       // (Bc, Br): dS^T
  static constexpr unsigned kLSE = kDS + (kAddToDQ ? 2 * Tiles::kBc * Tiles::kBr : 0);  // (Br)
  static constexpr unsigned kDelta = kLSE + 4 * Tiles::kBr;                             // (Br)
  static constexpr unsigned kBytes = kDelta + 4 * Tiles::kBr;
  static_assert(kBytes <= 163 * 1024, "what a block can ask for (sm_80)");
};

/// acc += dS K for 32 queries, from chunk `queries` of dS^T on, and 32 columns, from chunk
/// `columns` of K on. ds: columns_address of dS^T; k: square_address of K.
template <class T, class Tiles>
__device__ __forceinline__ void add_queries(float (&acc)[2][4][4], unsigned ds, int queries,
                                            unsigned k, int columns) {
  ds = at_chunk(ds, queries);
  k = at_chunk(k, columns);
#pragma unroll 2
  for (int j = 0; j < Tiles::kBc; j += 16) {
    unsigned x[2][4];
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      device::ldmatrix_x4<true>(x[m], at_chunk(ds, 2 * m) + j * 2 * Tiles::kBr);
    }
#pragma unroll
    for (int n = 0; n < 4; n += 2) {
      unsigned y[4];
      device::ldmatrix_x4<true>(y, at_chunk(k, n) + j * Tiles::kRowBytes);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        device::mma_m16n8k16<T>(acc[m][n], x[m], y[0], y[1]);
        device::mma_m16n8k16<T>(acc[m][n + 1], x[m], y[2], y[3]);
      }
    }
  }
}

/// Adds a warp's 32 x 32 numbers to a matrix of d columns, atomically. to: where the thread's first
/// goes. Of the thread's rows on, `rows` exist, of its fragments' columns `width`.
[[maybe_unused]] __device__ __forceinline__ void add_to_rows(float* to, int rows, int width, int d,
                                                             const float (&x)[2][4][4]) {
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        if (16 * m + 8 * h >= rows || 8 * n >= width) continue;
        float* at = to + (2 * m + h) * 8 * d + 8 * n;
#if !defined(__CUDACC__) || __CUDA_ARCH__ >= 900  // older GPUs have no atomic of 8 bytes
        atomicAdd(reinterpret_cast<float2*>(at), make_float2(x[m][n][2 * h], x[m][n][2 * h + 1]));
#else
        atomicAdd(at, x[m][n][2 * h]);
        atomicAdd(at + 1, x[m][n][2 * h + 1]);
#endif
      }
    }
  }
}

/// dK and dV, and, if kAddToDQ, what they add to dQ, not yet scaled: gSum, which must be zero
/// before. Grid: B*H times the key tiles of a head; block: Tiles::kThreads; dynamic shared memory:
/// KeyMemory::kBytes.
template <class T, class Tiles, bool kAddToDQ>
[[maybe_unused]] static __global__ void __launch_bounds__(Tiles::kThreads, Tiles::kBlocks)
    key_kernel(const __grid_constant__ BackwardArgsOf<T> args, const float* gDelta, float* gSum,
               std::int64_t diagonal) {
  using Memory = KeyMemory<Tiles, kAddToDQ>;
  constexpr int kM = Tiles::kM, kD = Tiles::kD, kBc = Tiles::kBc, kBr = Tiles::kBr;
  constexpr int kStrip = Tiles::kStrip, kRowBytes = Tiles::kRowBytes;
  unsigned char* const shared = dynamic_shared<unsigned char>();
  const unsigned base = device::shared_address(shared);
  float* const sLSE = reinterpret_cast<float*>(shared + Memory::kLSE);
  float* const sDelta = reinterpret_cast<float*>(shared + Memory::kDelta);
  const std::int64_t Nq = args.shape.Nq, Nk = args.shape.Nk, d = args.shape.d;
  const std::int64_t tiles_per_head = (Nk + kBc - 1) / kBc;
  const std::int64_t head = blockIdx.x / tiles_per_head;
  const std::int64_t j0 = blockIdx.x % tiles_per_head * kBc;
  const std::int64_t k_start = (head * Nk + j0) * d;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  const int row = warp * Tiles::kRows;  // the warp's first key
  const int column = device::fragment_column();
  // Keys that no row sees become zeros: dS is 0 there, and 0 times NaN is NaN.
  const std::int64_t seen = visible_keys(Nq - 1, diagonal, Nk) - j0;
  const int keys = seen < 0 ? 0 : seen < kBc ? static_cast<int>(seen) : kBc;
  const std::int64_t i0 = first_query(j0, diagonal, Nq);  // earlier rows see no key of this tile
  int left = static_cast<int>(Nq - i0);                   // from the next tile's first on

  const TileCopy<Tiles::kThreads, kD> copy(d);
  std::int64_t next_row = head * Nq + i0;  // of Q, dO, LSE and delta, to be loaded next
  const auto copy_queries = [&](unsigned stage) {
    const std::int64_t next = next_row * d + copy.from;
    copy.template start<kBr>(base + Memory::kQ + stage, args.q + next, left);
    copy.template start<kBr>(base + Memory::kDO + stage, args.grad_o + next, left);
    device::cp_async_commit();
  };
  float lse, delta;  // of one query of the next tile
  const auto load_statistics = [&] {
    // A row beyond the matrix has LSE = inf: all its P are 0.
    lse = INFINITY;
    delta = 0.0f;
    const bool inside = thread < kBr && thread < left;
    if (inside) lse = args.lse[next_row + thread];
    if (inside) delta = gDelta[next_row + thread];
  };
  const auto store_statistics = [&] {
    if (thread >= kBr) return;
    sLSE[thread] = lse;
    sDelta[thread] = delta;
  };
  copy.template start<kBc>(base + Memory::kK, args.k + k_start + copy.from, keys);
  copy.template start<kBc>(base + Memory::kV, args.v + k_start + copy.from, keys);
  copy_queries(0);
  load_statistics();
  store_statistics();

  const unsigned square_rows = base + square_address<kD>(0);
  const unsigned columns_rows = base + columns_address<kD>(0);
  float grad_k[kM][kD / 8][4] = {};
  float grad_v[kM][kD / 8][4] = {};
  // The warps share the (Br, D) of dQ_i among them: 32 x 32 each.
  const int query = warp / (kD / 32) * 32, chunk = warp % (kD / 32) * 4;
  const int in_tile =
      (query + device::fragment_row()) * static_cast<int>(d) + chunk * kChunk + column;
  const int width = static_cast<int>(d) - chunk * kChunk;
  unsigned stage = 0;
  // Key j0 + after is the last that the tile's first query sees, unless they are all.
  int after = i0 + diagonal - j0 < kBc ? static_cast<int>(i0 + diagonal - j0) : kBc;
  const auto visit_tile = [&]<bool kMasked> {
    device::cp_async_wait<0>();
    __syncthreads();  // wait until Q_i and dO_i are complete, and everyone is done with the last
    left -= kBr;
    next_row += kBr;
    if (left > 0) copy_queries(Memory::kStage - stage);
#pragma unroll 1
    for (int strip = 0; strip < kBr; strip += kStrip) {
      const unsigned square = fresh(square_rows), columns = fresh(columns_rows);
      const unsigned queries = stage + strip * kRowBytes;
      float p[kM][kStrip / 8][4] = {};   // S^T, then P^T
      float ds[kM][kStrip / 8][4] = {};  // dP^T, then dS^T
      add_dots<T, kD, Memory::kK, Memory::kQ>(p, square + row * kRowBytes, columns + queries);
      add_dots<T, kD, Memory::kV, Memory::kDO>(ds, square + row * kRowBytes, columns + queries);
#pragma unroll
      for (int n = 0; n < kStrip / 8; ++n) {
        const float2 lses = *reinterpret_cast<const float2*>(sLSE + strip + 8 * n + column);
        const float2 deltas = *reinterpret_cast<const float2*>(sDelta + strip + 8 * n + column);
#pragma unroll
        for (int m = 0; m < kM; ++m) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int key = row + 16 * m + device::fragment_row() + e / 2 * 8;
            const bool inside = !kAddToDQ || key < keys;  // other rows of dK and dV are not stored
            const bool visible =
                !kMasked || (strip + column + 8 * n + e % 2 >= key - after && inside);
            recompute(p[m][n][e], ds[m][n][e], args.scale, e % 2 == 0 ? lses.x : lses.y,
                      e % 2 == 0 ? deltas.x : deltas.y, visible);
          }
        }
      }
      if constexpr (kAddToDQ) {
#pragma unroll
        for (int m = 0; m < kM; ++m) {
#pragma unroll
          for (int n = 0; n < kStrip / 8; ++n) {
#pragma unroll
            for (int h = 0; h < 2; ++h) {
              const int key = row + 16 * m + device::fragment_row() + 8 * h;
              const int at = 2 * (swizzled<kBr>(key, strip / 8 + n) + column);
              *reinterpret_cast<unsigned*>(shared + Memory::kDS + at) =
                  device::pack<T>(ds[m][n][2 * h], ds[m][n][2 * h + 1]);
            }
          }
        }
      }
      add_weighted<T, Memory::kDO>(grad_v, p, square + queries);
      add_weighted<T, Memory::kQ>(grad_k, ds, square + queries);
    }
    __syncthreads();  // wait until dS is complete, and everyone is done with LSE and delta
    if (left > 0) load_statistics();
    if constexpr (kAddToDQ) {
      const unsigned square = fresh(square_rows);
      float grad_q[2][4][4] = {};
      add_queries<T, Tiles>(grad_q, base + columns_address<kBr>(Memory::kDS), query / 8,
                            square + Memory::kK, chunk);
      add_to_rows(gSum + (next_row - kBr) * d + in_tile,
                  left + kBr - query - device::fragment_row(), width, static_cast<int>(d), grad_q);
    }
    if (left > 0) store_statistics();
    stage = Memory::kStage - stage;
    after = after < kBc ? after + kBr : kBc;
  };
  const bool ragged = kAddToDQ && keys < kBc;
  while (left > 0 && (ragged || after < kBc - 1)) visit_tile.template operator()<true>();
  while (left > 0) visit_tile.template operator()<false>();
  device::cp_async_wait<0>();  // where no row sees a key, nobody has waited for K and V
  store_grad(args.grad_k + k_start, row, Nk - j0, d, args.scale, 0, keys, grad_k);
  store_grad(args.grad_v + k_start, row, Nk - j0, d, 1.0f, 0, keys, grad_v);
}

/// delta, then dK and dV, and, if kAddToDQ, what they add to dQ.
template <class T, class Tiles, bool kAddToDQ>
void launch_delta_and_keys(const BackwardArgsOf<T>& args, float* gDelta, float* gSum) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(device::element_delta_kernel<T>, ceil_div(B * H * Nq, Tiles::kWarps), Tiles::kThreads, 0,
         nullptr, args.grad_o, args.o, gDelta, B * H * Nq, d);
  if (Nk == 0) return;
  launch(key_kernel<T, Tiles, kAddToDQ>, grid_size(B * H * ceil_div(Nk, Tiles::kBc)),
         Tiles::kThreads, KeyMemory<Tiles, kAddToDQ>::kBytes, nullptr, args, gDelta, gSum,
         attn::diagonal(args.mask, Nq, Nk));
}

}  // namespace attn::async_pipeline
