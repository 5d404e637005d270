// SPDX-License-Identifier: MIT
//
// CUDA's math and bit intrinsics, against double precision and against the guide's error bounds.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "tests/simt/kernels.hpp"
#include "tests/simt/support.hpp"

namespace attn::simt_test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<float> random_reals(std::size_t count, float low, float high, unsigned seed) {
  std::mt19937_64 generator(seed);
  std::uniform_real_distribution<float> distribution(low, high);
  std::vector<float> values(count);
  for (float& value : values) value = distribution(generator);
  return values;
}

std::vector<float> evaluate(Unary op, const std::vector<float>& values) {
  DeviceArray<float> in(values);
  DeviceArray<float> out(values.size());
  run_unary(op, in.data(), out.data(), static_cast<int>(values.size()));
  return out.read();
}

std::vector<float> evaluate(Binary op, const std::vector<float>& a, const std::vector<float>& b) {
  DeviceArray<float> device_a(a), device_b(b);
  DeviceArray<float> out(a.size());
  run_binary(op, device_a.data(), device_b.data(), out.data(), static_cast<int>(a.size()));
  return out.read();
}

/// Largest |got - expected| / |expected|; a NaN counts as infinite.
template <typename Function>
double worst_relative_error(Unary op, float low, float high, Function exact) {
  const std::vector<float> values = random_reals(4000, low, high, 77);
  const std::vector<float> got = evaluate(op, values);
  double worst = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double expected = exact(static_cast<double>(values[i]));
    const double error = std::abs(got[i] - expected) / std::abs(expected);
    worst = error <= worst ? worst : std::isnan(error) ? kInfinity : error;
  }
  return worst;
}

TEST_CASE_METHOD(EveryMode, "exponentials, logarithms and roots", "[simt]") {
  const auto exp2 = [](double x) { return std::exp2(x); };
  const auto exp = [](double x) { return std::exp(x); };
  const auto log = [](double x) { return std::log(x); };
  const auto log2 = [](double x) { return std::log2(x); };
  const auto rsqrt = [](double x) { return 1.0 / std::sqrt(x); };
  const auto sqrt = [](double x) { return std::sqrt(x); };
  const auto reciprocal = [](double x) { return 1.0 / x; };
  // The guide's tables: a few units in the last place; the fast ones grow with the argument.
  CHECK(worst_relative_error(Unary::kExpf, -80, 80, exp) <= 2.5e-7);
  CHECK(worst_relative_error(Unary::kFastExp, -10, 10, exp) <= 2e-6);
  CHECK(worst_relative_error(Unary::kExp2f, -100, 100, exp2) <= 2.5e-7);
  CHECK(worst_relative_error(Unary::kLogf, 2, 1e6f, log) <= 2.5e-7);
  CHECK(worst_relative_error(Unary::kFastLog, 2, 1e6f, log) <= 1e-6);
  CHECK(worst_relative_error(Unary::kLog2f, 2, 1e6f, log2) <= 2.5e-7);
  CHECK(worst_relative_error(Unary::kFastLog2, 2, 1e6f, log2) <= 1e-6);
  CHECK(worst_relative_error(Unary::kRsqrtf, 1e-3f, 1e6f, rsqrt) <= 2.5e-7);
  CHECK(worst_relative_error(Unary::kSqrtf, 0.1f, 1e6f, sqrt) <= 1.2e-7);
  CHECK(worst_relative_error(Unary::kReciprocal, 0.1f, 1e6f, reciprocal) <= 1.2e-7);
}

TEST_CASE_METHOD(EveryMode, "special values that a softmax meets", "[simt]") {
  for (const Unary op : {Unary::kExpf, Unary::kFastExp, Unary::kExp2f}) {
    const std::vector<float> got = evaluate(op, {-kInfinity, 0.0f, kInfinity, -1e30f, kNaN});
    CAPTURE(static_cast<int>(op));
    CHECK(got[0] == 0.0f);
    CHECK(got[1] == 1.0f);
    CHECK(got[2] == kInfinity);
    CHECK(got[3] == 0.0f);
    CHECK(std::isnan(got[4]));
  }
  for (const Unary op : {Unary::kLogf, Unary::kFastLog, Unary::kLog2f, Unary::kFastLog2}) {
    const std::vector<float> got = evaluate(op, {0.0f, 1.0f, kInfinity, -1.0f});
    CAPTURE(static_cast<int>(op));
    CHECK(got[0] == -kInfinity);
    CHECK(got[1] == 0.0f);
    CHECK(got[2] == kInfinity);
    CHECK(std::isnan(got[3]));
  }
  CHECK(evaluate(Unary::kRsqrtf, {4.0f, 0.0f, kInfinity}) ==
        std::vector<float>{0.5f, kInfinity, 0.0f});
  CHECK(evaluate(Unary::kReciprocal, {4.0f, 0.0f, kInfinity}) ==
        std::vector<float>{0.25f, kInfinity, 0.0f});
  CHECK(evaluate(Unary::kFabsf, {-3.0f, kInfinity, -kInfinity}) ==
        std::vector<float>{3.0f, kInfinity, kInfinity});
}

