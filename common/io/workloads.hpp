// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "common/attention.hpp"

namespace attn::io {

/// An attention problem of a model people run, by name.
struct Workload {
  std::string_view name;
  std::string_view what;  // where its sizes come from
  Shape shape;
  Shape on_cpu;             // equal to shape, or a scaled twin that the CPU machine finishes soon
  std::string_view scaled;  // what the twin leaves out; empty where on_cpu is the shape itself
  Mask mask = Mask::kFull;  // where nothing else is asked for
  Mask mask_on_cpu = Mask::kFull;  // its twin: a window shrinks with the text
  /// Where packed sequences begin, of queries and of keys alike, and the end: [B + 1]. Null: none.
  std::vector<std::int64_t> (*offsets)() = nullptr;
  /// One range of keys for each row: [B, Nq, 2]. Null: none.
  std::vector<std::int64_t> (*ranges)() = nullptr;
  /// A mask array for all batches and heads of so many tokens: [N, N]. Null: none.
  std::vector<std::uint8_t> (*mask_array)(std::int64_t N) = nullptr;
  std::optional<PairShape> bias = {};  // added to the scores; on the CPU machine the same
  bool alibi = false;                  // a slope for each head
  bool sink_logits = false;            // a learned logit for each head

  /// "a bias", ...: what only some chapters take, beside a mask; empty if there is none.
  std::string_view extra() const;
  bool has_twin() const { return !scaled.empty(); }
};

/// All named workloads.
std::span<const Workload> workloads();

/// The workload of this name. Throws Error(kBadArgument).
const Workload& find_workload(std::string_view name);

}  // namespace attn::io
