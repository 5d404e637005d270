// SPDX-License-Identifier: MIT
#include "common/exercise/backward.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/exercise/by_hand.hpp"

namespace attn::exercise {
namespace {

std::size_t at(std::int64_t n) { return static_cast<std::size_t>(n); }

/// The dot product of row i of a and row j of b, both with d columns.
double dot(const std::vector<float>& a, std::int64_t i, const std::vector<float>& b, std::int64_t j,
           std::int64_t d) {
  double sum = 0;
  for (std::int64_t c = 0; c < d; ++c) {
    sum += static_cast<double>(a[at(i * d + c)]) * static_cast<double>(b[at(j * d + c)]);
  }
  return sum;
}

double probability(Slip slip, double scale, double product, double lse) {
  if (slip == Slip::kLseForgotten) return std::exp(scale * product);
  if (slip == Slip::kExpForgotten) return scale * product - lse;
  if (slip == Slip::kProbabilityWithoutScale) return std::exp(product - lse);
  return std::exp(scale * product - lse);
}

double slope(Slip slip, double p, double grad_p, double delta) {
  if (slip == Slip::kDeltaForgotten) return p * grad_p;
  if (slip == Slip::kWeightForgotten) return grad_p - delta;
  if (slip == Slip::kDeltaOutside) return p * grad_p - delta;
  return p * (grad_p - delta);
}

/// For each key the sum over queries of weight (query, key) times the query's row: W^T rows.
std::vector<float> summed(const std::vector<float>& weights, const std::vector<float>& rows,
                          const Shape& shape, const Loop& loop, Slip slip) {
  std::vector<float> result(at(shape.kv_elements()));
  const std::int64_t Nq = shape.Nq, Nk = shape.Nk, d = shape.d;
  for (std::int64_t head = 0; head < shape.heads(); ++head) {
    const auto weight = [&](std::int64_t i, std::int64_t j) {
      if (slip != Slip::kNotTransposed) return weights[at((head * Nq + i) * Nk + j)];
      const std::int64_t row = i - i % loop.Br + j % loop.Bc;
      const std::int64_t column = j - j % loop.Bc + i % loop.Br;
      return row < Nq && column < Nk ? weights[at((head * Nq + row) * Nk + column)] : 0.0f;
    };
    for (std::int64_t j = 0; j < Nk; ++j) {
      const std::int64_t first = slip == Slip::kLastQueriesOnly ? (Nq - 1) / loop.Br * loop.Br : 0;
      for (std::int64_t c = 0; c < d; ++c) {
        double sum = 0;
        for (std::int64_t key = slip == Slip::kEarlierKeysToo ? j % loop.Bc : j; key <= j;
             key += loop.Bc) {
          for (std::int64_t i = first; i < Nq; ++i) {
            sum += static_cast<double>(weight(i, key)) *
                   static_cast<double>(rows[at((head * Nq + i) * d + c)]);
          }
        }
        result[at((head * Nk + j) * d + c)] = static_cast<float>(sum);
      }
    }
  }
  return result;
}

}  // namespace

GivenRows given_rows(const Problem& problem) {
  const Seen forward = walk(problem, {});
  GivenRows rows{forward.lse, {}};
  const std::int64_t d = problem.shape.d;
  for (std::int64_t row = 0; row < problem.shape.rows(); ++row) {
    rows.delta.push_back(static_cast<float>(dot(problem.grad_o, row, forward.o, row, d)));
  }
  return rows;
}

Seen walk_backward(const Problem& problem, const Loop& loop, Slip slip) {
  const Shape& shape = problem.shape;
  const GivenRows given = given_rows(problem);
  const double scale = static_cast<double>(problem.scale);
  Seen seen;
  for (std::int64_t row = 0; row < shape.rows(); ++row) {
    for (std::int64_t j = 0; j < shape.Nk; ++j) {
      const std::int64_t key = row / shape.Nq * shape.Nk + j;
      const double product = dot(problem.q, row, problem.k, key, shape.d);
      const double grad_p = dot(problem.grad_o, row, problem.v, key, shape.d);
      const double p = probability(slip, scale, product, static_cast<double>(given.lse[at(row)]));
      const double ds = slope(slip, p, grad_p, static_cast<double>(given.delta[at(row)]));
      seen.p.push_back(static_cast<float>(p));
      seen.ds.push_back(static_cast<float>(ds));
    }
  }
  seen.dv = summed(seen.p, problem.grad_o, shape, loop, slip);
  const std::vector<float>& weights = slip == Slip::kProbabilityForSlope ? seen.p : seen.ds;
  seen.dk = summed(weights, slip == Slip::kKeysForQueries ? problem.grad_o : problem.q, shape, loop,
                   slip);
  for (float& x : seen.dk) {
    if (slip != Slip::kGradientWithoutScale) x *= problem.scale;
    if (slip == Slip::kGradientScaledTwice) x *= problem.scale;
  }
  return seen;
}

std::string gradients_by_hand(const Case& one, const Seen& wanted, const Seen& yours, Array array,
                              std::int64_t row, std::int64_t column) {
  const Problem& problem = one.problem;
  const auto [B, H, Hkv, Nq, Nk, d] = problem.shape;
  const GivenRows given = given_rows(problem);
  const auto text = [](const std::vector<float>& array_, std::int64_t n) {
    return short_text(array_[at(n)]);
  };
  /// a0*b0 + a1*b1 + ...
  const auto sum = [&text](std::int64_t terms, const std::vector<float>& a, std::int64_t a0,
                           std::int64_t a_step, const std::vector<float>& b, std::int64_t b0,
                           std::int64_t b_step) {
    std::string result;
    for (std::int64_t n = 0; n < terms; ++n) {
      result += fmt::format("{}{}*{}", n == 0 ? "" : " + ", text(a, a0 + n * a_step),
                            text(b, b0 + n * b_step));
    }
    return result;
  };
  const std::int64_t pair = row * Nk + column, element = row * d + column;
  if (array == Array::kP) {
    return side_by_side({{"Q", Nq, d, problem.q},
                         {"K", Nk, d, problem.k},
                         {"LSE", Nq, 1, given.lse},
                         {"P wanted", Nq, Nk, wanted.p},
                         {"P yours", Nq, Nk, yours.p}}) +
           fmt::format("  P[{}][{}] = exp({} * ({}) - {}) = {}\n", row, column,
                       short_text(problem.scale),
                       sum(d, problem.q, row * d, 1, problem.k, column * d, 1),
                       text(given.lse, row), text(wanted.p, pair));
  }
  if (array == Array::kDs) {
    return side_by_side({{"dO", Nq, d, problem.grad_o},
                         {"V", Nk, d, problem.v},
                         {"P", Nq, Nk, wanted.p},
                         {"delta", Nq, 1, given.delta},
                         {"dS wanted", Nq, Nk, wanted.ds},
                         {"dS yours", Nq, Nk, yours.ds}}) +
           fmt::format("  dS[{}][{}] = {} * ({} - {}) = {}\n", row, column, text(wanted.p, pair),
                       sum(d, problem.grad_o, row * d, 1, problem.v, column * d, 1),
                       text(given.delta, row), text(wanted.ds, pair));
  }
  if (array == Array::kDv) {
    return side_by_side({{"P", Nq, Nk, wanted.p},
                         {"dO", Nq, d, problem.grad_o},
                         {"dV wanted", Nk, d, wanted.dv},
                         {"dV yours", Nk, d, yours.dv}}) +
           fmt::format("  dV[{}][{}] = {} = {}\n", row, column,
                       sum(Nq, wanted.p, row, Nk, problem.grad_o, column, d),
                       text(wanted.dv, element));
  }
  return side_by_side({{"dS", Nq, Nk, wanted.ds},
                       {"Q", Nq, d, problem.q},
                       {"dK wanted", Nk, d, wanted.dk},
                       {"dK yours", Nk, d, yours.dk}}) +
         fmt::format("  dK[{}][{}] = {} * ({}) = {}\n", row, column, short_text(problem.scale),
                     sum(Nq, wanted.ds, row, Nk, problem.q, column, d), text(wanted.dk, element));
}

}  // namespace attn::exercise
