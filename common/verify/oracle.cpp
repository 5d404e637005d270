// SPDX-License-Identifier: MIT
#include "common/verify/oracle.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "common/verify/tolerance.hpp"

namespace attn::verify {
namespace {

std::size_t size(std::int64_t elements) { return static_cast<std::size_t>(elements); }

/// Largest finite |a - b| in elements [begin, begin + count).
double largest_error(const std::vector<double>& a, const std::vector<double>& b, std::int64_t begin,
                     std::int64_t count) {
  double largest = 0;
  for (std::int64_t e = begin; e < begin + count; ++e) {
    const double error = std::abs(a[size(e)] - b[size(e)]);
    if (std::isfinite(error)) largest = std::max(largest, error);
  }
  return largest;
}

/// Whether row i of a head sees keys, and every one of their logits is -inf.
bool logits_are_minus_infinity(const reference::Inputs& in, std::int64_t head, std::int64_t i) {
  const auto [B, H, Hkv, Nq, Nk, d] = in.shape;
  const double* q = in.q.data() + (head * Nq + i) * d;
  const double* k = in.k.data() + reference::kv_head(in.shape, head) * Nk * d;
  for (std::int64_t j = 0; j < visible_keys(i, diagonal(in.mask, Nq, Nk), Nk); ++j) {
    const double logit = in.scale * std::inner_product(q, q + d, k + j * d, 0.0);
    if (logit != -kOrMinusInfinity) return false;
  }
  return true;
}

std::vector<Expected> expect_forward(const Problem& problem, const reference::Inputs& inputs,
                                     const reference::Forward& result) {
  const auto [B, H, Hkv, Nq, Nk, d] = problem.shape;
  const reference::Magnitudes m = reference::magnitudes(inputs, result);
  reference::Forward float32;
  if (!problem.exact_logits) float32 = reference::forward_in_float32(inputs);
  Expected o{"o", {B, H, Nq, d}, result.o, std::vector<double>(result.o.size())};
  Expected lse{"lse", {B, H, Nq}, result.lse, std::vector<double>(result.lse.size())};
  for (std::int64_t head = 0; head < B * H; ++head) {
    const double L = m.logit[size(head)];
    const double max_v = m.v[size(head)];
    double o_allowed = exact_o_tolerance(Nk, max_v);
    double lse_error = 0;
    if (!problem.exact_logits) {
      o_allowed =
          o_tolerance(largest_error(float32.o, result.o, head * Nq * d, Nq * d), Nk, L, max_v);
      lse_error = largest_error(float32.lse, result.lse, head * Nq, Nq);
    }
    for (std::int64_t i = 0; i < Nq; ++i) {
      if (visible_keys(i, diagonal(problem.mask, Nq, Nk), Nk) == 0) continue;
      const std::int64_t row = head * Nq + i;
      std::fill_n(o.tolerance.begin() + row * d, d, o_allowed);
      const double value = lse.values[size(row)];
      lse.tolerance[size(row)] = std::isnan(value) && logits_are_minus_infinity(inputs, head, i)
                                     ? kOrMinusInfinity
                                 : problem.exact_logits ? exact_lse_tolerance(Nk, value)
                                                        : lse_tolerance(lse_error, Nk, L, value);
    }
  }
  return {o, lse};
}

/// given: O and LSE as the step gets them, float32 numbers.
std::vector<Expected> expect_backward(const Problem& problem, const reference::Inputs& inputs,
                                      const reference::Forward& given) {
  const auto [B, H, Hkv, Nq, Nk, d] = problem.shape;
  const reference::Gradients grad = reference::backward(inputs, given);
  const reference::Magnitudes m = reference::magnitudes(inputs, given);
  const auto tolerance = [&](double L, double G) {
    return problem.exact_logits ? exact_gradient_tolerance(G) : gradient_tolerance(L, G);
  };
  Expected dq{"dq", {B, H, Nq, d}, grad.grad_q, std::vector<double>(grad.grad_q.size())};
  Expected dk{"dk", {B, Hkv, Nk, d}, grad.grad_k, std::vector<double>(grad.grad_k.size())};
  Expected dv{"dv", {B, Hkv, Nk, d}, grad.grad_v, std::vector<double>(grad.grad_v.size())};
  std::vector<double> L(size(B * Hkv));  // of a key/value head: the largest of its query heads
  const std::int64_t most_visible =
      Nq == 0 ? 0 : visible_keys(Nq - 1, diagonal(problem.mask, Nq, Nk), Nk);
  for (std::int64_t head = 0; head < B * H; ++head) {
    double& group_l = L[size(reference::kv_head(problem.shape, head))];
    group_l = std::max(group_l, m.logit[size(head)]);
    const double allowed = tolerance(m.logit[size(head)], m.grad_q[size(head)]);
    for (std::int64_t i = 0; i < Nq; ++i) {
      if (visible_keys(i, diagonal(problem.mask, Nq, Nk), Nk) == 0) continue;
      std::fill_n(dq.tolerance.begin() + (head * Nq + i) * d, d, allowed);
    }
  }
  for (std::int64_t head = 0; head < B * Hkv; ++head) {
    std::fill_n(dk.tolerance.begin() + head * Nk * d, most_visible * d,
                tolerance(L[size(head)], m.grad_k[size(head)]));
    std::fill_n(dv.tolerance.begin() + head * Nk * d, most_visible * d,
                tolerance(L[size(head)], m.grad_v[size(head)]));
  }
  return {dq, dk, dv};
}

}  // namespace

reference::Inputs inputs_of(const Problem& problem) {
  return {problem.shape,
          problem.mask,
          static_cast<double>(problem.scale),
          reference::widen(problem.q),
          reference::widen(problem.k),
          reference::widen(problem.v),
          reference::widen(problem.grad_o)};
}

Truth truth_of(const Problem& problem, Pass pass) {
  const reference::Inputs inputs = inputs_of(problem);
  const reference::Forward result = reference::forward(inputs);
  std::vector<float> o = reference::narrow(result.o);
  std::vector<float> lse = reference::narrow(result.lse);
  std::vector<Expected> arrays =
      pass == Pass::kForward
          ? expect_forward(problem, inputs, result)
          : expect_backward(problem, inputs, {reference::widen(o), reference::widen(lse)});
  return {std::move(arrays), std::move(o), std::move(lse)};
}

const std::vector<float>& array_of(const Outputs& outputs, const std::string& name) {
  if (name == "o") return outputs.o;
  if (name == "lse") return outputs.lse;
  if (name == "dq") return outputs.grad_q;
  if (name == "dk") return outputs.grad_k;
  return outputs.grad_v;
}

Verdict judge(const Truth& truth, const Outputs& outputs) {
  Verdict verdict;
  for (const Expected& expected : truth.arrays) {
    const Comparison comparison = compare(expected, array_of(outputs, expected.name));
    verdict.passed = verdict.passed && comparison.passed;
    verdict.worst = std::max(verdict.worst, comparison.worst);
    verdict.text += comparison.text;
  }
  const std::string text = misconduct(outputs);
  verdict.text += text;
  verdict.passed = verdict.passed && text.empty();
  return verdict;
}

std::string misconduct(const Outputs& outputs) {
  std::string text;
  for (const std::string& damage : outputs.damage) text += fmt::format("  {}\n", damage);
  for (const Detection& detection : outputs.detections) {
    if (!detection.warning) text += fmt::format("{}\n", to_string(detection));
  }
  return text;
}

}  // namespace attn::verify
