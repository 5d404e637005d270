// SPDX-License-Identifier: MIT
#include "common/io/mask_arrays.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "common/attention.hpp"

namespace attn::io {
namespace {

[[noreturn]] void bad(const std::string& message) { throw Error(ErrorKind::kBadArgument, message); }

/// The blocks that block `own` of BigBird sees, of `blocks`.
std::vector<std::int64_t> blocks_seen(std::int64_t own, std::int64_t blocks) {
  constexpr int kRandom = 3;
  std::vector<std::int64_t> seen, others;
  for (std::int64_t block = 0; block < blocks; ++block) {
    const bool global = own == 0 || own == blocks - 1 || block == 0 || block == blocks - 1;
    (global || std::abs(block - own) <= 1 ? seen : others).push_back(block);
  }
  std::mt19937_64 random(static_cast<std::uint64_t>(own));
  for (int n = 0; n < kRandom && !others.empty(); ++n) {
    const auto at = others.begin() + static_cast<std::ptrdiff_t>(random() % others.size());
    seen.push_back(*at);
    others.erase(at);
  }
  return seen;
}

}  // namespace

std::vector<std::uint8_t> neighbourhood_mask(const Neighbourhood& image) {
  const auto& [height, width, side] = image;
  const std::int64_t most = std::min(height, width);
  if (side < 1 || side % 2 == 0 || side > most) {
    bad(fmt::format("side = {}: allowed in an image of {} x {}: odd, 1 to {}", side, height, width,
                    most));
  }
  const auto first = [side = side](std::int64_t own, std::int64_t size) {
    return std::clamp<std::int64_t>(own - side / 2, 0, size - side);
  };
  const std::int64_t tokens = height * width;
  std::vector<std::uint8_t> mask(static_cast<std::size_t>(tokens * tokens), 0);
  for (std::int64_t row = 0; row < tokens; ++row) {
    const std::int64_t top = first(row / width, height), left = first(row % width, width);
    for (std::int64_t y = top; y < top + side; ++y) {
      const auto at = mask.begin() + row * tokens + y * width + left;
      std::fill(at, at + side, std::uint8_t{1});
    }
  }
  return mask;
}

std::vector<std::uint8_t> big_bird_mask(std::int64_t tokens) {
  constexpr std::int64_t kBlock = 64;
  if (tokens < kBlock || tokens % kBlock != 0) {
    bad(fmt::format("tokens = {}: allowed: a multiple of {}", tokens, kBlock));
  }
  std::vector<std::uint8_t> mask(static_cast<std::size_t>(tokens * tokens), 0);
  for (std::int64_t own = 0; own < tokens / kBlock; ++own) {
    for (const std::int64_t block : blocks_seen(own, tokens / kBlock)) {
      for (std::int64_t row = own * kBlock; row < (own + 1) * kBlock; ++row) {
        const auto at = mask.begin() + row * tokens + block * kBlock;
        std::fill(at, at + kBlock, std::uint8_t{1});
      }
    }
  }
  return mask;
}

}  // namespace attn::io
