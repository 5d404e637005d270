// SPDX-License-Identifier: MIT
//
// The oracle beyond Q, K, V and one diagonal: held against loops that share none of its code, and
// against finite differences. Problems are drawn from a seed; a failure prints it.
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "common/philox.hpp"
#include "common/reference/finite_difference.hpp"
#include "tests/catch.hpp"

namespace {

using attn::Feature;
using attn::Features;
using attn::kUnbounded;
using attn::Mask;
using attn::PairShape;
using attn::Shape;
using attn::reference::Forward;
using attn::reference::Gradients;
using attn::reference::Inputs;
using Values = attn::reference::ExtraValues<double>;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

// ---- attention by its definition, once more ----
// One loop per index, nothing shared with common/reference: no maximum is subtracted, and the
// softmax goes backward through its whole Jacobian. In long double, for inputs of order 1.

using Real = long double;

/// Where the rows of batch b and head h lie, counted in rows.
struct Place {
  std::int64_t b, h;
  std::int64_t Nq, Nk;
  std::int64_t q_row, k_row;
};

Place place_of(const Inputs& in, std::int64_t b, std::int64_t h) {
  const Shape& s = in.shape;
  const std::int64_t kv = h / (s.H / s.Hkv);
  const auto& q = in.extras.q_offsets;
  const auto& k = in.extras.k_offsets;
  if (q.empty()) return {b, h, s.Nq, s.Nk, (b * s.H + h) * s.Nq, (b * s.Hkv + kv) * s.Nk};
  return {b,
          h,
          q[at(b + 1)] - q[at(b)],
          k[at(b + 1)] - k[at(b)],
          h * q[at(s.B)] + q[at(b)],
          kv * k[at(s.B)] + k[at(b)]};
}

/// As NumPy broadcasts: an axis of size 1 is read over and over.
std::size_t broadcast(const PairShape& shape, const Place& p, std::int64_t i, std::int64_t j) {
  return at(((p.b % shape.B * shape.H + p.h % shape.H) * shape.Nq + i % shape.Nq) * shape.Nk +
            j % shape.Nk);
}

std::int64_t first_key(const Inputs& in, const Place& p) {
  return in.extras.key_begin.empty() ? 0 : in.extras.key_begin[at(p.b)];
}
std::int64_t count_of_keys(const Inputs& in, const Place& p) {
  return in.extras.key_count.empty() ? p.Nk - first_key(in, p) : in.extras.key_count[at(p.b)];
}
/// The row's own key, counted from the first valid one.
std::int64_t own_key(const Inputs& in, const Place& p, std::int64_t i) {
  return in.mask.top_left ? i : i + count_of_keys(in, p) - p.Nq;
}

bool sees(const Inputs& in, const Place& p, std::int64_t i, std::int64_t j) {
  const Values& x = in.extras;
  const std::int64_t local = j - first_key(in, p);
  if (local < 0 || local >= count_of_keys(in, p)) return false;
  const std::int64_t own = own_key(in, p, i);
  if (in.mask.after != kUnbounded && local > own + in.mask.after) return false;
  const bool before_window = in.mask.before != kUnbounded && local < own - in.mask.before;
  if (before_window && local >= x.sink_keys) return false;
  if (!x.mask.empty() && x.mask[broadcast(x.mask_shape, p, i, j)] == 0) return false;
  if (!x.bias.empty() && x.bias[broadcast(x.bias_shape, p, i, j)] == -kInf) return false;
  bool in_a_range = x.ranges_per_row == 0;
  for (std::int64_t n = 0; n < x.ranges_per_row; ++n) {
    const std::int64_t range = (p.b * in.shape.Nq + i) * x.ranges_per_row + n;
    in_a_range |= j >= x.ranges[at(2 * range)] && j < x.ranges[at(2 * range + 1)];
  }
  return in_a_range;
}

struct Naive {
  std::vector<Real> o, lse, grad_q, grad_k, grad_v, grad_bias, grad_sink_logits;
};

/// scale * q . k and the logit it becomes.
struct NaiveLogit {
  Real product, logit;
};

NaiveLogit naive_logit(const Inputs& in, const Place& p, std::int64_t i, std::int64_t j) {
  const Values& x = in.extras;
  const std::int64_t d = in.shape.d;
  Real product = 0;
  for (std::int64_t c = 0; c < d; ++c) {
    product += Real{in.q[at((p.q_row + i) * d + c)]} * in.k[at((p.k_row + j) * d + c)];
  }
  product *= in.scale;
  Real logit = x.softcap > 0 ? x.softcap * std::tanh(product / x.softcap) : product;
  if (!x.bias.empty()) logit += x.bias[broadcast(x.bias_shape, p, i, j)];
  if (!x.alibi.empty()) {
    const std::int64_t distance = std::abs(own_key(in, p, i) - (j - first_key(in, p)));
    logit -= x.alibi[at(p.h)] * static_cast<Real>(distance);
  }
  return {product, logit};
}

Real naive_factor(const Inputs& in, const Place& p, std::int64_t i, std::int64_t j) {
  const double probability = in.extras.dropout;
  if (probability == 0) return 1;
  const attn::PhiloxWords counter{{static_cast<std::uint32_t>(j / 4), static_cast<std::uint32_t>(i),
                                   static_cast<std::uint32_t>(p.h),
                                   static_cast<std::uint32_t>(p.b)}};
  const std::uint32_t bits = attn::philox(counter, in.extras.dropout_seed).word[j % 4];
  return bits < probability * 0x1p32 ? Real{0} : 1 / (1 - Real{probability});
}

Naive naive(const Inputs& in) {
  const Values& x = in.extras;
  const Shape& s = in.shape;
  const std::int64_t d = s.d;
  const std::int64_t d_v = x.d_v == 0 ? d : x.d_v;
  Naive r;
  r.o.resize(in.grad_o.size());
  r.lse.resize(in.grad_o.size() / at(d_v));
  r.grad_q.resize(in.q.size());
  r.grad_k.resize(in.k.size());
  r.grad_v.resize(in.v.size());
  r.grad_bias.resize(x.bias.size());
  r.grad_sink_logits.resize(x.sink_logits.size());
  for (std::int64_t b = 0; b < s.B; ++b) {
    for (std::int64_t h = 0; h < s.H; ++h) {
      const Place p = place_of(in, b, h);
      const Real sink = x.sink_logits.empty() ? 0 : std::exp(Real{x.sink_logits[at(h)]});
      for (std::int64_t i = 0; i < p.Nq; ++i) {
        const std::int64_t row = p.q_row + i;
        // Row i of P, z and dP; a hidden key has the weight 0, and its K and V are not read.
        std::vector<Real> weight(at(p.Nk)), factor(at(p.Nk)), grad_weight(at(p.Nk));
        Real sum = sink;
        for (std::int64_t j = 0; j < p.Nk; ++j) {
          if (!sees(in, p, i, j)) continue;
          weight[at(j)] = std::exp(naive_logit(in, p, i, j).logit);
          factor[at(j)] = naive_factor(in, p, i, j);
          sum += weight[at(j)];
        }
        r.lse[at(row)] = std::log(sum);
        if (sum == 0) continue;
        for (std::int64_t j = 0; j < p.Nk; ++j) {
          if (!sees(in, p, i, j)) continue;
          weight[at(j)] /= sum;
          for (std::int64_t c = 0; c < d_v; ++c) {
            const Real v = in.v[at((p.k_row + j) * d_v + c)];
            const Real grad_o = in.grad_o[at(row * d_v + c)];
            r.o[at(row * d_v + c)] += factor[at(j)] * weight[at(j)] * v;
            r.grad_v[at((p.k_row + j) * d_v + c)] += factor[at(j)] * weight[at(j)] * grad_o;
            grad_weight[at(j)] += factor[at(j)] * grad_o * v;
          }
        }
        const Real grad_lse = x.grad_lse.empty() ? 0 : x.grad_lse[at(row)];
        for (std::int64_t j = 0; j < p.Nk; ++j) {
          if (!sees(in, p, i, j)) continue;
          Real grad_logit = grad_lse * weight[at(j)];
          for (std::int64_t k = 0; k < p.Nk; ++k) {  // dP_k / dS_j
            grad_logit += grad_weight[at(k)] * weight[at(k)] * ((j == k ? 1 : 0) - weight[at(j)]);
          }
          if (!x.bias.empty()) r.grad_bias[broadcast(x.bias_shape, p, i, j)] += grad_logit;
          Real grad_product = grad_logit;
          if (x.softcap > 0) {
            const Real cosh = std::cosh(naive_logit(in, p, i, j).product / x.softcap);
            grad_product /= cosh * cosh;  // 1 - tanh^2
          }
          for (std::int64_t c = 0; c < d; ++c) {
            const std::int64_t q = row * d + c;
            const std::int64_t k = (p.k_row + j) * d + c;
            r.grad_q[at(q)] += in.scale * grad_product * in.k[at(k)];
            r.grad_k[at(k)] += in.scale * grad_product * in.q[at(q)];
          }
        }
        if (x.sink_logits.empty()) continue;
        // The sink is one more key, whose V is 0.
        Real grad_sink = grad_lse * sink / sum;
        for (std::int64_t k = 0; k < p.Nk; ++k) {
          grad_sink -= grad_weight[at(k)] * weight[at(k)] * sink / sum;
        }
        r.grad_sink_logits[at(h)] += grad_sink;
      }
    }
  }
  return r;
}

// ---- comparing ----

/// The largest |a - b|, in units of the largest |b|, or of `least` if that is more. Infinities must
/// agree; infinite if a NaN is found.
template <class T>
double distance(const std::vector<double>& a, const std::vector<T>& b, double least) {
  REQUIRE(a.size() == b.size());
  double unit = least;
  double error = 0;
  for (std::size_t e = 0; e < b.size(); ++e) {
    const auto there = static_cast<double>(b[e]);
    if (std::isfinite(there)) unit = std::max(unit, std::abs(there));
    const double difference = a[e] == there ? 0.0 : std::abs(static_cast<double>(a[e] - b[e]));
    error = std::isnan(difference) ? kInf : std::max(error, difference);
  }
  return error / unit;
}

bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](double x, double y) {
    return std::bit_cast<std::uint64_t>(x) == std::bit_cast<std::uint64_t>(y);
  });
}
bool same_bits(const Forward& a, const Forward& b) {
  return same_bits(a.o, b.o) && same_bits(a.lse, b.lse);
}
bool same_bits(const Gradients& a, const Gradients& b) {
  return same_bits(a.grad_q, b.grad_q) && same_bits(a.grad_k, b.grad_k) &&
         same_bits(a.grad_v, b.grad_v) && same_bits(a.grad_bias, b.grad_bias) &&
         same_bits(a.grad_sink_logits, b.grad_sink_logits);
}

