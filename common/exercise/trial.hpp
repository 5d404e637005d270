// SPDX-License-Identifier: MIT
//
// One launch of a reader's kernel on small arrays, watched by the detectors.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/run/buffers.hpp"

namespace attn::exercise {

/// An array in shared memory: dynamic, in the order of the kernel's layout, or static.
struct SharedArray {
  std::string_view name;
  std::int64_t rows = 1;
  std::int64_t stride = 1;  // floats from row to row
  bool tile = false;        // loaded anew in each round of a loop
  bool handed = false;      // one warp leaves something there for another
};

/// An array in device memory that the kernel divides into equal parts, each with a name.
struct Parts {
  std::string_view whole;
  std::vector<std::string_view> names;
  std::int64_t floats = 0;  // of a part
};

/// What a detector saw, or what was thrown.
struct Trouble {
  std::string text;      // in words for a beginner, several lines
  std::string array;     // whose element it is about; empty if that is not known
  std::string hint;      // what to do about reports of this kind
  bool stopped = false;  // the launch did not come to its end
};

/// Arrays in device memory, each between guard bands, and what a launch did with them.
class Trial {
 public:
  const float* input(std::string_view name, const std::vector<float>& values);
  /// NaNs that count as unwritten.
  float* output(std::string_view name, std::int64_t floats);

  /// What reports call the places of shared memory.
  void name_shared(std::vector<SharedArray> arrays) { shared_ = std::move(arrays); }

  /// What reports call the parts of an array.
  void name_parts(Parts parts) { parts_ = std::move(parts); }

  /// Runs `launch` with the detectors on. Returns what they saw, in their order.
  std::vector<Trouble> run(const std::function<void()>& launch);

  /// Whether in that run several threads stored the same to one element of this array: no error,
  /// but work that was done twice.
  bool stored_twice(std::string_view name) const;

  /// The contents of one of the arrays.
  std::vector<float> read(const float* array) const;

 private:
  std::deque<GuardedBuffer> buffers_;
  std::vector<SharedArray> shared_;
  Parts parts_;
  std::string_view show_ = "show_tile";  // with which the kernel shows S
  std::vector<std::string> doubled_;     // "write of o[0]; ...", of each warning
};

/// What an output holds before it is written.
float unwritten();

/// Whether a float read from an output was never written.
bool is_unwritten(float value);

}  // namespace attn::exercise
