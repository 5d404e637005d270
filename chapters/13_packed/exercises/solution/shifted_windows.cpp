// SPDX-License-Identifier: MIT
//
// A solution of chapter 13's exercise. In the rolled image all windows are alike, but those of the
// last row and column hold tokens from both edges. The cut lies `shift` rows before the end, and so
// such a window is taken in two parts, or four.
#include "chapters/13_packed/exercises/shifted_windows.hpp"

#include "common/mask.hpp"

namespace attn::packed {
namespace {

/// The parts of the rolled positions 0 .. size - 1: windows, the last one cut where the tokens from
/// the other edge begin.
std::vector<Range> parts(std::int64_t size, const io::ImageWindows& image) {
  std::vector<Range> result;
  for (std::int64_t begin = 0; begin < size; begin += image.window) {
    const std::int64_t end = begin + image.window, cut = size - image.shift;
    if (cut < end) {
      result.push_back({begin, cut});
      result.push_back({cut, end});
    } else {
      result.push_back({begin, end});
    }
  }
  return result;
}

}  // namespace

io::Segments shifted_windows(const io::ImageWindows& image) {
  io::Segments segments{.order = {}, .offsets = {0}};
  for (const Range& rows : parts(image.height, image)) {
    for (const Range& columns : parts(image.width, image)) {
      for (std::int64_t row = rows.begin; row < rows.end; ++row) {
        for (std::int64_t column = columns.begin; column < columns.end; ++column) {
          const std::int64_t y = (row + image.shift) % image.height;
          const std::int64_t x = (column + image.shift) % image.width;
          segments.order.push_back(y * image.width + x);
        }
      }
      segments.offsets.push_back(static_cast<std::int64_t>(segments.order.size()));
    }
  }
  return segments;
}

}  // namespace attn::packed
