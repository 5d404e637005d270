// SPDX-License-Identifier: MIT
//
// Steps 6 and 7: chapter 07's backward pass in register tiles. One block per K/V tile:
//   1. load K_j, V_j;  dK_j = dV_j = 0, in registers
//   for each tile i of Q and dO that sees a key of the tile:
//     2. load Q_i, dO_i, LSE_i, delta_i
//     3. S = Q_i K_j^T and dP = dO_i V_j^T, in registers
//     4. P and dS, in registers, then to shared memory
//     5. dV_j += P^T dO_i,  dK_j += dS^T Q_i        sums over rows: no transpose is needed
//     6. step 6 only: dQ_i += scale * dS K_j        by atomics
//   7. store dK_j, dV_j
#pragma once

#include "chapters/08_register_tiles/backward_tiles.cuh"

namespace attn::register_tiles {

/// acc[k][4 g + e] += sum over rows r of w[r][k] * x[r][4 kLanes g + e]: an outer product for each
/// row. first_row[k]: the first row that sees key k; earlier ones do not count if kMasked.
template <class T, bool kMasked>
__device__ __forceinline__ void add_outer(float (&acc)[T::kKeys][4 * T::CG], const float* w,
                                          const float* x, const int (&first_row)[T::kKeys]) {
#pragma unroll kMasked ? 1 : 4
  for (int r = 0; r < T::kEdge; ++r) {
    float w4[T::kKeys / 4][4];
#pragma unroll
    for (int k = 0; k < T::kKeys / 4; ++k) load4(w4[k], w + r * T::kPStride + 4 * k);
#pragma unroll
    for (int g = 0; g < T::CG; ++g) {
      float x4[4];
      load4(x4, x + r * T::kStride + 4 * T::kLanes * g);
#pragma unroll
      for (int k = 0; k < T::kKeys; ++k) {
        if (kMasked && r < first_row[k]) continue;
        acc[k][4 * g + 0] += w4[k / 4][k % 4] * x4[0];
        acc[k][4 * g + 1] += w4[k / 4][k % 4] * x4[1];
        acc[k][4 * g + 2] += w4[k / 4][k % 4] * x4[2];
        acc[k][4 * g + 3] += w4[k / 4][k % 4] * x4[3];
      }
    }
  }
}

/// Adds four neighbouring floats to columns c to c + 3 of a row of d, each atomically.
template <bool kWide>
__device__ __forceinline__ void add_to_row(float* gRow, int c, std::int64_t d,
                                           const float (&x)[4]) {
#if !defined(__CUDACC__) || __CUDA_ARCH__ >= 900  // older GPUs have no atomic of 16 bytes
  if constexpr (kWide) {
    if (c < d) {
      atomicAdd(reinterpret_cast<float4*>(gRow + c), make_float4(x[0], x[1], x[2], x[3]));
    }
  } else
#endif
  {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (c + e < d) atomicAdd(gRow + c + e, x[e]);
    }
  }
}

