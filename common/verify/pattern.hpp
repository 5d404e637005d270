// SPDX-License-Identifier: MIT
#pragma once

#include <span>
#include <string>

#include "common/verify/cases.hpp"

namespace attn::verify {

/// What all failing cases have in common and few passing ones have: "all 12 failing cases: causal
/// mask, Nk > 16; of the 48 passing cases 3 are so, too". Simple traits only, three at most; empty
/// if there is none that tells failing from passing. `tile_edges`: where the chapter's tiles end.
std::string describe_pattern(std::span<const Case> failing, std::span<const Case> passing,
                             std::span<const int> tile_edges);

}  // namespace attn::verify
