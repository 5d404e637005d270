// SPDX-License-Identifier: MIT
#include "common/reference/reference.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

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

/// The pointers of one query head.
struct Head {
  const double *q, *k, *v;   // (Nq, d), (Nk, d), (Nk, d)
  const double *grad_o, *o;  // (Nq, d)
  const double* lse;         // (Nq)
};

Head head_of(const Inputs& in, const Forward& result, std::int64_t head) {
  const std::int64_t query = head * in.shape.Nq * in.shape.d;
  const std::int64_t key = kv_head(in.shape, head) * in.shape.Nk * in.shape.d;
  const bool has_grad = !in.grad_o.empty();
  return {in.q.data() + query,     in.k.data() + key,
          in.v.data() + key,       has_grad ? in.grad_o.data() + query : nullptr,
          result.o.data() + query, result.lse.data() + head * in.shape.Nq};
}

template <typename T>
Forward forward_as(const Inputs& inputs) {
  const auto [B, H, Hkv, Nq, Nk, d] = inputs.shape;
  const std::vector<T> q(inputs.q.begin(), inputs.q.end());
  const std::vector<T> k(inputs.k.begin(), inputs.k.end());
  const std::vector<T> v(inputs.v.begin(), inputs.v.end());
  const T scale = static_cast<T>(inputs.scale);
  Forward result{std::vector<double>(size(B * H * Nq * d), 0.0),
                 std::vector<double>(size(B * H * Nq), -std::numeric_limits<double>::infinity())};
  std::vector<T> p(size(Nk));
  std::vector<T> o(size(d));
  for (std::int64_t head = 0; head < B * H; ++head) {
    const T* head_k = k.data() + kv_head(inputs.shape, head) * Nk * d;  // (Nk, d)
    const T* head_v = v.data() + kv_head(inputs.shape, head) * Nk * d;  // (Nk, d)
    for (std::int64_t i = 0; i < Nq; ++i) {
      const std::int64_t row = head * Nq + i;
      const std::int64_t visible = visible_keys(i, diagonal(inputs.mask, Nq, Nk), Nk);
      if (visible == 0) continue;
      T max = -std::numeric_limits<T>::infinity();
      for (std::int64_t j = 0; j < visible; ++j) {
        p[size(j)] = scale * dot(q.data() + row * d, head_k + j * d, d);
        max = std::max(max, p[size(j)]);
      }
      T sum = 0;
      for (std::int64_t j = 0; j < visible; ++j) {
        p[size(j)] = std::exp(p[size(j)] - max);
        sum += p[size(j)];
      }
      std::fill(o.begin(), o.end(), T{0});
      for (std::int64_t j = 0; j < visible; ++j) {
        const T weight = p[size(j)] / sum;
        for (std::int64_t c = 0; c < d; ++c) o[size(c)] += weight * head_v[j * d + c];
      }
      std::copy(o.begin(), o.end(), result.o.begin() + row * d);
      result.lse[size(row)] = max + std::log(sum);
    }
  }
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
  const auto [B, H, Hkv, Nq, Nk, d] = inputs.shape;
  Gradients grad{std::vector<double>(size(B * H * Nq * d), 0.0),
                 std::vector<double>(size(B * Hkv * Nk * d), 0.0),
                 std::vector<double>(size(B * Hkv * Nk * d), 0.0)};
  for (std::int64_t head = 0; head < B * H; ++head) {
    const Head at = head_of(inputs, result, head);
    double* grad_q = grad.grad_q.data() + head * Nq * d;
    double* grad_k = grad.grad_k.data() + kv_head(inputs.shape, head) * Nk * d;
    double* grad_v = grad.grad_v.data() + kv_head(inputs.shape, head) * Nk * d;
    for (std::int64_t i = 0; i < Nq; ++i) {
      const double* q = at.q + i * d;
      const double* grad_o = at.grad_o + i * d;
      const double delta = dot(grad_o, at.o + i * d, d);
      const std::int64_t visible = visible_keys(i, diagonal(inputs.mask, Nq, Nk), Nk);
      for (std::int64_t j = 0; j < visible; ++j) {
        const double* k = at.k + j * d;
        const double p = std::exp(inputs.scale * dot(q, k, d) - at.lse[i]);
        const double ds = inputs.scale * p * (dot(grad_o, at.v + j * d, d) - delta);
        for (std::int64_t c = 0; c < d; ++c) {
          grad_v[j * d + c] += p * grad_o[c];
          grad_q[i * d + c] += ds * k[c];
          grad_k[j * d + c] += ds * q[c];
        }
      }
    }
  }
  return grad;
}

Magnitudes magnitudes(const Inputs& inputs, const Forward& result) {
  const auto [B, H, Hkv, Nq, Nk, d] = inputs.shape;
  Magnitudes m{std::vector<double>(size(B * H)), std::vector<double>(size(B * H)),
               std::vector<double>(size(B * H)), std::vector<double>(size(B * Hkv)),
               std::vector<double>(size(B * Hkv))};
  const bool gradients = !inputs.grad_o.empty();
  const double scale = std::abs(inputs.scale);
  std::vector<double> sum_k(size(B * Hkv * Nk * d));  // of every element of dK, before its maximum
  std::vector<double> sum_v(size(B * Hkv * Nk * d));
  std::vector<double> sum_q(size(d));
  for (std::int64_t head = 0; head < B * H; ++head) {
    const Head at = head_of(inputs, result, head);
    const std::int64_t first_key = kv_head(inputs.shape, head) * Nk;
    for (std::int64_t i = 0; i < Nq; ++i) {
      const double* q = at.q + i * d;
      std::fill(sum_q.begin(), sum_q.end(), 0.0);
      const double delta = gradients ? dot_of_magnitudes(at.grad_o + i * d, at.o + i * d, d) : 0.0;
      const std::int64_t visible = visible_keys(i, diagonal(inputs.mask, Nq, Nk), Nk);
      for (std::int64_t j = 0; j < visible; ++j) {
        const double* k = at.k + j * d;
        const double* v = at.v + j * d;
        double& logit = m.logit[size(head)];
        logit = std::max(logit, scale * dot_of_magnitudes(q, k, d));
        double& max_v = m.v[size(head)];
        for (std::int64_t c = 0; c < d; ++c) max_v = std::max(max_v, magnitude(v[c]));
        if (!gradients) continue;
        const double* grad_o = at.grad_o + i * d;
        const double p = magnitude(std::exp(inputs.scale * dot(q, k, d) - at.lse[i]));
        const double ds = scale * p * (dot_of_magnitudes(grad_o, v, d) + delta);
        for (std::int64_t c = 0; c < d; ++c) {
          const std::size_t element = size((first_key + j) * d + c);
          sum_q[size(c)] += ds * magnitude(k[c]);
          sum_k[element] += ds * magnitude(q[c]);
          sum_v[element] += p * magnitude(grad_o[c]);
        }
      }
      double& max_q = m.grad_q[size(head)];
      for (const double sum : sum_q) max_q = std::max(max_q, sum);
    }
  }
  for (std::int64_t head = 0; head < B * Hkv; ++head) {
    for (std::int64_t e = head * Nk * d; e < (head + 1) * Nk * d; ++e) {
      m.grad_k[size(head)] = std::max(m.grad_k[size(head)], sum_k[size(e)]);
      m.grad_v[size(head)] = std::max(m.grad_v[size(head)], sum_v[size(e)]);
    }
  }
  return m;
}

}  // namespace attn::reference