/// dK and dV, and, if kAddToDQ, dQ, which must be zero before.
/// Grid: B*H times the K/V tiles of a head; block: T::kThreads; dynamic shared memory: T::kFloats
/// floats. kWide: d % 4 = 0, and all matrices are 16-byte aligned.
template <class T, bool kWide, bool kAddToDQ>
[[maybe_unused]] static __global__ void __launch_bounds__(T::kThreads, T::kBlocks)
    key_kernel(const float* gQ, const float* gK, const float* gV, const float* gDO,
               const float* gLSE, const float* gDelta, float* gDQ, float* gDK, float* gDV,
               std::int64_t Nq, std::int64_t Nk, std::int64_t d, std::int64_t diagonal,
               float scale) {
  const SharedTiles<T> tiles;
  const std::int64_t tiles_per_head = (Nk + T::kEdge - 1) / T::kEdge;
  const std::int64_t head = blockIdx.x / tiles_per_head;
  const std::int64_t j0 = blockIdx.x % tiles_per_head * T::kEdge;
  const std::int64_t q_start = head * Nq * d;  // of Q, dO, dQ
  const std::int64_t k_start = head * Nk * d;  // of K, V, dK, dV
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const PairedLanes lane;
  const int row = warp * T::kRows + lane.row;
  const KeyLanes<T> key_lane;
  const int key = warp * T::kRows + key_lane.group * T::kKeys;  // the lane's first of dK and dV

  tiles.template load_keys<kWide>(gK + k_start, gV + k_start, j0, Nk, d);
  float grad_k[T::kKeys][4 * T::CG] = {};
  float grad_v[T::kKeys][4 * T::CG] = {};
  const auto visit_tile = [&]<bool kMasked>(std::int64_t i0) {
    const device::TilePlace at = {i0, j0, Nq, Nk, d, diagonal};
    __syncthreads();  // wait until everyone is done with the last tiles
    tiles.template load_queries<kWide>(gQ + q_start, gDO + q_start, gLSE + head * Nq,
                                       gDelta + head * Nq, i0, Nq, d);
    int keys[T::TM] = {};
    if constexpr (kMasked) keys_of_rows<T>(at, row, keys);
    int first_row[T::kKeys] = {};
#pragma unroll
    for (int k = 0; kMasked && k < T::kKeys; ++k) {
      first_row[k] = j0 + key + k < Nk ? at.first_row_of(key + k, T::kEdge) : T::kEdge;
    }
    __syncthreads();  // wait until the tiles are complete
    recompute<T, kMasked, true>(tiles, lane, row, keys, scale);
    __syncthreads();  // wait until P and dS are there
    add_outer<T, kMasked>(grad_v, tiles.sP + key, tiles.sDO + 4 * key_lane.column, first_row);
    add_outer<T, kMasked>(grad_k, tiles.sDS + key, tiles.sQ + 4 * key_lane.column, first_row);
    if constexpr (kAddToDQ) {
      float grad_q[T::TM][4 * T::TC] = {};
      add_weighted<kMasked, T::kEdge, T::kPStride, T::kStride>(
          grad_q, tiles.sDS + row * T::kPStride, tiles.sK + 4 * lane.column, keys);
#pragma unroll
      for (int m = 0; m < T::TM; ++m) {
        const std::int64_t i = i0 + row + kLaneRows * m;
        if (i >= Nq || (kMasked && keys[m] == 0)) continue;
#pragma unroll
        for (int h = 0; h < T::TC; ++h) {
          float x[4];
          for (int e = 0; e < 4; ++e) x[e] = scale * grad_q[m][4 * h + e];
          add_to_row<kWide>(gDQ + q_start + i * d, 4 * lane.column + 32 * h, d, x);
        }
      }
    }
  };
  const std::int64_t first = first_query(j0, diagonal, Nq);  // earlier rows see no key of this tile
  std::int64_t i0 = first < Nq ? first - first % T::kEdge : Nq;
  for (; i0 < Nq && visible_keys(i0, diagonal, Nk) < j0 + T::kEdge; i0 += T::kEdge) {
    visit_tile.template operator()<true>(i0);
  }
  for (; i0 < Nq; i0 += T::kEdge) visit_tile.template operator()<false>(i0);

#pragma unroll
  for (int k = 0; k < T::kKeys; ++k) {
    if (j0 + key + k >= Nk) continue;
    const std::int64_t at = k_start + (j0 + key + k) * d;
#pragma unroll
    for (int g = 0; g < T::CG; ++g) {
      const int c = 4 * key_lane.column + 4 * T::kLanes * g;
      float dk[4];
      float dv[4];
      for (int e = 0; e < 4; ++e) {
        dk[e] = scale * grad_k[k][4 * g + e];
        dv[e] = grad_v[k][4 * g + e];
      }
      store_in_row<kWide>(gDK + at, c, d, dk);
      store_in_row<kWide>(gDV + at, c, d, dv);
    }
  }
}

/// delta, then dK and dV, and, if kAddToDQ, what they add to dQ.
template <class T, bool kWide, bool kAddToDQ>
void launch_delta_and_keys(const BackwardArgs& args, float* gDelta) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(device::delta_kernel, ceil_div(B * H * Nq, T::kWarps), T::kThreads, 0, nullptr,
         args.grad_o, args.o, gDelta, B * H * Nq, d);
  if (Nk == 0) return;
  launch(key_kernel<T, kWide, kAddToDQ>, grid_size(B * H * ceil_div(Nk, T::kEdge)), T::kThreads,
         T::kFloats * sizeof(float), nullptr, args.q, args.k, args.v, args.grad_o, args.lse, gDelta,
         args.grad_q, args.grad_k, args.grad_v, Nq, Nk, d, attn::diagonal(args.mask, Nq, Nk),
         args.scale);
}

/// Whether all matrices of a backward pass can be moved 16 bytes at a time.
inline bool rows_are_wide(const BackwardArgs& args) {
  return rows_are_wide(
      args.shape.d, {args.q, args.k, args.v, args.grad_o, args.grad_q, args.grad_k, args.grad_v});
}

}  // namespace attn::register_tiles
