// SPDX-License-Identifier: MIT
//
// Step 5: no atomics. dK and dV come from step 4's kernel, dQ from one of its own that owns Q
// tiles, as the forward pass does, and recomputes P and dS a second time: 7 products of matrices
// instead of 5. Every sum has one owner and one order, so every run gives the same bits. One block
// per Q tile:
//   1. load Q_i, dO_i, LSE_i, delta_i;  dQ_i = 0, in registers
//   for each tile j of K and V that a row sees a key of:
//     2. load K_j, V_j
//     3. recompute dS
//     4. dQ_i += dS K_j
//   5. store scale * dQ_i
#include "chapters/07_v2_loop_order/backward.cuh"
#include "common/columns.hpp"

namespace attn::v2_loop_order {
namespace {

/// Grid: B*H times the Q tiles of a head; block: kBackwardThreads; dynamic shared memory:
/// backward_tiles_for(kD).floats() floats.
template <int kD>
__global__ void query_kernel(const float* gQ, const float* gK, const float* gV, const float* gDO,
                             const float* gLSE, const float* gDelta, float* gDQ, std::int64_t Nq,
                             std::int64_t Nk, std::int64_t d, std::int64_t diagonal, float scale) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  constexpr int kOwned = kT.Br * kD / kBackwardThreads;  // elements of dQ_i per thread
  const SharedTiles<kD> tiles;
  const std::int64_t tiles_per_head = (Nq + kT.Br - 1) / kT.Br;
  const std::int64_t head = blockIdx.x / tiles_per_head;
  const std::int64_t i0 = blockIdx.x % tiles_per_head * kT.Br;
  const std::int64_t q_start = head * Nq * d;  // of Q, dO, dQ
  const std::int64_t k_start = head * Nk * d;  // of K, V

  tiles.load_queries(gQ + q_start, gDO + q_start, gLSE + head * Nq, gDelta + head * Nq, i0, Nq, d);
  float grad_q[kOwned] = {};
  const std::int64_t last = (i0 + kT.Br < Nq ? i0 + kT.Br : Nq) - 1;
  const std::int64_t most = visible_keys(last, diagonal, Nk);
  for (std::int64_t j0 = 0; j0 < most; j0 += kT.Bc) {
    const device::TilePlace at = {i0, j0, Nq, Nk, d, diagonal};
    tiles.load_keys(gK + k_start, gV + k_start, j0, Nk, d);
    __syncthreads();  // wait until the tiles are complete
    device::recompute_tile<kBackwardThreads, kT.Br, kT.Bc, kD>(tiles.sQ, tiles.sDO, tiles.sK,
                                                               tiles.sV, tiles.sLSE, tiles.sDelta,
                                                               nullptr, tiles.sDS, at, scale);
    __syncthreads();  // wait until dS is there
    const int rows = at.rows(kT.Br);
#pragma unroll
    for (int m = 0; m < kOwned; ++m) {
      const int r = (threadIdx.x + m * kBackwardThreads) / kD;
      const int c = (threadIdx.x + m * kBackwardThreads) % kD;
      if (r >= rows) continue;
      const int keys = at.keys_of(r, kT.Bc);
#pragma unroll 8
      for (int j = 0; j < keys; ++j) {
        grad_q[m] += tiles.sDS[r * (kT.Bc + 1) + j] * tiles.sK[j * (kD + 1) + c];
      }
    }
    __syncthreads();  // wait until everyone is done with the tiles
  }
#pragma unroll
  for (int m = 0; m < kOwned; ++m) {
    const int r = (threadIdx.x + m * kBackwardThreads) / kD;
    const int c = (threadIdx.x + m * kBackwardThreads) % kD;
    if (i0 + r < Nq && c < d) gDQ[q_start + (i0 + r) * d + c] = scale * grad_q[m];
  }
}

template <int kD>
void run(const BackwardArgs& args) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  float* gDelta = static_cast<float*>(args.workspace);  // (B*H, Nq)
  run_delta_and_keys<kD, false>(args, gDelta);
  launch(query_kernel<kD>, grid_size(B * H * ceil_div(Nq, kT.Br)), kBackwardThreads,
         kT.floats() * sizeof(float), nullptr, args.q, args.k, args.v, args.grad_o, args.lse,
         gDelta, args.grad_q, Nq, Nk, d, attn::diagonal(args.mask, Nq, Nk), args.scale);
}

}  // namespace

void backward_deterministic(const BackwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::v2_loop_order
