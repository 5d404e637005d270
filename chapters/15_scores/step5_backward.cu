// SPDX-License-Identifier: MIT
//
// Step 5: chapter 07's deterministic backward pass, whose scores have met all of that. Whatever is
// summed has one owner, and so nothing needs an atomic:
//   key_kernel,   one block per K/V tile:         dK, dV
//   query_kernel, one block per Q tile:           dQ
//   bias_kernel,  one block per tile of the bias: its gradient, over all pairs that share a number
//   sink_kernel,  one block per head:             the gradient of its sink
// The last two run only where their gradients are wanted.
#include "chapters/15_scores/backward.cuh"
#include "chapters/15_scores/grad_added.cuh"
#include "common/columns.hpp"
#include "common/device/recompute.cuh"

namespace attn::scores {
namespace {

/// dK and dV.
/// Grid: B*H times the K/V tiles of a head; block: kBackwardThreads; dynamic shared memory:
/// SharedTiles<kD>::kBytes.
template <int kD>
__global__ void key_kernel(Arrays in, Rules rules, float* gDK, float* gDV) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  constexpr int kOwned =
      kT.Bc * kD / kBackwardThreads;  // elements of dK_j, and of dV_j, per thread
  const SharedTiles<kD> tiles;
  const std::int64_t Nq = in.Nq, Nk = in.Nk, d = in.d;
  const std::int64_t tiles_per_head = (Nk + kT.Bc - 1) / kT.Bc;
  const std::int64_t head = blockIdx.x / tiles_per_head;
  const std::int64_t j0 = blockIdx.x % tiles_per_head * kT.Bc;
  const HeadRule rule(rules, head / in.H, head % in.H, Nq, Nk);

  const Range some = rule.band.rows(j0, j0 + kT.Bc, Nq);
  if (!some.empty()) tiles.load_keys(in.gK + head * Nk * d, in.gV + head * Nk * d, j0, Nk, d);
  float grad_k[kOwned] = {};
  float grad_v[kOwned] = {};
  const int c = threadIdx.x % kD;
  for (std::int64_t i0 = some.begin / kT.Br * kT.Br; i0 < some.end; i0 += kT.Br) {
    tiles.load_queries(in.gQ + head * Nq * d, in.gDO + head * Nq * d, in.gLSE + head * Nq,
                       in.gDelta + head * Nq, i0, Nq, d);
    draw<kBackwardThreads, kT.Br, kT.Bc>(rules.dropout, rule.b, rule.h, i0, j0, tiles.sKept);
    __syncthreads();  // wait until the tiles and draws are complete
    tiles.recompute(rule.tile<kT.Br, kT.Bc>(rules, i0, j0), rules.dropout, true, d);
    __syncthreads();  // wait until P and dS are there
    for (int r = 0; r < kT.Br; ++r) {
      const device::RowWord seen{tiles.sWords[r]};
      if (seen.sees_none()) continue;
      const float q = tiles.sQ[r * (kD + 1) + c];
      const float grad_o = tiles.sDO[r * (kD + 1) + c];
#pragma unroll
      for (int m = 0; m < kOwned; ++m) {
        const int key = (threadIdx.x + m * kBackwardThreads) / kD;
        if (!seen.sees(key)) continue;
        grad_v[m] += tiles.sP[r * (kT.Bc + 1) + key] * grad_o;
        grad_k[m] += tiles.sDS[r * (kT.Bc + 1) + key] * q;
      }
    }
    __syncthreads();  // wait until everyone is done with the tiles
  }
#pragma unroll
  for (int m = 0; m < kOwned; ++m) {
    const int key = (threadIdx.x + m * kBackwardThreads) / kD;
    if (j0 + key >= Nk || c >= d) continue;
    gDK[(head * Nk + j0 + key) * d + c] = rules.scale * grad_k[m];
    gDV[(head * Nk + j0 + key) * d + c] = grad_v[m];
  }
}

/// dQ.
/// Grid: B*H times the Q tiles of a head; block and dynamic shared memory as above.
template <int kD>
__global__ void query_kernel(Arrays in, Rules rules, float* gDQ) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  constexpr int kOwned = kT.Br * kD / kBackwardThreads;  // elements of dQ_i per thread
  const SharedTiles<kD> tiles;
  const std::int64_t Nq = in.Nq, Nk = in.Nk, d = in.d;
  const std::int64_t tiles_per_head = (Nq + kT.Br - 1) / kT.Br;
  const std::int64_t head = blockIdx.x / tiles_per_head;
  const std::int64_t i0 = blockIdx.x % tiles_per_head * kT.Br;
  const HeadRule rule(rules, head / in.H, head % in.H, Nq, Nk);

