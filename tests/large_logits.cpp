// SPDX-License-Identifier: MIT
//
// Logits of ten million: softmax is 1 for one key of each row and 0 for the others, LSE is that
// key's logit to the bit, and dV is dO, if the backward pass rounds its logits as the forward pass
// did. The battery cannot see this: it gives the backward pass an LSE of its own. (Chapters of 16
// bits have a test of their own.) Exit status: 0 right, 1 wrong.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <string>

#include "chapters/chapters.hpp"
#include "common/run/run.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"

namespace attn::testing {
namespace {

/// The largest |a - b|; NaN if there is one.
double largest_difference(const std::vector<double>& a, const std::vector<float>& b) {
  double largest = 0;
  for (std::size_t e = 0; e < a.size(); ++e) {
    const double difference = std::abs(a[e] - static_cast<double>(b[e]));
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

bool all_right() {
  Problem problem = verify::make_problem(
      {.shape = make_shape(1, 2, 48, 48, 40), .scale = default_scale(40), .seed = 20260101},
      Pass::kBackward);
  for (float& x : problem.q) x *= 1000;
  for (float& x : problem.k) x *= 1000;
  const reference::Inputs inputs = verify::inputs_of(problem);
  const reference::Forward truth = reference::forward(inputs);
  const reference::Gradients gradients = reference::backward(inputs, truth);

  bool good = true;
  const auto check_backward = [&](const std::string& before, const Outputs& given) {
    for (const Chapter* chapter : chapters::all()) {
      for (const Step& step : chapter->steps) {
        if (!step.backward.takes(Element::kFloat32)) continue;
        const Outputs outputs = run_backward(*chapter, step, problem, given.o, given.lse);
        const double error = largest_difference(gradients.grad_v, outputs.grad_v);
        if (error <= 1e-5) continue;
        fmt::print("{} {} after {}: dV is off by {:.1e}\n", chapter->id, step.id, before, error);
        good = false;
      }
    }
  };
  for (const Chapter* chapter : chapters::all()) {
    for (const Step& step : chapter->steps) {
      if (!step.forward.takes(Element::kFloat32)) continue;
      const Outputs given = run_forward(*chapter, step, problem);
      const double error = largest_difference(truth.o, given.o);
      const std::string name = fmt::format("{} {}", chapter->id, step.id);
      if (!(error <= 1e-6)) {
        fmt::print("{}: O is off by {:.1e}\n", name, error);
        good = false;
      }
      // 04 adds up a dot product across a warp, in another order than every backward pass.
      if (chapter->id != "04_online_softmax") check_backward(name, given);
    }
  }
  return good;
}

}  // namespace
}  // namespace attn::testing

int main() {
  try {
    return attn::testing::all_right() ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
