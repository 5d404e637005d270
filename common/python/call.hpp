// SPDX-License-Identifier: MIT
//
// One call from another language: checked against the bytes that the caller says its arrays have,
// run on them where they are if the step is plain C++, else on copies in the device's memory.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/attention.hpp"
#include "common/python/attn_c.h"
#include "common/simt/watch/counters.hpp"

struct attn_c_trace {
  struct Launch {
    attn::simt::LaunchRecord record;
    std::vector<std::uint64_t> counts;  // in the order of simt::kCounters
  };
  std::vector<Launch> launches;
  std::vector<std::string> detections;
};

namespace attn::python {

/// Copies text with its 0 at the end, cut off where there is no room for all.
void copy_text(std::string_view from, std::span<char> to);

/// Runs the pass that `call` asks for and notes in it which step did. Throws attn::Error: then no
/// array was written.
void run(attn_c_call& call);

}  // namespace attn::python
