// SPDX-License-Identifier: MIT
#include "common/reference/finite_difference.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace attn::reference {
namespace {

double loss(const Inputs& inputs) {
  const Forward result = forward(inputs);
  double sum = std::inner_product(result.o.begin(), result.o.end(), inputs.grad_o.begin(), 0.0);
  for (std::size_t row = 0; row < inputs.extras.grad_lse.size(); ++row) {
    // The LSE of a row that sees nothing is -inf, whatever the inputs.
    if (std::isfinite(result.lse[row])) sum += inputs.extras.grad_lse[row] * result.lse[row];
  }
  return sum;
}

/// `array` is one of the arrays of `inputs`, which is changed and restored.
std::vector<double> differences(Inputs& inputs, std::vector<double>& array, double step) {
  std::vector<double> gradient;
  for (double& x : array) {
    const double at = x;
    x = at + step;
    const double above = loss(inputs);
    x = at - step;
    const double below = loss(inputs);
    x = at;
    gradient.push_back((above - below) / (2 * step));
  }
  return gradient;
}

double relative_error(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  double error = 0;
  for (std::size_t e = 0; e < b.size(); ++e) {
    const double difference = std::abs(a[e] - b[e]);
    if (std::isnan(difference)) return difference;
    error = std::max(error, difference);
    largest = std::max(largest, std::abs(b[e]));
  }
  return largest > 0 ? error / largest : error;
}

}  // namespace

Gradients finite_differences(Inputs inputs, double step) {
  const auto by = [&](std::vector<double>& array) { return differences(inputs, array, step); };
  return {by(inputs.q), by(inputs.k), by(inputs.v), by(inputs.extras.bias),
          by(inputs.extras.sink_logits)};
}

double relative_error(const Gradients& a, const Gradients& b) {
  double worst = 0;
  for (const auto array : {&Gradients::grad_q, &Gradients::grad_k, &Gradients::grad_v,
                           &Gradients::grad_bias, &Gradients::grad_sink_logits}) {
    const double error = relative_error(a.*array, b.*array);
    if (std::isnan(error)) return error;
    worst = std::max(worst, error);
  }
  return worst;
}

}  // namespace attn::reference