// ---- drawing problems ----

class Draw {
 public:
  explicit Draw(std::uint64_t seed) : engine_(seed) {}

  std::int64_t integer(std::int64_t from, std::int64_t to) {
    return from + static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(to - from + 1));
  }
  bool chance(int percent) { return integer(1, 100) <= percent; }
  double real(double from, double to) {
    return from + (to - from) * static_cast<double>(engine_() >> 11) * 0x1p-53;
  }
  std::vector<double> reals(std::int64_t count, double from, double to) {
    std::vector<double> values(at(count));
    for (double& x : values) x = real(from, to);
    return values;
  }
  std::uint64_t bits() { return engine_(); }

 private:
  std::mt19937_64 engine_;
};

PairShape draw_pair_shape(Draw& draw, const Shape& s) {
  return {draw.chance(50) ? 1 : s.B, draw.chance(50) ? 1 : s.H, draw.chance(40) ? 1 : s.Nq,
          draw.chance(20) ? 1 : s.Nk};
}

/// Offsets of B sequences of up to `most` rows; sequence `none` is empty.
std::vector<std::int64_t> draw_offsets(Draw& draw, std::int64_t B, std::int64_t most,
                                       std::int64_t none) {
  std::vector<std::int64_t> offsets = {0};
  for (std::int64_t b = 0; b < B; ++b) {
    offsets.push_back(offsets.back() + (b == none ? 0 : draw.integer(1, most)));
  }
  return offsets;
}