  tiles.load_queries(in.gQ + head * Nq * d, in.gDO + head * Nq * d, in.gLSE + head * Nq,
                     in.gDelta + head * Nq, i0, Nq, d);
  float grad_q[kOwned] = {};
  const int c = threadIdx.x % kD;
  const Range some = rule.band.some(i0, i0 + kT.Br < Nq ? i0 + kT.Br : Nq);
  for (std::int64_t j0 = some.empty() ? some.end : some.begin / kT.Bc * kT.Bc; j0 < some.end;
       j0 += kT.Bc) {
    tiles.load_keys(in.gK + head * Nk * d, in.gV + head * Nk * d, j0, Nk, d);
    draw<kBackwardThreads, kT.Br, kT.Bc>(rules.dropout, rule.b, rule.h, i0, j0, tiles.sKept);
    __syncthreads();  // wait until the tiles and draws are complete
    tiles.recompute(rule.tile<kT.Br, kT.Bc>(rules, i0, j0), rules.dropout, false, d);
    __syncthreads();  // wait until dS is there
    device::RowWord seen[kOwned];
#pragma unroll
    for (int m = 0; m < kOwned; ++m) {
      seen[m] = {tiles.sWords[(threadIdx.x + m * kBackwardThreads) / kD]};
    }
    for (int key = 0; key < kT.Bc; ++key) {
      const float k = tiles.sK[key * (kD + 1) + c];
#pragma unroll
      for (int m = 0; m < kOwned; ++m) {
        const int r = (threadIdx.x + m * kBackwardThreads) / kD;
        if (seen[m].sees(key)) grad_q[m] += tiles.sDS[r * (kT.Bc + 1) + key] * k;
      }
    }
    __syncthreads();  // wait until everyone is done with the tiles
  }
#pragma unroll
  for (int m = 0; m < kOwned; ++m) {
    const int r = (threadIdx.x + m * kBackwardThreads) / kD;
    if (i0 + r < Nq && c < d) gDQ[(head * Nq + i0 + r) * d + c] = rules.scale * grad_q[m];
  }
}

template <int kD>
void run(const BackwardArgs& args) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  constexpr std::size_t kBytes = SharedTiles<kD>::kBytes;
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const Rules rules = rules_of(args);
  float* gDelta = static_cast<float*>(args.workspace);  // (B*H, Nq)
  const Arrays in{args.q, args.k, args.v, args.grad_o, args.lse, gDelta, B, H, Nq, Nk, d};
  launch(device::delta_kernel, ceil_div(B * H * Nq, kBackwardThreads / 32), kBackwardThreads, 0,
         nullptr, args.grad_o, args.o, gDelta, B * H * Nq, d);
  if (Nk > 0) {
    launch(key_kernel<kD>, grid_size(B * H * ceil_div(Nk, kT.Bc)), kBackwardThreads, kBytes,
           nullptr, in, rules, args.grad_k, args.grad_v);
  }
  launch(query_kernel<kD>, grid_size(B * H * ceil_div(Nq, kT.Br)), kBackwardThreads, kBytes,
         nullptr, in, rules, args.grad_q);
  if (args.extras.grad_bias != nullptr) {
    const PairShape shape = args.extras.bias_shape;
    const std::int64_t blocks =
        shape.B * shape.H * ceil_div(shape.Nq, kT.Br) * ceil_div(shape.Nk, kT.Bc);
    if (blocks > 0)
      launch(bias_kernel<kD>, grid_size(blocks), kBackwardThreads, kBytes, nullptr, in, rules,
             args.extras.grad_bias);
  }
  if (args.extras.grad_sink_logits != nullptr) {
    launch(sink_kernel, grid_size(H), kBackwardThreads, 0, nullptr, in, args.extras.sink_logits,
           args.extras.grad_sink_logits);
  }
}

}  // namespace

std::size_t backward_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows()) * sizeof(float);
}

void backward(const BackwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::scores
