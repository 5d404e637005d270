// SPDX-License-Identifier: MIT
//
// The battery of common/verify as Catch2 assertions.
#pragma once

#include "common/attention.hpp"

namespace attn::testing {

/// Fails the running test with every failing case of this pass, for all steps that have it and the
/// twins; at once where any kernel of the chapter never ends, of either pass. ATTN_FULL=1 runs the
/// full product of the case table, ATTN_THIN=1 about a quarter of what is usual. In a program built
/// for a GPU, on a machine without one, prints "skipped: no CUDA device", which ctest shows as
/// Skipped.
void require_right(const Chapter& chapter, Pass pass);

/// True in a program built for a GPU, on a machine without one.
bool device_is_missing();

}  // namespace attn::testing