std::int64_t longest(const std::vector<std::int64_t>& offsets) {
  std::int64_t most = 0;
  for (std::size_t b = 1; b < offsets.size(); ++b) {
    most = std::max(most, offsets[b] - offsets[b - 1]);
  }
  return most;
}

/// A small problem that has these features, all numbers of order 1. Features that exclude each
/// other are the caller's business.
Inputs draw_problem(std::uint64_t seed, Features features) {
  Draw draw(seed);
  const auto has = [&](Feature feature) { return features.has(feature); };
  Inputs in;
  Shape& s = in.shape;
  Values& x = in.extras;
  s.B = draw.integer(has(Feature::kPacked) ? 2 : 1, 3);
  s.H = s.Hkv = draw.integer(1, 3);
  if (has(Feature::kGroupedHeads)) {
    s.H = draw.chance(70) ? 6 : 4;  // at 2/1 heads h % Hkv would be right
    s.Hkv = s.H == 6 ? 2 : draw.integer(1, 2);
  }
  s.Nq = draw.integer(1, 6);
  s.Nk = draw.integer(1, 8);
  s.d = draw.integer(1, 4);
  if (has(Feature::kValueWidth)) x.d_v = draw.chance(50) ? s.d + draw.integer(1, 3) : 1;
  in.scale = draw.real(0.3, 1.0);

  const std::int64_t after[] = {0, 0, 1, 2, kUnbounded};
  in.mask = {.after = after[draw.integer(0, 4)], .top_left = draw.chance(30)};
  if (has(Feature::kWindows) || has(Feature::kSinkKeys)) in.mask.before = draw.integer(0, 3);
  if (has(Feature::kSinkKeys)) x.sink_keys = draw.integer(1, 3);
  if (has(Feature::kPacked)) {
    x.q_offsets = draw_offsets(draw, s.B, 5, draw.integer(-1, s.B - 1));
    x.k_offsets = draw_offsets(draw, s.B, 6, draw.integer(-1, s.B - 1));
    s.Nq = longest(x.q_offsets);
    s.Nk = longest(x.k_offsets);
  }
  if (has(Feature::kKeyCounts)) {
    const int which = static_cast<int>(draw.integer(1, 3));  // begin, count, or both
    for (std::int64_t b = 0; b < s.B; ++b) {
      const std::int64_t keys = place_of(in, b, 0).Nk;
      const std::int64_t begin = which & 1 ? draw.integer(0, keys) : 0;
      if (which & 1) x.key_begin.push_back(begin);
      // None at all in a quarter of the batches, fewer than rows in many.
      if (which & 2) x.key_count.push_back(draw.chance(25) ? 0 : draw.integer(0, keys - begin));
    }
  }
  if (has(Feature::kRanges)) {
    x.ranges_per_row = static_cast<int>(draw.integer(1, 2));
    for (std::int64_t n = 0; n < s.B * s.Nq * x.ranges_per_row; ++n) {
      const std::int64_t begin = draw.integer(0, s.Nk);
      x.ranges.push_back(begin);
      x.ranges.push_back(draw.integer(begin, s.Nk));
    }
  }
  if (has(Feature::kMaskArray)) {
    x.mask_shape = draw_pair_shape(draw, s);
    for (std::int64_t e = 0; e < x.mask_shape.elements(); ++e) {
      x.mask.push_back(draw.chance(60) ? static_cast<std::uint8_t>(draw.integer(1, 255)) : 0);
    }
  }
  if (has(Feature::kBias)) {
    x.bias_shape = draw_pair_shape(draw, s);
    x.bias = draw.reals(x.bias_shape.elements(), -1, 1);
    for (double& value : x.bias) {
      if (draw.chance(20)) value = -kInf;
    }
  }
  if (has(Feature::kAlibi)) x.alibi = draw.reals(s.H, 0.1, 0.5);
  if (has(Feature::kSoftcap)) x.softcap = draw.real(0.5, 2);
  if (has(Feature::kSinkLogits)) {
    x.sink_logits = draw.reals(s.H, -1, 1);
    if (draw.chance(20)) x.sink_logits[0] = -kInf;  // none in this head
  }
  if (has(Feature::kDropout)) {
    x.dropout = static_cast<float>(draw.real(0.2, 0.6));
    x.dropout_seed = draw.bits();
  }
  const attn::Sizes sizes = sizes_of(s, x.on_host());
  if (has(Feature::kGradLse)) x.grad_lse = draw.reals(sizes.rows, -1, 1);
  in.q = draw.reals(sizes.q, -1.5, 1.5);
  in.k = draw.reals(sizes.k, -1.5, 1.5);
  in.v = draw.reals(sizes.v, -1.5, 1.5);
  in.grad_o = draw.reals(sizes.o, -1, 1);
  return in;
}

