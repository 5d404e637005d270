// SPDX-License-Identifier: MIT
#include "common/io/suggest.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace attn::io {
namespace {

/// How many letters must be inserted, removed or replaced to make `b` of `a` (Levenshtein).
std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);  // of what was read of a, to each beginning of b
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

/// Fewest edits to `name`, or to what follows one of its underscores.
std::size_t distance(std::string_view given, std::string_view name) {
  if (name.find(given) != std::string_view::npos) return 0;
  std::size_t least = edits(given, name);
  for (std::size_t i = name.find('_'); i != std::string_view::npos; i = name.find('_', i + 1)) {
    least = std::min(least, edits(given, name.substr(i + 1)));
  }
  return least;
}

}  // namespace

std::string did_you_mean(std::string_view given, std::span<const std::string_view> names) {
  constexpr std::size_t kMost = 3;
  const std::size_t allowed = given.size() < 4 ? 1 : std::max<std::size_t>(2, given.size() / 3);
  std::vector<std::pair<std::size_t, std::string_view>> near;
  for (const std::string_view name : names) {
    const std::size_t edited = distance(given, name);
    if (edited <= allowed) near.emplace_back(edited, name);
  }
  if (near.empty() || given.empty()) return "";
  std::stable_sort(near.begin(), near.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string_view> best;
  for (const auto& [edited, name] : near) {
    if (edited == near.front().first && best.size() < kMost) best.push_back(name);
  }
  return fmt::format("; did you mean {}?", fmt::join(best, " or "));
}

}  // namespace attn::io
