// SPDX-License-Identifier: MIT
//
//   puzzles                   all eight, and how far you are
//   puzzles 3                 checks your kernel of puzzle 3
//   puzzles 3 --hint [1|2]    helps
// Exit status: 0 right, 1 not, 2 wrong usage. Without a number it is 0.
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "chapters/00_playground/puzzles/harness/check.hpp"
#include "common/attention.hpp"
#include "common/io/table.hpp"

namespace attn::puzzles {
namespace {

constexpr std::string_view kFolder = "chapters/00_playground/puzzles/";
constexpr std::string_view kUsage =
    "puzzles                   all eight, and how far you are\n"
    "puzzles 3                 checks your kernel of puzzle 3\n"
    "puzzles 3 --hint          a hint; --hint 2 for another one\n";

/// From 1 to `most`. Throws Error(kBadArgument).
std::size_t number_in(std::string_view what, std::string_view text, std::size_t most) {
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 1 || number > most) {
    throw Error(ErrorKind::kBadArgument, fmt::format("{} {}: allowed: 1 to {}", what, text, most));
  }
  return number;
}

std::string heading(std::size_t index, std::string_view state) {
  const Puzzle& puzzle = all_puzzles()[index];
  return fmt::format("Puzzle {}, {} ({}): {}\n", index + 1, puzzle.name, puzzle.file, state);
}

int show_all() {
  io::Table table({{.title = "puzzle"}, {.title = "what it is about"}, {.title = "you"}});
  std::size_t right = 0, gold = 0, next = all_puzzles().size();
  for (std::size_t i = 0; i < all_puzzles().size(); ++i) {
    const Puzzle& puzzle = all_puzzles()[i];
    const Verdict verdict = check(puzzle, puzzle.yours);
    const bool is_gold = verdict.medal == verify::Medal::kGold;
    right += verdict.state == State::kRight ? 1 : 0;
    gold += is_gold ? 1 : 0;
    if (!is_gold && next == all_puzzles().size()) next = i;
    table.add_row(
        {fmt::format("{} {}", i + 1, puzzle.name), std::string(puzzle.idea), to_string(verdict)});
  }
  fmt::print("{}\n{} of {} right, {} gold.", table.to_string(::isatty(STDOUT_FILENO) != 0), right,
             all_puzzles().size(), gold);
  if (next < all_puzzles().size()) {
    fmt::print(
        " Next: edit {}{}, then\n  cmake --build build --target puzzles && build/puzzles {}\n",
        kFolder, all_puzzles()[next].file, next + 1);
  } else {
    fmt::print(
        "\nYou have written all the parts of attention but one: scores, maximum, softmax. Chapter "
        "02\nputs them together, and multiplies by V.\n");
  }
  return 0;
}

int show_one(std::size_t index) {
  const Puzzle& puzzle = all_puzzles()[index];
  const Verdict verdict = check(puzzle, puzzle.yours);
  fmt::print("{}{}", heading(index, to_string(verdict)), verdict.text);
  if (verdict.medal != verify::Medal::kGold) {
    fmt::print("\nStuck? build/puzzles {} --hint\n", index + 1);
  }
  return verdict.state == State::kRight ? 0 : 1;
}

/// Broken into lines between words.
std::string folded(std::string_view text) {
  constexpr std::size_t kColumns = 90;
  std::string lines;
  while (text.size() > kColumns) {
    const std::size_t end = text.rfind(' ', kColumns);
    lines += fmt::format("{}\n", text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  return fmt::format("{}{}\n", lines, text);
}

int show_hint(std::size_t index, std::size_t hint) {
  const Puzzle& puzzle = all_puzzles()[index];
  fmt::print("{}{}", heading(index, fmt::format("hint {}", hint)), folded(puzzle.hints[hint - 1]));
  if (hint < puzzle.hints.size()) {
    fmt::print("\nMore: build/puzzles {} --hint {}\n", index + 1, hint + 1);
  } else {
    fmt::print("\nA solution: {}solution/{}\n", kFolder, puzzle.file);
  }
  return 0;
}

int run_program(const std::vector<std::string_view>& arguments) {
  if (arguments.empty()) return show_all();
  if (arguments[0] == "--help") {
    fmt::print("{}", kUsage);
    return 0;
  }
  const std::size_t index = number_in("puzzle", arguments[0], all_puzzles().size()) - 1;
  if (arguments.size() == 1) return show_one(index);
  if (arguments[1] != "--hint") {
    throw Error(ErrorKind::kBadArgument, fmt::format("{}: allowed: --hint", arguments[1]));
  }
  if (arguments.size() > 3) {
    throw Error(ErrorKind::kBadArgument,
                fmt::format("{}: allowed: nothing behind the hint's number", arguments[3]));
  }
  const std::size_t hints = all_puzzles()[index].hints.size();
  return show_hint(index, arguments.size() == 2 ? 1 : number_in("--hint", arguments[2], hints));
}

}  // namespace
}  // namespace attn::puzzles

int main(int argc, char** argv) {
  try {
    return attn::puzzles::run_program({argv + 1, argv + argc});
  } catch (const attn::Error& error) {
    fmt::print(stderr, "puzzles: {}\n", error.what());
    return error.kind() == attn::ErrorKind::kBadArgument ? 2 : 1;
  }
}
