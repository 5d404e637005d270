// SPDX-License-Identifier: MIT
#include "common/reference/reference.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/philox.hpp"

namespace attn::reference {
namespace {

std::size_t size(std::int64_t elements) { return static_cast<std::size_t>(elements); }

template <typename T>
T dot(const T* a, const T* b, std::int64_t d) {
  T sum = 0;
  for (std::int64_t c = 0; c < d; ++c) sum += a[c] * b[c];
  return sum;
}

/// |a| . |b|, leaving out what is not finite.
double dot_of_magnitudes(const double* a, const double* b, std::int64_t d) {
  double sum = 0;
  for (std::int64_t c = 0; c < d; ++c) {
    const double product = std::abs(a[c] * b[c]);
    if (std::isfinite(product)) sum += product;
  }
  return sum;
}

double magnitude(double x) { return std::isfinite(x) ? std::abs(x) : 0.0; }

/// What a logit is made of, and the derivative by its scale * q . k.
template <typename T>
struct Logit {
  T value;
  T slope = 1;
};

/// The logits and dropout factors of one problem, with T for the arithmetic.
template <typename T>
class Scores {
 public:
  Scores(const Inputs& in, const ExtraValues<T>& extras, const Visibility& visibility)
      : scale_(static_cast<T>(in.scale)),
        extras_(extras),
        visibility_(visibility),
        dropped_below_(dropout_threshold(extras.dropout)),
        kept_(T{1} / (T{1} - static_cast<T>(extras.dropout))) {}

  /// From q . k of row i and key j.
  Logit<T> logit(const HeadRows& at, std::int64_t i, std::int64_t j, T dot) const {
    Logit<T> result{scale_ * dot};
    if (extras_.softcap > 0) {
      const T tanh = std::tanh(result.value / extras_.softcap);
      result = {extras_.softcap * tanh, T{1} - tanh * tanh};
    }
    if (!extras_.bias.empty()) result.value += extras_.bias[bias_element(at, i, j)];
    if (!extras_.alibi.empty()) result.value += alibi(at, i, j);
    return result;
  }

  std::size_t bias_element(const HeadRows& at, std::int64_t i, std::int64_t j) const {
    return size(extras_.bias_shape.index(at.b, at.h, i, j));
  }
  T alibi(const HeadRows& at, std::int64_t i, std::int64_t j) const {
    const std::int64_t distance = std::abs(visibility_.own_key(at, i) - j);
    return -extras_.alibi[size(at.h)] * static_cast<T>(distance);
  }
  /// What adds to the magnitude of a logit beside scale * q . k.
  T added_magnitude(const HeadRows& at, std::int64_t i, std::int64_t j) const {
    T sum = 0;
    if (!extras_.bias.empty()) sum += std::abs(extras_.bias[bias_element(at, i, j)]);
    if (!extras_.alibi.empty()) sum += std::abs(alibi(at, i, j));
    return sum;
  }

  /// -inf where there is no sink: its exp is 0.
  T sink(const HeadRows& at) const {
    return extras_.sink_logits.empty() ? -std::numeric_limits<T>::infinity()
                                       : extras_.sink_logits[size(at.h)];
  }

  /// 0 or 1 / (1 - dropout).
  T keep(const HeadRows& at, std::int64_t i, std::int64_t j) const {
    if (dropped_below_ == 0) return T{1};
    return dropout_bits(extras_.dropout_seed, at.b, at.h, i, j) < dropped_below_ ? T{0} : kept_;
  }

