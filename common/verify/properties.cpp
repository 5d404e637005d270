// SPDX-License-Identifier: MIT
#include "common/verify/properties.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/run/run.hpp"
#include "common/verify/cases.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"

namespace attn::verify {
namespace {

constexpr Mask kMasks[] = {Mask::kFull, Mask::kCausal, Mask::kCausalTopLeft};

/// A problem with the oracle's truth and what the step made of it.
struct Solved {
  Problem problem;
  Truth truth;
  Outputs outputs;
};

/// A shape with the nearest d that the chapter takes.
Shape shape_for(const Subject& subject, std::int64_t H, std::int64_t Nq, std::int64_t Nk,
                std::int64_t d) {
  return make_shape(1, H, Nq, Nk, supported_d(subject.chapter.support, subject.element, d));
}

Problem normal_problem(const Subject& subject, const Shape& shape, Mask mask,
                       std::uint64_t salt = 0) {
  return make_problem({.shape = shape,
                       .mask = mask,
                       .scale = default_scale(shape.d),
                       .seed = subject.seed + salt,
                       .element = subject.element},
                      subject.pass);
}

Solved solve(const Subject& subject, const Problem& problem) {
  Truth truth = truth_of(problem, subject.pass);
  Outputs outputs =
      run_step(subject.chapter, subject.step, subject.pass, problem, truth.o, truth.lse, {});
  if (const std::string text = misconduct(outputs); !text.empty()) {
    throw Error(ErrorKind::kDeviceFailure, text);
  }
  return {problem, std::move(truth), std::move(outputs)};
}

/// Compares a computed array with one computed otherwise, allowing `times` the tolerance of `like`.
std::string differences(const Expected& like, std::vector<double> expected,
                        const std::vector<float>& got, double times) {
  Expected array = like;
  array.values = std::move(expected);
  for (double& tolerance : array.tolerance) tolerance *= times;
  return compare(array, got).text;
}

/// Rounds to multiples of 1/8, so that sums of a few values are exact, in 16 bits too.
void round_to_eighths(std::vector<float>& values) {
  for (float& x : values) x = std::round(x * 8.0f) / 8.0f;
}

std::vector<float> sum(std::vector<float> a, const std::vector<float>& b) {
  for (std::size_t e = 0; e < a.size(); ++e) a[e] += b[e];
  return a;
}

/// `rows` of d elements per head in reverse order.
std::vector<float> reverse_rows(const std::vector<float>& array, std::int64_t rows,
                                std::int64_t d) {
  std::vector<float> result(array.size());
  const auto heads = static_cast<std::int64_t>(array.size()) / (rows * d);
  for (std::int64_t head = 0; head < heads; ++head) {
    for (std::int64_t j = 0; j < rows; ++j) {
      std::copy_n(array.begin() + (head * rows + j) * d, d,
                  result.begin() + (head * rows + rows - 1 - j) * d);
    }
  }
  return result;
}

/// Every output is a weighted mean of the visible rows of V, so it lies between their extremes.
std::string check_hull(const Subject& subject) {
  const Shape shape = shape_for(subject, 2, 21, 37, 8);
  for (const Mask mask : kMasks) {
    const Solved run = solve(subject, normal_problem(subject, shape, mask));
    const Expected& o = run.truth.arrays[0];
    for (std::int64_t row = 0; row < shape.rows(); ++row) {
      const std::int64_t visible =
          visible_keys(row % shape.Nq, diagonal(mask, shape.Nq, shape.Nk), shape.Nk);
      const float* v = run.problem.v.data() + row / shape.Nq * shape.Nk * shape.d;
      for (std::int64_t c = 0; c < shape.d && visible > 0; ++c) {
        float low = v[c];
        float high = v[c];
        for (std::int64_t j = 1; j < visible; ++j) {
          low = std::min(low, v[j * shape.d + c]);
          high = std::max(high, v[j * shape.d + c]);
        }
        const auto element = static_cast<std::size_t>(row * shape.d + c);
        const double got = run.outputs.o[element];
        const double tolerance = o.tolerance[element];
        if (!(got >= low - tolerance && got <= high + tolerance)) {
          return fmt::format("  {} = {} lies outside [{}, {}], the values of V that the row sees\n",
                             element_text(o, element), number_text(got), low, high);
        }
      }
    }
  }
  return {};
}

std::string check_key_permutation(const Subject& subject) {
  const Shape shape = shape_for(subject, 1, 19, 45, 40);
  const Solved base = solve(subject, normal_problem(subject, shape, Mask::kFull));
  Problem reversed = base.problem;
  reversed.k = reverse_rows(reversed.k, shape.Nk, shape.d);
  reversed.v = reverse_rows(reversed.v, shape.Nk, shape.d);
  const Solved other = solve(subject, reversed);
  std::string text;
  for (const Expected& array : base.truth.arrays) {
    std::vector<float> got = array_of(other.outputs, array.name);
    if (array.name == "dk" || array.name == "dv") got = reverse_rows(got, shape.Nk, shape.d);
    text += differences(array, reference::widen(array_of(base.outputs, array.name)), got, 2.0);
  }
  return text;
}

/// O is linear in V; dQ, dK and dV are linear in dO, of which they are sums with fixed weights.
std::string check_linear(const Subject& subject) {
  const auto array = subject.pass == Pass::kForward ? &Problem::v : &Problem::grad_o;
  const Shape shape = shape_for(subject, 1, 23, 31, 16);
  Problem problem = normal_problem(subject, shape, Mask::kCausal);
  const std::vector<float> second = normal_problem(subject, shape, Mask::kCausal, 1).*array;
  round_to_eighths(problem.*array);
  const Solved a = solve(subject, problem);
  problem.*array = second;
  round_to_eighths(problem.*array);
  const Solved b = solve(subject, problem);
  problem.*array = sum(a.problem.*array, b.problem.*array);
  const Solved both = solve(subject, problem);
  std::string text;
  for (const Expected& expected : both.truth.arrays) {
    if (expected.name == "lse") continue;  // does not depend on V
    const std::vector<double> first = reference::widen(array_of(a.outputs, expected.name));
    std::vector<double> total = reference::widen(array_of(b.outputs, expected.name));
    for (std::size_t e = 0; e < total.size(); ++e) total[e] += first[e];
    text += differences(expected, total, array_of(both.outputs, expected.name), 3.0);
  }
  return text;
}

std::string check_logit_shift(const Subject& subject) {
  const Shape shape = shape_for(subject, 1, 18, 35, 16);
  const auto d = static_cast<std::size_t>(shape.d);
  constexpr float kShift = 12.0f;
  Problem problem = normal_problem(subject, shape, Mask::kCausal);
  problem.scale = 0.25f;  // a power of two: the shift is exact
  for (std::size_t e = 0; e < problem.q.size(); e += d) problem.q[e] = 1.0f;
  for (std::size_t e = 0; e < problem.k.size(); e += d) problem.k[e] = std::round(problem.k[e]);
  const Solved base = solve(subject, problem);
  for (std::size_t e = 0; e < problem.k.size(); e += d) problem.k[e] += kShift;
  const Solved shifted = solve(subject, problem);
  std::vector<double> lse = reference::widen(base.outputs.lse);
  for (double& x : lse) x += static_cast<double>(kShift * problem.scale);
  return differences(shifted.truth.arrays[0], reference::widen(base.outputs.o), shifted.outputs.o,
                     2.0) +
         differences(shifted.truth.arrays[1], lse, shifted.outputs.lse, 2.0);
}

std::string check_causal_prefix(const Subject& subject) {
  const Shape shape = shape_for(subject, 1, 41, 41, 16);
  constexpr std::int64_t kPrefix = 18;
  const Solved whole = solve(subject, normal_problem(subject, shape, Mask::kCausal));
  Problem first = whole.problem;
  first.shape.Nq = first.shape.Nk = kPrefix;
  for (std::vector<float>* array : {&first.q, &first.k, &first.v}) {
    array->resize(static_cast<std::size_t>(kPrefix * shape.d));
  }
  const Solved prefix = solve(subject, first);
  std::string text;
  for (const Expected& array : prefix.truth.arrays) {
    std::vector<double> rows = reference::widen(array_of(whole.outputs, array.name));
    rows.resize(array.values.size());
    text += differences(array, rows, array_of(prefix.outputs, array.name), 2.0);
  }
  return text;
}

/// Other inputs, NaN among them, in one head: all other heads' results stay the same, bit by bit
/// where the step is reproducible.
std::string check_independence(const Subject& subject) {
  Shape shape = shape_for(subject, 3, 10, 21, 8);
  shape.B = 2;
  constexpr std::int64_t kChanged = 3;  // the first head of the second batch
  const bool bitwise = subject.pass == Pass::kForward || subject.step.deterministic_backward;
  for (const Mask mask : kMasks) {
    const Solved base = solve(subject, normal_problem(subject, shape, mask));
    Problem problem = normal_problem(subject, shape, mask, 1);
    problem.q[static_cast<std::size_t>(kChanged * shape.Nq * shape.d)] =
        std::numeric_limits<float>::quiet_NaN();
    for (const auto array : {&Problem::q, &Problem::k, &Problem::v, &Problem::grad_o}) {
      std::vector<float>& values = problem.*array;
      const std::vector<float>& old = base.problem.*array;
      const auto per_head = static_cast<std::int64_t>(values.size()) / shape.heads();
      std::copy_n(old.begin(), kChanged * per_head, values.begin());
      std::copy(old.begin() + (kChanged + 1) * per_head, old.end(),
                values.begin() + (kChanged + 1) * per_head);
    }
    const Solved changed = solve(subject, problem);
    for (const Expected& like : base.truth.arrays) {
      std::vector<float> got = array_of(changed.outputs, like.name);
      const std::vector<float>& before = array_of(base.outputs, like.name);
      const auto per_head = static_cast<std::int64_t>(got.size()) / shape.heads();
      std::copy_n(before.begin() + kChanged * per_head, per_head,
                  got.begin() + kChanged * per_head);
      const std::string text =
          differences(like, reference::widen(before), got, bitwise ? 0.0 : 2.0);
      if (!text.empty()) {
        return fmt::format("  head b=1 h=0 got other inputs, and another head changed:\n{}", text);
      }
    }
  }
  return {};
}

std::string check_allocations(const Subject& subject) {
  const Problem problem = normal_problem(subject, shape_for(subject, 2, 20, 30, 16), Mask::kCausal);
  const Truth truth = truth_of(problem, subject.pass);
  const Run prepared(subject.chapter, subject.step, subject.pass, problem, truth.o, truth.lse, {});
  prepared.call();  // a first launch may make the device allocate for itself
  const Memory& memory = memory_of(subject.chapter, subject.step);
  const std::size_t before = memory.allocated_bytes();
  prepared.call();
  const std::size_t after = memory.allocated_bytes();
  if (before == after) return {};
  return fmt::format(
      "  the step left {} bytes allocated instead of {}: its workspace is all it may "
      "use\n",
      after, before);
}

}  // namespace

std::vector<Property> forward_properties() {
  return {{"O lies in the convex hull of V", check_hull},
          {"permuting the keys changes nothing", check_key_permutation},
          {"O is linear in V", check_linear},
          {"shifting all logits shifts LSE only", check_logit_shift},
          {"causal: the first rows do not depend on later ones", check_causal_prefix}};
}

std::vector<Property> backward_properties() {
  return {{"the gradients are linear in dO", check_linear},
          {"permuting the keys permutes dK and dV", check_key_permutation}};
}

std::vector<Property> common_properties() {
  return {{"heads are independent", check_independence},
          {"a run leaves nothing allocated", check_allocations},
          {"bad arguments are refused by name", check_bad_arguments}};
}

}  // namespace attn::verify
