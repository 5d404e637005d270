// SPDX-License-Identifier: MIT
//
// Step 7: chapter 07's step 5, no atomics, in register tiles. dQ comes from a kernel of its own
// that owns tiles of Q and recomputes S and dP: 7 products instead of 5. One block per Q tile:
//   1. load Q_i, dO_i, LSE_i, delta_i;  dQ_i = 0, in registers
//   for each tile j of K and V that a row sees a key of:
//     2. load K_j, V_j
//     3. S and dP, in registers; dS, to the warp's own rows of shared memory
//     4. dQ_i += dS K_j, in registers
//   5. store scale * dQ_i
#include "chapters/08_register_tiles/backward.cuh"
#include "common/columns.hpp"

namespace attn::register_tiles {
namespace {

/// Grid: B*H times the Q tiles of a head; block: T::kThreads; dynamic shared memory: T::kFloats
/// floats.
template <class T, bool kWide>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks)
    query_kernel(const float* gQ, const float* gK, const float* gV, const float* gDO,
                 const float* gLSE, const float* gDelta, float* gDQ, std::int64_t Nq,
                 std::int64_t Nk, std::int64_t d, std::int64_t diagonal, float scale) {
  const SharedTiles<T> tiles;
  const std::int64_t tiles_per_head = (Nq + T::kEdge - 1) / T::kEdge;
  const std::int64_t head = blockIdx.x / tiles_per_head;
  const std::int64_t i0 = blockIdx.x % tiles_per_head * T::kEdge;
  const std::int64_t q_start = head * Nq * d;  // of Q, dO, dQ
  const std::int64_t k_start = head * Nk * d;  // of K, V
  const PairedLanes lane;
  const int row = static_cast<int>(threadIdx.x) / kWarp * T::kRows + lane.row;

  tiles.template load_queries<kWide>(gQ + q_start, gDO + q_start, gLSE + head * Nq,
                                     gDelta + head * Nq, i0, Nq, d);
  float grad_q[T::TM][4 * T::TC] = {};
  const auto visit_tile = [&]<bool kMasked>(std::int64_t j0) {
    const device::TilePlace at = {i0, j0, Nq, Nk, d, diagonal};
    __syncthreads();  // wait until everyone is done with the last tiles
    tiles.template load_keys<kWide>(gK + k_start, gV + k_start, j0, Nk, d);
    int keys[T::TM] = {};
    if constexpr (kMasked) keys_of_rows<T>(at, row, keys);
    __syncthreads();  // wait until the tiles are complete
    recompute<T, kMasked, false>(tiles, lane, row, keys, scale);
    __syncwarp();  // wait until the warp's rows of dS are complete
    add_weighted<kMasked, T::kEdge, T::kPStride, T::kStride>(grad_q, tiles.sDS + row * T::kPStride,
                                                             tiles.sK + 4 * lane.column, keys);
  };
  const std::int64_t last = (i0 + T::kEdge < Nq ? i0 + T::kEdge : Nq) - 1;
  const std::int64_t least = visible_keys(i0, diagonal, Nk);
  const std::int64_t most = visible_keys(last, diagonal, Nk);
  std::int64_t j0 = 0;
  for (; j0 + T::kEdge <= least; j0 += T::kEdge) visit_tile.template operator()<false>(j0);
  for (; j0 < most; j0 += T::kEdge) visit_tile.template operator()<true>(j0);

#pragma unroll
  for (int m = 0; m < T::TM; ++m) {
    const std::int64_t i = i0 + row + kLaneRows * m;
    if (i >= Nq) continue;
#pragma unroll
    for (int h = 0; h < T::TC; ++h) {
      float x[4];
      for (int e = 0; e < 4; ++e) x[e] = scale * grad_q[m][4 * h + e];
      store_in_row<kWide>(gDQ + q_start + i * d, 4 * lane.column + 32 * h, d, x);
    }
  }
}

template <class T, bool kWide>
void run(const BackwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  float* gDelta = static_cast<float*>(args.workspace);  // (B*H, Nq)
  launch_delta_and_keys<T, kWide, false>(args, gDelta);
  launch(query_kernel<T, kWide>, grid_size(B * H * ceil_div(Nq, T::kEdge)), T::kThreads,
         T::kFloats * sizeof(float), nullptr, args.q, args.k, args.v, args.grad_o, args.lse, gDelta,
         args.grad_q, Nq, Nk, d, attn::diagonal(args.mask, Nq, Nk), args.scale);
}

}  // namespace

void backward_deterministic(const BackwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() {
    using T = BackwardTiles<kD>;
    if (rows_are_wide(args)) {
      run<T, true>(args);
    } else {
      run<T, false>(args);
    }
  });
}

}  // namespace attn::register_tiles
