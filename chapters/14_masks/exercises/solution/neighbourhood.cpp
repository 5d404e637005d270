// SPDX-License-Identifier: MIT
//
// A solution of chapter 14's exercise. What a token sees is `side` runs of `side` keys, a row of
// the image apart. They are put into words run by run, and what is no longer 0 is listed.
#include "chapters/14_masks/exercises/neighbourhood.hpp"

#include <algorithm>

namespace attn::masks {
namespace {

/// The first of the `side` rows, or columns, that the one at `own` sees.
std::int64_t first_seen(std::int64_t own, std::int64_t size, std::int64_t side) {
  return std::clamp<std::int64_t>(own - side / 2, 0, size - side);
}

/// The words of a row, one per tile of keys, `tokens` apart.
void add_run(Word<kKeys>* words, std::int64_t tokens, std::int64_t begin, std::int64_t end) {
  for (std::int64_t key = begin; key < end;) {
    const std::int64_t next = std::min(end, (key / kKeys + 1) * kKeys);  // where the tile ends
    words[key / kKeys * tokens] |= ~0u >> (kKeys - (next - key)) << key % kKeys;
    key = next;
  }
}

}  // namespace

PackedImage packed_neighbourhood(const io::Neighbourhood& image) {
  const auto& [height, width, side] = image;
  const std::int64_t tokens = height * width;
  const std::int64_t key_tiles = (tokens + kKeys - 1) / kKeys;
  PackedImage packed;
  packed.words.resize(static_cast<std::size_t>(key_tiles * tokens));
  for (std::int64_t row = 0; row < tokens; ++row) {
    const std::int64_t top = first_seen(row / width, height, side);
    const std::int64_t left = first_seen(row % width, width, side);
    for (std::int64_t y = top; y < top + side; ++y) {
      const std::int64_t begin = y * width + left;
      add_run(packed.words.data() + row, tokens, begin, begin + side);
    }
  }
  for (std::int64_t i0 = 0; i0 < tokens; i0 += kQueries) {
    const std::int64_t i1 = std::min(i0 + kQueries, tokens);
    std::vector<ListedTile>& list = packed.lists.emplace_back();
    for (std::int64_t t = 0; t < key_tiles; ++t) {
      const auto words = packed.words.begin() + t * tokens;
      const auto none = [](Word<kKeys> word) { return word == 0; };
      const auto all = [](Word<kKeys> word) { return word == ~Word<kKeys>{0}; };
      if (std::all_of(words + i0, words + i1, none)) continue;
      list.push_back(ListedTile::of(t, std::all_of(words + i0, words + i1, all)));
    }
  }
  return packed;
}

}  // namespace attn::masks