/// What the oracle has to know: it sees neither strides nor pages.
std::vector<Feature> oracle_features() {
  std::vector<Feature> list;
  for (int n = 0; n < attn::kFeatures; ++n) {
    const auto feature = static_cast<Feature>(n);
    if (feature != Feature::kStrides && feature != Feature::kPages) list.push_back(feature);
  }
  return list;
}

struct Drawn {
  std::uint64_t seed;
  Features features;
};

std::string describe(const Drawn& drawn, const Inputs& in) {
  std::string text =
      fmt::format("seed {}, {}, {}:", drawn.seed, to_string(in.shape), to_string(in.mask));
  for (const Feature feature : oracle_features()) {
    if (drawn.features.has(feature)) text += fmt::format(" {};", to_string(feature));
  }
  return text;
}

/// Every feature alone `alone` times, then `together` random sets of them.
std::vector<Drawn> draw_sets(int alone, int together) {
  std::vector<Drawn> list;
  std::uint64_t seed = 0;
  for (const Feature feature : oracle_features()) {
    for (int n = 0; n < alone; ++n) list.push_back({++seed, {feature}});
  }
  Draw draw(99);
  for (int n = 0; n < together; ++n) {
    Features features;
    const std::int64_t percent = draw.integer(20, 80);
    const bool packed = draw.chance(25);
    for (const Feature feature : oracle_features()) {
      const bool per_pair = feature == Feature::kMaskArray || feature == Feature::kBias ||
                            feature == Feature::kRanges;
      if (feature == Feature::kPacked ? !packed : packed && per_pair) continue;
      if (feature == Feature::kPacked || draw.chance(static_cast<int>(percent))) {
        features.add(feature);
      }
    }
    list.push_back({++seed, features});
  }
  return list;
}

/// Calls f(place, i) for every row.
template <class F>
void for_each_row(const Inputs& in, F f) {
  for (std::int64_t b = 0; b < in.shape.B; ++b) {
    for (std::int64_t h = 0; h < in.shape.H; ++h) {
      const Place p = place_of(in, b, h);
      for (std::int64_t i = 0; i < p.Nq; ++i) f(p, i);
    }
  }
}

bool sees_nothing(const Inputs& in, const Place& p, std::int64_t i) {
  for (std::int64_t j = 0; j < p.Nk; ++j) {
    if (sees(in, p, i, j)) return false;
  }
  return true;
}

bool all_zero(const std::vector<double>& values, std::int64_t from, std::int64_t count) {
  return std::all_of(values.begin() + from, values.begin() + from + count,
                     [](double x) { return x == 0; });
}

}  // namespace

TEST_CASE("every feature, alone and with others, is what naive loops compute") {
  for (const Drawn& drawn : draw_sets(/*alone=*/20, /*together=*/400)) {
    const Inputs in = draw_problem(drawn.seed, drawn.features);
    INFO(describe(drawn, in));
    const Forward result = forward(in);
    const Gradients grad = backward(in, result);
    const Naive expected = naive(in);
    constexpr double kTolerance = 1e-12;
    CHECK(distance(result.o, expected.o, 1) <= kTolerance);
    CHECK(distance(result.lse, expected.lse, 1) <= kTolerance);
    CHECK(distance(grad.grad_q, expected.grad_q, 1) <= kTolerance);
    CHECK(distance(grad.grad_k, expected.grad_k, 1) <= kTolerance);
    CHECK(distance(grad.grad_v, expected.grad_v, 1) <= kTolerance);
    CHECK(distance(grad.grad_bias, expected.grad_bias, 1) <= kTolerance);
    CHECK(distance(grad.grad_sink_logits, expected.grad_sink_logits, 1) <= kTolerance);
  }
}

