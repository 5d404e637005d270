// SPDX-License-Identifier: MIT
//
// Checks chapter 15's exercise on windows from small to large: first the bias, pair by pair; then O
// and the gradients, computed by the chapter's kernels with that bias and compared with the oracle;
// then what the table's gradient makes of the kernel's. The goal: a bias that is not repeated for
// every window. Exit status: 0 right and goal met, 1 not, 2 what was thrown.
#include <fmt/format.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "chapters/15_scores/exercises/relative_bias.hpp"
#include "chapters/chapters.hpp"
#include "common/run/run.hpp"
#include "common/verify/goals.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"

namespace attn::scores {
namespace {

constexpr WindowSizes kSizes[] = {{1, 1, 1}, {2, 1, 2}, {1, 3, 2}, {3, 2, 3}, {2, 3, 4}, {4, 3, 7}};

std::string to_string(const WindowSizes& sizes) {
  return fmt::format("{} windows of {} x {} tokens, {} heads", sizes.windows, sizes.side,
                     sizes.side, sizes.heads);
}

std::string to_string(const PairShape& shape) {
  return fmt::format("[{}, {}, {}, {}]", shape.B, shape.H, shape.Nq, shape.Nk);
}

/// The element of the table for head h, query i and key j.
std::size_t table_element(const WindowSizes& sizes, std::int64_t h, std::int64_t i,
                          std::int64_t j) {
  const std::int64_t side = sizes.side;
  const std::int64_t rows = i / side - j / side + side - 1;
  const std::int64_t columns = i % side - j % side + side - 1;
  return static_cast<std::size_t>((rows * (2 * side - 1) + columns) * sizes.heads + h);
}

std::vector<float> some_table(const WindowSizes& sizes) {
  std::mt19937 random(15);
  std::normal_distribution<float> normal;
  std::vector<float> table(static_cast<std::size_t>(sizes.offsets() * sizes.heads));
  for (float& x : table) x = normal(random);
  return table;
}

/// What is wrong with the bias; empty if nothing.
std::string check_bias(const Bias& bias, const std::vector<float>& table,
                       const WindowSizes& sizes) {
  const PairShape& shape = bias.shape;
  const auto fits = [](std::int64_t size, std::int64_t whole) {
    return size == 1 || size == whole;
  };
  const std::int64_t tokens = sizes.tokens();
  if (!fits(shape.B, sizes.windows) || !fits(shape.H, sizes.heads) || !fits(shape.Nq, tokens) ||
      !fits(shape.Nk, tokens)) {
    return fmt::format("its shape is {}; each size must be 1 or that of {}", to_string(shape),
                       to_string(PairShape{sizes.windows, sizes.heads, tokens, tokens}));
  }
  if (static_cast<std::int64_t>(bias.numbers.size()) != shape.elements()) {
    return fmt::format("it has {} numbers, but its shape is {}", bias.numbers.size(),
                       to_string(shape));
  }
  for (std::int64_t b = 0; b < sizes.windows; ++b) {
    for (std::int64_t h = 0; h < sizes.heads; ++h) {
      for (std::int64_t pair = 0; pair < tokens * tokens; ++pair) {
        const std::int64_t i = pair / tokens, j = pair % tokens;
        const float found = bias.numbers[static_cast<std::size_t>(shape.index(b, h, i, j))];
        const float expected = table[table_element(sizes, h, i, j)];
        if (found == expected) continue;
        return fmt::format(
            "window {}, head {}, query in row {}, column {}, key in row {}, column {}: {} where "
            "the table has {}",
            b, h, i / sizes.side, i % sizes.side, j / sizes.side, j % sizes.side, found, expected);
      }
    }
  }
  return {};
}

/// What is wrong with the table's gradient, of this bias's; empty if nothing.
std::string check_gradient(const Bias& grad_bias, const WindowSizes& sizes) {
  const std::vector<float> found = relative_table_gradient(grad_bias, sizes);
  const std::int64_t tokens = sizes.tokens();
  std::vector<double> expected(static_cast<std::size_t>(sizes.offsets() * sizes.heads));
  std::vector<double> magnitude(expected.size());
  const PairShape& shape = grad_bias.shape;
  for (std::int64_t b = 0; b < shape.B; ++b) {
    for (std::int64_t h = 0; h < sizes.heads; ++h) {
      for (std::int64_t pair = 0; pair < tokens * tokens; ++pair) {
        const std::int64_t i = pair / tokens, j = pair % tokens;
        const double term = static_cast<double>(
            grad_bias.numbers[static_cast<std::size_t>(shape.index(b, h, i, j))]);
        expected[table_element(sizes, h, i, j)] += term;
        magnitude[table_element(sizes, h, i, j)] += std::abs(term);
      }
    }
  }
  if (found.size() != expected.size()) {
    return fmt::format("the table's gradient has {} numbers, not {}", found.size(),
                       expected.size());
  }
  for (std::size_t n = 0; n < expected.size(); ++n) {
    const double error = std::abs(static_cast<double>(found[n]) - expected[n]);
    if (error <= 1e-5 * magnitude[n]) continue;
    const auto heads = static_cast<std::size_t>(sizes.heads);
    return fmt::format("the table's gradient in row {}, head {}: {:.6g} where the sum is {:.6g}",
                       n / heads, n % heads, found[n], expected[n]);
  }
  return {};
}

/// The numbers of a problem with this bias.
Problem make_problem(const Bias& bias, const WindowSizes& sizes) {
  const std::int64_t d = 32;
  Problem problem = verify::make_problem(
      {.shape = make_shape(sizes.windows, sizes.heads, sizes.tokens(), sizes.tokens(), d),
       .scale = default_scale(d),
       .seed = 15},
      Pass::kBackward);
  problem.extras.bias_shape = bias.shape;
  problem.extras.bias = bias.numbers;
  return problem;
}

/// What is wrong with windows of these sizes; empty if nothing.
std::string check(const WindowSizes& sizes) {
  const std::vector<float> table = some_table(sizes);
  const Bias bias = relative_bias(table, sizes);
  const std::string wrong = check_bias(bias, table, sizes);
  if (!wrong.empty()) return "  the bias: " + wrong + "\n";
  const Problem problem = make_problem(bias, sizes);
  const Chapter& chapter = chapters::ch15_scores();
  const Step& forward = *default_step(chapter, Pass::kForward);
  const verify::Truth o = verify::truth_of(problem, Pass::kForward);
  const verify::Verdict right = verify::judge(o, run_forward(chapter, forward, problem));
  if (!right.passed) return right.text;
  const verify::Truth truth = verify::truth_of(problem, Pass::kBackward);
  const Step& backward = *default_step(chapter, Pass::kBackward);
  const Outputs outputs = run_backward(chapter, backward, problem, truth.o, truth.lse);
  const verify::Verdict verdict = verify::judge(truth, outputs);
  if (!verdict.passed) return verdict.text;
  const std::string gradient = check_gradient({bias.shape, outputs.grad_bias}, sizes);
  if (!gradient.empty()) return "  " + gradient + "\n";
  verify::hold_to(verify::Medal::kSilver, "numbers of the bias", bias.shape.elements(),
                  sizes.heads * sizes.tokens() * sizes.tokens());
  return {};
}

int check_all() {
  std::vector<verify::Goal> goals;
  for (const WindowSizes& sizes : kSizes) {
    const std::string wrong = check(sizes);
    if (!wrong.empty()) {
      fmt::print("15_exercise relative_bias: WRONG\n\n  {}\n{}", to_string(sizes), wrong);
      return 1;
    }
    verify::add(goals, verify::take_uses(), to_string(sizes));
  }
  fmt::print("15_exercise relative_bias: right for all {} sizes{}\n{}", std::size(kSizes),
             verify::reached(goals) ? "" : ", but the goal is not met;", verify::describe(goals));
  return verify::reached(goals) ? 0 : 1;
}

}  // namespace
}  // namespace attn::scores

int main() {
  try {
    return attn::scores::check_all();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
