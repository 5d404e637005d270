// SPDX-License-Identifier: MIT
#include "chapters/00_playground/puzzles/harness/check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "chapters/00_playground/puzzles/harness/picture.hpp"
#include "chapters/00_playground/puzzles/harness/run.hpp"
#include "common/io/table.hpp"

namespace attn::puzzles {
namespace {

using verify::Medal;

constexpr std::size_t kShownDetections = 2;

std::string size_text(const Puzzle& puzzle, Size size) {
  if (!puzzle.a.matrix) return fmt::format("n = {}", size.columns);
  return fmt::format("{} row{} of {} numbers", size.rows, size.rows == 1 ? "" : "s", size.columns);
}

/// Paths down to the file's name.
std::string without_folders(const std::string& text) {
  std::string shorter;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find_first_of(" \n(", at), text.size() - 1) + 1;
    const std::string word = text.substr(at, end - at);
    const std::size_t slash = word.size() > 2 ? word.rfind('/') : std::string::npos;
    shorter += slash == std::string::npos ? word : word.substr(slash + 1);
    at = end;
  }
  return shorter;
}

/// "part (float 1)" as "part[1]": an array in shared memory with one index.
std::string with_index(const std::string& text) {
  const std::string_view mark = " (float ";
  const std::size_t open = text.find(mark);
  if (open == std::string::npos) return text;
  const std::size_t number = open + mark.size(), close = text.find(')', open);
  return fmt::format("{}[{}]{}", text.substr(0, open), text.substr(number, close - number),
                     text.substr(close + 1));
}

/// A report of the detectors, for somebody who has never seen one.
std::string explain(const Puzzle& puzzle, const Detection& found) {
  static const std::map<std::string_view, std::string_view> kWords = {
      {"out of bounds", "A thread used an element that does not exist."},
      {"race",
       "Two threads used the same place, one of them wrote, and nothing says who is first."},
      {"race between blocks",
       "Threads of two blocks used the same place, one of them wrote, and blocks have no order."},
      {"uninitialised read", "A thread read what nobody had written yet."},
      {"endless kernel", "The kernel did not end: does the loop come nearer to its end?"},
      {"divergent barrier", "Some threads wait at a barrier to which others do not come."},
      {"skipped barrier", "Some threads wait at a barrier to which others do not come."},
      {"incomplete warp mask", "A shuffle's mask names other lanes than those that come to it."},
      {"barrier after a return", "Threads returned before a barrier, and left their part undone."},
      {"same value", "Several threads stored the same number in the same place."},
  };
  const auto words = kWords.find(found.kind);
  return (words == kWords.end() ? std::string() : std::string(words->second) + "\n") +
         without_folders(puzzle.timeline ? with_index(to_string(found)) : to_string(found)) + "\n";
}

/// The warp of the first thread that a text names, "(33,0,0)" or "(1,2,0)": blocks are in one
/// dimension, or 32 wide.
std::pair<int, int> warp_in(std::string_view text) {
  int x = 0, y = 0;
  const std::size_t open = text.find('(');
  if (open == std::string_view::npos) return {};
  const char* end = text.data() + text.size();
  const auto [comma, error] = std::from_chars(text.data() + open + 1, end, x);
  if (error == std::errc() && comma < end) std::from_chars(comma + 1, end, y);
  return {x / 32, y};
}

/// Whether two threads of different warps take part.
bool is_race_of_warps(const Detection& found) {
  const std::size_t other = found.what.find("; thread (");
  return found.kind == "race" && other != std::string::npos &&
         warp_in(found.thread) != warp_in(std::string_view(found.what).substr(other));
}

/// A race between warps first: what nobody has written yet is often what is still to come. Then one
/// of each kind.
void sort_by_weight(std::vector<const Detection*>& chosen) {
  const auto weight = [](const Detection* one) {
    return is_race_of_warps(*one) ? 0 : one->kind == "race" ? 1 : 2;
  };
  std::stable_sort(chosen.begin(), chosen.end(),
                   [&](const Detection* a, const Detection* b) { return weight(a) < weight(b); });
  std::vector<const Detection*> first, others;
  std::set<std::string_view> kinds;
  for (const Detection* one : chosen) {
    (kinds.insert(one->kind).second ? first : others).push_back(one);
  }
  first.insert(first.end(), others.begin(), others.end());
  chosen = std::move(first);
}

/// The first reports, one for each kind and line; one that has stopped the kernel, which is the
/// last, before all others.
std::string shown_detections(const Puzzle& puzzle, const Result& result, bool warnings) {
  std::vector<const Detection*> chosen;
  for (const Detection& found : result.detections) {
    const bool known = std::any_of(chosen.begin(), chosen.end(), [&found](const Detection* other) {
      return other->kind == found.kind && other->file == found.file && other->line == found.line &&
             is_race_of_warps(*other) == is_race_of_warps(found);
    });
    if (found.warning == warnings && !known) chosen.push_back(&found);
  }
  if (!result.error.empty() && !chosen.empty()) {
    std::rotate(chosen.begin(), chosen.end() - 1, chosen.end());
  } else {
    sort_by_weight(chosen);
  }
  std::string text;
  for (std::size_t i = 0; i < std::min(chosen.size(), kShownDetections); ++i) {
    text += fmt::format("\n{}", explain(puzzle, *chosen[i]));
  }
  if (chosen.size() > kShownDetections) {
    text += fmt::format("\nand {} more\n", chosen.size() - kShownDetections);
  }
  return text;
}

