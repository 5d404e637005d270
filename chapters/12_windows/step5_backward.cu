// SPDX-License-Identifier: MIT
//
// Step 5: chapter 07's deterministic backward pass over the same ranges. Two kernels, so that every
// sum has one owner; each asks the mask from its own side.
//   key_kernel,   one block per K/V tile:  which rows see a key of the tile?
//   query_kernel, one block per Q tile:    which keys does a row of the tile see?
// Tiles of the other side that nobody sees are not loaded, and a K/V tile that no row sees not even
// itself. dK and dV of padding are zero: blocks beyond the valid keys store them.
#include "chapters/12_windows/backward.cuh"
#include "common/columns.hpp"

namespace attn::windows {
namespace {

/// dK and dV.
/// Grid: B*H times the K/V tiles of a head; block: kBackwardThreads; dynamic shared memory:
/// backward_tiles_for(kD).floats() floats.
template <int kD>
__global__ void key_kernel(const float* gQ, const float* gK, const float* gV, const float* gDO,
                           const float* gLSE, const float* gDelta, float* gDK, float* gDV,
                           std::int64_t H, std::int64_t Nq, std::int64_t Nk, std::int64_t d,
                           ValidKeys valid_keys, Mask mask, std::int64_t sinks, float scale) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  constexpr int kOwned =
      kT.Bc * kD / kBackwardThreads;  // elements of dK_j, and of dV_j, per thread
  const SharedTiles<kD> tiles;
  const std::int64_t tiles_per_head = (Nk + kT.Bc - 1) / kT.Bc;
  const std::int64_t head = blockIdx.x / tiles_per_head;
  const std::int64_t j0 = blockIdx.x % tiles_per_head * kT.Bc;
  const Range valid = valid_keys.of_batch(head / H, Nk);
  const std::int64_t q_start = head * Nq * d;                  // of Q, dO
  const std::int64_t k_start = (head * Nk + valid.begin) * d;  // of K, V
  const SinkBand band{band_of(mask, Nq, valid.size()), sinks};

  const Range some = band.rows(j0, j0 + kT.Bc, Nq);
  if (!some.empty()) tiles.load_keys(gK + k_start, gV + k_start, j0, valid.size(), d);
  float grad_k[kOwned] = {};
  float grad_v[kOwned] = {};
  for (std::int64_t i0 = some.begin - some.begin % kT.Br; !some.empty() && i0 < some.end;
       i0 += kT.Br) {
    const BandPlace at = {band.in_tile(i0, j0, kT.Bc), Nq - i0, d};
    tiles.load_queries(gQ + q_start, gDO + q_start, gLSE + head * Nq, gDelta + head * Nq, i0, Nq,
                       d);
    __syncthreads();  // wait until the tiles are complete
    device::recompute_tile<kBackwardThreads, kT.Br, kT.Bc, kD>(tiles.sQ, tiles.sDO, tiles.sK,
                                                               tiles.sV, tiles.sLSE, tiles.sDelta,
                                                               tiles.sP, tiles.sDS, at, scale);
    __syncthreads();  // wait until P and dS are there
    const int rows = at.rows(kT.Br);
#pragma unroll
    for (int m = 0; m < kOwned; ++m) {
      const int key = (threadIdx.x + m * kBackwardThreads) / kD;
      const int c = (threadIdx.x + m * kBackwardThreads) % kD;
      const int end = at.tile.end_of_key(key, rows);
#pragma unroll 16
      for (int r = at.tile.begin_of_key(key); r < end; ++r) {
        grad_v[m] += tiles.sP[r * (kT.Bc + 1) + key] * tiles.sDO[r * (kD + 1) + c];
        grad_k[m] += tiles.sDS[r * (kT.Bc + 1) + key] * tiles.sQ[r * (kD + 1) + c];
      }
    }
    __syncthreads();  // wait until everyone is done with the tiles
  }
#pragma unroll
  for (int m = 0; m < kOwned; ++m) {
    const int key = (threadIdx.x + m * kBackwardThreads) / kD;
    const int c = (threadIdx.x + m * kBackwardThreads) % kD;
    if (j0 + key >= Nk || c >= d) continue;
    // Behind the valid keys comes the padding: what follows them, then what stands before them.
    const std::int64_t j = valid.begin + j0 + key;
    const std::int64_t at = (head * Nk + (j < Nk ? j : j - Nk)) * d + c;
    gDK[at] = scale * grad_k[m];
    gDV[at] = grad_v[m];
  }
}

/// dQ.
/// Grid: B*H times the Q tiles of a head; block and dynamic shared memory as above.
template <int kD>
__global__ void query_kernel(const float* gQ, const float* gK, const float* gV, const float* gDO,
                             const float* gLSE, const float* gDelta, float* gDQ, std::int64_t H,
                             std::int64_t Nq, std::int64_t Nk, std::int64_t d, ValidKeys valid_keys,
                             Mask mask, std::int64_t sinks, float scale) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  constexpr int kOwned = kT.Br * kD / kBackwardThreads;  // elements of dQ_i per thread
  const SharedTiles<kD> tiles;
  const std::int64_t tiles_per_head = (Nq + kT.Br - 1) / kT.Br;
  const std::int64_t head = blockIdx.x / tiles_per_head;
  const std::int64_t i0 = blockIdx.x % tiles_per_head * kT.Br;
  const Range valid = valid_keys.of_batch(head / H, Nk);
  const std::int64_t q_start = head * Nq * d;                  // of Q, dO, dQ
  const std::int64_t k_start = (head * Nk + valid.begin) * d;  // of K, V
  const SinkBand band{band_of(mask, Nq, valid.size()), sinks};

