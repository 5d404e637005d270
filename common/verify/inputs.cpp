// SPDX-License-Identifier: MIT
#include "common/verify/inputs.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <random>

namespace attn::verify {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

std::size_t size(std::int64_t elements) { return static_cast<std::size_t>(elements); }

/// Random numbers that are the same with every standard library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  /// Uniform in (0, 1).
  double uniform() { return (static_cast<double>(engine_() >> 12) + 0.5) * 0x1p-52; }
  /// Uniform in {low, ..., high}.
  std::int64_t integer(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(uniform() * static_cast<double>(high - low + 1));
  }
  /// Normal with mean 0 (Box and Muller's method).
  float normal(double deviation = 1.0) {
    const double radius = std::sqrt(-2.0 * std::log(uniform()));
    return static_cast<float>(deviation * radius * std::cos(2 * std::numbers::pi * uniform()));
  }
  std::vector<float> normals(std::int64_t count, double deviation = 1.0) {
    std::vector<float> values(size(count));
    for (float& value : values) value = normal(deviation);
    return values;
  }

 private:
  std::mt19937_64 engine_;
};

/// The logit of key j, the same for every row.
float prescribed_logit(const InputSpec& spec, std::int64_t j, Random& random) {
  const auto small = static_cast<float>(random.integer(-4, 4)) * 0.5f;
  const std::int64_t Nk = spec.shape.Nk;
  std::int64_t peak = 0;
  switch (spec.kind) {
    case InputKind::kRising:
      return static_cast<float>(j) * 0.25f;
    case InputKind::kFalling:
      return static_cast<float>(j) * -0.25f;
    case InputKind::kVeryNegative:
      return -100016.0f + 4.0f * small;  // even, so that sums of its 128ths are exact in 24 bits
    case InputKind::kSaw:
      return (j % 2 == 0 ? 1e4f : -1e4f) + small;
    case InputKind::kHuge:
      if (spec.seed % 2 == 0) return 0x1p23f + 4.0f + 2.0f * small;
      return j % 2 == 0 ? 0x1p100f : -0x1p100f;
    case InputKind::kPeakLast:
      peak = Nk - 1;
      break;
    case InputKind::kPeakAtEdge:
      peak = std::min<std::int64_t>(Nk - 1, spec.tile_edge - (spec.seed % 2 == 0 ? 0 : 1));
      break;
    case InputKind::kMinusInfLogits:
      return -kInf;
    default:  // kPeakFirst
      break;
  }
  return j == peak ? 200.0f : small;
}

/// Q and K such that scale * q_i . k_j is exactly the prescribed logit: the first p columns
/// (p a power of two) of every q are a vector of signs, those of k_j are signs * logit /
/// (p * scale).
void prescribe_logits(const InputSpec& spec, Random& random, Problem& problem) {
  const auto [B, H, Hkv, Nq, Nk, d] = spec.shape;
  const auto p = spec.kind == InputKind::kHuge  // no part of a sum of 24 bits may need a 25th
                     ? std::int64_t{1}
                     : static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(d)));
  std::vector<float> signs(size(p));
  for (float& sign : signs) sign = random.integer(0, 1) == 0 ? -1.0f : 1.0f;
  for (std::int64_t row = 0; row < B * H * Nq; ++row) {
    float* q = problem.q.data() + row * d;
    std::fill(std::copy(signs.begin(), signs.end(), q), q + d, 0.0f);
  }
  for (std::int64_t row = 0; row < B * Hkv * Nk; ++row) {
    const float logit = prescribed_logit(spec, row % Nk, random);
    const float share = logit / (static_cast<float>(p) * spec.scale);
    for (std::int64_t c = 0; c < p; ++c) problem.k[size(row * d + c)] = signs[size(c)] * share;
  }
}

/// Zeroes every second column of Q, and the other columns of K.
void make_orthogonal(Problem& problem) {
  const std::int64_t d = problem.shape.d;
  for (std::size_t e = 0; e < problem.q.size(); ++e) {
    if (static_cast<std::int64_t>(e) % d % 2 == 1) problem.q[e] = 0.0f;
  }
  for (std::size_t e = 0; e < problem.k.size(); ++e) {
    if (static_cast<std::int64_t>(e) % d % 2 == 0) problem.k[e] = 0.0f;
  }
}

/// Copies the first row of `array` over all its rows.
void repeat_first_row(std::vector<float>& array, std::int64_t d) {
  for (std::size_t e = size(d); e < array.size(); ++e) array[e] = array[e - size(d)];
}

