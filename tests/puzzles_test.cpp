// SPDX-License-Identifier: MIT
//
// The puzzles of chapter 00, checked: as shipped none is solved, every solution is gold, and what
// beginners write gets an answer that names the mistake's place.
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "chapters/00_playground/puzzles/harness/check.hpp"
#include "tests/catch.hpp"
#include "tests/puzzles/wrong.hpp"

namespace attn::puzzles {
namespace {

using verify::Medal;

const std::filesystem::path kTests = std::filesystem::path(__FILE__).parent_path();
const std::filesystem::path kPuzzles = kTests.parent_path() / "chapters/00_playground/puzzles";

std::vector<std::string> lines_of(const std::filesystem::path& file) {
  std::ifstream stream(file);
  REQUIRE(stream.is_open());
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

const Puzzle& puzzle(std::size_t number) { return all_puzzles().at(number - 1); }

/// Whether the reader has not changed it yet: nothing behind the comment that asks for something,
/// or, in the last puzzle, no barrier.
bool as_shipped(const Puzzle& one) {
  bool asked = false;
  for (const std::string& line : lines_of(kPuzzles / one.file)) {
    asked = asked || line.starts_with("  // Yours:");
    if (one.name == "race" ? line.find("  __syncthreads();") != std::string::npos
                           : asked && !line.starts_with("  //")) {
      return one.name != "race" && line == "}";
    }
  }
  return one.name == "race";
}

/// The line of tests/puzzles/`file` that ends in "// bug: `bug`", as a report says it.
std::string place(const std::string& file, const std::string& bug) {
  const std::vector<std::string> lines = lines_of(kTests / "puzzles" / file);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].ends_with("// bug: " + bug)) return file + ":" + std::to_string(i + 1);
  }
  FAIL("no line of " << file << " ends in // bug: " << bug);
  return {};
}

void expect(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    INFO("missing: " << part << "\nin:\n" << text);
    CHECK(text.find(part) != std::string::npos);
  }
}

void expect_wrong(std::size_t number, Code code, const std::vector<std::string>& parts) {
  const Verdict verdict = check(puzzle(number), code);
  INFO(verdict.text);
  CHECK(verdict.state == State::kWrong);
  CHECK_FALSE(verdict.medal.has_value());
  expect(verdict.text, parts);
}

void expect_right(std::size_t number, Code code, Medal medal,
                  const std::vector<std::string>& parts) {
  const Verdict verdict = check(puzzle(number), code);
  INFO(verdict.text);
  CHECK(verdict.state == State::kRight);
  CHECK(verdict.medal == medal);
  expect(verdict.text, parts);
}

TEST_CASE("as shipped, no puzzle is solved", "[ch00]") {
  for (const Puzzle& one : all_puzzles()) {
    if (!as_shipped(one)) {
      WARN(one.file << " is not as shipped: not checked");
      continue;
    }
    const Verdict verdict = check(one, one.yours);
    INFO(one.file << verdict.text);
    if (one.name == "race") {
      CHECK(verdict.state == State::kWrong);
      expect(verdict.text, {"A thread read what nobody had written yet.",
                            "08_race.cu:", "write of part[1]; thread (1,0,0) has a read of it"});
      CHECK(verdict.text.find("nothing says who is first") <
            verdict.text.find("A thread read what nobody had written yet."));
      CHECK(verdict.text.find("wanted") == std::string::npos);  // it would be the answer
    } else {
      CHECK(verdict.state == State::kNotBegun);
      expect(verdict.text, {"Not begun: no thread stores anything in "});
    }
  }
}

TEST_CASE("the solutions are right, and gold", "[ch00]") {
  for (const Puzzle& one : all_puzzles()) {
    const Verdict verdict = check(one, one.solution);
    INFO(one.file << verdict.text);
    CHECK(verdict.state == State::kRight);
    CHECK(verdict.medal == Medal::kGold);
    CHECK(verdict.text.find("warning") == std::string::npos);
    CHECK(verdict.text.find("goal not met") == std::string::npos);
  }
}

/// The solution's number in the report's table; -1 where there is none.
int counted(std::size_t number, const std::string& name) {
  std::istringstream text(check(puzzle(number), puzzle(number).solution).text);
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with(name + " ")) return std::stoi(line.substr(line.rfind(' ') + 1));
  }
  return -1;
}

