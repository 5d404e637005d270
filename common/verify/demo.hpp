// SPDX-License-Identifier: MIT
#pragma once

#include <span>

#include "common/attention.hpp"

namespace attn {

/// The demo of a chapter, chNN_demo: its default step on a tiny problem, shown in full, and on a
/// real one, compared with the float64 oracle. arguments: those of main(), of which it takes none.
/// Returns the program's exit status: 0 right, 1 wrong, 2 bad usage.
int run_demo(const Chapter& chapter, std::span<const char* const> arguments);

}  // namespace attn
