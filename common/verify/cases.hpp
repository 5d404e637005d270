// SPDX-License-Identifier: MIT
//
// Which problems the battery runs. The sizes are chosen around the edges of a chapter's tiles,
// where kernels go wrong; the rest is combined so that every value meets every other kind of value
// often, without running the full product.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/verify/inputs.hpp"

namespace attn::verify {

struct Case {
  InputSpec spec;
  /// Elements between a 256-byte boundary and the start of every array: 0, or as many as the
  /// alignment takes that contract and chapter promise, and no more.
  int offset = 0;
  /// The one array that starts there, as "dq", the others at the boundary; empty: every array. A
  /// kernel that moves 16 bytes at a time must ask for each array's address.
  std::string_view only = {};
  /// Run it twice, with different rubbish in the workspace, and compare bit by bit.
  bool repeat = false;
  /// Whether the detectors may watch. Not a case of tens of thousands of blocks: with them it would
  /// take a minute, and what it is about, the grid and the offsets, shows in the results.
  bool watched = true;
};

/// "B=1 H=1 Nq=17 Nk=33 d=40 dv=23, causal, scale=-0.158, normal inputs, seed=..., unaligned", or
/// "unaligned dq" where that array alone is.
std::string to_string(const Case& one);

/// Whether it has more heads than the second or third dimension of a grid can count.
bool is_crowded(const Case& one);

/// d, or the next larger one that a chapter takes, with rows of this element.
std::int64_t supported_d(const Support& support, Element element, std::int64_t d);

/// The table for a step that takes these elements (in turn), of a chapter whose tiles end at
/// multiples of `tile_edges` (none: 16 is used), plain inputs and small problems first, so that the
/// first failure is the easiest to look into. Nq, Nk from {0, 1, 2, 17, T-1, T, T+1, 2T+1, 3T+5}
/// for every edge T, and awkward pairs; d from {1, 8, 16, 32, 40, 64, 80, 128, 192, 256}, as far as
/// the chapter takes them; B, H from {1, 3}; every mask; default, zero and negative scale; every
/// input distribution. Where the chapter takes windows, sink keys or key counts: values of them
/// that end at the tiles' edges, each by itself and every two of them together. Where it takes
/// packed sequences or ranges: lengths and patterns around the edges, each with every mask. Where
/// it takes mask arrays: patterns around the edges, each with three masks, and arrays of every size
/// that is broadcast. Where it takes what is done to scores: score_cases.hpp. Where it takes
/// grouped heads, strides, or rows of V of another length: head_cases.hpp. Where it takes pages:
/// page_cases.hpp.
///
/// But for Extent::kFull, d is kept small where Nq * Nk is large. With `only_mask` every case has
/// that mask, which the chapter must take.
std::vector<Case> case_table(const Support& support, std::span<const Element> elements,
                             std::span<const int> tile_edges, Pass pass, Extent extent,
                             std::uint64_t seed, const std::optional<Mask>& only_mask = {});

}  // namespace attn::verify