TEST_CASE("every feature's gradients agree with central finite differences") {
  for (const Drawn& drawn : draw_sets(/*alone=*/20, /*together=*/200)) {
    const Inputs in = draw_problem(drawn.seed, drawn.features);
    INFO(describe(drawn, in));
    const Gradients grad = backward(in, forward(in));
    const Gradients numeric = finite_differences(in);
    // Where each row sees one key, dQ and dK are rounding errors and no numbers to compare with.
    constexpr double kLeast = 0.01;
    CHECK(distance(grad.grad_q, numeric.grad_q, kLeast) <= 1e-6);
    CHECK(distance(grad.grad_k, numeric.grad_k, kLeast) <= 1e-6);
    CHECK(distance(grad.grad_v, numeric.grad_v, kLeast) <= 1e-6);
    CHECK(distance(grad.grad_bias, numeric.grad_bias, kLeast) <= 1e-6);
    CHECK(distance(grad.grad_sink_logits, numeric.grad_sink_logits, kLeast) <= 1e-6);
  }
}

TEST_CASE("the drawn problems have what they are there for") {
  int empty_rows = 0, hidden_keys = 0, negative_offsets = 0, no_keys = 0, no_rows = 0, sinks = 0;
  for (const Drawn& drawn : draw_sets(/*alone=*/20, /*together=*/400)) {
    const Inputs in = draw_problem(drawn.seed, drawn.features);
    for_each_row(in, [&](const Place& p, std::int64_t i) {
      empty_rows += sees_nothing(in, p, i) ? 1 : 0;
      negative_offsets += own_key(in, p, 0) < 0 ? 1 : 0;
      for (std::int64_t j = 0; j < p.Nk; ++j) {
        hidden_keys += sees(in, p, i, j) ? 0 : 1;
        const bool in_window = in.mask.before == kUnbounded ||
                               j - first_key(in, p) >= own_key(in, p, i) - in.mask.before;
        sinks += sees(in, p, i, j) && !in_window ? 1 : 0;
      }
    });
    for (std::int64_t b = 0; b < in.shape.B; ++b) {
      const Place p = place_of(in, b, 0);
      no_keys += count_of_keys(in, p) == 0 ? 1 : 0;
      no_rows += p.Nq == 0 ? 1 : 0;
    }
  }
  for (const int count : {empty_rows, hidden_keys, negative_offsets, no_keys, no_rows, sinks}) {
    CHECK(count >= 50);
  }
}

TEST_CASE("a row that sees nothing: O and its gradients are 0, LSE is -inf or the sink logit") {
  for (const Drawn& drawn : draw_sets(/*alone=*/20, /*together=*/400)) {
    const Inputs in = draw_problem(drawn.seed, drawn.features);
    INFO(describe(drawn, in));
    const Forward result = forward(in);
    const Gradients grad = backward(in, result);
    const std::int64_t d = in.shape.d;
    const std::int64_t d_v = value_width(in.shape, in.extras.on_host());
    for_each_row(in, [&](const Place& p, std::int64_t i) {
      if (!sees_nothing(in, p, i)) return;
      const std::int64_t row = p.q_row + i;
      const auto& sinks = in.extras.sink_logits;
      CHECK(result.lse[at(row)] == (sinks.empty() ? -kInf : sinks[at(p.h)]));
      CHECK(all_zero(result.o, row * d_v, d_v));
      CHECK(all_zero(grad.grad_q, row * d, d));
    });
  }
  // Nothing but such rows: what arrives at LSE goes to the sinks alone.
  Inputs in = draw_problem(5, {Feature::kSinkLogits, Feature::kGradLse, Feature::kBias});
  in.extras.bias.assign(in.extras.bias.size(), -kInf);
  in.extras.sink_logits.assign(at(in.shape.H), 0.25);
  const Forward result = forward(in);
  const Gradients grad = backward(in, result);
  CHECK(std::all_of(result.lse.begin(), result.lse.end(), [](double x) { return x == 0.25; }));
  for (const auto* array : {&result.o, &grad.grad_q, &grad.grad_k, &grad.grad_v, &grad.grad_bias}) {
    CHECK(all_zero(*array, 0, static_cast<std::int64_t>(array->size())));
  }
  std::vector<double> sums(at(in.shape.H), 0.0);
  for_each_row(in, [&](const Place& p, std::int64_t i) {
    sums[at(p.h)] += in.extras.grad_lse[at(p.q_row + i)];
  });
  CHECK(distance(grad.grad_sink_logits, sums, 1) <= 1e-15);
}

TEST_CASE("NaN and infinity in keys that no row sees reach nothing") {
  int dirty_keys = 0;
  for (const Drawn& drawn : draw_sets(/*alone=*/20, /*together=*/400)) {
    const Inputs in = draw_problem(drawn.seed, drawn.features);
    INFO(describe(drawn, in));
    const std::int64_t d = in.shape.d;
    const std::int64_t d_v = value_width(in.shape, in.extras.on_host());
    std::vector<bool> seen(in.k.size() / at(d), false);
    for_each_row(in, [&](const Place& p, std::int64_t i) {
      for (std::int64_t j = 0; j < p.Nk; ++j) {
        if (sees(in, p, i, j)) seen[at(p.k_row + j)] = true;
      }
    });
    Inputs dirty = in;
    for (std::size_t key = 0; key < seen.size(); ++key) {
      if (seen[key]) continue;
      ++dirty_keys;
      for (std::int64_t c = 0; c < d; ++c) dirty.k[key * at(d) + at(c)] = c % 2 ? kInf : kNan;
      for (std::int64_t c = 0; c < d_v; ++c) dirty.v[key * at(d_v) + at(c)] = c % 2 ? -kInf : kNan;
    }
    const Forward clean_result = forward(in);
    const Forward result = forward(dirty);
    CHECK(same_bits(result, clean_result));
    CHECK(same_bits(backward(dirty, result), backward(in, clean_result)));
  }
  CHECK(dirty_keys >= 500);
}