// Medals are measured against the solutions, and these against numbers found by hand: 8 floats to
// a sector, 32 lanes to a request.
TEST_CASE("the solutions cost what they must", "[ch00]") {
  CHECK(counted(1, "sectors loaded") == 640 / 8);
  CHECK(counted(1, "sectors stored") == 640 / 8);
  CHECK(counted(2, "sectors stored") == 82);                // 650 / 8, and a piece
  CHECK(counted(3, "store requests") == 9 * 2);             // 33 columns: a second warp for one
  CHECK(counted(4, "sectors loaded") == 9 * (96 / 8 + 1));  // and l
  CHECK(counted(4, "sectors stored") == 9 * 96 / 8);
  CHECK(counted(5, "sectors loaded") == 64 * 64 / 8);
  CHECK(counted(5, "sectors stored") == 64 * 64 / 8);
  CHECK(counted(6, "shuffles") == 4 * 5);
  CHECK(counted(6, "store requests") == 4);
  CHECK(counted(7, "wavefronts in shared memory") == 3 * (32 + 32));  // stores and loads
  CHECK(counted(8, "barriers") == 3 * 3);
}

TEST_CASE("a report fits into 100 columns", "[ch00]") {
  for (const Puzzle& one : all_puzzles()) {
    std::istringstream text(check(one, one.solution).text);
    for (std::string line; std::getline(text, line);) {
      INFO(one.file << ": " << line);
      CHECK(line.size() <= 100);
    }
  }
}

TEST_CASE("puzzle 1: wrong answers", "[ch00]") {
  expect_wrong(1, wrong::map_block_forgotten,
               {"goes wrong: n = 128\n", "scaled[64] should be scale * s[64] = 0.125 * ",
                "No thread has stored anything in scaled[64].", "Wrong are 64 of 128 elements"});
  expect_wrong(1, wrong::map_scale_forgotten,
               {"goes wrong: n = 64\n", "scaled[0] should be scale * s[0] = 0.125 * -0.001"});
  expect_wrong(1, wrong::map_one_too_far,
               {"A thread used an element that does not exist.", "thread (63,0,0)",
                "map.cu:", "s[64], 1 past the last: s has 64 elements, s[0] to s[63]"});
}

TEST_CASE("puzzle 2: wrong answers", "[ch00]") {
  expect_wrong(2, wrong::guard_missing, {"goes wrong: n = 5\n", "thread (5,0,0)", "s[5], 1 past"});
  expect_wrong(2, wrong::guard_off_by_one,
               {"goes wrong: n = 5\n", "thread (5,0,0)", "s[5], 1 past"});
  expect_wrong(2, wrong::guard_within_block,
               {"goes wrong: n = 70\n", "block (1,0,0), thread (6,0,0)", "s[70], 1 past"});
}

TEST_CASE("puzzle 3: wrong answers", "[ch00]") {
  expect_wrong(3, wrong::matrix_other_stride, {"2 rows of 3 numbers", "W[0][2]"});
  expect_wrong(3, wrong::matrix_one_guard, {"2 rows of 3 numbers", "S[6], 1 past the last"});
  expect_wrong(3, wrong::matrix_x_as_row,
               {"3 rows of 40 numbers", "No thread has stored anything in W[0][4]."});
}

TEST_CASE("puzzle 4: wrong answers, and right ones that move too much", "[ch00]") {
  expect_wrong(4, wrong::rows_lane_of_block,
               {"3 rows of 40 numbers", "No thread has stored anything in result[1][0]."});
  expect_wrong(4, wrong::rows_without_guard,
               {"1 row of 5 numbers", "l[1], 1 past the last: l has one element, l[0]",
                place("row_per_warp.cu", "without_guard")});
  expect_right(4, wrong::rows_in_chunks, Medal::kBronze, {"goal not met, silver: "});
  expect_right(4, wrong::rows_reload_divisor, Medal::kSilver, {"goal not met, gold: "});
}

TEST_CASE("puzzle 5: wrong answers, and a right one that moves too much", "[ch00]") {
  expect_wrong(5, wrong::transpose_without_barrier,
               {"2 rows of 3 numbers", "A thread read what nobody had written yet."});
  expect_wrong(5, wrong::transpose_return_first,
               {"2 rows of 3 numbers", "No thread has stored anything in kT[2][0].",
                "warning: barrier after a return"});
  expect_wrong(5, wrong::transpose_same_corner,
               {"2 rows of 3 numbers", "kT[0][1] should be K[1][0] = 0.112\n",
                "It is        0.038, which belongs into kT[1][0]\n"});
  expect_wrong(5, wrong::transpose_blocks_stay,
               {"40 rows of 33 numbers", "kT[1320], 1 past the last"});
  expect_right(5, wrong::transpose_without_tile, Medal::kBronze,
               {"goal not met, silver: ", "sectors stored"});
}