/// Puts NaN and Inf into the keys that the last query, and so every query, does not see.
void poison_hidden_keys(Problem& problem) {
  const auto [B, H, Hkv, Nq, Nk, d] = problem.shape;
  const std::int64_t seen = Nq == 0 ? 0 : visible_keys(Nq - 1, diagonal(problem.mask, Nq, Nk), Nk);
  for (std::int64_t head = 0; head < B * Hkv; ++head) {
    for (std::int64_t e = (head * Nk + seen) * d; e < (head + 1) * Nk * d; ++e) {
      const std::int64_t turn = e % 3;
      problem.k[size(e)] = turn == 0 ? kNan : turn == 1 ? kInf : -kInf;
      problem.v[size(e)] = turn == 0 ? kInf : turn == 1 ? -kInf : kNan;
    }
  }
}

/// Puts `value` into one element of row `row` of every head.
void poison_row(std::vector<float>& array, std::int64_t heads, std::int64_t rows, std::int64_t d,
                std::int64_t row, float value) {
  for (std::int64_t head = 0; head < heads && rows > 0; ++head) {
    array[size((head * rows + row) * d + d / 2)] = value;
  }
}

void poison_middle_row(std::vector<float>& array, std::int64_t heads, std::int64_t rows,
                       std::int64_t d, float value) {
  poison_row(array, heads, rows, d, rows / 2, value);
}

bool is_power_of_two_or_zero(float scale) {
  int exponent = 0;
  return scale == 0.0f || std::abs(std::frexp(scale, &exponent)) == 0.5f;
}

}  // namespace

std::string_view to_string(InputKind kind) {
  static constexpr std::array<std::string_view, kAllInputKinds.size()> kNames{
      "normal",          "integers",      "large",           "constant V",
      "equal rows",      "rising logits", "falling logits",  "logits <= -1e5",
      "peak first",      "peak last",     "peak at edge",    "saw",
      "huge logits",     "orthogonal",    "hidden NaN, Inf", "NaN in shared K",
      "NaN in shared V", "-Inf logits",   "Inf in shared K", "Inf in shared V",
      "NaN in a query"};
  return kNames[static_cast<std::size_t>(kind)];
}

bool has_prescribed_logits(InputKind kind) {
  return (kind >= InputKind::kRising && kind <= InputKind::kHuge) ||
         kind == InputKind::kMinusInfLogits;
}

bool has_visible_infinity(InputKind kind) {
  return kind == InputKind::kInfInSharedK || kind == InputKind::kInfInSharedV ||
         kind == InputKind::kMinusInfLogits;
}

Problem make_problem(const InputSpec& spec, Pass pass) {
  const auto [B, H, Hkv, Nq, Nk, d] = spec.shape;
  Random random(spec.seed);
  Problem problem;
  problem.shape = spec.shape;
  problem.mask = spec.mask;
  problem.scale = spec.scale;
  const double deviation = spec.kind == InputKind::kLarge ? 10.0 : 1.0;
  problem.q = random.normals(spec.shape.q_elements(), deviation);
  problem.k = random.normals(spec.shape.kv_elements(), deviation);
  problem.v = random.normals(spec.shape.kv_elements());
  if (pass == Pass::kBackward) problem.grad_o = random.normals(spec.shape.q_elements());

  if (has_prescribed_logits(spec.kind)) {
    prescribe_logits(spec, random, problem);
    problem.exact_logits = is_power_of_two_or_zero(spec.scale);
  }
  switch (spec.kind) {
    case InputKind::kIntegers:
      for (float& x : problem.q) x = static_cast<float>(random.integer(-2, 2));
      for (float& x : problem.k) x = static_cast<float>(random.integer(-2, 2));
      problem.exact_logits = is_power_of_two_or_zero(spec.scale);
      break;
    case InputKind::kConstantV:
      repeat_first_row(problem.v, d);
      break;
    case InputKind::kEqualRows:
      repeat_first_row(problem.q, d);
      repeat_first_row(problem.k, d);
      break;
    case InputKind::kOrthogonal:
      make_orthogonal(problem);
      problem.exact_logits = true;
      break;
    case InputKind::kHiddenPoison:
      poison_hidden_keys(problem);
      break;
    case InputKind::kNanInSharedK:
      poison_middle_row(problem.k, B * Hkv, Nk, d, kNan);
      break;
    case InputKind::kNanInSharedV:
      poison_middle_row(problem.v, B * Hkv, Nk, d, kNan);
      break;
    case InputKind::kInfInSharedK:
      // In the first key too: a row may begin with a logit of -Inf and go on with finite ones.
      poison_row(problem.k, B * Hkv, Nk, d, spec.seed % 2 == 0 ? Nk / 2 : 0, kInf);
      break;
    case InputKind::kInfInSharedV:
      poison_middle_row(problem.v, B * Hkv, Nk, d, kInf);
      break;
    case InputKind::kNanInQuery:
      poison_middle_row(problem.q, B * H, Nq, d, kNan);
      break;
    default:
      break;
  }
  return problem;
}

}  // namespace attn::verify
