// SPDX-License-Identifier: MIT
//
// What `attn trace` prints: the counts of one traced pass as tables and as JSON.
#pragma once

// Accesses are counted where kernels run on the CPU machine and g++ has put a call before each of
// them; AddressSanitizer needs that place for itself.
#if !defined(ATTN_USE_CUDA) && ATTN_HAS_DEVICE && !defined(__SANITIZE_ADDRESS__)
#define ATTN_CAN_TRACE 1
#else
#define ATTN_CAN_TRACE 0
#endif

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/attn/arguments.hpp"
#include "common/attention.hpp"
#include "common/simt/watch/bound.hpp"
#include "common/simt/watch/counters.hpp"

namespace attn::cli {

/// One traced pass.
struct Trace {
  const Chapter* chapter = nullptr;
  const Step* step = nullptr;
  Pass pass = Pass::kForward;
  ProblemSizes sizes;
  Mask mask = Mask::kFull;
  Element element = Element::kFloat32;
  const io::Workload* workload = nullptr;  // that was asked for
  Features scores = {};                    // what is done to scores
  PairShape bias = {};                     // where a bias is
  std::int64_t page_keys = 0;              // of a paged cache; 0: there is none
  std::string scaled;  // how the shape falls short of the workload asked for; empty if it does not
  std::vector<simt::LaunchRecord> launches;
  std::vector<Detection> detections;
  std::vector<std::string> damage;  // guard bands that were overwritten, inputs that changed
  bool stopped = false;  // a detector stopped a launch: the counts are those of the ones before it
  std::int64_t times_heads = 1;  // the bound, not the counts, is for so many times the heads
  simt::Bound bound;             // of the whole pass; of nothing if it was stopped

  bool clean() const {
    const auto is_warning = [](const Detection& detection) { return detection.warning; };
    return std::all_of(detections.begin(), detections.end(), is_warning) && damage.empty();
  }
};

/// ", a bias [1,3,49,49], a softcap, pages of 16 keys": what is done to the scores, and how K and V
/// lie; empty if nothing is said of either.
std::string extras_text(const Trace& trace);

/// Tables for people; `styled` for a terminal.
void print_trace(const Trace& trace, bool styled);
/// Traffic by source line, one table for each kernel.
void print_lines(const Trace& trace, bool styled);

/// Counts and bytes only, but for the bound, which is in seconds. With `lines`, each launch has its
/// traffic by source line.
nlohmann::ordered_json to_json(const Trace& trace, bool lines);

}  // namespace attn::cli
