// SPDX-License-Identifier: MIT
//
// The oracle against central finite differences and against examples worked out by hand.
#include "common/reference/reference.hpp"

#include <cmath>
#include <limits>
#include <random>

#include "common/reference/finite_difference.hpp"
#include "tests/catch.hpp"

namespace {

using attn::Mask;
using attn::Shape;
using attn::reference::Forward;
using attn::reference::Gradients;
using attn::reference::Inputs;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

Inputs random_inputs(const Shape& shape, Mask mask, double scale, std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> normal;
  Inputs inputs{shape, mask, scale, {}, {}, {}, {}};
  inputs.q.resize(static_cast<std::size_t>(shape.q_elements()));
  inputs.k.resize(static_cast<std::size_t>(shape.kv_elements()));
  inputs.v.resize(static_cast<std::size_t>(shape.kv_elements()));
  inputs.grad_o.resize(static_cast<std::size_t>(shape.q_elements()));
  for (auto* array : {&inputs.q, &inputs.k, &inputs.v, &inputs.grad_o}) {
    for (double& x : *array) x = normal(engine);
  }
  return inputs;
}

/// Largest |a - b|; infinite if a NaN is among them.
double distance(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (std::size_t e = 0; e < a.size(); ++e) {
    const double difference = a[e] == b[e] ? 0.0 : std::abs(a[e] - b[e]);
    largest = std::isnan(difference) ? kInf : std::max(largest, difference);
  }
  return largest;
}

// Two queries, two keys, d = 1, scale 1. The logits of query 0 are 0 and log 3: P = 1/4, 3/4. Those
// of query 1 are 0 and 2 log 3: P = 1/10, 9/10.
Inputs two_by_two(Mask mask) {
  const double log3 = std::log(3.0);
  return {attn::make_shape(1, 1, 2, 2, 1), mask, 1.0, {1, 2}, {0, log3}, {8, 4}, {1, 10}};
}

}  // namespace

TEST_CASE("gradients agree with central finite differences") {
  const Shape shapes[] = {
      attn::make_shape(1, 1, 5, 5, 3),
      attn::make_shape(2, 2, 3, 6, 4),
      attn::make_shape(1, 2, 6, 3, 2),
      attn::make_shape(1, 1, 4, 7, 1),
      Shape{.B = 2, .H = 4, .Hkv = 2, .Nq = 3, .Nk = 4, .d = 2},
      Shape{.B = 1, .H = 3, .Hkv = 1, .Nq = 4, .Nk = 2, .d = 3},
  };
  std::uint64_t seed = 1;
  for (const Shape& shape : shapes) {
    for (const Mask mask : {Mask::kFull, Mask::kCausal, Mask::kCausalTopLeft}) {
      for (const double scale : {1.0 / std::sqrt(static_cast<double>(shape.d)), -0.7, 0.0}) {
        const Inputs inputs = random_inputs(shape, mask, scale, ++seed);
        const Gradients exact = backward(inputs, forward(inputs));
        const Gradients numeric = finite_differences(inputs);
        INFO(to_string(shape) << ", " << to_string(mask) << ", scale " << scale << ", seed "
                              << seed);
        CHECK(relative_error(exact, numeric) <= 1e-6);
      }
    }
  }
}

TEST_CASE("a wrong gradient is seen by the finite differences") {
  const Inputs inputs = random_inputs(attn::make_shape(1, 1, 4, 4, 3), Mask::kFull, 0.5, 7);
  Gradients wrong = backward(inputs, forward(inputs));
  const Gradients numeric = finite_differences(inputs);
  wrong.grad_k[5] *= 1.001;
  CHECK(relative_error(wrong, numeric) > 1e-6);
  wrong.grad_k[5] = kNan;
  CHECK(std::isnan(relative_error(wrong, numeric)));
}

