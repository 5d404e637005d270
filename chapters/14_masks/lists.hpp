// SPDX-License-Identifier: MIT
//
// Which tiles hold a pair: a list for each tile of queries, and of keys. And where words and lists
// lie in a workspace.
#pragma once

#include "chapters/14_masks/bits.hpp"
#include "common/attention.hpp"

namespace attn::masks {

/// What of a tile's pairs there is. Only a mixed tile's words are written, and read.
enum TileState : std::uint8_t { kNoPair, kMixed, kEveryPair };

/// A tile on a list: its number, and whether every row of it sees every key.
struct ListedTile {
  std::uint32_t code;

  ATTN_HOST_DEVICE static constexpr ListedTile of(std::int64_t number, bool whole) {
    return {static_cast<std::uint32_t>(number) << 1 | (whole ? 1u : 0u)};
  }
  ATTN_HOST_DEVICE constexpr std::int64_t number() const { return code >> 1; }
  ATTN_HOST_DEVICE constexpr bool whole() const { return (code & 1u) != 0; }
};

/// Lists [heads, tiles of one side], each with room for all `most` tiles of the other side, which
/// stand in rising order behind their count.
struct TileLists {
  std::uint32_t* first;
  std::int64_t tiles, most;

  ATTN_HOST_DEVICE constexpr std::uint32_t* of(std::int64_t head, std::int64_t tile) const {
    return first + (head * tiles + tile) * (most + 1);
  }
  constexpr std::int64_t elements(std::int64_t heads) const { return heads * tiles * (most + 1); }
};

/// The heads of an array, packed for tiles of kBr rows and kBc keys.
template <int kBr, int kBc>
struct PackedMask {
  std::int64_t heads, Nq;
  std::int64_t query_tiles, key_tiles;
  TileLists key_lists;             // of each tile of queries, the tiles of keys
  Words<kBc> words;                // of mixed tiles
  std::uint8_t* states = nullptr;  // [heads, query tiles, key tiles]: TileState

  /// Without a place as yet.
  PackedMask(std::int64_t heads_of_array, std::int64_t queries, std::int64_t keys)
      : heads(heads_of_array),
        Nq(queries),
        query_tiles((queries + kBr - 1) / kBr),
        key_tiles((keys + kBc - 1) / kBc),
        key_lists{nullptr, query_tiles, key_tiles},
        words{nullptr, Nq, key_tiles} {}

  std::int64_t tiles() const { return heads * query_tiles * key_tiles; }
  std::size_t bytes() const {
    return static_cast<std::size_t>(key_lists.elements(heads)) * sizeof(std::uint32_t) +
           static_cast<std::size_t>(words.elements(heads)) * sizeof(Word<kBc>) +
           static_cast<std::size_t>(tiles()) * sizeof(TileState);
  }
  /// Behind each other, those with the larger elements first.
  void place(void* workspace) {
    key_lists.first = static_cast<std::uint32_t*>(workspace);
    void* words_at = key_lists.first + key_lists.elements(heads);
    words.first = static_cast<Word<kBc>*>(words_at);
    void* states_at = words.first + words.elements(heads);
    states = static_cast<std::uint8_t*>(states_at);
  }
};

}  // namespace attn::masks
