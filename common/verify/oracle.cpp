// SPDX-License-Identifier: MIT
#include "common/verify/oracle.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "common/verify/reach.hpp"
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

/// Whether the logits of all these keys are -inf.
bool logits_are_minus_infinity(const reference::Inputs& in, const reference::HeadRows& at,
                               std::int64_t i, const std::vector<std::int64_t>& keys) {
  const std::int64_t d = in.shape.d;
  if (in.extras.softcap > 0 || !in.extras.sink_logits.empty()) return false;
  const double* q = in.q.data() + (at.q_row + i) * d;
  return std::all_of(keys.begin(), keys.end(), [&](std::int64_t j) {
    const double* k = in.k.data() + (at.k_row + j) * d;
    return in.scale * std::inner_product(q, q + d, k, 0.0) == -kOrMinusInfinity;
  });
}

/// Sizes of an array of rows, for messages: packed sequences lie behind each other in one batch.
std::vector<std::int64_t> sizes_of_rows(const Problem& problem, std::int64_t heads,
                                        std::int64_t elements, std::int64_t width) {
  const std::int64_t B = problem.extras.q_offsets.empty() ? problem.shape.B : 1;
  const std::int64_t rows = B * heads == 0 ? 0 : elements / (B * heads * width);
  return {B, heads, rows, width};
}

Expected expected(std::string name, std::vector<std::int64_t> sizes, std::vector<double> values) {
  std::vector<double> tolerance(values.size());
  return {std::move(name), std::move(sizes), std::move(values), std::move(tolerance)};
}

std::vector<Expected> expect_forward(const Problem& problem, const reference::Inputs& inputs,
                                     const reference::Forward& result) {
  const std::int64_t H = problem.shape.H;
  const std::int64_t d_v = value_width(problem.shape, problem.extras.on_host());
  const reference::Magnitudes m =
      reference::magnitudes(inputs, result, problem.element != Element::kFloat32);
  const reference::Visibility visibility(inputs.mask, inputs.extras);
  reference::Forward float32;
  if (!problem.exact_logits) float32 = reference::forward_in_float32(inputs);
  const auto elements = static_cast<std::int64_t>(result.o.size());
  std::vector<std::int64_t> sizes = sizes_of_rows(problem, H, elements, d_v);
  Expected o = expected("o", sizes, result.o);
  sizes.pop_back();
  Expected lse = expected("lse", sizes, result.lse);
  std::vector<std::int64_t> keys;
  reference::for_each_head(problem.shape, problem.extras, [&](const reference::HeadRows& at) {
    const std::size_t head = size(at.b * problem.shape.H + at.h);
    const double L = m.logit[head];
    const double max_v = m.v[head];
    double o_allowed = exact_o_tolerance(at.Nk, max_v);
    double lse_error = 0;
    if (!problem.exact_logits) {
      o_allowed = o_tolerance(largest_error(float32.o, result.o, at.q_row * d_v, at.Nq * d_v),
                              at.Nk, L, max_v);
      lse_error = largest_error(float32.lse, result.lse, at.q_row, at.Nq);
    }
    for (std::int64_t i = 0; i < at.Nq; ++i) {
      visibility.keys_of(at, i, keys);
      if (keys.empty()) continue;
      const std::int64_t row = at.q_row + i;
      for (std::int64_t e = row * d_v; e < (row + 1) * d_v; ++e) {
        o.tolerance[size(e)] = o_allowed;
        if (problem.element == Element::kFloat32) continue;
        o.tolerance[size(e)] +=
            stored_o_tolerance(problem.element, m.weighted_v[size(e)], o.values[size(e)]);
      }
      const double value = lse.values[size(row)];
      lse.tolerance[size(row)] = std::isnan(value) && logits_are_minus_infinity(inputs, at, i, keys)
                                     ? kOrMinusInfinity
                                 : problem.exact_logits ? exact_lse_tolerance(at.Nk, value)
                                                        : lse_tolerance(lse_error, at.Nk, L, value);
    }
  });
  return {o, lse};
}

/// The gradients that a problem's step writes, with how far each may be off.
class GradientTolerances {
 public:
  GradientTolerances(const Problem& problem, const reference::Magnitudes& magnitudes)
      : problem_(problem), m_(magnitudes) {}

  /// `G`, `rounded`: of the terms of one head.
  void allow(Expected& array, std::int64_t from, std::int64_t count, double L, double G,
             double rounded) const {
    const double allowed = in_float32(L, G);
    for (std::int64_t e = from; e < from + count; ++e) {
      array.tolerance[size(e)] =
          allowed + stored_gradient_tolerance(problem_.element, rounded, array.values[size(e)]);
    }
  }

  /// |dbias| or |dsink|, which are float32 whatever the element.
  void allow_all(Expected& array, double G) const {
    const double L = m_.logit.empty() ? 0 : *std::max_element(m_.logit.begin(), m_.logit.end());
    std::fill(array.tolerance.begin(), array.tolerance.end(), in_float32(L, G));
  }

 private:
  double in_float32(double L, double G) const {
    return problem_.exact_logits ? exact_gradient_tolerance(G) : gradient_tolerance(L, G);
  }

