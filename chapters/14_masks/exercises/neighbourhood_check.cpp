// SPDX-License-Identifier: MIT
//
// Checks chapter 14's exercise on images from small to large, pair by pair, against the definition:
// a pair is visible if its tile is on the list and is whole, or has the pair's bit. The goals: no
// tile without a pair is listed, and none that is whole is listed as mixed. Exit status: 0 right
// and goals met, 1 not, 2 what was thrown.
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <string>

#include "chapters/14_masks/exercises/neighbourhood.hpp"
#include "common/verify/goals.hpp"

namespace attn::masks {
namespace {

constexpr io::Neighbourhood kImages[] = {{3, 3, 3},  {1, 40, 1},  {7, 7, 7},  {5, 9, 3},
                                         {9, 21, 5}, {13, 13, 1}, {8, 40, 7}, {24, 24, 7}};

std::string to_string(const io::Neighbourhood& image) {
  return fmt::format("image {} x {}, neighbourhood {} x {}", image.height, image.width, image.side,
                     image.side);
}

std::int64_t tiles_of(std::int64_t tokens, int edge) { return (tokens + edge - 1) / edge; }

/// A tile as it should be listed.
struct Tile {
  bool some = false, every = true;
};

/// The tile of query tile q and key tile t, by the array.
Tile tile_of(const std::vector<std::uint8_t>& mask, std::int64_t tokens, std::int64_t q,
             std::int64_t t) {
  Tile tile;
  for (std::int64_t i = q * kQueries; i < std::min((q + 1) * kQueries, tokens); ++i) {
    for (std::int64_t j = t * kKeys; j < (t + 1) * kKeys; ++j) {
      const bool sees = j < tokens && mask[static_cast<std::size_t>(i * tokens + j)] != 0;
      tile.some = tile.some || sees;
      tile.every = tile.every && sees;
    }
  }
  return tile;
}

/// The tile of the list; null if it is not there.
const ListedTile* find(const std::vector<ListedTile>& list, std::int64_t t) {
  const auto found = std::find_if(list.begin(), list.end(),
                                  [&](const ListedTile& tile) { return tile.number() == t; });
  return found == list.end() ? nullptr : &*found;
}

/// What is wrong with sizes and order; empty if nothing.
std::string check_form(const PackedImage& packed, std::int64_t tokens) {
  const std::int64_t key_tiles = tiles_of(tokens, kKeys), lists = tiles_of(tokens, kQueries);
  if (static_cast<std::int64_t>(packed.lists.size()) != lists) {
    return fmt::format("there are {} lists, not {}", packed.lists.size(), lists);
  }
  if (static_cast<std::int64_t>(packed.words.size()) != key_tiles * tokens) {
    return fmt::format("there are {} words, not {} x {}", packed.words.size(), key_tiles, tokens);
  }
  for (std::size_t q = 0; q < packed.lists.size(); ++q) {
    std::int64_t before = -1;
    for (const ListedTile& tile : packed.lists[q]) {
      if (tile.number() <= before || tile.number() >= key_tiles) {
        return fmt::format("list {} has tile {} behind tile {}: allowed are rising ones, to {}", q,
                           tile.number(), before, key_tiles - 1);
      }
      before = tile.number();
    }
  }
  return {};
}

/// The first pair that is not as it should be; empty if none.
std::string check_pairs(const io::Neighbourhood& image, const PackedImage& packed,
                        const std::vector<std::uint8_t>& mask) {
  const std::int64_t tokens = image.height * image.width;
  for (std::int64_t i = 0; i < tokens; ++i) {
    for (std::int64_t j = 0; j < tiles_of(tokens, kKeys) * kKeys; ++j) {
      const std::int64_t t = j / kKeys;
      const ListedTile* tile = find(packed.lists[static_cast<std::size_t>(i / kQueries)], t);
      const Word<kKeys> word = packed.words[static_cast<std::size_t>(t * tokens + i)];
      const bool found = tile != nullptr && (tile->whole() || (word >> j % kKeys & 1u) != 0);
      const bool sees = j < tokens && mask[static_cast<std::size_t>(i * tokens + j)] != 0;
      if (found == sees) continue;
      const std::string key =
          j >= tokens ? fmt::format("key {}, which is none", j)
                      : fmt::format("row {}, column {}", j / image.width, j % image.width);
      const std::string_view how = tile == nullptr ? "is not listed"
                                   : tile->whole() ? "is listed as whole"
                                                   : "is listed as mixed";
      return fmt::format("row {}, column {} {} {}; tile {} {}", i / image.width, i % image.width,
                         found ? "sees" : "does not see", key, t, how);
    }
  }
  return {};
}

/// What is wrong with one image; empty if nothing.
std::string check(const io::Neighbourhood& image) {
  const std::int64_t tokens = image.height * image.width;
  const PackedImage packed = packed_neighbourhood(image);
  const std::vector<std::uint8_t> mask = io::neighbourhood_mask(image);
  std::string wrong = check_form(packed, tokens);
  if (wrong.empty()) wrong = check_pairs(image, packed, mask);
  if (!wrong.empty()) return wrong;
  std::int64_t listed = 0, listed_mixed = 0, with_pairs = 0, mixed = 0;
  for (std::size_t q = 0; q < packed.lists.size(); ++q) {
    for (const ListedTile& tile : packed.lists[q]) {
      ++listed;
      listed_mixed += tile.whole() ? 0 : 1;
    }
    for (std::int64_t t = 0; t < tiles_of(tokens, kKeys); ++t) {
      const Tile tile = tile_of(mask, tokens, static_cast<std::int64_t>(q), t);
      with_pairs += tile.some ? 1 : 0;
      mixed += tile.some && !tile.every ? 1 : 0;
    }
  }
  verify::hold_to(verify::Medal::kSilver, "tiles listed", listed, with_pairs);
  verify::hold_to(verify::Medal::kGold, "tiles listed as mixed", listed_mixed, mixed);
  return {};
}

int check_all() {
  std::vector<verify::Goal> goals;
  for (const io::Neighbourhood& image : kImages) {
    const std::string wrong = check(image);
    if (!wrong.empty()) {
      fmt::print("14_exercise neighbourhood: WRONG\n\n  {}\n  {}\n", to_string(image), wrong);
      return 1;
    }
    verify::add(goals, verify::take_uses(), to_string(image));
  }
  fmt::print("14_exercise neighbourhood: right in all {} images{}\n{}", std::size(kImages),
             verify::reached(goals) ? "" : ", but the goal is not met;", verify::describe(goals));
  return verify::reached(goals) ? 0 : 1;
}

}  // namespace
}  // namespace attn::masks

int main() {
  try {
    return attn::masks::check_all();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
