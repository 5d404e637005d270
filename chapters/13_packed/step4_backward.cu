// SPDX-License-Identifier: MIT
//
// Step 4: chapter 07's deterministic backward pass over sequences and ranges. Two kernels, so that
// every sum has one owner; each finds its sequence on its own side of S.
//   key_kernel,   one block per K/V tile:  the rows vote, tile by tile, on whether one sees it
//   query_kernel, one block per Q tile:    its rows vote, as in step 3, on whether they need a tile
// The rows that see a key are no range any more: they are bits of a word, as a row's keys are.
#include "chapters/13_packed/backward.cuh"
#include "common/columns.hpp"

namespace attn::packed {
namespace {

/// The keys that the thread's row of the tile from i0 on sees; none if it has no row.
template <int kRows>
__device__ __forceinline__ RowKeys own_keys(const RangeArray& ranges, std::int64_t b,
                                            std::int64_t i0, std::int64_t Nq, const Band& band) {
  const std::int64_t i = i0 + threadIdx.x;
  return threadIdx.x < kRows && i < Nq ? ranges.row(b, i, band) : RowKeys{};
}

/// dK and dV.
/// Grid: H times keys.tiles(Bc); block: kBackwardThreads; dynamic shared memory:
/// SharedTiles<kD>::kBytes.
template <int kD>
__global__ void key_kernel(const float* gQ, const float* gK, const float* gV, const float* gDO,
                           const float* gLSE, const float* gDelta, float* gDK, float* gDV,
                           Sequences queries, Sequences keys, std::int64_t d, RangeArray ranges,
                           Mask mask, float scale) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  constexpr int kOwned =
      kT.Bc * kD / kBackwardThreads;  // elements of dK_j, and of dV_j, per thread
  const SharedTiles<kD> tiles;
  const BlockTile block = keys.tile_of_block(blockIdx.x, kT.Bc);
  const std::int64_t j0 = block.first_row, Nk = block.rows.size();
  if (j0 >= Nk) return;  // the whole block
  const Range query_rows = queries.rows(block.b);
  const std::int64_t Nq = query_rows.size();
  const std::int64_t q_row = queries.place(query_rows, block.h);  // of Q, dO, LSE, delta
  const std::int64_t k_row = keys.place(block.rows, block.h);     // of K, V, dK, dV
  const Band band = band_of(mask, Nq, Nk);

  const Range some = band.rows(j0, j0 + kT.Bc, Nq);
  bool has_keys = false;
  float grad_k[kOwned] = {};
  float grad_v[kOwned] = {};
  for (std::int64_t i0 = some.begin / kT.Br * kT.Br; i0 < some.end; i0 += kT.Br) {
    const RowKeys own = own_keys<kT.Br>(ranges, block.b, i0, Nq, band);
    // wait until everyone is done with the tiles before, and hear whether some row sees a key
    if (__syncthreads_or(own.meets({j0, j0 + kT.Bc})) == 0) continue;
    if (!has_keys) tiles.load_keys(gK + k_row * d, gV + k_row * d, j0, Nk, d);
    has_keys = true;
    tiles.load_queries(gQ + q_row * d, gDO + q_row * d, gLSE + q_row, gDelta + q_row, i0, Nq, d);
    if (threadIdx.x < 32) {  // the warp that has the rows
      const unsigned word = own.word(j0, kT.Bc);
      const unsigned seen_by = rows_of_key<kT.Bc>(word);
      if (threadIdx.x < kT.Br) tiles.sSeen[threadIdx.x] = word;
      if (threadIdx.x < kT.Bc) tiles.sSeenBy[threadIdx.x] = seen_by;
    }
    __syncthreads();  // wait until the tiles are complete
    const WordPlace at = {Nq - i0, d, {tiles.sSeen}};
    device::recompute_tile<kBackwardThreads, kT.Br, kT.Bc, kD>(tiles.sQ, tiles.sDO, tiles.sK,
                                                               tiles.sV, tiles.sLSE, tiles.sDelta,
                                                               tiles.sP, tiles.sDS, at, scale);
    __syncthreads();  // wait until P and dS are there
#pragma unroll
    for (int m = 0; m < kOwned; ++m) {
      const int key = (threadIdx.x + m * kBackwardThreads) / kD;
      const int c = (threadIdx.x + m * kBackwardThreads) % kD;
      const unsigned seen_by = tiles.sSeenBy[key];
      for (int r = 0; r < kT.Br; ++r) {
        if ((seen_by >> r & 1u) == 0) continue;
        grad_v[m] += tiles.sP[r * (kT.Bc + 1) + key] * tiles.sDO[r * (kD + 1) + c];
        grad_k[m] += tiles.sDS[r * (kT.Bc + 1) + key] * tiles.sQ[r * (kD + 1) + c];
      }
    }
  }
#pragma unroll
  for (int m = 0; m < kOwned; ++m) {
    const int key = (threadIdx.x + m * kBackwardThreads) / kD;
    const int c = (threadIdx.x + m * kBackwardThreads) % kD;
    if (j0 + key >= Nk || c >= d) continue;
    gDK[(k_row + j0 + key) * d + c] = scale * grad_k[m];
    gDV[(k_row + j0 + key) * d + c] = grad_v[m];
  }
}

/// dQ.
/// Grid: H times queries.tiles(Br); block and dynamic shared memory as above.
template <int kD>
__global__ void query_kernel(const float* gQ, const float* gK, const float* gV, const float* gDO,
                             const float* gLSE, const float* gDelta, float* gDQ, Sequences queries,
                             Sequences keys, std::int64_t d, RangeArray ranges, Mask mask,
                             float scale) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  constexpr int kOwned = kT.Br * kD / kBackwardThreads;  // elements of dQ_i per thread
  const SharedTiles<kD> tiles;
  const BlockTile block = queries.tile_of_block(blockIdx.x, kT.Br);
  const std::int64_t i0 = block.first_row, Nq = block.rows.size();
  if (i0 >= Nq) return;  // the whole block
  const Range key_rows = keys.rows(block.b);
  const std::int64_t Nk = key_rows.size();
  const std::int64_t q_row = queries.place(block.rows, block.h);  // of Q, dO, dQ, LSE, delta
  const std::int64_t k_row = keys.place(key_rows, block.h);       // of K, V

