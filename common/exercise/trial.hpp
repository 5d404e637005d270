// SPDX-License-Identifier: MIT
//
// One launch of a reader's kernel on small arrays, watched by the detectors.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/run/buffers.hpp"

namespace attn::exercise {

/// Arrays in device memory, each between guard bands, and what a launch did with them.
class Trial {
 public:
  const float* input(std::string_view name, const std::vector<float>& values);
  /// NaNs that count as unwritten.
  float* output(std::string_view name, std::int64_t floats);

  /// Runs `launch` with the detectors on. Returns what they saw, or what was thrown, in words for a
  /// beginner; empty if nothing.
  std::string run(const std::function<void()>& launch);

  /// Whether in that run several threads stored the same to one element of this array: no error,
  /// but work that was done twice.
  bool stored_twice(std::string_view name) const;

  /// The contents of one of the arrays.
  std::vector<float> read(const float* array) const;

 private:
  std::deque<GuardedBuffer> buffers_;
  std::vector<std::string> doubled_;  // "write of o[0]; ...", of each warning
};

/// Whether a float read from an output was never written.
bool is_unwritten(float value);

}  // namespace attn::exercise
