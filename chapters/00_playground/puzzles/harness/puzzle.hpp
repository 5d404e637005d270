// SPDX-License-Identifier: MIT
//
// What the checker knows of a puzzle.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chapters/00_playground/puzzles/data.hpp"
#include "common/simt/watch/counters.hpp"

namespace attn::puzzles {

struct Size {
  int rows = 1;
  int columns = 0;
  std::size_t count() const {
    return static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
  }
};

/// A loop on the host, or the launch of a kernel.
using Code = void (*)(const Data&);

/// One of a puzzle's arrays.
struct Array {
  std::string_view name;  // empty: the puzzle has no such array
  bool matrix = false;    // two indices
  Size (*size)(Size problem) = nullptr;
  bool positive = false;  // from 1 to 2 instead of -1 to 1
};
/// "s[5]" or "S[0][5]".
std::string element_name(const Array& array, Size problem, std::size_t index);

enum class Place : std::uint8_t { kA, kB, kOut, kShared };

/// Accesses that a picture shows.
struct View {
  std::string_view title;
  Place place;
  bool stores;
};

/// A number that a medal asks to be small.
struct Count {
  std::string_view name;
  std::uint64_t (*of)(const simt::Traffic&);
};
/// All that are shown.
extern const std::span<const Count> kCounts;

struct Puzzle {
  std::string_view name;  // "map"
  std::string_view idea;  // one line
  std::string_view file;  // "01_map.cu"
  Code loop, yours, solution;
  Array a, b, out;
  float number = 0.0f;
  std::vector<Size> sizes;  // the smallest first; the last one is counted
  Size picture;             // the one that is drawn
  std::vector<View> views;
  bool timeline = false;                  // draw shared memory and barriers over time instead
  std::vector<std::string_view> counted;  // names of kCounts: no more than the solution for gold
  /// What an element is made of, in numbers: "scale * s[5] = 0.125 * 0.186".
  std::string (*worked)(const Data& host, int index) = nullptr;
  std::array<std::string_view, 2> hints;
};

/// The eight, in their order.
const std::vector<Puzzle>& all_puzzles();

}  // namespace attn::puzzles