TEST_CASE("a NaN in a key that some rows see reaches those rows, and no other") {
  int reached = 0, spared = 0;
  for (const Drawn& drawn : draw_sets(/*alone=*/20, /*together=*/400)) {
    Inputs in = draw_problem(drawn.seed, drawn.features);
    INFO(describe(drawn, in));
    if (in.k.empty()) continue;
    const std::int64_t d = in.shape.d;
    const std::int64_t key = static_cast<std::int64_t>(in.k.size()) / d / 2;
    in.k[at(key * d)] = kNan;
    const Forward result = forward(in);
    const Gradients grad = backward(in, result);
    for_each_row(in, [&](const Place& p, std::int64_t i) {
      const std::int64_t j = key - p.k_row;
      const bool touched = j >= 0 && j < p.Nk && sees(in, p, i, j);
      const std::int64_t row = p.q_row + i;
      (touched ? reached : spared) += 1;
      CHECK(std::isnan(result.lse[at(row)]) == touched);
      CHECK(std::isnan(grad.grad_q[at(row * d)]) == touched);
    });
  }
  CHECK(reached >= 500);
  CHECK(spared >= 500);
}

TEST_CASE("what changes nothing changes no bit") {
  const Features none{};
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Inputs plain = draw_problem(seed, none);
    const Shape& s = plain.shape;
    const Forward result = forward(plain);
    const Gradients grad = backward(plain, result);
    const auto check = [&](const char* what, auto change) {
      INFO("seed " << seed << ", " << to_string(s) << ", " << to_string(plain.mask) << ": "
                   << what);
      Inputs in = plain;
      change(in, in.extras);
      const Forward same = forward(in);
      CHECK(same_bits(same, result));
      Gradients same_grad = backward(in, same);
      same_grad.grad_bias.clear();
      same_grad.grad_sink_logits.clear();
      CHECK(same_bits(same_grad, grad));
    };
    const auto each_batch = [&](std::int64_t value) {
      return std::vector<std::int64_t>(at(s.B), value);
    };
    check("dropout 0", [](Inputs&, Values& x) { x.dropout_seed = 12345; });
    check("softcap 0", [](Inputs&, Values& x) { x.softcap = 0; });
    check("a mask that is true", [&](Inputs&, Values& x) {
      x.mask_shape = {1, s.H, 1, s.Nk};
      x.mask.assign(at(s.H * s.Nk), 255);
    });
    check("a bias of 0", [&](Inputs&, Values& x) { x.bias = {0.0}; });
    check("slopes of 0", [&](Inputs&, Values& x) { x.alibi.assign(at(s.H), 0.0); });
    check("sinks of -inf", [&](Inputs&, Values& x) { x.sink_logits.assign(at(s.H), -kInf); });
    check("a gradient of 0 at LSE",
          [&](Inputs&, Values& x) { x.grad_lse.assign(result.lse.size(), 0.0); });
    check("all keys valid", [&](Inputs&, Values& x) {
      x.key_begin = each_batch(0);
      x.key_count = each_batch(s.Nk);
    });
    check("two ranges that hold all", [&](Inputs&, Values& x) {
      x.ranges_per_row = 2;
      for (std::int64_t row = 0; row < s.B * s.Nq; ++row) {
        for (const std::int64_t bound : {std::int64_t{0}, s.Nk / 2, s.Nk / 2, s.Nk}) {
          x.ranges.push_back(bound);
        }
      }
    });
    check("a window that reaches to the first key",
          [&](Inputs& in, Values&) { in.mask.before = s.Nq + s.Nk; });
    check("sink keys without a window", [](Inputs&, Values& x) { x.sink_keys = 3; });
    check("d_v = d", [&](Inputs&, Values& x) { x.d_v = s.d; });
  }
}

TEST_CASE("packed sequences are problems of their own, one behind the other") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Inputs packed = draw_problem(
        seed, {Feature::kPacked, Feature::kGroupedHeads, Feature::kWindows, Feature::kAlibi,
               Feature::kSinkLogits, Feature::kValueWidth, Feature::kGradLse});
    const Forward result = forward(packed);
    const Gradients grad = backward(packed, result);
    const std::int64_t d = packed.shape.d;
    const std::int64_t d_v = packed.extras.d_v;
    for (std::int64_t b = 0; b < packed.shape.B; ++b) {
      INFO("seed " << seed << ", " << to_string(packed.shape) << ", sequence " << b);
      Inputs one = packed;
      one.shape.B = 1;
      one.shape.Nq = place_of(packed, b, 0).Nq;
      one.shape.Nk = place_of(packed, b, 0).Nk;
      one.extras.q_offsets.clear();
      one.extras.k_offsets.clear();
      const auto rows = [&](const std::vector<double>& all, bool of_keys, std::int64_t width) {
        std::vector<double> its;
        for (std::int64_t h = 0; h < packed.shape.H; ++h) {
          const Place p = place_of(packed, b, h);
          if (of_keys && h % (packed.shape.H / packed.shape.Hkv) != 0) continue;
          const std::int64_t first = (of_keys ? p.k_row : p.q_row) * width;
          const std::int64_t count = (of_keys ? p.Nk : p.Nq) * width;
          its.insert(its.end(), all.begin() + first, all.begin() + first + count);
        }
        return its;
      };
      one.q = rows(packed.q, false, d);
      one.k = rows(packed.k, true, d);
      one.v = rows(packed.v, true, d_v);
      one.grad_o = rows(packed.grad_o, false, d_v);
      one.extras.grad_lse = rows(packed.extras.grad_lse, false, 1);
      const Forward its = forward(one);
      CHECK(same_bits(its.o, rows(result.o, false, d_v)));
      CHECK(same_bits(its.lse, rows(result.lse, false, 1)));
      const Gradients its_grad = backward(one, its);
      CHECK(same_bits(its_grad.grad_q, rows(grad.grad_q, false, d)));
      CHECK(same_bits(its_grad.grad_k, rows(grad.grad_k, true, d)));
      CHECK(same_bits(its_grad.grad_v, rows(grad.grad_v, true, d_v)));
    }
  }
}

