// SPDX-License-Identifier: MIT
#include "bench/benchmarks/sample.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "common/verify/compare.hpp"
#include "common/verify/oracle.hpp"
#include "common/verify/tolerance.hpp"

namespace attn::bench {
namespace {

using attn::Problem;
using verify::Expected;

constexpr std::int64_t kRows = 4;  // neighbouring rows of a sample

std::vector<float> slice(const std::vector<float>& array, std::int64_t begin, std::int64_t count) {
  if (array.empty()) return {};  // dO of a forward pass
  return {array.begin() + begin, array.begin() + begin + count};
}

/// `count` rows of one head, from `row` on, as a problem of their own. Under a causal mask its last
/// key is the last one that its last row sees: bottom-right aligned, as before.
Problem rows_of(const Problem& problem, std::int64_t head, std::int64_t row, std::int64_t count) {
  const auto [B, H, Hkv, Nq, Nk, d] = problem.shape;
  const std::int64_t keys =
      visible_keys(row + count - 1, diagonal(problem.mask, Nq, Nk), problem.shape.Nk);
  return {.shape = make_shape(1, 1, count, keys, d),
          .mask = problem.mask,
          .scale = problem.scale,
          .q = slice(problem.q, (head * Nq + row) * d, count * d),
          .k = slice(problem.k, head * Nk * d, keys * d),
          .v = slice(problem.v, head * Nk * d, keys * d),
          .grad_o = slice(problem.grad_o, (head * Nq + row) * d, count * d),
          .element = problem.element};
}

/// O and LSE, or dQ, of some rows: "" if they are right.
std::string check_rows(const Problem& problem, Pass pass, const Outputs& outputs, std::int64_t head,
                       std::int64_t row) {
  const auto [B, H, Hkv, Nq, Nk, d] = problem.shape;
  const std::int64_t count = std::min(kRows, Nq - row);
  std::string text;
  for (const Expected& expected :
       verify::truth_of(rows_of(problem, head, row, count), pass).arrays) {
    if (expected.name == "dk" || expected.name == "dv") continue;  // these need all rows
    const std::int64_t width = expected.name == "lse" ? 1 : d;
    text += verify::compare(expected, slice(verify::array_of(outputs, expected.name),
                                            (head * Nq + row) * width, count * width))
                .text;
  }
  return text.empty() ? text : fmt::format("head {}, rows from {}:\n{}", head, row, text);
}

double dot(const float* a, const float* b, std::int64_t d) {
  return std::inner_product(a, a + d, b, 0.0, std::plus<>(),
                            [](float x, float y) { return static_cast<double>(x) * y; });
}

double magnitude(const float* a, const float* b, std::int64_t d) {
  return std::inner_product(a, a + d, b, 0.0, std::plus<>(),
                            [](float x, float y) { return std::abs(static_cast<double>(x) * y); });
}

/// dK and dV of one key (notes/derivations.md), with the O and LSE that the pass was given:
///   P = exp(S - LSE),  dV = sum_i P dO_i,  dK = scale * sum_i P (dO_i.V - dO_i.O_i) Q_i
/// and tolerances as the oracle's (common/verify/tolerance.hpp), L and G being those of this key.
std::vector<Expected> key_gradients(const Problem& problem, std::int64_t head, std::int64_t j,
                                    const std::vector<float>& o, const std::vector<float>& lse) {
  const auto [B, H, Hkv, Nq, Nk, d] = problem.shape;
  const auto columns = static_cast<std::size_t>(d);
  const float* k = problem.k.data() + (head * Nk + j) * d;
  const float* v = problem.v.data() + (head * Nk + j) * d;
  const double scale = problem.scale;
  Expected dk{"dk", {1, 1, 1, d}, std::vector<double>(columns), {}};
  Expected dv{"dv", {1, 1, 1, d}, std::vector<double>(columns), {}};
  std::vector<double> sum_k(columns);  // of magnitudes
  std::vector<double> sum_v(columns);
  double L = 0;
  for (std::int64_t i = first_query(j, diagonal(problem.mask, Nq, Nk), Nq); i < Nq; ++i) {
    const std::int64_t row = head * Nq + i;
    const float* q = problem.q.data() + row * d;
    const float* grad = problem.grad_o.data() + row * d;
    const float* out = o.data() + row * d;
    const double p = std::exp(scale * dot(q, k, d) - lse[static_cast<std::size_t>(row)]);
    const double ds = p * (dot(grad, v, d) - dot(grad, out, d));
    const double size = p * (magnitude(grad, v, d) + magnitude(grad, out, d));
    L = std::max(L, std::abs(scale) * magnitude(q, k, d));
    for (std::size_t c = 0; c < columns; ++c) {
      dk.values[c] += scale * ds * q[c];
      dv.values[c] += p * grad[c];
      sum_k[c] += std::abs(scale * size * q[c]);
      sum_v[c] += std::abs(p * grad[c]);
    }
  }
  const auto allow = [&](Expected& array, const std::vector<double>& sums) {
    const double largest = *std::max_element(sums.begin(), sums.end());
    for (std::size_t c = 0; c < columns; ++c) {
      array.tolerance.push_back(
          verify::gradient_tolerance(L, largest) +
          verify::stored_gradient_tolerance(problem.element, largest, array.values[c]));
    }
  };
  allow(dk, sum_k);
  allow(dv, sum_v);
  return {dk, dv};
}

/// dK and dV of one key: "" if they are right.
std::string check_key(const Problem& problem, const Outputs& outputs, std::int64_t head,
                      std::int64_t j, const std::vector<float>& o, const std::vector<float>& lse) {
  const auto [B, H, Hkv, Nq, Nk, d] = problem.shape;
  std::string text;
  for (const Expected& expected : key_gradients(problem, head, j, o, lse)) {
    text += verify::compare(expected,
                            slice(verify::array_of(outputs, expected.name), (head * Nk + j) * d, d))
                .text;
  }
  return text.empty() ? text : fmt::format("head {}, key {}:\n{}", head, j, text);
}

/// Names an array with a NaN: an element that was not written, or wrongly.
std::string check_written(const std::string& name, const std::vector<float>& array) {
  const auto nans =
      std::count_if(array.begin(), array.end(), [](float x) { return std::isnan(x); });
  return nans == 0 ? "" : fmt::format("{}: {} of {} elements are NaN\n", name, nans, array.size());
}

}  // namespace

bool is_small(const Shape& shape) {
  return shape.rows() * shape.Nk * shape.d <= std::int64_t{1} << 25;  // about a second of oracle
}

std::string find_errors(const Problem& problem, Pass pass, const Outputs& outputs,
                        const std::vector<float>& o, const std::vector<float>& lse) {
  if (is_small(problem.shape)) return verify::judge(verify::truth_of(problem, pass), outputs).text;
  std::string text = verify::misconduct(outputs);
  for (const char* name : {"o", "lse", "dq", "dk", "dv"}) {
    text += check_written(name, verify::array_of(outputs, name));
  }
  const std::int64_t N = problem.shape.Nq;
  for (const std::int64_t head : std::set<std::int64_t>{0, problem.shape.heads() - 1}) {
    for (const std::int64_t row : std::set<std::int64_t>{0, N / 2 - kRows / 2, N - kRows}) {
      if (text.empty()) text = check_rows(problem, pass, outputs, head, row);
    }
    for (const std::int64_t key : std::set<std::int64_t>{0, N / 2, N - 1}) {
      if (text.empty() && pass == Pass::kBackward) {
        text = check_key(problem, outputs, head, key, o, lse);
      }
    }
  }
  return text;
}

}  // namespace attn::bench
