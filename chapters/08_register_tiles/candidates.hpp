// SPDX-License-Identifier: MIT
#pragma once

#include <span>

#include "common/attention.hpp"

namespace attn::register_tiles {

/// The last forward step with several tiles for d = 64 and for d = 128, those used among them.
std::span<const Candidate> candidates();

}  // namespace attn::register_tiles