TEST_CASE_METHOD(EveryMode, "fmaxf and fminf pass over NaN", "[simt]") {
  const std::vector<float> a{1.0f, kNaN, 2.0f, -kInfinity, kNaN};
  const std::vector<float> b{3.0f, 5.0f, kNaN, -7.0f, kNaN};
  const std::vector<float> highest = evaluate(Binary::kMax, a, b);
  const std::vector<float> lowest = evaluate(Binary::kMin, a, b);
  CHECK(std::vector<float>(highest.begin(), highest.end() - 1) ==
        std::vector<float>{3.0f, 5.0f, 2.0f, -7.0f});
  CHECK(std::vector<float>(lowest.begin(), lowest.end() - 1) ==
        std::vector<float>{1.0f, 5.0f, 2.0f, -kInfinity});
  CHECK(std::isnan(highest.back()));
  CHECK(std::isnan(lowest.back()));
}

TEST_CASE_METHOD(EveryMode, "__fdividef is close to the quotient", "[simt]") {
  const std::vector<float> a = random_reals(1000, -100, 100, 1);
  const std::vector<float> b = random_reals(1000, 0.01f, 100, 2);
  const std::vector<float> got = evaluate(Binary::kFastDivide, a, b);
  double worst = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double expected = static_cast<double>(a[i]) / static_cast<double>(b[i]);
    worst = std::max(worst, std::abs(got[i] - expected) / std::abs(expected));
  }
  CHECK(worst <= 2.5e-7);  // "2 ulp"
}

TEST_CASE_METHOD(EveryMode, "fmaf rounds once", "[simt]") {
  // (1 + 2^-12)^2 - (1 + 2^-11) = 2^-24: lost if the product is rounded first.
  const float x = 1.0f + std::ldexp(1.0f, -12);
  DeviceArray<float> triples(std::vector<float>{x, x, -(1.0f + std::ldexp(1.0f, -11)), 2, 3, 4});
  DeviceArray<float> out(2);
  run_fma(triples.data(), out.data(), 2);
  CHECK(out.read() == std::vector<float>{std::ldexp(1.0f, -24), 10.0f});
}

TEST_CASE_METHOD(EveryMode, "__popc, __ffs, __clz, __brev", "[simt]") {
  std::vector<unsigned> values = random_integers<unsigned>(200, 0, 0xFFFFFFFFll, 4);
  for (const unsigned special : {0u, 1u, 0x80000000u, 0xFFFFFFFFu, 0x00010000u}) {
    values.push_back(special);
  }
  DeviceArray<unsigned> in(values);
  DeviceArray<unsigned> out(4 * values.size());
  run_bits(in.data(), out.data(), static_cast<int>(values.size()));
  std::vector<unsigned> expected;
  for (const unsigned value : values) {
    unsigned reversed = 0;
    for (int bit = 0; bit < 32; ++bit) {
      if ((value >> bit & 1u) != 0) reversed |= 0x80000000u >> bit;
    }
    const int first = value == 0 ? 0 : std::countr_zero(value) + 1;  // __ffs counts from 1
    expected.insert(expected.end(),
                    {static_cast<unsigned>(std::popcount(value)), static_cast<unsigned>(first),
                     static_cast<unsigned>(std::countl_zero(value)), reversed});
  }
  CHECK(out.read() == expected);
}

TEST_CASE_METHOD(EveryMode, "__ldg loads", "[simt]") {
  const std::vector<float> values = random_reals(333, -1, 1, 6);
  DeviceArray<float> in(values);
  DeviceArray<float> out(values.size());
  run_ldg(in.data(), out.data(), static_cast<int>(values.size()));
  CHECK(out.read() == values);
}

}  // namespace
}  // namespace attn::simt_test
