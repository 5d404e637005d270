// SPDX-License-Identifier: MIT
#include "common/verify/inputs.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <random>
#include <utility>

#include "common/reference/extra_values.hpp"
#include "common/run/pages.hpp"
#include "common/run/run.hpp"

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

/// The logit of key j, the same for every row. float16 ends at 65,504, so its are smaller.
float prescribed_logit(const InputSpec& spec, std::int64_t j, Random& random) {
  const bool narrow = spec.element == Element::kFloat16;
  const auto small = static_cast<float>(random.integer(-4, 4)) * 0.5f;
  const std::int64_t Nk = spec.shape.Nk;
  std::int64_t peak = 0;
  switch (spec.kind) {
    case InputKind::kRising:
      return static_cast<float>(j) * 0.25f;
    case InputKind::kFalling:
      return static_cast<float>(j) * -0.25f;
    case InputKind::kVeryNegative:
      return (narrow ? -3136.0f : -100016.0f) +
             4.0f * small;  // even, so that sums of its 128ths are exact in 24 bits
    case InputKind::kSaw:
      return (j % 2 == 0 ? 1.0f : -1.0f) * (narrow ? 624.0f : 1e4f) + small;
    case InputKind::kHuge:
      if (spec.seed % 2 == 0) return (narrow ? 0x1p11f : 0x1p23f) + 4.0f + 2.0f * small;
      return (j % 2 == 0 ? 1.0f : -1.0f) * (narrow ? 0x1p13f : 0x1p100f);
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

/// Which rows of K and V some query sees.
std::vector<bool> seen_keys(const Problem& problem) {
  std::vector<bool> seen(problem.k.size() / size(problem.shape.d), false);
  const reference::ExtraValues<double> extras = problem.extras.as<double>();
  const reference::Visibility visibility(problem.mask, extras);
  std::vector<std::int64_t> keys;
  reference::for_each_head(problem.shape, problem.extras, [&](const reference::HeadRows& at) {
    for (std::int64_t i = 0; i < at.Nq; ++i) {
      visibility.keys_of(at, i, keys);
      for (const std::int64_t j : keys) seen[size(at.k_row + j)] = true;
    }
  });
  return seen;
}

/// Calls f(row of K and V, the first row that lies in the same place of the pool) for every valid
/// key; nothing where there are no pages.
template <class F>
void for_each_shared_row(const Problem& problem, F f) {
  const auto& extras = problem.extras;
  if (extras.page_keys == 0) return;
  std::vector<std::int64_t> first(size(extras.pages * extras.page_keys * problem.shape.Hkv), -1);
  for_each_paged_row(problem.shape, extras, [&](std::int64_t row, std::int64_t place) {
    if (first[size(place)] < 0) first[size(place)] = row;
    f(row, first[size(place)]);
  });
}

/// What sequences share is seen if one of them sees it.
void join_shared(const Problem& problem, std::vector<bool>& seen) {
  for_each_shared_row(problem, [&](std::int64_t row, std::int64_t first) {
    if (seen[size(row)]) seen[size(first)] = true;
  });
  for_each_shared_row(
      problem, [&](std::int64_t row, std::int64_t first) { seen[size(row)] = seen[size(first)]; });
}

/// Rows that lie in the same place of a pool become the same.
void copy_shared(Problem& problem, std::int64_t d_v) {
  for_each_shared_row(problem, [&](std::int64_t row, std::int64_t first) {
    for (const auto& [array, width] : {std::pair(&problem.k, problem.shape.d), {&problem.v, d_v}}) {
      std::copy_n(array->begin() + first * width, width, array->begin() + row * width);
    }
  });
}

/// Puts NaN and Inf into the keys that no query sees.
void poison_hidden_keys(Problem& problem) {
  std::vector<bool> seen = seen_keys(problem);
  join_shared(problem, seen);
  const auto poison = [&seen](std::vector<float>& array, const float(&values)[3]) {
    const std::size_t width = seen.empty() ? 0 : array.size() / seen.size();
    for (std::size_t e = 0; e < array.size(); ++e) {
      if (!seen[e / width]) array[e] = values[e % 3];
    }
  };
  poison(problem.k, {kNan, kInf, -kInf});
  poison(problem.v, {kInf, -kInf, kNan});
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

/// Sizes of an array to be broadcast: one of the forms that people use.
PairShape some_broadcast(const Shape& shape, std::uint64_t seed) {
  const auto& [B, H, Hkv, Nq, Nk, d] = shape;
  const PairShape forms[] = {
      {B, H, Nq, Nk}, {1, H, Nq, Nk}, {B, 1, 1, Nk}, {1, 1, Nq, Nk}, {B, 1, Nq, 1}};
  return forms[seed % std::size(forms)];
}

/// Lengths from 0 to N, one of them N, one behind the other.
std::vector<std::int64_t> some_offsets(std::int64_t B, std::int64_t N, Random& random) {
  std::vector<std::int64_t> offsets{0};
  const std::int64_t longest = random.integer(0, std::max<std::int64_t>(B - 1, 0));
  for (std::int64_t b = 0; b < B; ++b) {
    const std::int64_t length = b == longest ? N : b % 3 == 2 ? 0 : random.integer(0, N);
    offsets.push_back(offsets.back() + length);
  }
  return offsets;
}

/// The first extras: those that decide how many elements the arrays have.
void add_sizes(const InputSpec& spec, Random& random, Problem& problem) {
  const Shape& shape = spec.shape;
  problem.extras.d_v = spec.d_v;
  problem.rows_first = spec.features.has(Feature::kStrides);
  problem.gap = spec.gap;
  if (!spec.features.has(Feature::kPacked)) return;
  const bool given = !spec.q_offsets.empty();
  problem.extras.q_offsets = given ? spec.q_offsets : some_offsets(shape.B, shape.Nq, random);
  problem.extras.k_offsets = given ? spec.k_offsets : some_offsets(shape.B, shape.Nk, random);
}

void add_visibility(const InputSpec& spec, Random& random, Problem& problem) {
  const Shape& shape = spec.shape;
  auto& extras = problem.extras;
  if (spec.features.has(Feature::kSinkKeys)) {
    extras.sink_keys = spec.sink_keys ? *spec.sink_keys : random.integer(1, 3);
  }
  extras.key_begin = spec.key_begin;
  extras.key_count = spec.key_count;
  const bool lengths_given = !spec.key_begin.empty() || !spec.key_count.empty();
  if (spec.features.has(Feature::kKeyCounts) && !lengths_given) {
    for (std::int64_t b = 0; b < shape.B; ++b) {
      const std::int64_t keys = reference::rows_of_head(shape, extras, b, 0).Nk;
      extras.key_begin.push_back(random.integer(0, keys / 3));
      const std::int64_t most = keys - extras.key_begin.back();
      extras.key_count.push_back(b % 4 == 3 ? 0 : random.integer(most / 2, most));
    }
  }
  if (spec.ranges_per_row > 0) {
    extras.ranges_per_row = spec.ranges_per_row;
    extras.ranges = spec.ranges;
  } else if (spec.features.has(Feature::kRanges)) {
    extras.ranges_per_row = spec.seed % 2 == 0 ? 1 : 2;
    const std::int64_t ranges = shape.B * shape.Nq * extras.ranges_per_row;
    for (std::int64_t n = 0; n < ranges; ++n) {
      const std::int64_t begin = random.integer(0, shape.Nk);
      extras.ranges.push_back(begin);
      extras.ranges.push_back(random.integer(begin, shape.Nk));
    }
  }
  if (!spec.mask_name.empty()) {
    extras.mask_shape = spec.mask_shape;
    extras.mask = spec.mask_array;
  } else if (spec.features.has(Feature::kMaskArray)) {
    extras.mask_shape = some_broadcast(shape, spec.seed);
    extras.mask.resize(size(extras.mask_shape.elements()));
    for (std::uint8_t& sees : extras.mask) sees = random.uniform() < 0.7 ? 1 : 0;
  }
}

/// Pages in no order, three of them nobody's. Entries of pages without a valid key are no page.
void add_pages(const InputSpec& spec, Random& random, Problem& problem) {
  if (!spec.features.has(Feature::kPages)) return;
  constexpr std::int64_t kSpare = 3;
  const Shape& shape = spec.shape;
  auto& extras = problem.extras;
  extras.page_keys = spec.page_keys == 0 ? 16 : spec.page_keys;
  const std::int64_t entries = pages_of_sequence(shape, extras);
  const std::int64_t shared = spec.shared_keys / extras.page_keys;
  std::vector<std::int64_t> common(size(shared), -1);
  extras.block_table.assign(size(shape.B * entries), -1);
  for (std::int64_t entry = 0; entry < shape.B * entries; ++entry) {
    if (!holds_a_key(shape, extras, entry)) continue;
    std::int64_t& page = extras.block_table[size(entry)];
    const std::int64_t n = entry % entries;
    page = n < shared && common[size(n)] >= 0 ? common[size(n)] : extras.pages++;
    if (n < shared) common[size(n)] = page;
  }
  extras.pages += kSpare;
  std::vector<std::int64_t> order(size(extras.pages));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  for (std::int64_t n = extras.pages - 1; n > 0; --n) {
    std::swap(order[size(n)], order[size(random.integer(0, n))]);
  }
  const std::int64_t none[] = {-1, extras.pages, std::numeric_limits<std::int64_t>::max()};
  std::size_t turn = 0;
  for (std::int64_t& page : extras.block_table) {
    page = page < 0 ? none[turn++ % std::size(none)] : order[size(page)];
  }
}

/// Element (b, h, i, j) of a bias, with `half` a multiple of 1/2.
float patterned_bias(BiasKind kind, const PairShape& of, std::int64_t edge, float half,
                     const std::array<std::int64_t, 4>& at) {
  const auto [b, h, i, j] = at;
  const bool third_key = of.Nk > 1 && j % 3 == 1;
  if (of.Nq == 1 && of.Nk == 1) return (b + h) % 3 == 2 ? -kInf : half;  // a number per head
  if (kind == BiasKind::kHoles) {
    const bool before_the_edge = of.Nk > edge && i % 2 == 1 && j < edge;
    const bool whole_row = of.Nq > 1 && i % 5 == 2;
    return third_key || whole_row || before_the_edge ? -kInf : half;
  }
  const std::int64_t row = of.Nq > 1 ? i % 5 : 0;
  if (row == 3 && j % 2 == 1) return -kInf;
  if (row == 4 && j % 7 == 3) return std::numeric_limits<float>::max();
  return third_key || row == 2 || row == 3 ? std::numeric_limits<float>::lowest() : half;
}

std::vector<float> bias_of(const InputSpec& spec, const PairShape& of, Random& random) {
  std::vector<float> bias;
  if (spec.scores.bias == BiasKind::kFinite) return random.normals(of.elements());
  if (spec.scores.bias == BiasKind::kNormal) {
    bias = random.normals(of.elements());
    for (float& x : bias) {
      if (random.uniform() < 0.1) x = -kInf;
    }
    return bias;
  }
  for (std::int64_t n = 0; n < of.elements(); ++n) {
    const std::array<std::int64_t, 4> at{n / (of.H * of.Nq * of.Nk), n / (of.Nq * of.Nk) % of.H,
                                         n / of.Nk % of.Nq, n % of.Nk};
    const float half = static_cast<float>(random.integer(-4, 4)) * 0.5f;
    bias.push_back(patterned_bias(spec.scores.bias, of, spec.tile_edge, half, at));
  }
  return bias;
}

void add_score_extras(const InputSpec& spec, Random& random, Problem& problem) {
  const Shape& shape = spec.shape;
  const ScoreValues& scores = spec.scores;
  auto& extras = problem.extras;
  if (spec.features.has(Feature::kSoftcap)) extras.softcap = scores.softcap;
  if (spec.features.has(Feature::kBias)) {
    extras.bias_shape = scores.bias_shape.value_or(some_broadcast(shape, spec.seed / 2));
    extras.bias = bias_of(spec, extras.bias_shape, random);
  }
  if (spec.features.has(Feature::kAlibi)) {
    for (std::int64_t h = 0; h < shape.H; ++h) {
      extras.alibi.push_back(std::ldexp(scores.alibi, -static_cast<int>(h % 8)));
    }
  }
  if (spec.features.has(Feature::kSinkLogits)) {
    extras.sink_logits = random.normals(shape.H);
    for (std::size_t h = 0; h < extras.sink_logits.size() && scores.sink; ++h) {
      extras.sink_logits[h] = h % 2 == 0 ? *scores.sink : -*scores.sink;
    }
  }
  if (spec.features.has(Feature::kDropout)) {
    extras.dropout = scores.dropout;
    extras.dropout_seed = 0x9E3779B97F4A7C15u * (spec.seed + 1);
  }
  if (spec.features.has(Feature::kGradLse) && !problem.grad_o.empty()) {
    extras.grad_lse = random.normals(sizes_of(shape, extras.on_host()).rows);
  }
}

/// Whether something rounds between scale * q . k, a multiple of a small power of two, and the
/// difference to the maximum.
bool rounds_scores(const InputSpec& spec) {
  const Features& features = spec.features;
  const ScoreValues& scores = spec.scores;
  return features.has(Feature::kSoftcap) ||
         (features.has(Feature::kBias) && scores.bias < BiasKind::kHoles) ||
         (features.has(Feature::kAlibi) && !is_power_of_two_or_zero(scores.alibi)) ||
         (features.has(Feature::kSinkLogits) && !scores.sink);
}

}  // namespace

std::string_view to_string(InputKind kind) {
  static constexpr std::array<std::string_view, kAllInputKinds.size()> kNames{
      "normal",          "integers",      "large",           "constant V",
      "equal rows",      "rising logits", "falling logits",  "logits <= -1e5",
      "peak first",      "peak last",     "peak at edge",    "saw",
      "huge logits",     "orthogonal",    "hidden NaN, Inf", "NaN in shared K",
      "NaN in shared V", "-Inf logits",   "Inf in shared K", "Inf in shared V",
      "NaN in a query",  "NaN in dO"};
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
  problem.element = spec.element;
  add_sizes(spec, random, problem);
  const Sizes sizes = sizes_of(spec.shape, problem.extras.on_host());
  const double deviation = spec.kind == InputKind::kLarge ? 10.0 : 1.0;
  problem.q = random.normals(sizes.q, deviation);
  problem.k = random.normals(sizes.k, deviation);
  problem.v = random.normals(sizes.v);
  if (pass == Pass::kBackward) problem.grad_o = random.normals(sizes.o);

  if (has_prescribed_logits(spec.kind)) {
    prescribe_logits(spec, random, problem);
    problem.exact_logits = is_power_of_two_or_zero(spec.scale);
  }
  const std::int64_t d_v = value_width(spec.shape, problem.extras.on_host());
  add_visibility(spec, random, problem);
  add_score_extras(spec, random, problem);
  add_pages(spec, random, problem);
  switch (spec.kind) {
    case InputKind::kIntegers:
      for (float& x : problem.q) x = static_cast<float>(random.integer(-2, 2));
      for (float& x : problem.k) x = static_cast<float>(random.integer(-2, 2));
      problem.exact_logits = is_power_of_two_or_zero(spec.scale);
      break;
    case InputKind::kConstantV:
      repeat_first_row(problem.v, d_v);
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
      poison_middle_row(problem.v, B * Hkv, Nk, d_v, kNan);
      break;
    case InputKind::kInfInSharedK:
      // In the first key too: a row may begin with a logit of -Inf and go on with finite ones.
      poison_row(problem.k, B * Hkv, Nk, d, spec.seed % 2 == 0 ? Nk / 2 : 0, kInf);
      break;
    case InputKind::kInfInSharedV:
      poison_middle_row(problem.v, B * Hkv, Nk, d_v, kInf);
      break;
    case InputKind::kNanInQuery:
      poison_middle_row(problem.q, B * H, Nq, d, kNan);
      break;
    case InputKind::kNanInGradO:
      if (pass == Pass::kBackward) poison_middle_row(problem.grad_o, B * H, Nq, d_v, kNan);
      break;
    default:
      break;
  }
  copy_shared(problem, d_v);
  if (rounds_scores(spec)) problem.exact_logits = false;
  round_to_element(problem);
  return problem;
}

}  // namespace attn::verify
