// SPDX-License-Identifier: MIT
#include "common/io/image_windows.hpp"

#include <fmt/format.h>

#include <map>
#include <tuple>

#include "common/attention.hpp"

namespace attn::io {
namespace {

void check(const ImageWindows& image) {
  const auto bad = [](const std::string& message) {
    throw Error(ErrorKind::kBadArgument, message);
  };
  const auto& [height, width, window, shift] = image;
  for (const auto& [name, size] :
       {std::pair{"height", height}, std::pair{"width", width}, std::pair{"window", window}}) {
    if (size < 1) bad(fmt::format("{} = {}: allowed: 1 or more", name, size));
  }
  if (shift < 0 || shift >= window) {
    bad(fmt::format("shift = {}: allowed: from 0 to less than the window, {}", shift, window));
  }
  if (shift > 0 && (height % window != 0 || width % window != 0)) {
    bad(fmt::format("shift = {}: allowed with it: a window that divides {} x {}, not {}", shift,
                    height, width, window));
  }
}

}  // namespace

Segments segments_of(const ImageWindows& image) {
  check(image);
  const auto& [height, width, window, shift] = image;
  // Of each axis: which window, and whether the token came around the edge.
  const auto place = [&](std::int64_t at, std::int64_t size) {
    const std::int64_t rolled = (at - shift + size) % size;
    return std::pair(rolled / window, at < shift);
  };
  std::map<std::tuple<std::int64_t, std::int64_t, bool, bool>, std::vector<std::int64_t>> segments;
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      const auto [row, below] = place(y, height);
      const auto [column, behind] = place(x, width);
      segments[{row, column, below, behind}].push_back(y * width + x);
    }
  }
  Segments result{.order = {}, .offsets = {0}};
  for (const auto& [key, tokens] : segments) {
    result.order.insert(result.order.end(), tokens.begin(), tokens.end());
    result.offsets.push_back(static_cast<std::int64_t>(result.order.size()));
  }
  return result;
}

std::vector<std::int64_t> ranges_of(const std::vector<std::int64_t>& offsets) {
  std::vector<std::int64_t> ranges;
  for (std::size_t b = 1; b < offsets.size(); ++b) {
    for (std::int64_t token = offsets[b - 1]; token < offsets[b]; ++token) {
      ranges.insert(ranges.end(), {offsets[b - 1], offsets[b]});
    }
  }
  return ranges;
}

}  // namespace attn::io
