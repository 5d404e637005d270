// SPDX-License-Identifier: MIT
//
// What must hold between results whatever the oracle says, and how wrong requests are refused.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/verify/check.hpp"

namespace attn::verify {

/// What a property is checked on.
struct Subject {
  const Chapter& chapter;
  const Step& step;
  Pass pass;
  std::uint64_t seed;
  Element element = Element::kFloat32;
};

/// One property: returns why it does not hold, or an empty text.
struct Property {
  std::string_view name;
  std::function<std::string(const Subject&)> check;
};

/// Forward: O inside the convex hull of V; keys may be permuted; linear in V; a constant added to
/// all logits moves LSE only; a causal problem's first rows are those of the shorter problem.
std::vector<Property> forward_properties();
/// Backward: linear in dO; permuting the keys permutes dK and dV.
std::vector<Property> backward_properties();
/// Both: heads do not influence each other; a run leaves no memory allocated; every bad argument
/// gives its named error, writes nothing, and the next call works.
std::vector<Property> common_properties();

/// The last of common_properties(), by itself.
std::string check_bad_arguments(const Subject& subject);

}  // namespace attn::verify
