// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "chapters/04_online_softmax/loops.hpp"
#include "chapters/04_online_softmax/running_softmax.hpp"
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn::online_softmax {
namespace {

using Row = std::vector<float>;

constexpr unsigned kSeed = 20260104;
constexpr int kRounds = 4000;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr double kEps = 0x1p-23;

/// A whole number in [low, high].
int integer(std::mt19937& random, int low, int high) {
  return low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
}

/// `size` logits, multiples of 1/8 up to 2^14, so that every difference between two of them is
/// exact: close together, far apart, rising, falling, all huge and negative, or +-10^4 in turn.
Row random_logits(std::mt19937& random, int size) {
  const int kind = integer(random, 0, 5);
  Row logits;
  for (int j = 0; j < size; ++j) {
    const auto small = static_cast<float>(integer(random, -32, 32)) / 8;
    const auto step = static_cast<float>(j) / 4;
    const float kinds[] = {small, 20 * small,       step,
                           -step, small - 10000.0f, (j % 2 == 0 ? 1e4f : -1e4f) + small};
    logits.push_back(kinds[kind]);
  }
  return logits;
}

/// Now and then a logit is -inf, as a mask by addition would make it; `every` = 1: all of them.
void mask_some(std::mt19937& random, Row& logits) {
  const int every = integer(random, 1, 8);
  if (every > 4) return;
  for (float& logit : logits) {
    if (integer(random, 1, every) == 1) logit = -kInf;
  }
}

/// The statistics of logits that arrive one by one.
RunningSoftmax stream(std::span<const float> logits) {
  RunningSoftmax seen;
  for (const float logit : logits) seen = merge(seen, {logit, logit == -kInf ? 0.0f : 1.0f});
  return seen;
}

/// The statistics of a row that is cut in two at random, and its parts again, down to pieces of a
/// few logits, or none.
RunningSoftmax split(std::mt19937& random, std::span<const float> logits) {
  if (logits.size() < 2 || integer(random, 0, 3) == 0) return stream(logits);
  const auto cut = static_cast<std::size_t>(integer(random, 0, static_cast<int>(logits.size())));
  const RunningSoftmax left = split(random, logits.first(cut));
  return merge(left, split(random, logits.subspan(cut)));
}

/// Each logit costs at most two exps (1 ulp each), a product and a sum (half an ulp each) here, and
/// a merge no more than that: 3 eps a logit.
double sum_tolerance(std::size_t logits) { return 3 * kEps * static_cast<double>(logits + 1); }

bool equal(RunningSoftmax a, RunningSoftmax b) {
  return a.row_max == b.row_max && a.row_sum == b.row_sum;
}

bool near(RunningSoftmax got, double row_max, double row_sum, double relative) {
  return got.row_max == row_max && std::abs(got.row_sum - row_sum) <= relative * row_sum;
}

TEST_CASE("04_online_softmax: forward is right on the case table") {
  testing::require_right(chapters::ch04_online_softmax(), Pass::kForward);
}

TEST_CASE("04_online_softmax: needs next to no workspace") {
  const Chapter& chapter = chapters::ch04_online_softmax();
  const Shape shape = make_shape(1, 1, 8192, 8192, 64);
  CHECK(find_step(chapter, "").forward_workspace_bytes(shape) < std::size_t{1} << 20);
  CHECK(chapter.twin->forward_workspace_bytes(shape) < std::size_t{1} << 20);
}

TEST_CASE("04_online_softmax: the three numbers of the lesson") {
  const float s[] = {1, 3, 2};
  const float v[] = {10, 20, 30};
  for (const auto loop : {three_passes, two_passes, one_pass}) {
    CHECK(loop(s, v, 3) == Approx(21.547).epsilon(1e-4));
  }
  CHECK(stream(s).row_max == 3.0f);
  CHECK(stream(s).row_sum == Approx(1.50321).epsilon(1e-5));
  CHECK(log_sum_exp(stream(s)) == Approx(3.40761).epsilon(1e-5));
}

TEST_CASE("04_online_softmax: three passes, two passes and one give the same") {
  std::mt19937 random(kSeed);
  for (int round = 0; round < kRounds; ++round) {
    const Row s = random_logits(random, integer(random, 1, 200));
    Row v;
    for (std::size_t j = 0; j < s.size(); ++j) {
      v.push_back(static_cast<float>(integer(random, -1000, 1000)) / 256);
    }
    const double row_max = *std::max_element(s.begin(), s.end());
    double row_sum = 0;
    double weighted = 0;
    for (std::size_t j = 0; j < s.size(); ++j) {
      row_sum += std::exp(s[j] - row_max);
      weighted += std::exp(s[j] - row_max) * v[j];
    }
    INFO("seed " << kSeed << ", round " << round << ", " << s.size() << " logits from " << s[0]);
    const double tolerance = 2 * sum_tolerance(s.size()) * 4;  // sum and weighted sum; |v| < 4
    const auto n = static_cast<std::int64_t>(s.size());
    for (const auto loop : {three_passes, two_passes, one_pass}) {
      REQUIRE(std::abs(loop(s.data(), v.data(), n) - weighted / row_sum) <= tolerance);
    }
  }
}

TEST_CASE("04_online_softmax: a row may be split anywhere") {
  std::mt19937 random(kSeed);
  for (int round = 0; round < kRounds; ++round) {
    Row logits = random_logits(random, integer(random, 0, 200));
    mask_some(random, logits);
    const double row_max = logits.empty() ? -kInf : *std::max_element(logits.begin(), logits.end());
    double row_sum = 0;
    for (const float logit : logits) {
      if (logit != -kInf) row_sum += std::exp(logit - row_max);
    }
    INFO("seed " << kSeed << ", round " << round << ", " << logits.size() << " logits");
    const double tolerance = sum_tolerance(logits.size());
    REQUIRE(near(stream(logits), row_max, row_sum, tolerance));
    REQUIRE(near(split(random, logits), row_max, row_sum, tolerance));
    const double lse = row_max + std::log(row_sum);
    if (row_sum == 0) {
      REQUIRE(std::isnan(log_sum_exp(stream(logits))));  // no logit above -inf
    } else {
      REQUIRE(std::abs(log_sum_exp(stream(logits)) - lse) <= tolerance + kEps * std::abs(lse));
    }
  }
}

TEST_CASE("04_online_softmax: merge is a monoid") {
  std::mt19937 random(kSeed);
  const auto piece = [&random] {
    Row logits = random_logits(random, integer(random, 0, 20));
    mask_some(random, logits);
    return stream(logits);
  };
  const RunningSoftmax empty;
  REQUIRE(equal(merge(empty, empty), empty));  // and not NaN
  for (int round = 0; round < kRounds; ++round) {
    const RunningSoftmax a = piece(), b = piece(), c = piece();
    INFO("seed " << kSeed << ", round " << round << ": maxima " << a.row_max << ", " << b.row_max
                 << ", " << c.row_max);
    // The empty row changes nothing, not even a rounding.
    REQUIRE(equal(merge(a, empty), a));
    REQUIRE(equal(merge(empty, a), a));
    // Associative, up to the roundings of two merges on either side.
    const RunningSoftmax left = merge(merge(a, b), c);
    const RunningSoftmax right = merge(a, merge(b, c));
    REQUIRE(near(left, right.row_max, right.row_sum, 2 * sum_tolerance(2)));
    // It even commutes, bit for bit.
    REQUIRE(equal(merge(a, b), merge(b, a)));
  }
}

}  // namespace
}  // namespace attn::online_softmax
