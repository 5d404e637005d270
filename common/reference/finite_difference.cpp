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
  return std::inner_product(result.o.begin(), result.o.end(), inputs.grad_o.begin(), 0.0);
}

std::vector<double> differences(Inputs inputs, std::vector<double> Inputs::*array, double step) {
  std::vector<double> gradient;
  for (double& x : inputs.*array) {
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

Gradients finite_differences(const Inputs& inputs, double step) {
  return {differences(inputs, &Inputs::q, step), differences(inputs, &Inputs::k, step),
          differences(inputs, &Inputs::v, step)};
}

double relative_error(const Gradients& a, const Gradients& b) {
  double worst = 0;
  for (const double error : {relative_error(a.grad_q, b.grad_q), relative_error(a.grad_k, b.grad_k),
                             relative_error(a.grad_v, b.grad_v)}) {
    if (std::isnan(error)) return error;
    worst = std::max(worst, error);
  }
  return worst;
}

}  // namespace attn::reference