TEST_CASE("two queries and two keys, by hand") {
  const Inputs inputs = two_by_two(Mask::kFull);
  const Forward result = forward(inputs);
  CHECK(distance(result.o, {5.0, 4.4}) < 1e-14);  // 8/4 + 4*3/4, 8/10 + 4*9/10
  CHECK(distance(result.lse, {std::log(4.0), std::log(10.0)}) < 1e-14);

  // dP = dO V^T = (8, 4), (80, 40); delta = dO O = 5, 44;
  // dS = P (dP - delta) = (3/4, -3/4), (3.6, -3.6)
  const Gradients grad = backward(inputs, result);
  const double log3 = std::log(3.0);
  CHECK(distance(grad.grad_v, {0.25 + 1.0, 0.75 + 9.0}) < 1e-14);
  CHECK(distance(grad.grad_q, {-0.75 * log3, -3.6 * log3}) < 1e-13);
  CHECK(distance(grad.grad_k, {0.75 + 7.2, -0.75 - 7.2}) < 1e-13);
}

TEST_CASE("causal masks, by hand") {
  SECTION("a square problem: the first query sees the first key") {
    for (const Mask mask : {Mask::kCausal, Mask::kCausalTopLeft}) {
      const Forward result = forward(two_by_two(mask));
      CHECK(distance(result.o, {8.0, 4.4}) < 1e-14);
      CHECK(distance(result.lse, {0.0, std::log(10.0)}) < 1e-14);
    }
  }
  // All logits are 0, so O is the mean of the visible rows of V and LSE the log of their number.
  Inputs inputs{attn::make_shape(1, 1, 2, 4, 1),
                Mask::kCausal,
                1.0,
                {0, 0},
                {1, 2, 3, 4},
                {12, 24, 36, 48},
                {}};
  SECTION("more keys than queries, bottom-right: 3 and 4 keys") {
    const Forward result = forward(inputs);
    CHECK(distance(result.o, {24.0, 30.0}) < 1e-13);
    CHECK(distance(result.lse, {std::log(3.0), std::log(4.0)}) < 1e-14);
  }
  SECTION("more keys than queries, top-left: 1 and 2 keys") {
    inputs.mask = Mask::kCausalTopLeft;
    const Forward result = forward(inputs);
    CHECK(distance(result.o, {12.0, 18.0}) < 1e-13);
    CHECK(distance(result.lse, {0.0, std::log(2.0)}) < 1e-14);
  }
  SECTION("fewer keys than queries, bottom-right: 0, 0, 1 and 2 keys") {
    inputs.shape = attn::make_shape(1, 1, 4, 2, 1);
    inputs.q = {0, 0, 0, 0};
    const Forward result = forward(inputs);
    CHECK(distance(result.o, {0.0, 0.0, 12.0, 18.0}) < 1e-13);
    CHECK(distance(result.lse, {-kInf, -kInf, 0.0, std::log(2.0)}) < 1e-14);
  }
}

TEST_CASE("rows that see no key give exact zeros and -inf") {
  for (const Shape& shape : {attn::make_shape(2, 1, 5, 2, 3), attn::make_shape(1, 2, 3, 0, 4)}) {
    const Inputs inputs = random_inputs(shape, Mask::kCausal, 0.5, 3);
    const Forward result = forward(inputs);
    const Gradients grad = backward(inputs, result);
    for (std::int64_t row = 0; row < shape.rows(); ++row) {
      if (row % shape.Nq >= shape.Nq - shape.Nk) continue;
      CHECK(result.lse[static_cast<std::size_t>(row)] == -kInf);
      for (std::int64_t e = row * shape.d; e < (row + 1) * shape.d; ++e) {
        CHECK(result.o[static_cast<std::size_t>(e)] == 0.0);
        CHECK(grad.grad_q[static_cast<std::size_t>(e)] == 0.0);
      }
    }
  }
}

TEST_CASE("zero queries: all keys' gradients are zero") {
  const Inputs inputs = random_inputs(attn::make_shape(1, 2, 0, 3, 2), Mask::kFull, 1.0, 4);
  const Forward result = forward(inputs);
  CHECK(result.o.empty());
  const Gradients grad = backward(inputs, result);
  CHECK(distance(grad.grad_k, std::vector<double>(12, 0.0)) == 0.0);
  CHECK(distance(grad.grad_v, std::vector<double>(12, 0.0)) == 0.0);
}

