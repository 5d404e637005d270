// SPDX-License-Identifier: MIT
#pragma once

#include <vector>

#include "chapters/14_masks/lists.hpp"
#include "common/io/mask_arrays.hpp"

namespace attn::masks {

/// Step 3's tiles for d up to 64.
inline constexpr int kQueries = 64, kKeys = 32;

/// What the forward kernel of step 3 reads of a mask of one head.
struct PackedImage {
  std::vector<std::vector<ListedTile>> lists;  // of each tile of queries: tiles of keys, rising
  std::vector<Word<kKeys>> words;              // [key tiles, tokens], of mixed tiles
};

/// Neighbourhood attention on the image, packed. Written by the reader.
PackedImage packed_neighbourhood(const io::Neighbourhood& image);

}  // namespace attn::masks
