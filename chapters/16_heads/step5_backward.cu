// SPDX-License-Identifier: MIT
//
// Step 5: the backward pass of step 4. Whatever is summed has one owner, and so nothing needs an
// atomic, and every run gives the same bits:
//   delta_kernel, one warp per row:                          delta = dO . O - dLSE
//   key_kernel,   one block per K/V head and tile of keys:   dK, dV, over all heads of the group
//   query_kernel, one block per K/V head and tile of rows:   dQ
//   bias_kernel,  one block per tile of the bias:            its gradient, over all who share it
//   sink_kernel,  one block per query head:                  the gradient of its sink
// The last two run only where their gradients are wanted.
#include <algorithm>

#include "chapters/16_heads/backward.cuh"
#include "chapters/16_heads/grad_added.cuh"
#include "common/columns.hpp"

namespace attn::heads {
namespace {

/// delta_i = dO_i . O_i - dLSE_i: LSE moves as all logits of its row do, so its gradient joins
/// theirs. Grid: ceil(B*H*Nq / kBackwardWarps); block: kBackwardThreads.
__global__ void delta_kernel(const float* gDO, const float* gO, const float* gDLSE, float* gDelta,
                             Request request) {
  const int lane = threadIdx.x % 32;
  const std::int64_t row = std::int64_t{blockIdx.x} * kBackwardWarps + threadIdx.x / 32;
  const std::int64_t i = row % request.Nq, h = row / request.Nq % request.H;
  const std::int64_t b = row / request.Nq / request.H;
  if (b >= request.B) return;  // the whole warp
  const Range rows = request.queries_of(b);
  if (i >= rows.size()) return;
  const std::int64_t place = request.layouts.o.at(b, h, rows.begin + i);
  const std::int64_t of_row = request.layouts.lse.at(b, h, rows.begin + i);
  float sum = 0.0f;
  for (std::int64_t c = lane; c < request.d_v; c += 32) sum += gDO[place + c] * gO[place + c];
  sum = device::warp_sum(sum);
  if (lane > 0) return;
  if (gDLSE != nullptr) sum -= gDLSE[of_row];
  gDelta[of_row] = sum;
}

/// dK and dV.
/// Grid: B*Hkv times the tiles of the longest sequence's keys; block: kBackwardThreads; dynamic
/// shared memory: SharedTiles<kD>::kBytes.
template <int kD>
__global__ void key_kernel(Arrays in, Request request, float* gDK, float* gDV) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  using Own = Owned<kD, kT.Bc * kD>;  // of dK_j, and of dV_j
  const SharedTiles<kD> tiles;
  const std::int64_t key_tiles = (request.Nk + kT.Bc - 1) / kT.Bc;
  const std::int64_t kv_head = blockIdx.x / key_tiles % request.Hkv;
  const std::int64_t j0 = blockIdx.x % key_tiles * kT.Bc;
  const Sequence at = request.sequence(blockIdx.x / key_tiles / request.Hkv);
  if (j0 >= at.Nk) return;  // the whole block: the sequence is shorter than the longest
  const int group = request.group();

  const Range tokens = request.rows_of(at, j0, j0 + kT.Bc);
  bool has_keys = false;
  float grad_k[Own::kCount] = {};
  float grad_v[Own::kCount] = {};
  for (std::int64_t R0 = tokens.begin * group; R0 < tokens.end * group; R0 += kT.Br) {
    const device::RowTile rows = device::row_tile(R0, kT.Br, at.Nq, kv_head, group);
    typename SharedTiles<kD>::Seen seen(request, at, rows);
    // wait until everyone is done with the tiles before, and hear whether some row sees a key
    if (!seen.look(request, at, rows, j0)) continue;
    if (!has_keys) tiles.load_keys(in, request, at, kv_head, j0);
    has_keys = true;
    tiles.load_queries(in, request, at, rows);
    tiles.load_words(seen, request, at, rows, j0);
    __syncthreads();  // wait until the tiles and words are complete
    tiles.recompute({request, at, rows, tiles.sWords, tiles.sSlopes, j0}, tiles.sP);
    __syncthreads();  // wait until P and dS are there
    for (int r = 0; r < kT.Br; ++r) {
      const device::RowWord sees{tiles.sWords[r]};
      if (sees.sees_none()) continue;
      float q[Own::kColumns], grad_o[Own::kColumns];
#pragma unroll
      for (int m = 0; m < Own::kColumns; ++m) {
        q[m] = tiles.sQ[r * (kD + 1) + Own::column(m)];
        grad_o[m] = tiles.sDO[r * (kD + 1) + Own::column(m)];
      }
#pragma unroll
      for (int m = 0; m < Own::kCount; ++m) {
        if (!sees.sees(Own::row(m))) continue;
        grad_v[m] += tiles.sP[r * (kT.Bc + 1) + Own::row(m)] * grad_o[m % Own::kColumns];
        grad_k[m] += tiles.sDS[r * (kT.Bc + 1) + Own::row(m)] * q[m % Own::kColumns];
      }
    }
  }
#pragma unroll
  for (int m = 0; m < Own::kCount; ++m) {
    const std::int64_t j = j0 + Own::row(m);
    const int c = Own::column(m);
    if (j >= at.Nk) continue;
    if (c < request.d) {
      gDK[request.layouts.k.at(at.b, kv_head, at.k_row + j) + c] = request.scale * grad_k[m];
    }
    if (c < request.d_v) gDV[request.layouts.v.at(at.b, kv_head, at.k_row + j) + c] = grad_v[m];
  }
}

/// dQ.
/// Grid: B*Hkv times the tiles of a group's rows; block and dynamic shared memory as above.
template <int kD>
__global__ void query_kernel(Arrays in, Request request, float* gDQ) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  using Own = Owned<kD, kT.Br * kD>;  // of dQ_i
  const SharedTiles<kD> tiles;
  const std::int64_t row_tiles = request.row_tiles(kT.Br);
  const std::int64_t kv_head = blockIdx.x / row_tiles % request.Hkv;
  const Sequence at = request.sequence(blockIdx.x / row_tiles / request.Hkv);
  const device::RowTile rows =
      device::row_tile(blockIdx.x % row_tiles * kT.Br, kT.Br, at.Nq, kv_head, request.group());
  if (rows.rows <= 0) return;  // the whole block: the sequence is shorter than the longest

