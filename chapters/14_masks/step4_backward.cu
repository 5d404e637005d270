// SPDX-License-Identifier: MIT
//
// Step 4: chapter 07's deterministic backward pass over lists. Two kernels, so that every sum has
// one owner; each has the lists of its own side.
//   key_kernel,   one block per K/V tile:  the Q tiles of which a row sees one of its keys
//   query_kernel, one block per Q tile:    the K/V tiles of which its rows see a key, as in step 3
// Both read the words of step 3, a row's keys; the rows of a key are made of them.
#include "chapters/14_masks/backward.cuh"
#include "common/columns.hpp"

namespace attn::masks {
namespace {

template <int kD>
using Packed = PackedMask<backward_tiles_for(kD).Br, backward_tiles_for(kD).Bc>;

/// dK and dV.
/// Grid: B*H times the K/V tiles of a head; block: kBackwardThreads; dynamic shared memory:
/// SharedTiles<kD>::kBytes. query_lists: for each tile of keys.
template <int kD>
__global__ void key_kernel(const float* gQ, const float* gK, const float* gV, const float* gDO,
                           const float* gLSE, const float* gDelta, float* gDK, float* gDV,
                           std::int64_t H, std::int64_t Nk, std::int64_t d, MaskArray array,
                           Packed<kD> packed, TileLists query_lists, float scale) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  constexpr int kOwned =
      kT.Bc * kD / kBackwardThreads;  // elements of dK_j, and of dV_j, per thread
  const SharedTiles<kD> tiles;
  const std::int64_t Nq = packed.Nq;
  const std::int64_t head = blockIdx.x / packed.key_tiles;
  const std::int64_t key_tile = blockIdx.x % packed.key_tiles;
  const std::int64_t j0 = key_tile * kT.Bc;
  const std::int64_t mask_head = array.head_of(head / H, head % H);
  gQ += head * Nq * d;
  gK += head * Nk * d;
  gV += head * Nk * d;
  gDO += head * Nq * d;
  gLSE += head * Nq;
  gDelta += head * Nq;

  float grad_k[kOwned] = {};
  float grad_v[kOwned] = {};
  const std::uint32_t* gList = query_lists.of(mask_head, key_tile);
  const std::uint32_t count = *gList++;
  if (count > 0) tiles.load_keys(gK, gV, j0, Nk, d);
  for (std::uint32_t n = 0; n < count; ++n) {
    const ListedTile listed{gList[n]};
    const std::int64_t i0 = listed.number() * kT.Br;
    tiles.load_queries(gQ, gDO, gLSE, gDelta, i0, Nq, d);
    const auto* gWords = packed.words.of_keys(mask_head, key_tile);
    tiles.turn_words(tiles.load_words(gWords, listed.whole(), i0, Nq));
    __syncthreads();  // wait until the tiles are complete
    device::recompute_tile<kBackwardThreads, kT.Br, kT.Bc, kD>(
        tiles.sQ, tiles.sDO, tiles.sK, tiles.sV, tiles.sLSE, tiles.sDelta, tiles.sP, tiles.sDS,
        WordPlace{Nq - i0, d, tiles.sWords}, scale);
    __syncthreads();  // wait until P and dS are there
#pragma unroll
    for (int m = 0; m < kOwned; ++m) {
      const int key = (threadIdx.x + m * kBackwardThreads) / kD;
      const int c = (threadIdx.x + m * kBackwardThreads) % kD;
      if (listed.whole() && i0 + kT.Br <= Nq) {
        tiles.add_to_key(device::WholeRow<kT.Br>(), key, c, grad_k[m], grad_v[m]);
      } else {
        tiles.add_to_key(device::RowWord{tiles.sSeenBy[key]}, key, c, grad_k[m], grad_v[m]);
      }
    }
    __syncthreads();  // wait until everyone is done with the tiles
  }
#pragma unroll
  for (int m = 0; m < kOwned; ++m) {
    const int key = (threadIdx.x + m * kBackwardThreads) / kD;
    const int c = (threadIdx.x + m * kBackwardThreads) % kD;
    if (j0 + key >= Nk || c >= d) continue;
    gDK[(head * Nk + j0 + key) * d + c] = scale * grad_k[m];
    gDV[(head * Nk + j0 + key) * d + c] = grad_v[m];
  }
}

/// dQ.
/// Grid: B*H times the Q tiles of a head; block and dynamic shared memory as above.
template <int kD>
__global__ void query_kernel(const float* gQ, const float* gK, const float* gV, const float* gDO,
                             const float* gLSE, const float* gDelta, float* gDQ, std::int64_t H,
                             std::int64_t Nk, std::int64_t d, MaskArray array, Packed<kD> packed,
                             float scale) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  constexpr int kOwned = kT.Br * kD / kBackwardThreads;  // elements of dQ_i per thread
  const SharedTiles<kD> tiles;
  const std::int64_t Nq = packed.Nq;
  const std::int64_t head = blockIdx.x / packed.query_tiles;
  const std::int64_t query_tile = blockIdx.x % packed.query_tiles;
  const std::int64_t i0 = query_tile * kT.Br;
  const std::int64_t mask_head = array.head_of(head / H, head % H);
  gK += head * Nk * d;
  gV += head * Nk * d;

