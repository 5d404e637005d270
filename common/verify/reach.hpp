// SPDX-License-Identifier: MIT
//
// Where a NaN or an infinity may pass through a pair that is hidden (Support::reach).
#pragma once

#include <cstdint>
#include <vector>

#include "common/reference/reference.hpp"
#include "common/verify/compare.hpp"

namespace attn::verify {

/// Lets those elements of o, dq, dk, dv be NaN that get a hidden pair's weight, 0, times a NaN or
/// an infinity of `inputs`, where fewer than `reach` keys lie between the pair's key and one that
/// its row sees:
///   o[i, c]  by V[j, c],  dq[i, c]  by K[j, c],  dk[j, c]  by Q[i, c],  dv[j, c]  by dO[i, c].
/// A row that sees no key, and a key that no row sees, pass nothing on and stay 0.
void allow_nan_within(std::int64_t reach, const reference::Inputs& inputs,
                      std::vector<Expected>& arrays);

}  // namespace attn::verify