 private:
  T scale_;
  const ExtraValues<T>& extras_;
  const Visibility& visibility_;
  std::uint32_t dropped_below_;
  T kept_;
};

template <typename T>
bool has_sink(T sink) {
  return sink != -std::numeric_limits<T>::infinity();
}

/// Those of the arrays here: K and V are never in pages.
Sizes sizes_of_inputs(const Inputs& inputs) {
  Extras extras = inputs.extras.on_host();
  extras.page_keys = extras.pages = 0;
  return sizes_of(inputs.shape, extras);
}

template <typename T>
Forward forward_as(const Inputs& inputs) {
  const std::int64_t d = inputs.shape.d;
  const Sizes sizes = sizes_of_inputs(inputs);
  const std::int64_t d_v = value_width(inputs.shape, inputs.extras.on_host());
  const std::vector<T> all_q(inputs.q.begin(), inputs.q.end());
  const std::vector<T> all_k(inputs.k.begin(), inputs.k.end());
  const std::vector<T> all_v(inputs.v.begin(), inputs.v.end());
  const ExtraValues<T> extras = inputs.extras.as<T>();
  const Visibility visibility(inputs.mask, inputs.extras);
  const Scores<T> scores(inputs, extras, visibility);
  Forward result{std::vector<double>(size(sizes.o), 0.0),
                 std::vector<double>(size(sizes.rows), -std::numeric_limits<double>::infinity())};
  std::vector<std::int64_t> keys;
  std::vector<T> p;
  std::vector<T> o(size(d_v));
  for_each_head(inputs.shape, inputs.extras, [&](const HeadRows& at) {
    const T* k = all_k.data() + at.k_row * d;    // (Nk, d)
    const T* v = all_v.data() + at.k_row * d_v;  // (Nk, d_v)
    const T sink = scores.sink(at);
    for (std::int64_t i = 0; i < at.Nq; ++i) {
      const std::int64_t row = at.q_row + i;
      visibility.keys_of(at, i, keys);
      if (keys.empty()) {
        result.lse[size(row)] = sink;
        continue;
      }
      p.resize(keys.size());
      T max = sink;
      for (std::size_t n = 0; n < keys.size(); ++n) {
        const T product = dot(all_q.data() + row * d, k + keys[n] * d, d);
        p[n] = scores.logit(at, i, keys[n], product).value;
        max = std::max(max, p[n]);
      }
      T sum = has_sink(sink) ? std::exp(sink - max) : T{0};
      for (T& x : p) {
        x = std::exp(x - max);
        sum += x;
      }
      std::fill(o.begin(), o.end(), T{0});
      for (std::size_t n = 0; n < keys.size(); ++n) {
        const T weight = p[n] / sum * scores.keep(at, i, keys[n]);
        for (std::int64_t c = 0; c < d_v; ++c) o[size(c)] += weight * v[keys[n] * d_v + c];
      }
      std::copy(o.begin(), o.end(), result.o.begin() + row * d_v);
      result.lse[size(row)] = max + std::log(sum);
    }
  });
  return result;
}

}  // namespace

std::vector<double> widen(std::span<const float> values) { return {values.begin(), values.end()}; }

std::vector<float> narrow(std::span<const double> values) {
  std::vector<float> result(values.size());
  std::transform(values.begin(), values.end(), result.begin(),
                 [](double x) { return static_cast<float>(x); });
  return result;
}

std::int64_t kv_head(const Shape& shape, std::int64_t head) {
  const std::int64_t group = shape.H / shape.Hkv;
  return head / shape.H * shape.Hkv + head % shape.H / group;
}

Forward forward(const Inputs& inputs) { return forward_as<double>(inputs); }

Forward forward_in_float32(const Inputs& inputs) { return forward_as<float>(inputs); }

Gradients backward(const Inputs& inputs, const Forward& result) {
  const std::int64_t d = inputs.shape.d;
  const Extras host = inputs.extras.on_host();
  const Sizes sizes = sizes_of_inputs(inputs);
  const std::int64_t d_v = value_width(inputs.shape, host);
  const Visibility visibility(inputs.mask, inputs.extras);
  const Scores<double> scores(inputs, inputs.extras, visibility);
  Gradients grad{std::vector<double>(size(sizes.q), 0.0), std::vector<double>(size(sizes.k), 0.0),
                 std::vector<double>(size(sizes.v), 0.0),
                 std::vector<double>(inputs.extras.bias.size(), 0.0),
                 std::vector<double>(inputs.extras.sink_logits.size(), 0.0)};
  std::vector<std::int64_t> keys;
  for_each_head(inputs.shape, inputs.extras, [&](const HeadRows& at) {
    for (std::int64_t i = 0; i < at.Nq; ++i) {
      const std::int64_t row = at.q_row + i;
      const double* q = inputs.q.data() + row * d;
      const double* grad_o = inputs.grad_o.data() + row * d_v;
      const double lse = result.lse[size(row)];
      const double grad_lse =
          inputs.extras.grad_lse.empty() ? 0.0 : inputs.extras.grad_lse[size(row)];
      const double delta = dot(grad_o, result.o.data() + row * d_v, d_v);
      visibility.keys_of(at, i, keys);
      for (const std::int64_t j : keys) {
        const std::int64_t key = at.k_row + j;
        const double* k = inputs.k.data() + key * d;
        const double* v = inputs.v.data() + key * d_v;
        const Logit<double> logit = scores.logit(at, i, j, dot(q, k, d));
        const double p = std::exp(logit.value - lse);
        const double keep = scores.keep(at, i, j);
        const double grad_logit = p * (keep * dot(grad_o, v, d_v) - delta + grad_lse);
        const double ds = inputs.scale * grad_logit * logit.slope;
        for (std::int64_t c = 0; c < d_v; ++c) {
          grad.grad_v[size(key * d_v + c)] += keep * p * grad_o[c];
        }
        for (std::int64_t c = 0; c < d; ++c) {
          grad.grad_q[size(row * d + c)] += ds * k[c];
          grad.grad_k[size(key * d + c)] += ds * q[c];
        }
        if (!grad.grad_bias.empty()) grad.grad_bias[scores.bias_element(at, i, j)] += grad_logit;
      }
      const double sink = scores.sink(at);
      if (has_sink(sink)) {
        grad.grad_sink_logits[size(at.h)] += std::exp(sink - lse) * (grad_lse - delta);
      }
    }
  });
  return grad;
}

Magnitudes magnitudes(const Inputs& inputs, const Forward& result, bool of_storage) {
  const Shape& shape = inputs.shape;
  const std::int64_t d = shape.d;
  const Extras host = inputs.extras.on_host();
  const Sizes sizes = sizes_of_inputs(inputs);
  const std::int64_t d_v = value_width(shape, host);
  const Visibility visibility(inputs.mask, inputs.extras);
  const Scores<double> scores(inputs, inputs.extras, visibility);
  const auto per_head = [](std::int64_t heads) { return std::vector<double>(size(heads)); };
  Magnitudes m;
  for (auto* array : {&m.logit, &m.v, &m.grad_q, &m.ds_k}) *array = per_head(shape.B * shape.H);
  for (auto* array : {&m.grad_k, &m.grad_v, &m.ds_q}) *array = per_head(shape.B * shape.Hkv);
  if (of_storage) m.weighted_v = per_head(sizes.o);
  const bool gradients = !inputs.grad_o.empty();
  const double scale = std::abs(inputs.scale);
  // Sums of every element of dK, dV, the bias and the sinks, before the maximum is taken.
  std::vector<double> all_k(size(sizes.k)), all_ds_q(size(sizes.k)), all_v(size(sizes.v));
  std::vector<double> all_bias(inputs.extras.bias.size());
  std::vector<double> all_sinks(inputs.extras.sink_logits.size());
  std::vector<double> row_q(size(d)), row_ds_k(size(d));
  std::vector<std::int64_t> keys;
  for_each_head(inputs.shape, inputs.extras, [&](const HeadRows& at) {
    const std::size_t head = size(at.b * shape.H + at.h);
    for (std::int64_t i = 0; i < at.Nq; ++i) {
      const std::int64_t row = at.q_row + i;
      const double* q = inputs.q.data() + row * d;
      const double* grad_o = gradients ? inputs.grad_o.data() + row * d_v : nullptr;
      const double* o = result.o.data() + row * d_v;
      const double lse = result.lse[size(row)];
      const double dlse = inputs.extras.grad_lse.empty() ? 0.0 : inputs.extras.grad_lse[size(row)];
      const double delta = gradients ? dot(grad_o, o, d_v) : 0.0;
      const double delta_magnitude = gradients ? dot_of_magnitudes(grad_o, o, d_v) : 0.0;
      std::fill(row_q.begin(), row_q.end(), 0.0);
      std::fill(row_ds_k.begin(), row_ds_k.end(), 0.0);
      visibility.keys_of(at, i, keys);
      for (const std::int64_t j : keys) {
        const std::int64_t key = at.k_row + j;
        const double* k = inputs.k.data() + key * d;
        const double* v = inputs.v.data() + key * d_v;
        const double keep = scores.keep(at, i, j);
        m.logit[head] = std::max(m.logit[head], scale * dot_of_magnitudes(q, k, d) +
                                                    magnitude(scores.added_magnitude(at, i, j)));
        const Logit<double> logit = scores.logit(at, i, j, dot(q, k, d));
        const double p = magnitude(std::exp(logit.value - lse));
        for (std::int64_t c = 0; c < d_v; ++c) {
          const double kept = keep * magnitude(v[c]);
          m.v[head] = std::max(m.v[head], kept);
          if (of_storage) m.weighted_v[size(row * d_v + c)] += p * kept;
        }
        if (!gradients) continue;
        const double terms =
            p * (keep * dot_of_magnitudes(grad_o, v, d_v) + delta_magnitude + std::abs(dlse));
        for (std::int64_t c = 0; c < d; ++c) {
          row_q[size(c)] += scale * terms * magnitude(k[c]);
          all_k[size(key * d + c)] += scale * terms * magnitude(q[c]);
        }
        const double ds =
            of_storage ? scale * magnitude(p * (keep * dot(grad_o, v, d_v) - delta + dlse)) : 0.0;
        for (std::int64_t c = 0; c < d && of_storage; ++c) {
          row_ds_k[size(c)] += ds * magnitude(k[c]);
          all_ds_q[size(key * d + c)] += ds * magnitude(q[c]);
        }
        for (std::int64_t c = 0; c < d_v; ++c) {
          all_v[size(key * d_v + c)] += p * keep * magnitude(grad_o[c]);
        }
        if (!all_bias.empty()) all_bias[scores.bias_element(at, i, j)] += terms;
      }
      m.grad_q[head] = std::max(m.grad_q[head], *std::max_element(row_q.begin(), row_q.end()));
      m.ds_k[head] = std::max(m.ds_k[head], *std::max_element(row_ds_k.begin(), row_ds_k.end()));
      const double sink = scores.sink(at);
      if (has_sink(sink)) {
        all_sinks[size(at.h)] += std::exp(sink - lse) * (delta_magnitude + std::abs(dlse));
      }
    }
  });
  const auto largest = [](const std::vector<double>& all, std::int64_t from, std::int64_t to,
                          double& most) {
    for (std::int64_t e = from; e < to; ++e) most = std::max(most, all[size(e)]);
  };
  for_each_head(inputs.shape, inputs.extras, [&](const HeadRows& at) {
    const std::size_t head = size(at.b * shape.Hkv + at.h / (shape.H / shape.Hkv));
    const std::int64_t end = at.k_row + at.Nk;
    largest(all_k, at.k_row * d, end * d, m.grad_k[head]);
    largest(all_ds_q, at.k_row * d, end * d, m.ds_q[head]);
    largest(all_v, at.k_row * d_v, end * d_v, m.grad_v[head]);
  });
  largest(all_bias, 0, static_cast<std::int64_t>(all_bias.size()), m.grad_bias);
  largest(all_sinks, 0, static_cast<std::int64_t>(all_sinks.size()), m.grad_sink_logits);
  return m;
}

}  // namespace attn::reference