  const RowKeys own = own_keys<kT.Br>(ranges, block.b, i0, Nq, band_of(mask, Nq, Nk));
  tiles.load_queries(gQ + q_row * d, gDO + q_row * d, gLSE + q_row, gDelta + q_row, i0, Nq, d);
  const int row = threadIdx.x;
  const int rows = Nq - i0 < kT.Br ? static_cast<int>(Nq - i0) : kT.Br;
  if (row < rows) tiles.sKeys.put(row, own);
  __syncthreads();  // wait until all rows have their ranges
  float grad_q[kOwned] = {};
  const Range some = tiles.sKeys.hull(rows);
  for (std::int64_t j0 = some.begin / kT.Bc * kT.Bc; j0 < some.end; j0 += kT.Bc) {
    // wait until everyone is done with the tiles before, and hear whether some row needs this one
    if (__syncthreads_or(own.meets({j0, j0 + kT.Bc})) == 0) continue;
    tiles.load_keys(gK + k_row * d, gV + k_row * d, j0, Nk, d);
    if (threadIdx.x < kT.Br) tiles.sSeen[threadIdx.x] = own.word(j0, kT.Bc);
    __syncthreads();  // wait until the tiles are complete
    const WordPlace at = {Nq - i0, d, {tiles.sSeen}};
    device::recompute_tile<kBackwardThreads, kT.Br, kT.Bc, kD>(tiles.sQ, tiles.sDO, tiles.sK,
                                                               tiles.sV, tiles.sLSE, tiles.sDelta,
                                                               nullptr, tiles.sDS, at, scale);
    __syncthreads();  // wait until dS is there
#pragma unroll
    for (int m = 0; m < kOwned; ++m) {
      const int r = (threadIdx.x + m * kBackwardThreads) / kD;
      const int c = (threadIdx.x + m * kBackwardThreads) % kD;
      const device::RowWord seen = at.seen.row(r);
      for (int j = 0; j < kT.Bc; ++j) {
        if (!seen.sees(j)) continue;
        grad_q[m] += tiles.sDS[r * (kT.Bc + 1) + j] * tiles.sK[j * (kD + 1) + c];
      }
    }
  }
#pragma unroll
  for (int m = 0; m < kOwned; ++m) {
    const int r = (threadIdx.x + m * kBackwardThreads) / kD;
    const int c = (threadIdx.x + m * kBackwardThreads) % kD;
    if (i0 + r < Nq && c < d) gDQ[(q_row + i0 + r) * d + c] = scale * grad_q[m];
  }
}

template <int kD>
void run(const BackwardArgs& args) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const Sequences queries = sequences_of(args.extras.q_offsets, B, H, Nq);
  const Sequences keys = sequences_of(args.extras.k_offsets, B, H, Nk);
  const RangeArray ranges = range_array_of(args.extras, Nq);
  const std::int64_t rows = sizes_of(args.shape, args.extras).rows;
  float* gDelta = static_cast<float*>(args.workspace);  // as LSE
  launch(device::delta_kernel, ceil_div(rows, kBackwardThreads / 32), kBackwardThreads, 0, nullptr,
         args.grad_o, args.o, gDelta, rows, d);
  if (keys.tiles(kT.Bc) > 0) {
    launch(key_kernel<kD>, grid_size(H * keys.tiles(kT.Bc)), kBackwardThreads,
           SharedTiles<kD>::kBytes, nullptr, args.q, args.k, args.v, args.grad_o, args.lse, gDelta,
           args.grad_k, args.grad_v, queries, keys, d, ranges, args.mask, args.scale);
  }
  launch(query_kernel<kD>, grid_size(H * queries.tiles(kT.Br)), kBackwardThreads,
         SharedTiles<kD>::kBytes, nullptr, args.q, args.k, args.v, args.grad_o, args.lse, gDelta,
         args.grad_q, queries, keys, d, ranges, args.mask, args.scale);
}

}  // namespace

std::size_t backward_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows()) * sizeof(float);
}

void backward(const BackwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::packed