TEST_CASE("plain float32 loops take every extra, and err by float32's rounding") {
  double largest = 0;
  for (const Drawn& drawn : draw_sets(/*alone=*/20, /*together=*/400)) {
    Inputs in = draw_problem(drawn.seed, drawn.features);
    INFO(describe(drawn, in));
    Values& x = in.extras;
    for (auto* array : {&in.q, &in.k, &in.v, &x.bias, &x.alibi, &x.sink_logits}) {
      for (double& value : *array) value = static_cast<double>(static_cast<float>(value));
    }
    x.softcap = static_cast<double>(static_cast<float>(x.softcap));
    in.scale = static_cast<double>(static_cast<float>(in.scale));
    const Forward exact = forward(in);
    const Forward rounded = forward_in_float32(in);
    const double error =
        std::max(distance(rounded.o, exact.o, 1), distance(rounded.lse, exact.lse, 1));
    CHECK(error < 1e-5);
    largest = std::max(largest, error);
  }
  CHECK(largest > 0);
}

TEST_CASE("the pictures and numbers of notes/semantics.md") {
  // All logits are 0 and row j of V has its 1 in column j: O shows which keys a row sees.
  const auto picture = [](auto change) {
    Inputs in;
    in.shape = attn::make_shape(1, 1, 3, 6, 1);
    in.mask = {.before = 1, .after = 0};
    in.q = {0, 0, 0};
    in.k = {1, 2, 3, 4, 5, 6};
    in.v.assign(36, 0.0);
    for (std::size_t j = 0; j < 6; ++j) in.v[7 * j] = 1;
    in.extras.d_v = 6;
    change(in.extras);
    const Forward result = forward(in);
    std::string text;
    for (std::size_t e = 0; e < 18; ++e) {
      text += result.o[e] > 0 ? 'x' : '.';
      if (e % 6 == 5) text += ' ';
    }
    return text;
  };
  CHECK(picture([](Values&) {}) == "..xx.. ...xx. ....xx ");
  CHECK(picture([](Values& x) { x.sink_keys = 1; }) == "x.xx.. x..xx. x...xx ");
  const auto valid = [](std::int64_t begin, std::int64_t count) {
    return [=](Values& x) {
      x.key_begin = {begin};
      x.key_count = {count};
    };
  };
  CHECK(picture(valid(1, 4)) == ".xx... ..xx.. ...xx. ");
  CHECK(picture(valid(1, 2)) == "...... .x.... .xx... ");

  Inputs in;
  in.shape = attn::make_shape(1, 1, 1, 4, 1);
  in.scale = 1;
  in.q = {1};
  in.k = {0, std::log(2.0), std::log(3.0), std::log(4.0)};
  in.v = {10, 20, 30, 40};
  in.extras.sink_logits = {0};
  CHECK(forward(in).o[0] == Approx(300.0 / 11));
  CHECK(forward(in).lse[0] == Approx(std::log(11.0)));
}