/// ", which belongs into s[3]" if the number is wanted at exactly one other place.
std::string where_it_belongs(const Puzzle& puzzle, Size size, const Result& result,
                             std::size_t index) {
  std::optional<std::size_t> place;
  for (std::size_t i = 0; i < result.wanted.size(); ++i) {
    if (result.wanted[i] != result.got[index]) continue;
    if (place) return {};
    place = i;
  }
  if (!place) return {};
  return fmt::format(", which belongs into {}", element_name(puzzle.out, size, *place));
}

/// The first wrong element worked out, and how many there are.
std::string wrong_elements(const Puzzle& puzzle, Size size, const Result& result) {
  std::vector<std::size_t> wrong;
  for (std::size_t i = 0; i < result.wanted.size(); ++i) {
    if (result.wrong_at(i)) wrong.push_back(i);
  }
  if (wrong.empty()) return {};
  const std::size_t first = wrong.front();
  const std::string name = element_name(puzzle.out, size, first);
  std::string text = fmt::format("  {} should be {} = {:.6g}\n", name,
                                 puzzle.worked(result.host(puzzle, size), static_cast<int>(first)),
                                 result.wanted[first]);
  text += !result.stored[first] ? fmt::format("  No thread has stored anything in {}.\n", name)
                                : fmt::format("  It is        {:.6g}{}\n", result.got[first],
                                              where_it_belongs(puzzle, size, result, first));
  text += fmt::format("  Wrong are {} of {} elements", wrong.size(), result.wanted.size());
  const std::size_t shown = std::min<std::size_t>(wrong.size(), 4);
  for (std::size_t i = 0; i < shown; ++i) {
    text += (i == 0 ? ": " : ", ") + element_name(puzzle.out, size, wrong[i]);
  }
  return text + (shown < wrong.size() ? ", ...\n" : "\n");
}

std::string describe_failure(const Puzzle& puzzle, Size size, const Result& result) {
  std::string text =
      fmt::format("\nThe smallest case that goes wrong: {}\n", size_text(puzzle, size));
  const bool reported = std::any_of(result.detections.begin(), result.detections.end(),
                                    [](const Detection& found) { return !found.warning; });
  // What a stopped kernel has left undone says nothing.
  if (result.error.empty()) text += wrong_elements(puzzle, size, result);
  if (reported) return text + shown_detections(puzzle, result, /*warnings=*/false);
  if (!result.error.empty()) return text + without_folders(result.error) + "\n";
  return text + shown_detections(puzzle, result, /*warnings=*/true);
}

/// What was counted, beside the solution's; the goals that follow from it.
std::string score(const Puzzle& puzzle, Size size, const simt::Traffic& yours,
                  const simt::Traffic& wanted, std::vector<verify::Goal>& goals) {
  io::Table table({{.title = fmt::format("counted, {}", size_text(puzzle, size))},
                   {.title = "yours", .align = io::Table::Align::kRight},
                   {.title = "solution", .align = io::Table::Align::kRight}});
  for (const Count& count : kCounts) {
    const auto used = static_cast<std::int64_t>(count.of(yours));
    const auto allowed = static_cast<std::int64_t>(count.of(wanted));
    if (used == 0 && allowed == 0) continue;
    const bool counts =
        std::find(puzzle.counted.begin(), puzzle.counted.end(), count.name) != puzzle.counted.end();
    table.add_row({std::string(count.name), fmt::format("{}", used), fmt::format("{}", allowed)});
    if (!counts) continue;
    verify::hold_to(Medal::kSilver, count.name, used, 2 * allowed);
    verify::hold_to(Medal::kGold, count.name, used, allowed);
  }
  verify::add(goals, verify::take_uses(), size_text(puzzle, size));
  return table.to_string();
}

}  // namespace

Verdict check(const Puzzle& puzzle, Code code) {
  Verdict verdict;
  Result last;
  bool right = true;
  for (const Size size : puzzle.sizes) {
    last = run(puzzle, code, size);
    if (last.right()) continue;
    right = false;
    if (last.nothing_stored() && last.error.empty() && last.detections.empty()) {
      verdict.text =
          fmt::format("\nNot begun: no thread stores anything in {}.\n", puzzle.out.name);
    } else {
      verdict.state = State::kWrong;
      verdict.text = describe_failure(puzzle, size, last);
    }
    break;
  }
  const Result drawn = run(puzzle, code, puzzle.picture);
  const Result model = run(puzzle, puzzle.solution, puzzle.picture);
  verdict.text +=
      fmt::format("\nDrawn from a run with {}:\n\n{}{}", size_text(puzzle, puzzle.picture),
                  picture(puzzle, drawn.touches, model.touches, right),
                  drawn.error.empty() ? "" : "  The run was stopped here.\n");
  if (!right) return verdict;

  verdict.state = State::kRight;
  verdict.medal = Medal::kBronze;
  std::string text = shown_detections(puzzle, last, /*warnings=*/true);
  const Size size = puzzle.sizes.back();
  const Result counted = run(puzzle, puzzle.solution, size);
  if (last.traffic && counted.traffic) {
    std::vector<verify::Goal> goals;
    verdict.text +=
        fmt::format("\n{}", score(puzzle, size, *last.traffic, *counted.traffic, goals));
    verdict.text += fmt::format("\n{}", verify::describe(goals));
    verdict.medal = verify::best(goals);
  }
  verdict.text = text + verdict.text;
  return verdict;
}

std::string to_string(const Verdict& verdict) {
  switch (verdict.state) {
    case State::kNotBegun:
      return "not begun";
    case State::kWrong:
      return "wrong";
    case State::kRight:
      break;
  }
  return verdict.medal ? fmt::format("right, {}", verify::to_string(*verdict.medal)) : "right";
}

}  // namespace attn::puzzles
