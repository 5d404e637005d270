// SPDX-License-Identifier: MIT
//
// Taught in chapter 02: softmax with one thread per row, P V with one thread per output. Kept here
// so that the first steps of chapter 03 show only what they change.
#pragma once

#include "common/attention.hpp"
#include "common/device/cuda.cuh"

namespace attn::device {

/// Turns each row of S (rows, Nk) into P = exp(S - max) / sum over the keys it sees and writes
/// LSE (rows). Grid: ceil(rows / block); one thread per row.
[[maybe_unused]] static __global__ void naive_softmax_kernel(float* gS, float* gLSE,
                                                             std::int64_t rows, std::int64_t Nq,
                                                             std::int64_t Nk,
                                                             std::int64_t diagonal) {
  const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  const std::int64_t visible = visible_keys(row % Nq, diagonal, Nk);
  if (visible == 0) {
    gLSE[row] = -INFINITY;
    return;
  }
  float* s = gS + row * Nk;  // (visible)
  float row_max = s[0];
  for (std::int64_t j = 1; j < visible; ++j) row_max = fmaxf(row_max, s[j]);
  float row_sum = 0.0f;
  for (std::int64_t j = 0; j < visible; ++j) row_sum += expf(s[j] - row_max);
  for (std::int64_t j = 0; j < visible; ++j) s[j] = expf(s[j] - row_max) / row_sum;
  gLSE[row] = row_max + logf(row_sum);
}

/// O[head][i][c] = sum over the visible keys j of P[head][i][j] * V[head][j][c].
/// Grid: (B*H, ceil(Nq / 8), ceil(d / 32)); block: (32, 8).
[[maybe_unused]] static __global__ void naive_outputs_kernel(const float* gP, const float* gV,
                                                             float* gO, std::int64_t Nq,
                                                             std::int64_t Nk, std::int64_t d,
                                                             std::int64_t diagonal) {
  const std::int64_t head = blockIdx.x;
  const std::int64_t i = std::int64_t{blockIdx.y} * blockDim.y + threadIdx.y;  // query
  const std::int64_t c = std::int64_t{blockIdx.z} * blockDim.x + threadIdx.x;  // column
  if (i >= Nq || c >= d) return;
  const std::int64_t visible = visible_keys(i, diagonal, Nk);
  const float* p = gP + (head * Nq + i) * Nk;  // (visible)
  const float* v = gV + head * Nk * d + c;     // column c of (Nk, d)
  float sum = 0.0f;
  for (std::int64_t j = 0; j < visible; ++j) sum += p[j] * v[j * d];
  gO[(head * Nq + i) * d + c] = sum;
}

}  // namespace attn::device
