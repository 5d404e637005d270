// SPDX-License-Identifier: MIT
//
// Attention in windows of an image, as packed sequences. The tokens of an image in raster order
// that share a window are no range: its rows lie `width` apart. In window order they are one.
//   Qwen2.5-VL  windows side by side, smaller ones at the right and lower edge
//   Swin        every second layer rolls the image by `shift` first (Liu et al. 2021, figure 4). A
//               window then may hold tokens from opposite edges, which do not see each other:
//               a segment is what has the same window and the same region
#pragma once

#include <cstdint>
#include <vector>

namespace attn::io {

/// Sizes in tokens; `shift` is less than `window`, and not 0 only where windows divide the image.
struct ImageWindows {
  std::int64_t height = 0, width = 0, window = 0, shift = 0;
};

/// Tokens in an order in which those that see each other stand side by side.
struct Segments {
  std::vector<std::int64_t> order;    // [height * width] which token, y * width + x, stands there
  std::vector<std::int64_t> offsets;  // where each segment begins, and the end: cu_seqlens
};

/// Throws Error(kBadArgument).
Segments segments_of(const ImageWindows& image);

/// The same segments for one long row of tokens: [tokens, 2], begin and end of each one's own.
std::vector<std::int64_t> ranges_of(const std::vector<std::int64_t>& offsets);

}  // namespace attn::io