TEST_CASE("the magnitudes that tolerances grow with are those of their definitions") {
  for (const Drawn& drawn : draw_sets(/*alone=*/20, /*together=*/400)) {
    const Inputs in = draw_problem(drawn.seed, drawn.features);
    INFO(describe(drawn, in));
    const Values& x = in.extras;
    const Shape& s = in.shape;
    const std::int64_t d = s.d;
    const std::int64_t d_v = value_width(s, x.on_host());
    const Naive exact = naive(in);
    const auto per_head = [](std::int64_t heads) { return std::vector<double>(at(heads)); };
    std::vector<double> logit = per_head(s.B * s.H), v = logit, grad_q = logit, ds_k = logit;
    std::vector<double> grad_k = per_head(s.B * s.Hkv), grad_v = grad_k, ds_q = grad_k;
    std::vector<double> weighted_v(exact.o.size());
    std::vector<double> sums_bias(x.bias.size()), sums_sink(x.sink_logits.size());
    // Of every element of K and V, over the rows of a group.
    std::vector<double> sums_k(in.k.size()), sums_ds(in.k.size()), sums_v(in.v.size());
    const auto raise = [](double& most, double to) { most = std::max(most, to); };
    for_each_row(in, [&](const Place& p, std::int64_t i) {
      const std::size_t head = at(p.b * s.H + p.h);
      const std::int64_t row = p.q_row + i;
      double delta = 0, delta_magnitude = 0;
      for (std::int64_t e = row * d_v; e < (row + 1) * d_v; ++e) {
        const double product = in.grad_o[at(e)] * static_cast<double>(exact.o[at(e)]);
        delta += product;
        delta_magnitude += std::abs(product);
      }
      const double grad_lse = x.grad_lse.empty() ? 0 : x.grad_lse[at(row)];
      std::vector<double> sums_q(at(d)), sums_ds_k(at(d));
      for (std::int64_t j = 0; j < p.Nk; ++j) {
        if (!sees(in, p, i, j)) continue;
        const std::int64_t key = p.k_row + j;
        const NaiveLogit made = naive_logit(in, p, i, j);
        const auto weight = static_cast<double>(std::exp(made.logit - exact.lse[at(row)]));
        const auto factor = static_cast<double>(naive_factor(in, p, i, j));
        double size = 0, grad_weight = 0, grad_weight_magnitude = 0;
        for (std::int64_t c = 0; c < d; ++c) {
          size += std::abs(in.scale * in.q[at(row * d + c)] * in.k[at(key * d + c)]);
        }
        if (!x.bias.empty()) size += std::abs(x.bias[broadcast(x.bias_shape, p, i, j)]);
        if (!x.alibi.empty()) {
          const std::int64_t away = std::abs(own_key(in, p, i) - (j - first_key(in, p)));
          size += x.alibi[at(p.h)] * static_cast<double>(away);
        }
        raise(logit[head], size);
        for (std::int64_t c = 0; c < d_v; ++c) {
          const double value = factor * std::abs(in.v[at(key * d_v + c)]);
          const double grad_o = in.grad_o[at(row * d_v + c)];
          raise(v[head], value);
          weighted_v[at(row * d_v + c)] += weight * value;
          grad_weight += grad_o * factor * in.v[at(key * d_v + c)];
          grad_weight_magnitude += std::abs(grad_o) * value;
          sums_v[at(key * d_v + c)] += weight * factor * std::abs(grad_o);
        }
        const double terms =
            weight * (grad_weight_magnitude + delta_magnitude + std::abs(grad_lse));
        const double ds = weight * std::abs(grad_weight - delta + grad_lse);
        for (std::int64_t c = 0; c < d; ++c) {
          const double k = in.scale * std::abs(in.k[at(key * d + c)]);
          const double q = in.scale * std::abs(in.q[at(row * d + c)]);
          sums_q[at(c)] += terms * k;
          sums_ds_k[at(c)] += ds * k;
          sums_k[at(key * d + c)] += terms * q;
          sums_ds[at(key * d + c)] += ds * q;
        }
        if (!x.bias.empty()) sums_bias[broadcast(x.bias_shape, p, i, j)] += terms;
      }
      for (std::int64_t c = 0; c < d; ++c) {
        raise(grad_q[head], sums_q[at(c)]);
        raise(ds_k[head], sums_ds_k[at(c)]);
      }
      if (x.sink_logits.empty()) return;
      const Real weight = std::exp(Real{x.sink_logits[at(p.h)]} - exact.lse[at(row)]);
      if (std::isnan(weight)) return;  // no sink and no keys
      sums_sink[at(p.h)] += static_cast<double>(weight) * (delta_magnitude + std::abs(grad_lse));
    });
    for (std::int64_t b = 0; b < s.B; ++b) {
      for (std::int64_t h = 0; h < s.H; ++h) {
        const Place p = place_of(in, b, h);
        const std::size_t kv = at(b * s.Hkv + h / (s.H / s.Hkv));
        for (std::int64_t e = p.k_row * d; e < (p.k_row + p.Nk) * d; ++e) {
          raise(grad_k[kv], sums_k[at(e)]);
          raise(ds_q[kv], sums_ds[at(e)]);
        }
        for (std::int64_t e = p.k_row * d_v; e < (p.k_row + p.Nk) * d_v; ++e) {
          raise(grad_v[kv], sums_v[at(e)]);
        }
      }
    }
    double grad_bias = 0, grad_sink = 0;
    for (const double sum : sums_bias) raise(grad_bias, sum);
    for (const double sum : sums_sink) raise(grad_sink, sum);

    const auto m = magnitudes(in, forward(in), /*of_storage=*/true);
    constexpr double kTolerance = 1e-12;
    CHECK(distance(m.logit, logit, 1) <= kTolerance);
    CHECK(distance(m.v, v, 1) <= kTolerance);
    CHECK(distance(m.weighted_v, weighted_v, 1) <= kTolerance);
    CHECK(distance(m.grad_q, grad_q, 1) <= kTolerance);
    CHECK(distance(m.grad_k, grad_k, 1) <= kTolerance);
    CHECK(distance(m.grad_v, grad_v, 1) <= kTolerance);
    CHECK(distance(m.ds_k, ds_k, 1) <= kTolerance);
    CHECK(distance(m.ds_q, ds_q, 1) <= kTolerance);
    CHECK(m.grad_bias == Approx(grad_bias).epsilon(kTolerance));
    CHECK(m.grad_sink_logits == Approx(grad_sink).epsilon(kTolerance));
  }
}
