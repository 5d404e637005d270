// SPDX-License-Identifier: MIT
//
// Launches whose counters must not depend on how the CPU machine runs them or how the kernels were
// optimised: the tracer's test kernels, and every chapter's kernels on a few problems.
#pragma once

#include <string>
#include <vector>

#include "common/simt/watch/counters.hpp"

namespace attn::simt_test {

struct Scenario {
  std::string name;
  std::string chapter;  // its id; empty for a test kernel
  std::vector<simt::LaunchRecord> launches;
};

/// Runs all of them with the tracer on and the other options as they are.
std::vector<Scenario> run_scenarios();

/// Everything that was counted, as text: one line per launch, one per source line that accesses
/// memory.
std::string to_text(const Scenario& scenario);

}  // namespace attn::simt_test
