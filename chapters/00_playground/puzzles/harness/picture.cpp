// SPDX-License-Identifier: MIT
#include "chapters/00_playground/puzzles/harness/picture.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string_view>
#include <utility>

namespace attn::puzzles {
namespace {

constexpr int kWide = 32;      // elements of a line
constexpr int kMostLines = 6;  // of a grid
constexpr int kLabel = 18;     // columns
constexpr char kNobody = '.';
constexpr char kSeveral = '*';

char symbol(int number) {
  constexpr std::string_view kSymbols =
      "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const auto index = static_cast<std::size_t>(number);
  return index < kSymbols.size() ? kSymbols[index] : '+';
}

/// What a character of a grid stands for.
enum Aspect { kWarp, kLane, kMoment };
constexpr std::array kAspects = {std::pair{kWarp, "warp"}, std::pair{kLane, "lane"},
                                 std::pair{kMoment, "moment"}};

/// A character for each element that the view shows.
using Grid = std::string;

Grid grid_of(const View& view, Aspect aspect, std::size_t elements, const Touches& touches) {
  Grid grid(elements, kNobody);
  std::map<int, int> moments;  // accesses of a warp so far
  for (const Touch& touch : touches) {
    if (touch.place != view.place || touch.store != view.stores || touch.lanes.empty()) continue;
    const int moment = moments[touch.warp]++;
    for (const auto& [lane, element] : touch.lanes) {
      const int number = aspect == kWarp ? touch.warp : aspect == kLane ? lane : moment;
      if (static_cast<std::size_t>(element) >= grid.size()) continue;  // of another array
      char& cell = grid[static_cast<std::size_t>(element)];
      cell = cell == kNobody || cell == symbol(number) ? symbol(number) : kSeveral;
    }
  }
  return grid;
}

/// Whether there is anything to see in it: not all the same.
bool tells(const Grid& grid) {
  std::set<char> symbols(grid.begin(), grid.end());
  symbols.erase(kNobody);
  return symbols.size() > 1 || symbols.contains(kSeveral);
}

std::size_t elements_of(const Puzzle& puzzle, const View& view, const Touches& touches) {
  const Array* array = view.place == Place::kA     ? &puzzle.a
                       : view.place == Place::kB   ? &puzzle.b
                       : view.place == Place::kOut ? &puzzle.out
                                                   : nullptr;
  if (array != nullptr) return array->size(puzzle.picture).count();
  int last = -1;
  for (const Touch& touch : touches) {
    if (touch.place != Place::kShared) continue;
    for (const auto& [lane, element] : touch.lanes) last = std::max(last, element);
  }
  return static_cast<std::size_t>(last + 1);
}

/// Where the lines of a grid begin, and what stands before them.
struct Line {
  std::size_t begin;
  std::size_t size;
  std::string label;
};

std::vector<Line> lines_of(const Puzzle& puzzle, const View& view, std::size_t elements) {
  const Array& array = view.place == Place::kA   ? puzzle.a
                       : view.place == Place::kB ? puzzle.b
                                                 : puzzle.out;
  const bool shared = view.place == Place::kShared;
  const auto row = shared || !array.matrix
                       ? elements
                       : static_cast<std::size_t>(array.size(puzzle.picture).columns);
  std::vector<Line> lines;
  for (std::size_t at = 0; at < elements;) {
    const std::size_t left = row - at % row;
    const std::size_t size = std::min<std::size_t>(kWide, left);
    lines.push_back(
        {at, size, shared ? fmt::format("word {}", at) : element_name(array, puzzle.picture, at)});
    at += size;
  }
  return lines;
}

std::string part(const Grid& grid, const Line& line) {
  return line.begin < grid.size() ? grid.substr(line.begin, line.size) : std::string();
}

std::string two_columns(std::string_view label, std::string_view left, std::string_view right) {
  if (right.empty()) return fmt::format("  {:<{}}{}\n", label, kLabel - 2, left);
  return fmt::format("  {:<{}}{:<{}}{}\n", label, kLabel - 2, left, kWide + 3, right);
}

std::string draw(const Puzzle& puzzle, const View& view, const Touches& yours,
                 const Touches& wanted) {
  const std::size_t ours = elements_of(puzzle, view, yours);
  const std::size_t theirs = elements_of(puzzle, view, wanted);
  const std::vector<Line> lines = lines_of(puzzle, view, std::max(ours, theirs));
  const std::size_t shown = std::min<std::size_t>(lines.size(), kMostLines);
  std::string text = fmt::format("{}\n", view.title);
  for (const auto& [aspect, name] : kAspects) {
    const Grid left = grid_of(view, aspect, ours, yours);
    const Grid right = grid_of(view, aspect, theirs, wanted);
    if (aspect != kLane && !tells(left) && !tells(right)) continue;
    const bool same = left == right;
    text += two_columns(name, same ? "yours, as wanted" : "yours", same ? "" : "wanted");
    for (std::size_t i = 0; i < shown; ++i) {
      text += two_columns("  " + lines[i].label, part(left, lines[i]),
                          same ? "" : part(right, lines[i]));
    }
    if (shown < lines.size()) {
      text += fmt::format("    and {} lines more\n", lines.size() - shown);
    }
  }
  return text;
}

/// One line for each warp of the first block: w and r for its writes and reads of shared memory,
/// and a bar for each barrier.
std::vector<std::string> timeline(const Touches& touches) {
  std::vector<std::string> warps(4);
  const auto align = [&warps] {
    std::size_t longest = 0;
    for (const std::string& warp : warps) longest = std::max(longest, warp.size());
    for (std::string& warp : warps) warp.resize(longest, ' ');
  };
  for (const Touch& touch : touches) {
    if (touch.block != 0 || touch.place != Place::kShared) continue;
    if (touch.lanes.empty()) {
      align();
      for (std::string& warp : warps) warp += '|';
    } else if (static_cast<std::size_t>(touch.warp) < warps.size()) {
      warps[static_cast<std::size_t>(touch.warp)] += touch.store ? 'w' : 'r';
    }
  }
  return warps;
}

std::string draw_timeline(const Touches& yours, const Touches& wanted, bool right) {
  std::string text = "Shared memory over time: w a write, r a read, | a barrier\n";
  const std::vector<std::string> left = timeline(yours), best = timeline(wanted);
  const bool both = right && left != best;
  text += two_columns("", right && !both ? "yours, as wanted" : "yours", both ? "wanted" : "");
  for (std::size_t warp = 0; warp < left.size(); ++warp) {
    text += two_columns(fmt::format("  warp {}", warp), left[warp].substr(0, kWide),
                        both ? best[warp] : "");
  }
  return text;
}

}  // namespace

std::string picture(const Puzzle& puzzle, const Touches& yours, const Touches& wanted, bool right) {
  if (puzzle.timeline) return draw_timeline(yours, wanted, right);
  std::string text;
  for (const View& view : puzzle.views) {
    text += fmt::format("{}{}", text.empty() ? "" : "\n", draw(puzzle, view, yours, wanted));
  }
  return text + "  0 to 9, then a for 10, b for 11, ... v for 31; . nobody, * more than one\n";
}

}  // namespace attn::puzzles