  tiles.load_queries(in, request, at, rows);
  typename SharedTiles<kD>::Seen seen(request, at, rows);
  float grad_q[Own::kCount] = {};
  const Range some = request.keys_of(at, rows.tokens());
  for (std::int64_t j0 = some.empty() ? some.end : some.begin / kT.Bc * kT.Bc; j0 < some.end;
       j0 += kT.Bc) {
    // wait until everyone is done with the tiles before, and hear whether this one is needed
    if (!seen.look(request, at, rows, j0)) continue;
    tiles.load_keys(in, request, at, kv_head, j0);
    tiles.load_words(seen, request, at, rows, j0);
    __syncthreads();  // wait until the tiles and words are complete
    tiles.recompute({request, at, rows, tiles.sWords, tiles.sSlopes, j0}, nullptr);
    __syncthreads();  // wait until dS is there
    device::RowWord sees[Own::kCount];
#pragma unroll
    for (int m = 0; m < Own::kCount; ++m) sees[m] = {tiles.sWords[Own::row(m)]};
    for (int key = 0; key < kT.Bc; ++key) {
      float k[Own::kColumns];
#pragma unroll
      for (int m = 0; m < Own::kColumns; ++m) k[m] = tiles.sK[key * (kD + 1) + Own::column(m)];
#pragma unroll
      for (int m = 0; m < Own::kCount; ++m) {
        if (!sees[m].sees(key)) continue;
        grad_q[m] += tiles.sDS[Own::row(m) * (kT.Bc + 1) + key] * k[m % Own::kColumns];
      }
    }
  }
#pragma unroll
  for (int m = 0; m < Own::kCount; ++m) {
    const int r = Own::row(m), c = Own::column(m);
    if (r >= rows.rows || c >= request.d) continue;
    const std::int64_t i = at.q_row + rows.i0 + rows.token(r);
    gDQ[request.layouts.q.at(at.b, rows.head(r), i) + c] = request.scale * grad_q[m];
  }
}

template <int kD>
void run(const BackwardArgs& args) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  constexpr std::size_t kBytes = SharedTiles<kD>::kBytes;
  const Request request = request_of(args);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const Extras& extras = args.extras;
  float* gDelta = static_cast<float*>(args.workspace);  // as LSE
  const Arrays in{args.q, args.k, args.v, args.grad_o, args.lse, gDelta};
  launch(delta_kernel, ceil_div(B * H * Nq, kBackwardWarps), kBackwardThreads, 0, nullptr,
         args.grad_o, args.o, extras.grad_lse, gDelta, request);
  if (Nk > 0) {
    launch(key_kernel<kD>, grid_size(B * Hkv * ceil_div(Nk, kT.Bc)), kBackwardThreads, kBytes,
           nullptr, in, request, args.grad_k, args.grad_v);
  }
  launch(query_kernel<kD>, grid_size(B * Hkv * request.row_tiles(kT.Br)), kBackwardThreads, kBytes,
         nullptr, in, request, args.grad_q);
  if (extras.grad_bias != nullptr) {
    const PairShape shape = extras.bias_shape;
    const std::int64_t blocks =
        shape.B * shape.H * ceil_div(shape.Nq, kT.Br) * ceil_div(shape.Nk, kT.Bc);
    if (blocks > 0) {
      launch(bias_kernel<kD>, grid_size(blocks), kBackwardThreads, kBytes, nullptr, in, request,
             shape, extras.grad_bias);
    }
  }
  if (extras.grad_sink_logits != nullptr) {
    launch(sink_kernel, grid_size(H), kBackwardThreads, 0, nullptr, args.lse, gDelta, request,
           extras.grad_sink_logits);
  }
}

}  // namespace

std::size_t backward_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows()) * sizeof(float);
}

void backward(const BackwardArgs& args) {
  const std::int64_t widest = std::max(args.shape.d, value_width(args.shape, args.extras));
  with_columns<kMaxColumns>(widest, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::heads
