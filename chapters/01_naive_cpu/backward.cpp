// SPDX-License-Identifier: MIT
//
// The textbook backward pass, one head at a time. With L the loss and dX short for dL/dX:
//   1. P  = exp(S - LSE)                     recomputed from Q, K and the forward's LSE
//   2. dV = P^T dO                           from O = P V
//   3. dP = dO V^T
//   4. dS = P * (dP - delta)                 delta_i = sum_j P_ij dP_ij = dO_i . O_i
//   5. dQ = scale * dS K,  dK = scale * dS^T Q
#include <algorithm>
#include <cmath>

#include "chapters/01_naive_cpu/naive_cpu.hpp"

namespace attn::naive_cpu {
namespace {

float dot(const float* a, const float* b, std::int64_t d) {
  float sum = 0.0f;
  for (std::int64_t c = 0; c < d; ++c) sum += a[c] * b[c];
  return sum;
}

/// to += factor * from, d elements.
void add_scaled(float* to, float factor, const float* from, std::int64_t d) {
  for (std::int64_t c = 0; c < d; ++c) to[c] += factor * from[c];
}

}  // namespace

std::size_t backward_workspace_bytes(const Shape& shape) {
  return 2 * static_cast<std::size_t>(shape.Nq * shape.Nk) * sizeof(float);
}

void backward(const BackwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  float* p = static_cast<float*>(args.workspace);  // (Nq, Nk), one head
  float* ds = p + Nq * Nk;                         // (Nq, Nk), one head; dP, then dS
  std::fill(args.grad_q, args.grad_q + B * H * Nq * d, 0.0f);
  std::fill(args.grad_k, args.grad_k + B * H * Nk * d, 0.0f);
  std::fill(args.grad_v, args.grad_v + B * H * Nk * d, 0.0f);

  for (std::int64_t head = 0; head < B * H; ++head) {
    const float* q = args.q + head * Nq * d;            // (Nq, d)
    const float* k = args.k + head * Nk * d;            // (Nk, d)
    const float* v = args.v + head * Nk * d;            // (Nk, d)
    const float* o = args.o + head * Nq * d;            // (Nq, d)
    const float* grad_o = args.grad_o + head * Nq * d;  // (Nq, d)
    const float* lse = args.lse + head * Nq;            // (Nq)
    float* grad_q = args.grad_q + head * Nq * d;        // (Nq, d)
    float* grad_k = args.grad_k + head * Nk * d;        // (Nk, d)
    float* grad_v = args.grad_v + head * Nk * d;        // (Nk, d)

    for (std::int64_t i = 0; i < Nq; ++i) {
      const std::int64_t visible = visible_keys(i, diagonal(args.mask, Nq, Nk), Nk);
      for (std::int64_t j = 0; j < visible; ++j) {
        p[i * Nk + j] = std::exp(args.scale * dot(q + i * d, k + j * d, d) - lse[i]);
        ds[i * Nk + j] = dot(grad_o + i * d, v + j * d, d);
      }
    }
    for (std::int64_t i = 0; i < Nq; ++i) {
      const std::int64_t visible = visible_keys(i, diagonal(args.mask, Nq, Nk), Nk);
      const float delta = dot(grad_o + i * d, o + i * d, d);
      for (std::int64_t j = 0; j < visible; ++j) {
        add_scaled(grad_v + j * d, p[i * Nk + j], grad_o + i * d, d);
        ds[i * Nk + j] = p[i * Nk + j] * (ds[i * Nk + j] - delta);
        add_scaled(grad_q + i * d, ds[i * Nk + j], k + j * d, d);
        add_scaled(grad_k + j * d, ds[i * Nk + j], q + i * d, d);
      }
    }
    // The scale last: scale * dS may overflow where dQ and dK, with small K and Q, do not.
    for (std::int64_t e = 0; e < Nq * d; ++e) grad_q[e] *= args.scale;
    for (std::int64_t e = 0; e < Nk * d; ++e) grad_k[e] *= args.scale;
  }
}

}  // namespace attn::naive_cpu
