// SPDX-License-Identifier: MIT
//
// One run of a puzzle's code at one size, with everything watched.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "chapters/00_playground/puzzles/harness/puzzle.hpp"
#include "common/memory.hpp"
#include "common/simt/watch/observer.hpp"

namespace attn::puzzles {

/// One access of a warp: which lanes touch which elements of which array. A word of shared memory
/// counts from the first that the launch touches.
struct Touch {
  Place place;
  bool store;
  int block;
  int warp;                                // of the whole grid
  std::vector<std::pair<int, int>> lanes;  // lane, element
};

/// What a launch did, in order; a barrier is a Touch without lanes.
using Touches = std::vector<Touch>;

struct Result {
  std::vector<float> a, b;  // the inputs
  std::vector<float> wanted, got;
  std::vector<bool> stored;  // whether `got` was stored by anybody
  std::vector<Detection> detections;
  std::string error;  // why the launch was stopped or refused; empty if it was not
  std::optional<simt::Traffic> traffic;
  Touches touches;

  /// The inputs as the loop gets them.
  Data host(const Puzzle& puzzle, Size size) const;
  bool wrong_at(std::size_t index) const;
  bool nothing_stored() const;
  /// Right, and no detector complains.
  bool right() const;
};

Result run(const Puzzle& puzzle, Code code, Size size);

}  // namespace attn::puzzles
