// SPDX-License-Identifier: MIT
//
// Masks that say for each pair of tokens whether one sees the other, as models have them:
// [tokens, tokens], 1 where the row sees the key.
#pragma once

#include <cstdint>
#include <vector>

namespace attn::io {

/// Sizes in tokens; `side` is odd, and no more than the image has.
struct Neighbourhood {
  std::int64_t height = 0, width = 0, side = 0;
};

/// Neighbourhood attention (Hassani et al. 2023, arXiv:2204.07143): a token of an image in raster
/// order sees side x side tokens, itself in their middle. At the image's edges the square is moved
/// inside, so that every token sees as many. Throws Error(kBadArgument).
std::vector<std::uint8_t> neighbourhood_mask(const Neighbourhood& image);

/// Blocks of 64 tokens as BigBird's base model has them (Zaheer et al. 2020, arXiv:2007.14062; the
/// first and the last block are the global ones, as in the released code). Each block sees itself
/// and those on either side, the first and the last, and three more at random; the first and the
/// last see all. Throws Error(kBadArgument).
std::vector<std::uint8_t> big_bird_mask(std::int64_t tokens);

}  // namespace attn::io
