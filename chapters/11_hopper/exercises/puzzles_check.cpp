// SPDX-License-Identifier: MIT
//
// The stages of chapter 11's puzzles. Inputs are made so that a wrong number says what is wrong
// with it; who waits for too little is told by the machine.
#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <random>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "chapters/11_hopper/exercises/puzzles.hpp"
#include "common/attention.hpp"
#include "common/exercise/stages.hpp"
#include "common/run/buffers.hpp"
#include "common/simt/machine/options.hpp"

namespace attn::hopper {
namespace {

using exercise::Later;
using exercise::Verdict;

using Matrix = std::vector<float>;  // row by row

constexpr std::int64_t kSteps = 2'000'000;  // plenty here, and soon over

/// What the machine says of a launch: its first report, or what was thrown; empty if all is well.
std::string report_of(const std::function<void()>& launch) {
  Memory& memory = device_memory();
  memory.take_detections();
  memory.watch(true);
  simt::options().steps = kSteps;
  std::string thrown;
  try {
    launch();
    memory.synchronize();
  } catch (const std::exception& error) {
    thrown = fmt::format("{}\n", error.what());
  }
  simt::options().steps = 0;
  memory.watch(false);
  for (const Detection& found : memory.take_detections()) {
    if (found.warning) continue;
    const std::regex folders(R"([\w./-]*/(?=\w+\.\w+:\d))");
    return std::regex_replace(to_string(found), folders, "") + "\n";
  }
  return thrown;
}

GuardedBuffer output(std::string name, std::size_t floats) {
  GuardedBuffer buffer(device_memory(), std::move(name), floats * sizeof(float), 0);
  buffer.fill_undefined(0xFF);  // NaN
  return buffer;
}

/// "S[3][5] is 2 and should be 4"; empty if nothing is wrong.
std::string difference(const std::string& name, const GuardedBuffer& got, const Matrix& wanted,
                       std::size_t columns) {
  Matrix values(wanted.size());
  got.read(values.data());
  for (std::size_t n = 0; n < values.size(); ++n) {
    if (values[n] == wanted[n]) continue;
    return fmt::format("{}[{}][{}] is {:.7g} and should be {:.7g}", name, n / columns, n % columns,
                       values[n], wanted[n]);
  }
  return {};
}

// ---- The ring -----------------------------------------------------------------------------------

Verdict check_ring(Later /*later*/) {
  constexpr std::size_t kElements = std::size_t{kRingRows} * kRingColumns;
  for (int tiles = 1; tiles <= 7; ++tiles) {
    Matrix input, wanted(kElements);
    float power = 1;  // the elements of tile n are 10^n: a sum's digits say how often it has each
    for (int tile = 0; tile < tiles; ++tile, power *= 10) {
      input.insert(input.end(), kElements, power);
      for (float& sum : wanted) sum += power;
    }
    GuardedBuffer in(device_memory(), "gTiles", input.size() * sizeof(float), 0);
    in.write(input.data());
    const GuardedBuffer sum = output("gSum", kElements);
    const std::string report = report_of([&] { run_ring(in.floats(), tiles, sum.floats()); });
    const std::string count = fmt::format("{} tile{}", tiles, tiles == 1 ? "" : "s");
    if (!report.empty()) {
      return {.passed = false, .text = fmt::format("{}\nWith {}.\n", report, count)};
    }
    const std::string wrong = difference("gSum", sum, wanted, kRingColumns);
    if (wrong.empty()) continue;
    return {.passed = false,
            .text = fmt::format("With {}, {}. The digits, from the last one on,\n"
                                "say how often tile 0, 1, ... has been added.\n",
                                count, wrong)};
  }
  return {};
}

// ---- The product --------------------------------------------------------------------------------

constexpr std::size_t kElements = std::size_t{kSide} * kSide;

struct Product {
  Matrix q = Matrix(kElements), k = Matrix(kElements), v = Matrix(kElements);
  Matrix s = Matrix(kElements), o = Matrix(kElements);  // wanted
  std::string about;                                    // the case
};

std::size_t at(int row, int column) { return static_cast<std::size_t>(row * kSide + column); }

/// Small integers: every sum is exact, and S is a bfloat16.
void multiply(Product& product) {
  for (int i = 0; i < kSide; ++i) {
    for (int j = 0; j < kSide; ++j) {
      float& s = product.s[at(i, j)];
      for (int c = 0; c < kSide; ++c) s += product.q[at(i, c)] * product.k[at(j, c)];
      for (int c = 0; c < kSide; ++c) product.o[at(i, c)] += s * product.v[at(j, c)];
    }
  }
}

/// Each sum has one element of each step that is not 0, 1 in step 0, 10 in step 1, and so on.
Product digits(bool in_values) {
  Product product;
  product.about = fmt::format(
      "All sums should be 1111 here. The digits, from the last one on, say how often step 0, 1,\n"
      "2, 3 has been added, {} 0 to 15, 16 to 31, 32 to 47, 48 to 63. (0: no product yet.)\n",
      in_values ? "keys" : "columns");
  const float powers[] = {1, 10, 100, 1000};
  for (int row = 0; row < kSide; ++row) {
    for (int column = 0; column < kSide; ++column) {
      product.k[at(row, column)] = 1;
      if (in_values) {
        product.q[at(row, column)] = column == 0 ? 1.0f : 0.0f;
        product.v[at(row, column)] = row % 16 == 0 ? powers[row / 16] : 0.0f;
      } else {
        product.q[at(row, column)] = column % 16 == 0 ? powers[column / 16] : 0.0f;
      }
    }
  }
  multiply(product);
  return product;
}

Product random_integers() {
  Product product;
  product.about = "(Q, K and V are random integers from -1 to 1.)\n";
  std::mt19937 random(11);
  for (Matrix* matrix : {&product.q, &product.k, &product.v}) {
    for (float& x : *matrix) x = static_cast<float>(random() % 3) - 1;
  }
  multiply(product);
  return product;
}

GuardedBuffer on_device(std::string name, const Matrix& values) {
  std::vector<bfloat16> rounded(values.size());
  encode(Element::kBfloat16, values, rounded.data());
  GuardedBuffer buffer(device_memory(), std::move(name), values.size() * sizeof(bfloat16), 0,
                       sizeof(bfloat16));
  buffer.write(rounded.data());
  return buffer;
}

Verdict check_product(const Product& product, bool with_o) {
  const GuardedBuffer q = on_device("gQ", product.q), k = on_device("gK", product.k),
                      v = on_device("gV", product.v);
  const GuardedBuffer s = output("gS", kElements), o = output("gO", kElements);
  const auto matrix = [](const GuardedBuffer& buffer) {
    return static_cast<const bfloat16*>(buffer.data());
  };
  const std::string report = report_of([&] {
    run_product(matrix(q), matrix(k), matrix(v), s.floats(), with_o ? o.floats() : nullptr);
  });
  if (!report.empty()) return {.passed = false, .text = report};
  const std::string wrong_s = difference("S", s, product.s, kSide);
  if (!with_o && wrong_s.empty()) return {};
  if (!with_o) return {.passed = false, .text = fmt::format("{}.\n{}", wrong_s, product.about)};
  if (!wrong_s.empty()) return {.passed = false, .text = "S is not right yet: that is stage 2.\n"};
  const std::string wrong_o = difference("O", o, product.o, kSide);
  if (wrong_o.empty()) return {};
  return {.passed = false, .text = fmt::format("{}.\n{}", wrong_o, product.about)};
}

Verdict check_scores(Later /*later*/) {
  const Verdict verdict = check_product(digits(false), false);
  return verdict.passed ? check_product(random_integers(), false) : verdict;
}

Verdict check_values(Later /*later*/) {
  const Verdict verdict = check_product(digits(true), true);
  return verdict.passed ? check_product(random_integers(), true) : verdict;
}

constexpr exercise::Stage kStages[] = {
    {"a ring of two stages",
     {},
     "  Tile n is in stage n % kRingStages, in round n / kRingStages. A round is a phase of both\n"
     "  of the stage's barriers: parity round % 2. A consumer waits for full with the round's\n"
     "  parity. The producer is a round ahead: before tile 2 lands where tile 0 was it waits for\n"
     "  empty's phase 0, and in the first round for nothing, which is what parity 1 means to a\n"
     "  fresh barrier. Bytes are announced before the copy is asked for. One lane of each\n"
     "  consumer releases, when its whole warp has read.",
     check_ring},
    {"S = Q K^T",
     {},
     "  What threads have stored wgmma does not see by itself: each thread fences, then all meet.\n"
     "  wgmma_fence(acc_s) comes before the first product, one wgmma_commit() behind the last,\n"
     "  wgmma_wait<0>(acc_s) before acc_s is read. A step is 16 columns, 32 bytes further along\n"
     "  the same rows, in Q and in K. acc_s starts at 0, so all of them may add.\n"
     "  matrix_descriptor(start, 16, bytes from 8 rows to the next 8, Swizzle::k128).",
     check_scores},
    {"O = S V",
     {},
     "  wgmma_rs<bfloat16, true>: A in registers, B transposed. pack_rows has written registers\n"
     "  that the products use: wgmma_fence(acc_o, a). A step along the sum is 16 keys, which are\n"
     "  rows of V: 16 * kRowBytes. The first distance of the descriptor would lead to the next\n"
     "  64 columns; there are none.",
     check_values},
};

}  // namespace
}  // namespace attn::hopper

int main(int argc, char** argv) {
  return attn::exercise::run({.program = "ch11_write",
                              .title = "a ring that TMA fills, and a warpgroup's product",
                              .stages = attn::hopper::kStages},
                             argc, argv);
}
