// SPDX-License-Identifier: MIT
//
// Exercise: neighbourhood attention without an array of N^2 bytes. See "Exercises" in the lesson.
// What step 3's first two kernels find in that array is known from coordinates. As it stands the
// array is made, every pair of it is looked at, and all tiles are listed:
//   cmake --build build --target ch14_exercise && ./build/ch14_exercise
#include "chapters/14_masks/exercises/neighbourhood.hpp"

namespace attn::masks {

/// Token y * width + x of an image stands in row y, column x. It sees the side x side tokens of
/// which it is the middle; where these would reach beyond an edge of the image, the square is moved
/// inside. A tile of 64 queries lists the tiles of 32 keys of which one of its queries sees some,
/// and says of each whether every query sees all 32 keys. If not, bit j of a query's word says
/// whether it sees key j of the tile.
PackedImage packed_neighbourhood(const io::Neighbourhood& image) {
  // Yours. No array; only tiles that hold a pair; whole ones as such.
  const std::vector<std::uint8_t> mask = io::neighbourhood_mask(image);
  const std::int64_t tokens = image.height * image.width;
  const std::int64_t key_tiles = (tokens + kKeys - 1) / kKeys;
  PackedImage packed;
  packed.words.resize(static_cast<std::size_t>(key_tiles * tokens));
  for (std::int64_t row = 0; row < tokens; ++row) {
    for (std::int64_t key = 0; key < tokens; ++key) {
      if (mask[static_cast<std::size_t>(row * tokens + key)] == 0) continue;
      const std::int64_t word = key / kKeys * tokens + row;
      packed.words[static_cast<std::size_t>(word)] |= 1u << key % kKeys;
    }
  }
  for (std::int64_t i0 = 0; i0 < tokens; i0 += kQueries) {
    std::vector<ListedTile>& list = packed.lists.emplace_back();
    for (std::int64_t t = 0; t < key_tiles; ++t) list.push_back(ListedTile::of(t, false));
  }
  return packed;
}

}  // namespace attn::masks
