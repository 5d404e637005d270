// SPDX-License-Identifier: MIT
//
// The eight puzzles: what their arrays are, at which sizes they are checked, what is drawn and what
// is counted.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "chapters/00_playground/puzzles/harness/puzzle.hpp"

namespace attn::puzzles {

namespace yours {  // ../*.cu
void map_loop(const Data&);
void map(const Data&);
void guard_loop(const Data&);
void guard(const Data&);
void two_dimensions_loop(const Data&);
void two_dimensions(const Data&);
void row_per_warp_loop(const Data&);
void row_per_warp(const Data&);
void transpose_loop(const Data&);
void transpose(const Data&);
void row_max_loop(const Data&);
void row_max(const Data&);
void bank_conflict_loop(const Data&);
void bank_conflict(const Data&);
void race_loop(const Data&);
void race(const Data&);
}  // namespace yours

namespace solution {  // ../solution/*.cu
void map(const Data&);
void guard(const Data&);
void two_dimensions(const Data&);
void row_per_warp(const Data&);
void transpose(const Data&);
void row_max(const Data&);
void bank_conflict(const Data&);
void race(const Data&);
}  // namespace solution

namespace {

using simt::Traffic;

constexpr std::string_view kLoadRequests = "load requests";
constexpr std::string_view kLoadSectors = "sectors loaded";
constexpr std::string_view kStoreRequests = "store requests";
constexpr std::string_view kStoreSectors = "sectors stored";
constexpr std::string_view kShared = "wavefronts in shared memory";
constexpr std::string_view kBarriers = "barriers";
constexpr std::string_view kShuffles = "shuffles";

constexpr Count kAllCounts[] = {
    {kLoadRequests, [](const Traffic& t) { return t.global_load_requests; }},
    {kLoadSectors, [](const Traffic& t) { return t.global_load_sectors; }},
    {kStoreRequests, [](const Traffic& t) { return t.global_store_requests; }},
    {kStoreSectors, [](const Traffic& t) { return t.global_store_sectors; }},
    {kShared,
     [](const Traffic& t) { return t.shared_load_wavefronts + t.shared_store_wavefronts; }},
    {kBarriers, [](const Traffic& t) { return t.barriers; }},
    {kShuffles, [](const Traffic& t) { return t.shuffles; }},
};

Size all(Size size) { return size; }
Size turned(Size size) { return {size.columns, size.rows}; }
Size one_per_row(Size size) { return {1, size.rows}; }
Size one_key(Size) { return {1, 32}; }
Size all_keys(Size size) { return {size.columns, 32}; }

/// "S[2][5]" of a matrix as wide as the problem.
std::string at(std::string_view name, const Data& x, int index) {
  return fmt::format("{}[{}][{}]", name, index / x.columns, index % x.columns);
}

const float* row_of(const Data& x, int row) { return x.a + row * x.columns; }

Puzzle map_puzzle() {
  return {
      .name = "map",
      .idea = "a thread for each element",
      .file = "01_map.cu",
      .loop = yours::map_loop,
      .yours = yours::map,
      .solution = solution::map,
      .a = {"s", false, all},
      .b = {},
      .out = {"scaled", false, all},
      .number = 0.125f,
      .sizes = {{1, 64}, {1, 128}, {1, 640}},
      .picture = {1, 128},
      .views = {{"Which thread stores scaled[i]", Place::kOut, true}},
      .counted = {kLoadRequests, kLoadSectors, kStoreRequests, kStoreSectors},
      .worked = [](const Data& x,
                   int i) { return fmt::format("scale * s[{}] = {} * {}", i, x.number, x.a[i]); },
      .hints = {"threadIdx.x counts within a block only. How many threads stand in the blocks "
                "before this one? blockIdx.x says how many blocks those are.",
                "const int i = blockIdx.x * blockDim.x + threadIdx.x; and then the loop's body "
                "for that i."}};
}

Puzzle guard_puzzle() {
  return {
      .name = "guard",
      .idea = "more threads than elements",
      .file = "02_guard.cu",
      .loop = yours::guard_loop,
      .yours = yours::guard,
      .solution = solution::guard,
      .a = {"s", false, all},
      .b = {},
      .out = {"w", false, all},
      .number = 1.0f,
      .sizes = {{1, 5}, {1, 64}, {1, 70}, {1, 650}},
      .picture = {1, 70},
      .views = {{"Which thread stores w[i]", Place::kOut, true}},
      .counted = {kLoadRequests, kLoadSectors, kStoreRequests, kStoreSectors},
      .worked =
          [](const Data& x, int i) {
            return fmt::format("expf(s[{}] - largest) = expf({} - {})", i, x.a[i], x.number);
          },
      .hints = {"For n = 5 the block still has 64 threads, and their i goes from 0 to 63. Which "
                "of them may touch s[i]?",
                "if (i >= n) return; before the first access."}};
}

Puzzle two_dimensions_puzzle() {
  return {.name = "two dimensions",
          .idea = "rows and columns, and blocks that stick out",
          .file = "03_two_dimensions.cu",
          .loop = yours::two_dimensions_loop,
          .yours = yours::two_dimensions,
          .solution = solution::two_dimensions,
          .a = {"S", true, all},
          .b = {"largest", false, one_per_row, true},
          .out = {"W", true, all},
          .sizes = {{2, 3}, {3, 40}, {9, 33}},
          .picture = {3, 40},
          .views = {{"Which thread stores W[row][column]", Place::kOut, true}},
          .counted = {kLoadRequests, kLoadSectors, kStoreRequests, kStoreSectors},
          .worked =
              [](const Data& x, int i) {
                return fmt::format("expf({} - largest[{}]) = expf({} - {})", at("S", x, i),
                                   i / x.columns, x.a[i], x.b[i / x.columns]);
              },
          .hints = {"A row is `columns` numbers long, so row r begins at r * columns. Neighbouring "
                    "threads of a warp differ in threadIdx.x: let that be the column.",
                    "column from blockIdx.x, blockDim.x, threadIdx.x as in puzzle 1, row from the "
                    "three y's; if (row >= rows || column >= columns) return;"}};
}

Puzzle row_per_warp_puzzle() {
  return {
      .name = "a row per warp",
      .idea = "32 lanes side by side along a row",
      .file = "04_row_per_warp.cu",
      .loop = yours::row_per_warp_loop,
      .yours = yours::row_per_warp,
      .solution = solution::row_per_warp,
      .a = {"O", true, all},
      .b = {"l", false, one_per_row, true},
      .out = {"result", true, all},
      .sizes = {{1, 5}, {3, 40}, {4, 64}, {9, 96}},
      .picture = {2, 64},
      .views = {{"Which thread loads O[row][column]", Place::kA, false}},
      .counted = {kLoadRequests, kLoadSectors, kStoreRequests, kStoreSectors},
      .worked =
          [](const Data& x, int i) {
            return fmt::format("{} / l[{}] = {} / {}", at("O", x, i), i / x.columns, x.a[i],
                               x.b[i / x.columns]);
          },
      .hints = {"At any one moment the 32 lanes should be at 32 neighbouring columns: lane 0 at "
                "column 0, lane 1 at column 1. Where are they one moment later? And l[row] is "
                "the same for the whole row: load it once.",
                "row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32; then for "
                "(int column = lane; column < columns; column += 32)."}};
}

Puzzle transpose_puzzle() {
  return {
      .name = "a shared tile",
      .idea = "threads hand numbers to each other",
      .file = "05_transpose.cu",
      .loop = yours::transpose_loop,
      .yours = yours::transpose,
      .solution = solution::transpose,
      .a = {"K", true, all},
      .b = {},
      .out = {"kT", true, turned},
      .sizes = {{2, 3}, {32, 32}, {40, 33}, {64, 64}},
      .picture = {32, 32},
      .views = {{"Which thread reads the tile: word 32 * row + column", Place::kShared, false},
                {"Which thread stores kT[row][column]", Place::kOut, true}},
      .counted = {kLoadRequests, kLoadSectors, kStoreRequests, kStoreSectors},
      .worked =
          [](const Data& x, int i) {
            const int from = i % x.rows * x.columns + i / x.rows;
            return at("K", x, from);
          },
      .hints = {"Loads and stores both want x, the thread's place in its warp, as the column. So "
                "the turning must happen in between: write tile[y][x], read tile[x][y]. Who "
                "wrote that one? Another thread, perhaps of another warp.",
                "if (top + y < rows && left + x < columns) tile[y][x] = ...; then "
                "__syncthreads(); then if (left + y < columns && top + x < rows) kT[(left + y) * "
                "rows + top + x] = tile[x][y]; and no return before the barrier."}};
}

Puzzle row_max_puzzle() {
  return {
      .name = "shuffles",
      .idea = "32 lanes agree on one number",
      .file = "06_row_max.cu",
      .loop = yours::row_max_loop,
      .yours = yours::row_max,
      .solution = solution::row_max,
      .a = {"S", true, all},
      .b = {},
      .out = {"largest", false, one_per_row},
      .sizes = {{1, 2}, {1, 32}, {3, 40}, {4, 100}},
      .picture = {2, 64},
      .views = {{"Which thread loads S[row][column]", Place::kA, false},
                {"Which thread stores largest[row]", Place::kOut, true}},
      .counted = {kLoadRequests, kLoadSectors, kStoreRequests, kStoreSectors, kShuffles},
      .worked =
          [](const Data& x, int row) {
            const float* s = row_of(x, row);
            const auto best = std::max_element(s, s + x.columns) - s;
            return fmt::format("the largest of the {} numbers of row {}: S[{}][{}]", x.columns, row,
                               row, best);
          },
      .hints = {"Each lane compares with the lane 16 away, then 8, 4, 2, 1 away. After the first "
                "exchange a lane knows the largest of two lanes; how many after the second?",
                "for (int distance = 16; distance > 0; distance /= 2) m = fmaxf(m, "
                "__shfl_xor_sync(0xFFFFFFFFu, m, distance)); then if (lane == 0) largest[row] = "
                "m;"}};
}

Puzzle bank_conflict_puzzle() {
  return {
      .name = "bank conflict",
      .idea = "right, and 32 times as slow as it could be",
      .file = "07_bank_conflict.cu",
      .loop = yours::bank_conflict_loop,
      .yours = yours::bank_conflict,
      .solution = solution::bank_conflict,
      .a = {"q", false, one_key},
      .b = {"K", true, all_keys},
      .out = {"s", false, all},
      .number = 0.125f,
      .sizes = {{1, 32}, {1, 96}},
      .picture = {1, 32},
      .views = {{"Who loads what from the tile, by bank: a bank is a column, 0 to 31",
                 Place::kShared, false}},
      .counted = {kLoadSectors, kStoreSectors, kShared},
      .worked =
          [](const Data& x, int key) {
            const float* k = x.b + key * 32;
            return fmt::format(
                "{} * (q[0] * K[{}][0] + ... + q[31] * K[{}][31])\n"
                "    = {} * ({} * {} + ... + {} * {})",
                x.number, key, key, x.number, x.a[0], k[0], x.a[31], k[31]);
          },
      .hints = {"At one moment all lanes load the same column c of the tile: words c, 32 + c, 64 "
                "+ c, ... Those lie in one bank, c. How long must a row be, so that the next "
                "row's column c lies in the next bank?",
                "for (int c = 0; c < 32; ++c) dot += q[c] * tile[lane * kPitch + c]; and kPitch "
                "= 33: one unused float at the end of every row."}};
}

Puzzle race_puzzle() {
  return {.name = "race",
          .idea = "everything is there but the waiting",
          .file = "08_race.cu",
          .loop = yours::race_loop,
          .yours = yours::race,
          .solution = solution::race,
          .a = {"S", true, all},
          .b = {},
          .out = {"P", true, all},
          .sizes = {{1, 5}, {2, 128}, {3, 200}},
          .picture = {1, 128},
          .views = {},
          .timeline = true,
          .counted = {kBarriers},
          .worked =
              [](const Data& x, int i) {
                const float* s = row_of(x, i / x.columns);
                const float largest = *std::max_element(s, s + x.columns);
                float sum = 0.0f;
                for (int c = 0; c < x.columns; ++c) sum += std::exp(s[c] - largest);
                return fmt::format("expf({} - {}) / {}", at("S", x, i), largest, sum);
              },
          .hints = {"Go through the lines that touch `part`. Before a warp reads what another has "
                    "written, it must wait. Before a warp overwrites what another still reads, it "
                    "must wait, too.",
                    "Three barriers: between writing the maxima and reading them, between reading "
                    "them and writing the sums, between writing the sums and reading them."}};
}

}  // namespace

const std::span<const Count> kCounts = kAllCounts;

std::string element_name(const Array& array, Size problem, std::size_t index) {
  if (!array.matrix) return fmt::format("{}[{}]", array.name, index);
  const auto columns = static_cast<std::size_t>(array.size(problem).columns);
  return fmt::format("{}[{}][{}]", array.name, index / columns, index % columns);
}

const std::vector<Puzzle>& all_puzzles() {
  static const std::vector<Puzzle> puzzles = {
      map_puzzle(),       guard_puzzle(),   two_dimensions_puzzle(), row_per_warp_puzzle(),
      transpose_puzzle(), row_max_puzzle(), bank_conflict_puzzle(),  race_puzzle()};
  return puzzles;
}

}  // namespace attn::puzzles
