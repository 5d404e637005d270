// SPDX-License-Identifier: MIT
//
// Is a result right? For sizes that the float64 oracle would take minutes for, too.
#pragma once

#include <string>
#include <vector>

#include "common/verify/check.hpp"

namespace attn::bench {

/// Empty if `outputs` are those of the problem, else what is wrong first, in several lines. Small
/// problems are compared with the oracle element by element. Of large ones, at the beginning, the
/// middle and the end of the first and the last head: O, LSE and dQ of some rows with the oracle,
/// dK and dV of some keys with their formulas in float64; and nothing may be NaN, which every
/// element is before the pass. `o` and `lse` are what a backward pass was given. Needs Hkv = H and
/// Nq = Nk.
std::string find_errors(const attn::Problem& problem, Pass pass, const Outputs& outputs,
                        const std::vector<float>& o, const std::vector<float>& lse);

/// Whether find_errors compares every element.
bool is_small(const Shape& shape);

}  // namespace attn::bench