TEST_CASE("the picture shows who reads the tile where", "[ch00]") {
  const std::string text = check(puzzle(5), wrong::transpose_without_tile).text;
  // Nobody on the left; on the right lane 0 of each warp reads the tile's first column, and so on.
  expect(text, {"    word 0        " + std::string(35, ' ') + "0123456789abcdefghijklmnopqrstuv\n",
                "    kT[1][0]      11111111111111111111111111111111   "
                "0123456789abcdefghijklmnopqrstuv\n"});
}

TEST_CASE("a picture that is as wanted stands there once", "[ch00]") {
  for (const Puzzle& one : all_puzzles()) {
    const std::string text = check(one, one.solution).text;
    INFO(one.file << text);
    CHECK(text.find("yours, as wanted\n") != std::string::npos);
    CHECK(text.find("yours                 ") == std::string::npos);
  }
  CHECK(check(puzzle(8), wrong::softmax_too_many_barriers).text.find("  wanted\n") !=
        std::string::npos);
}

TEST_CASE("a picture of a stopped run says so", "[ch00]") {
  expect_wrong(1, wrong::map_one_too_far, {"\n  The run was stopped here.\n"});
  CHECK(check(puzzle(1), wrong::map_block_forgotten).text.find("stopped here") ==
        std::string::npos);
}

TEST_CASE("puzzle 6: wrong answers, and a right one with a remark", "[ch00]") {
  expect_wrong(6, wrong::row_max_four_exchanges, {"should be the largest of the 32 numbers"});
  expect_wrong(6, wrong::row_max_no_exchange,
               {"1 row of 2 numbers", "should be the largest of the 2 numbers of row 0: S[0][1]"});
  expect_wrong(6, wrong::row_max_half_a_mask,
               {"A shuffle's mask names other lanes than those that come to it.",
                place("row_max.cu", "half_a_mask")});
  expect_right(6, wrong::row_max_all_store, Medal::kGold, {"warning: same value"});
}

TEST_CASE("puzzle 7: wrong answers, and a right one that is slow", "[ch00]") {
  expect_wrong(7, wrong::scores_unscaled, {"s[0] should be 0.125 * (q[0] * K[0][0] + ..."});
  expect_wrong(7, wrong::scores_tile_turned, {"s[0] should be 0.125 * (q[0] * K[0][0] + ..."});
  expect_right(7, wrong::scores_with_conflicts, Medal::kBronze,
               {"goal not met, silver: ", "wavefronts in shared memory"});
}

TEST_CASE("puzzle 8: wrong answers, and a right one that waits too often", "[ch00]") {
  expect_wrong(8, wrong::softmax_middle_missing,
               {"nothing says who is first", place("race.cu", "sums written"),
                place("race.cu", "maxima read")});
  expect_wrong(8, wrong::softmax_first_missing,
               {"A thread read what nobody had written yet.", place("race.cu", "maxima read")});
  expect_wrong(8, wrong::softmax_barrier_in_branch,
               {"A shuffle's mask names other lanes than those that come to it.",
                place("race.cu", "in a branch")});
  expect_right(8, wrong::softmax_too_many_barriers, Medal::kBronze, {"barriers"});
}

TEST_CASE("kernels that do nothing, never end, or go far away", "[ch00]") {
  CHECK(check(puzzle(1), wrong::nothing_at_all).state == State::kNotBegun);
  for (const Code code : {wrong::endless, wrong::endless_with_accesses}) {
    expect_wrong(1, code, {"The kernel did not end", "endless kernel: kernel ", "unruly.cu:"});
  }
  expect_wrong(1, wrong::far_away, {"out of bounds", "unruly.cu:"});
  expect_wrong(1, wrong::no_block, {"launch of nothing_kernel", "gridDim.x = 0"});
}

/// What the page shows below <!-- printed by: puzzles 4, with chunks -->.
TEST_CASE("the page quotes what is printed", "[ch00]") {
  std::string quoted;
  bool marked = false, inside = false;
  for (const std::string& line : lines_of(kPuzzles / "README.md")) {
    if (inside && line == "```") break;
    if (inside) quoted += line + "\n";
    inside = inside || (marked && line == "```text");
    marked = marked || line == "<!-- printed by: puzzles 4, with chunks -->";
  }
  const std::string text = check(puzzle(4), wrong::rows_in_chunks).text;
  INFO(text);
  REQUIRE_FALSE(quoted.empty());
  CHECK(text.find(quoted) != std::string::npos);
}

}  // namespace
}  // namespace attn::puzzles
