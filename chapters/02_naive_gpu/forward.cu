// SPDX-License-Identifier: MIT
//
// The three loops of chapter 01 as three kernels. What was a loop over rows or columns is now a
// grid of threads; what was inside the loop is what one thread does.
//   1. scores_kernel    one thread per score:   S[i][j] = scale * Q[i] . K[j]
//   2. softmax_kernel   one thread per row:     S[i] becomes P[i], LSE[i]
//   3. outputs_kernel   one thread per output:  O[i][c] = sum_j P[i][j] * V[j][c]
// S and P are one array of B*H*Nq*Nk floats in global memory, written and read again between them.
#include "chapters/02_naive_gpu/naive_gpu.hpp"
#include "common/device/cuda.cuh"

namespace attn::naive_gpu {
namespace {

// Element offsets are 64-bit everywhere: head * Nq * Nk passes 2^31 long before memory runs out.

/// S[head][i][j] = scale * (row i of Q) . (row j of K), for the keys that row i sees.
/// Grid: (B*H, ceil(Nq / kBlockRows), ceil(Nk / kBlockColumns)).
/// Block: (kBlockColumns, kBlockRows) = 256 threads; a warp is 32 neighbouring keys of one query.
__global__ void scores_kernel(const float* gQ, const float* gK, float* gS, std::int64_t Nq,
                              std::int64_t Nk, std::int64_t d, std::int64_t diagonal, float scale) {
  const std::int64_t head = blockIdx.x;
  const std::int64_t i = std::int64_t{blockIdx.y} * kBlockRows + threadIdx.y;     // query
  const std::int64_t j = std::int64_t{blockIdx.z} * kBlockColumns + threadIdx.x;  // key
  if (i >= Nq || j >= visible_keys(i, diagonal, Nk)) return;  // outside the matrix, or masked

  const float* q = gQ + (head * Nq + i) * d;  // (d)
  const float* k = gK + (head * Nk + j) * d;  // (d)
  float dot = 0.0f;
  for (std::int64_t c = 0; c < d; ++c) dot += q[c] * k[c];
  gS[(head * Nq + i) * Nk + j] = scale * dot;
}

/// Turns row `row` of S into P = exp(S - max) / sum and writes LSE = max + log(sum).
/// Grid: (ceil(B*H*Nq / block)); one thread per row of all heads.
__global__ void softmax_kernel(float* gS, float* gLSE, std::int64_t rows, std::int64_t Nq,
                               std::int64_t Nk, std::int64_t diagonal) {
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
/// Grid: (B*H, ceil(Nq / kBlockRows), ceil(d / kBlockColumns)). Block as above.
__global__ void outputs_kernel(const float* gP, const float* gV, float* gO, std::int64_t Nq,
                               std::int64_t Nk, std::int64_t d, std::int64_t diagonal) {
  const std::int64_t head = blockIdx.x;
  const std::int64_t i = std::int64_t{blockIdx.y} * kBlockRows + threadIdx.y;     // query
  const std::int64_t c = std::int64_t{blockIdx.z} * kBlockColumns + threadIdx.x;  // column
  if (i >= Nq || c >= d) return;

  const std::int64_t visible = visible_keys(i, diagonal, Nk);
  const float* p = gP + (head * Nq + i) * Nk;  // (visible)
  const float* v = gV + head * Nk * d + c;     // column c of (Nk, d)
  float sum = 0.0f;                            // stays 0 for a row that sees no key
  for (std::int64_t j = 0; j < visible; ++j) sum += p[j] * v[j * d];
  gO[(head * Nq + i) * d + c] = sum;
}

}  // namespace

std::size_t forward_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows() * shape.Nk) * sizeof(float);
}

void forward(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  float* gS = static_cast<float*>(args.workspace);  // (B*H, Nq, Nk)

  const dim3 block(kBlockColumns, kBlockRows);
  const auto heads = static_cast<unsigned>(B * H);
  const unsigned row_blocks = ceil_div(Nq, kBlockRows);
  if (Nk > 0) {
    launch(scores_kernel, dim3(heads, row_blocks, ceil_div(Nk, kBlockColumns)), block, 0, nullptr,
           args.q, args.k, gS, Nq, Nk, d, diagonal, args.scale);
  }
  constexpr int kThreads = 128;
  launch(softmax_kernel, ceil_div(B * H * Nq, kThreads), kThreads, 0, nullptr, gS, args.lse,
         B * H * Nq, Nq, Nk, diagonal);
  launch(outputs_kernel, dim3(heads, row_blocks, ceil_div(d, kBlockColumns)), block, 0, nullptr, gS,
         args.v, args.o, Nq, Nk, d, diagonal);
}

}  // namespace attn::naive_gpu