TEST_CASE("a key that no row sees has no influence, whatever it holds") {
  const Shape shape = attn::make_shape(1, 1, 3, 5, 2);
  Inputs inputs = random_inputs(shape, Mask::kCausalTopLeft, 0.7, 5);  // keys 3 and 4 are hidden
  const Forward clean = forward(inputs);
  const Gradients clean_grad = backward(inputs, clean);
  for (std::size_t e = 6; e < 10; ++e) {
    inputs.k[e] = e % 2 == 0 ? kNan : kInf;
    inputs.v[e] = e % 2 == 0 ? -kInf : kNan;
  }
  const Forward result = forward(inputs);
  const Gradients grad = backward(inputs, result);
  CHECK(distance(result.o, clean.o) == 0.0);
  CHECK(distance(result.lse, clean.lse) == 0.0);
  CHECK(distance(grad.grad_q, clean_grad.grad_q) == 0.0);
  CHECK(distance(grad.grad_k, clean_grad.grad_k) == 0.0);
  CHECK(distance(grad.grad_v, clean_grad.grad_v) == 0.0);
}

TEST_CASE("a NaN in a key that some rows see reaches exactly those rows") {
  Inputs inputs = random_inputs(attn::make_shape(1, 1, 4, 4, 2), Mask::kCausal, 0.7, 6);
  inputs.k[2 * 2] = kNan;  // key 2: seen by queries 2 and 3
  const Forward result = forward(inputs);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(std::isnan(result.lse[i]) == (i >= 2));
    CHECK(std::isnan(result.o[2 * i]) == (i >= 2));
    CHECK(std::isnan(result.o[2 * i + 1]) == (i >= 2));
  }
}

TEST_CASE("grouped heads: every query head reads the keys of its group") {
  const Shape grouped{.B = 2, .H = 4, .Hkv = 2, .Nq = 3, .Nk = 5, .d = 2};
  const Inputs inputs = random_inputs(grouped, Mask::kCausal, 0.7, 8);
  Inputs repeated = inputs;  // the same keys and values, written out once per query head
  repeated.shape.Hkv = grouped.H;
  repeated.k.clear();
  repeated.v.clear();
  const std::int64_t per_head = grouped.Nk * grouped.d;
  for (std::int64_t head = 0; head < grouped.heads(); ++head) {
    const std::int64_t from = (head / 4 * 2 + head % 4 / 2) * per_head;
    repeated.k.insert(repeated.k.end(), inputs.k.begin() + from,
                      inputs.k.begin() + from + per_head);
    repeated.v.insert(repeated.v.end(), inputs.v.begin() + from,
                      inputs.v.begin() + from + per_head);
  }
  const Forward result = forward(inputs);
  CHECK(distance(result.o, forward(repeated).o) == 0.0);
  const Gradients grad = backward(inputs, result);
  const Gradients wide = backward(repeated, result);
  CHECK(distance(grad.grad_q, wide.grad_q) == 0.0);
  for (std::size_t e = 0; e < grad.grad_k.size(); ++e) {
    const std::size_t head = e / static_cast<std::size_t>(per_head);
    const std::size_t first =
        2 * head * static_cast<std::size_t>(per_head) + e % static_cast<std::size_t>(per_head);
    const std::size_t second = first + static_cast<std::size_t>(per_head);
    CHECK(grad.grad_k[e] == Approx(wide.grad_k[first] + wide.grad_k[second]).margin(1e-14));
    CHECK(grad.grad_v[e] == Approx(wide.grad_v[first] + wide.grad_v[second]).margin(1e-14));
  }
}

TEST_CASE("plain float32 loops err by float32's rounding, and not by more") {
  Inputs inputs = random_inputs(attn::make_shape(1, 1, 20, 40, 16), Mask::kCausal, 0.25, 9);
  for (auto* array : {&inputs.q, &inputs.k, &inputs.v}) {
    for (double& x : *array) x = static_cast<double>(static_cast<float>(x));
  }
  const double error = distance(forward(inputs).o, forward_in_float32(inputs).o);
  CHECK(error > 0.0);
  CHECK(error < 1e-5);
}
