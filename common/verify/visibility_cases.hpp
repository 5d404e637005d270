// SPDX-License-Identifier: MIT
//
// Cases about which keys a row sees, for chapters whose subject that is.
#pragma once

#include <optional>

#include "common/verify/case_builder.hpp"

namespace attn::verify {

/// Windows, sink keys, key counts, packed sequences, ranges, mask arrays: those that the chapter
/// takes, around the edges of its tiles. With `only_mask` every case has that mask.
void add_visibility(CaseBuilder& builder, const std::optional<Mask>& only_mask, bool thin);

}  // namespace attn::verify