  tiles.load_queries(gQ + q_start, gDO + q_start, gLSE + head * Nq, gDelta + head * Nq, i0, Nq, d);
  float grad_q[kOwned] = {};
  const Stretches some = band.some(i0, i0 + kT.Br < Nq ? i0 + kT.Br : Nq, kT.Bc);
  for (std::int64_t j0 = some.from(0); j0 < some.end; j0 = some.from(j0 + kT.Bc)) {
    const BandPlace at = {band.in_tile(i0, j0, kT.Bc), Nq - i0, d};
    tiles.load_keys(gK + k_start, gV + k_start, j0, valid.size(), d);
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
      const auto add = [&](int begin, int end) {
#pragma unroll 8
        for (int j = begin; j < end; ++j) {
          grad_q[m] += tiles.sDS[r * (kT.Bc + 1) + j] * tiles.sK[j * (kD + 1) + c];
        }
      };
      if (at.tile.sinks > 0) add(0, at.tile.sinks_end(r));
      add(at.tile.window_begin(r), at.tile.end_of_row(r));
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
  constexpr std::size_t kSharedBytes = kT.floats() * sizeof(float);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const ValidKeys valid = valid_keys_of(args.extras);
  const std::int64_t sinks = args.extras.sink_keys;
  float* gDelta = static_cast<float*>(args.workspace);  // (B*H, Nq)
  launch(device::delta_kernel, ceil_div(B * H * Nq, kBackwardThreads / 32), kBackwardThreads, 0,
         nullptr, args.grad_o, args.o, gDelta, B * H * Nq, d);
  if (Nk > 0) {
    launch(key_kernel<kD>, grid_size(B * H * ceil_div(Nk, kT.Bc)), kBackwardThreads, kSharedBytes,
           nullptr, args.q, args.k, args.v, args.grad_o, args.lse, gDelta, args.grad_k, args.grad_v,
           H, Nq, Nk, d, valid, args.mask, sinks, args.scale);
  }
  launch(query_kernel<kD>, grid_size(B * H * ceil_div(Nq, kT.Br)), kBackwardThreads, kSharedBytes,
         nullptr, args.q, args.k, args.v, args.grad_o, args.lse, gDelta, args.grad_q, H, Nq, Nk, d,
         valid, args.mask, sinks, args.scale);
}

}  // namespace

std::size_t backward_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows()) * sizeof(float);
}

void backward(const BackwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::windows