  const Problem& problem_;
  const reference::Magnitudes& m_;
};

/// given: O and LSE as the step gets them, values of the element and float32.
std::vector<Expected> expect_backward(const Problem& problem, const reference::Inputs& inputs,
                                      const reference::Forward& given) {
  const Shape& shape = problem.shape;
  const std::int64_t d = shape.d;
  const std::int64_t d_v = value_width(shape, problem.extras.on_host());
  const reference::Gradients grad = reference::backward(inputs, given);
  const reference::Magnitudes m =
      reference::magnitudes(inputs, given, problem.element != Element::kFloat32);
  const reference::Visibility visibility(inputs.mask, inputs.extras);
  const GradientTolerances tolerances(problem, m);
  const auto rows = [&](const char* name, const std::vector<double>& values, std::int64_t heads,
                        std::int64_t width) {
    const auto elements = static_cast<std::int64_t>(values.size());
    return expected(name, sizes_of_rows(problem, heads, elements, width), values);
  };
  Expected dq = rows("dq", grad.grad_q, shape.H, d);
  Expected dk = rows("dk", grad.grad_k, shape.Hkv, d);
  Expected dv = rows("dv", grad.grad_v, shape.Hkv, d_v);
  const auto group_of = [&](const reference::HeadRows& at) {
    return size(at.b * shape.Hkv + at.h / (shape.H / shape.Hkv));
  };
  std::vector<double> L(size(shape.B * shape.Hkv));  // the largest of a group of query heads
  reference::for_each_head(problem.shape, problem.extras, [&](const reference::HeadRows& at) {
    const std::size_t head = size(at.b * problem.shape.H + at.h);
    L[group_of(at)] = std::max(L[group_of(at)], m.logit[head]);
  });
  std::vector<std::int64_t> keys;
  std::vector<bool> seen;
  reference::for_each_head(problem.shape, problem.extras, [&](const reference::HeadRows& at) {
    const std::size_t head = size(at.b * problem.shape.H + at.h);
    seen.assign(size(at.Nk), false);
    for (std::int64_t i = 0; i < at.Nq; ++i) {
      visibility.keys_of(at, i, keys);
      if (keys.empty()) continue;
      for (const std::int64_t j : keys) seen[size(j)] = true;
      tolerances.allow(dq, (at.q_row + i) * d, d, m.logit[head], m.grad_q[head], m.ds_k[head]);
    }
    const std::size_t group = group_of(at);
    for (std::int64_t j = 0; j < at.Nk; ++j) {
      if (!seen[size(j)]) continue;
      const std::int64_t key = at.k_row + j;
      tolerances.allow(dk, key * d, d, L[group], m.grad_k[group], m.ds_q[group]);
      tolerances.allow(dv, key * d_v, d_v, L[group], m.grad_v[group], m.grad_v[group]);
    }
  });
  std::vector<Expected> arrays{dq, dk, dv};
  if (!grad.grad_bias.empty()) {
    const PairShape& of = problem.extras.bias_shape;
    arrays.push_back(expected("dbias", {of.B, of.H, of.Nq, of.Nk}, grad.grad_bias));
    tolerances.allow_all(arrays.back(), m.grad_bias);
  }
  if (!grad.grad_sink_logits.empty()) {
    arrays.push_back(expected("dsink", {shape.H}, grad.grad_sink_logits));
    tolerances.allow_all(arrays.back(), m.grad_sink_logits);
  }
  return arrays;
}

}  // namespace

reference::Inputs inputs_of(const Problem& problem) {
  return {problem.shape,
          problem.mask,
          static_cast<double>(problem.scale),
          reference::widen(problem.q),
          reference::widen(problem.k),
          reference::widen(problem.v),
          reference::widen(problem.grad_o),
          problem.extras.as<double>()};
}

Truth truth_of(const Problem& problem, Pass pass, std::int64_t reach) {
  const reference::Inputs inputs = inputs_of(problem);
  const reference::Forward result = reference::forward(inputs);
  std::vector<float> o = reference::narrow(result.o);
  for (float& x : o) x = rounded_to(problem.element, x);
  std::vector<float> lse = reference::narrow(result.lse);
  std::vector<Expected> arrays =
      pass == Pass::kForward
          ? expect_forward(problem, inputs, result)
          : expect_backward(problem, inputs, {reference::widen(o), reference::widen(lse)});
  if (reach > 0) allow_nan_within(reach, inputs, arrays);
  return {std::move(arrays), std::move(o), std::move(lse)};
}

const std::vector<float>& array_of(const Outputs& outputs, const std::string& name) {
  if (name == "o") return outputs.o;
  if (name == "lse") return outputs.lse;
  if (name == "dq") return outputs.grad_q;
  if (name == "dk") return outputs.grad_k;
  if (name == "dbias") return outputs.grad_bias;
  if (name == "dsink") return outputs.grad_sink_logits;
  return outputs.grad_v;
}

std::vector<float>& array_of(Outputs& outputs, const std::string& name) {
  return const_cast<std::vector<float>&>(array_of(std::as_const(outputs), name));
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
