// SPDX-License-Identifier: MIT
//
// Steps 3 and 4: the kernels that run before attention. The first one packs the pairs, a tile per
// block; the second makes lists of what the first found.
#pragma once

#include "chapters/14_masks/lists.hpp"
#include "chapters/14_masks/mask_array.hpp"
#include "chapters/14_masks/words.cuh"

namespace attn::masks {

inline constexpr int kPackWarps = 4;
inline constexpr int kPackThreads = 32 * kPackWarps;

/// Words and state of a tile.
/// Grid: packed.tiles(); block: kPackThreads.
template <int kBr, int kBc>
__global__ void pack_kernel(Pairs pairs, PackedMask<kBr, kBc> packed) {
  constexpr int kRows = kBr / kPackWarps;  // of a warp
  const std::int64_t key_tile = blockIdx.x % packed.key_tiles;
  const std::int64_t i0 = blockIdx.x / packed.key_tiles % packed.query_tiles * kBr;
  const std::int64_t head = blockIdx.x / packed.key_tiles / packed.query_tiles;
  const int warp = threadIdx.x / 32;
  const int row = warp * kRows + threadIdx.x % 32;  // this thread's, if it has one
  const TilePairs tile = pairs.in_tile(head, i0, key_tile * kBc, kBr, kBc);
  const bool has_row = threadIdx.x % 32 < kRows && row < tile.rows;
  const unsigned word =
      words_of_rows<kRows, kBc>([&](int n, int j) { return tile.sees(warp * kRows + n, j); });
  const bool some = __syncthreads_or(has_row && word != 0) != 0;
  const bool every = __syncthreads_and(!has_row || word == kAllKeys<kBc>) != 0;
  if (some && !every && has_row) {
    packed.words.of_keys(head, key_tile)[i0 + row] = static_cast<Word<kBc>>(word);
  }
  if (threadIdx.x == 0) packed.states[blockIdx.x] = every ? kEveryPair : some ? kMixed : kNoPair;
}

/// The tiles of a row of states, or of a column, that hold a pair. One warp per list.
/// Grid: ceil(heads * lists.tiles / kPackWarps); block: kPackThreads.
/// tile_stride: from the state of one tile to that of the next on the side that has the lists;
/// listed_stride: likewise on the side that they list.
[[maybe_unused]] static __global__ void list_kernel(const std::uint8_t* gStates, TileLists lists,
                                                    std::int64_t heads, std::int64_t tile_stride,
                                                    std::int64_t listed_stride) {
  const int lane = threadIdx.x % 32;
  const std::int64_t list = std::int64_t{blockIdx.x} * kPackWarps + threadIdx.x / 32;
  if (list >= heads * lists.tiles) return;  // the whole warp
  const std::int64_t head = list / lists.tiles, tile = list % lists.tiles;
  gStates += head * lists.tiles * lists.most + tile * tile_stride;
  std::uint32_t* gList = lists.of(head, tile);
  int count = 0;
  for (std::int64_t t0 = 0; t0 < lists.most; t0 += 32) {
    const std::int64_t t = t0 + lane;
    int state = kNoPair;
    if (t < lists.most) state = gStates[t * listed_stride];
    const unsigned listed = __ballot_sync(device::kAllLanes, state != kNoPair);
    const int before = __popc(listed & ((1u << lane) - 1));  // tiles of lower lanes
    if (state != kNoPair) gList[1 + count + before] = ListedTile::of(t, state == kEveryPair).code;
    count += __popc(listed);
  }
  if (lane == 0) gList[0] = static_cast<std::uint32_t>(count);
}

/// Runs both, and makes the lists of tiles of keys.
template <int kBr, int kBc>
void pack(const Pairs& pairs, const PackedMask<kBr, kBc>& packed) {
  if (packed.tiles() > 0) {
    launch(pack_kernel<kBr, kBc>, grid_size(packed.tiles()), kPackThreads, 0, nullptr, pairs,
           packed);
  }
  launch(list_kernel, ceil_div(packed.heads * packed.query_tiles, kPackWarps), kPackThreads, 0,
         nullptr, packed.states, packed.key_lists, packed.heads, packed.key_tiles, 1);
}

}  // namespace attn::masks