  tiles.load_queries(gQ + head * Nq * d, gDO + head * Nq * d, gLSE + head * Nq, gDelta + head * Nq,
                     i0, Nq, d);
  float grad_q[kOwned] = {};
  const std::uint32_t* gList = packed.key_lists.of(mask_head, query_tile);
  const std::uint32_t count = *gList++;
  for (std::uint32_t n = 0; n < count; ++n) {
    const ListedTile listed{gList[n]};
    const std::int64_t j0 = listed.number() * kT.Bc;
    tiles.load_keys(gK, gV, j0, Nk, d);
    tiles.load_words(packed.words.of_keys(mask_head, listed.number()), listed.whole(), i0, Nq);
    __syncthreads();  // wait until the tiles are complete
    device::recompute_tile<kBackwardThreads, kT.Br, kT.Bc, kD>(
        tiles.sQ, tiles.sDO, tiles.sK, tiles.sV, tiles.sLSE, tiles.sDelta, nullptr, tiles.sDS,
        WordPlace{Nq - i0, d, tiles.sWords}, scale);
    __syncthreads();  // wait until dS is there
#pragma unroll
    for (int m = 0; m < kOwned; ++m) {
      const int r = (threadIdx.x + m * kBackwardThreads) / kD;
      const int c = (threadIdx.x + m * kBackwardThreads) % kD;
      if (listed.whole() && i0 + kT.Br <= Nq) {
        tiles.add_to_query(device::WholeRow<kT.Bc>(), r, c, grad_q[m]);
      } else {
        tiles.add_to_query(device::RowWord{tiles.sWords[r]}, r, c, grad_q[m]);
      }
    }
    __syncthreads();  // wait until everyone is done with the tiles
  }
#pragma unroll
  for (int m = 0; m < kOwned; ++m) {
    const int r = (threadIdx.x + m * kBackwardThreads) / kD;
    const int c = (threadIdx.x + m * kBackwardThreads) % kD;
    if (i0 + r < Nq && c < d) gDQ[(head * Nq + i0 + r) * d + c] = scale * grad_q[m];
  }
}

/// The workspace: delta, as LSE; the lists of tiles of queries; words and the other lists.
template <int kD>
struct Workspace {
  std::int64_t rows;
  Packed<kD> packed;
  TileLists query_lists;
  float* delta = nullptr;

  Workspace(const Shape& shape, std::int64_t heads_of_array)
      : rows(shape.rows()),
        packed(heads_of_array, shape.Nq, shape.Nk),
        query_lists{nullptr, packed.key_tiles, packed.query_tiles} {}
  std::size_t bytes() const {
    return static_cast<std::size_t>(rows) * sizeof(float) +
           static_cast<std::size_t>(query_lists.elements(packed.heads)) * sizeof(std::uint32_t) +
           packed.bytes();
  }
  void place(void* workspace) {
    delta = static_cast<float*>(workspace);
    void* lists_at = delta + rows;
    query_lists.first = static_cast<std::uint32_t*>(lists_at);
    packed.place(query_lists.first + query_lists.elements(packed.heads));
  }
};

template <int kD>
void run(const BackwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const Pairs pairs = pairs_of(args);
  Workspace<kD> at(args.shape, pairs.array.heads());
  at.place(args.workspace);
  launch(device::delta_kernel, ceil_div(at.rows, kBackwardThreads / 32), kBackwardThreads, 0,
         nullptr, args.grad_o, args.o, at.delta, at.rows, d);
  pack(pairs, at.packed);
  if (Nk > 0) {
    launch(list_kernel, ceil_div(at.packed.heads * at.packed.key_tiles, kPackWarps), kPackThreads,
           0, nullptr, at.packed.states, at.query_lists, at.packed.heads, 1, at.packed.key_tiles);
    launch(key_kernel<kD>, grid_size(B * H * at.packed.key_tiles), kBackwardThreads,
           SharedTiles<kD>::kBytes, nullptr, args.q, args.k, args.v, args.grad_o, args.lse,
           at.delta, args.grad_k, args.grad_v, H, Nk, d, pairs.array, at.packed, at.query_lists,
           args.scale);
  }
  launch(query_kernel<kD>, grid_size(B * H * at.packed.query_tiles), kBackwardThreads,
         SharedTiles<kD>::kBytes, nullptr, args.q, args.k, args.v, args.grad_o, args.lse, at.delta,
         args.grad_q, H, Nk, d, pairs.array, at.packed, args.scale);
}

}  // namespace

std::size_t backward_workspace_bytes(const Shape& shape) {
  std::size_t bytes = 0;
  with_columns(shape.d, [&]<int kD>() { bytes = Workspace<kD>(shape, shape.heads()).bytes(); });
  return bytes;
}

void backward(const BackwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::masks
