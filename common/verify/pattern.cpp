// SPDX-License-Identifier: MIT
#include "common/verify/pattern.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <vector>

namespace attn::verify {
namespace {

struct Trait {
  std::string name;
  std::function<bool(const Case&)> holds;
};

/// The first or the last row of a head sees the fewest keys.
bool has_blind_row(const Case& one) {
  const Shape& shape = one.spec.shape;
  return keys_of_row(one.spec.mask, 0, shape.Nq, shape.Nk).empty() ||
         keys_of_row(one.spec.mask, shape.Nq - 1, shape.Nq, shape.Nk).empty();
}

/// The plainest first: of two that tell as much, the first is named.
std::vector<Trait> all_traits(std::span<const int> tile_edges) {
  std::vector<Trait> traits{
      {"not an empty problem",
       [](const Case& c) { return c.spec.shape.rows() > 0 && c.spec.shape.Nk > 0; }},
      {"no mask", [](const Case& c) { return c.spec.mask == Mask::kFull; }},
      {"a causal mask",
       [](const Case& c) { return c.spec.mask.is_prefix() && c.spec.mask != Mask::kFull; }},
      {"a window", [](const Case& c) { return !c.spec.mask.is_prefix(); }},
      {"mask causal", [](const Case& c) { return c.spec.mask == Mask::kCausal; }},
      {"mask causal, top left", [](const Case& c) { return c.spec.mask == Mask::kCausalTopLeft; }},
      {"B*H > 1", [](const Case& c) { return c.spec.shape.heads() > 1; }},
      {"B > 1", [](const Case& c) { return c.spec.shape.B > 1; }},
      {"H > 1", [](const Case& c) { return c.spec.shape.H > 1; }},
      {"H != Hkv", [](const Case& c) { return c.spec.shape.H != c.spec.shape.Hkv; }},
      {"Nk > Nq", [](const Case& c) { return c.spec.shape.Nk > c.spec.shape.Nq; }},
      {"Nk < Nq", [](const Case& c) { return c.spec.shape.Nk < c.spec.shape.Nq; }},
      {"Nk = 0", [](const Case& c) { return c.spec.shape.Nk == 0; }},
      {"rows that see no key", has_blind_row},
      {"a negative scale", [](const Case& c) { return c.spec.scale < 0; }},
      {"a scale of 0", [](const Case& c) { return c.spec.scale == 0; }},
      {"arrays aligned to one element only", [](const Case& c) { return c.offset != 0; }},
  };
  for (const Element element : kAllElements) {
    traits.push_back({fmt::format("element {}", to_string(element)),
                      [element](const Case& c) { return c.spec.element == element; }});
  }
  for (int number = 0; number < kFeatures; ++number) {
    const auto feature = static_cast<Feature>(number);
    traits.push_back({fmt::format("with {}", to_string(feature)),
                      [feature](const Case& c) { return c.spec.features.has(feature); }});
  }
  for (const std::int64_t d : {32, 64}) {
    traits.push_back({fmt::format("d > {}", d), [d](const Case& c) { return c.spec.shape.d > d; }});
  }
  for (const std::int64_t d : {32, 4}) {
    traits.push_back({fmt::format("d not a multiple of {}", d),
                      [d](const Case& c) { return c.spec.shape.d % d != 0; }});
  }
  std::set<std::int64_t> edges{1, 16, 32};
  edges.insert(tile_edges.begin(), tile_edges.end());
  for (const std::int64_t T : edges) {
    traits.push_back(
        {fmt::format("Nk > {}", T), [T](const Case& c) { return c.spec.shape.Nk > T; }});
    traits.push_back(
        {fmt::format("Nq > {}", T), [T](const Case& c) { return c.spec.shape.Nq > T; }});
    if (T == 1) continue;
    traits.push_back({fmt::format("Nk not a multiple of {}", T),
                      [T](const Case& c) { return c.spec.shape.Nk % T != 0; }});
    traits.push_back({fmt::format("Nq not a multiple of {}", T),
                      [T](const Case& c) { return c.spec.shape.Nq % T != 0; }});
  }
  for (const InputKind kind : kAllInputKinds) {
    traits.push_back({fmt::format("{} inputs", to_string(kind)),
                      [kind](const Case& c) { return c.spec.kind == kind; }});
  }
  return traits;
}

}  // namespace

std::string describe_pattern(std::span<const Case> failing, std::span<const Case> passing,
                             std::span<const int> tile_edges) {
  if (failing.size() < 2) return {};
  if (passing.empty()) return fmt::format("all {} cases fail", failing.size());
  constexpr std::size_t kMost = 3;
  constexpr double kChance = 0.02;  // that a trait without meaning is named
  const auto n = static_cast<double>(failing.size());
  const auto all = static_cast<double>(failing.size() + passing.size());
  std::vector<Trait> candidates = all_traits(tile_edges);
  std::erase_if(candidates, [&](const Trait& trait) {
    if (!std::all_of(failing.begin(), failing.end(), trait.holds)) return true;
    const auto with =
        n + static_cast<double>(std::count_if(passing.begin(), passing.end(), trait.holds));
    return std::pow(with / all, n) > kChance;
  });
  std::vector<Case> rest(passing.begin(), passing.end());
  std::string names;
  for (std::size_t named = 0; named < kMost && !rest.empty(); ++named) {
    const Trait* best = nullptr;
    auto fewest = static_cast<std::ptrdiff_t>(rest.size() * 3 / 4);
    for (const Trait& trait : candidates) {
      const std::ptrdiff_t count = std::count_if(rest.begin(), rest.end(), trait.holds);
      if (count < fewest || (best == nullptr && count == fewest)) {
        best = &trait;
        fewest = count;
      }
    }
    if (best == nullptr) break;
    names += (names.empty() ? "" : ", ") + best->name;
    std::erase_if(rest, [best](const Case& one) { return !best->holds(one); });
  }
  if (names.empty()) return {};
  return fmt::format("all {} failing cases: {}; of the {} passing cases {}", failing.size(), names,
                     passing.size(), rest.empty() ? "none" : fmt::format("{}, too", rest.size()));
}

}  // namespace attn::verify
