// SPDX-License-Identifier: MIT
//
// Solution: one exponential per score, one division per output.
//   1. scores_kernel           one thread per score, as in forward.cu
//   2. weights_kernel          one thread per row:  S[i] becomes W[i] = exp(S[i] - max);
//                              row_sum[i] = sum_j W[i][j]; LSE[i]
//   3. divided_outputs_kernel  one thread per output:
//                              O[i][c] = sum_j W[i][j] V[j][c] / row_sum[i]
// Requested elements per head: 4N²d + 4N² + 2Nd + 2N. Workspace: B*H*Nq*(Nk + 1) floats.
#include "chapters/02_naive_gpu/forward.cu"  // scores_kernel, kBlockRows, kBlockColumns

namespace attn::naive_gpu {
namespace {

/// Turns row `row` of S into its weights exp(S - max), not yet divided; writes their sum and LSE.
/// Grid: (ceil(B*H*Nq / block)); one thread per row of all heads.
__global__ void weights_kernel(float* gS, float* gRowSum, float* gLSE, std::int64_t rows,
                               std::int64_t Nq, std::int64_t Nk, std::int64_t diagonal) {
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
  for (std::int64_t j = 0; j < visible; ++j) {
    const float weight = expf(s[j] - row_max);
    row_sum += weight;
    s[j] = weight;
  }
  gRowSum[row] = row_sum;
  gLSE[row] = row_max + logf(row_sum);
}

/// O[head][i][c] = (sum over the visible keys j of weight[head][i][j] * V[head][j][c]) / row_sum.
/// Grid and block as outputs_kernel.
__global__ void divided_outputs_kernel(const float* gWeights, const float* gRowSum, const float* gV,
                                       float* gO, std::int64_t Nq, std::int64_t Nk, std::int64_t d,
                                       std::int64_t diagonal) {
  const std::int64_t head = blockIdx.x;
  const std::int64_t i = std::int64_t{blockIdx.y} * kBlockRows + threadIdx.y;     // query
  const std::int64_t c = std::int64_t{blockIdx.z} * kBlockColumns + threadIdx.x;  // column
  if (i >= Nq || c >= d) return;

  const std::int64_t row = head * Nq + i;
  const std::int64_t visible = visible_keys(i, diagonal, Nk);
  const float* weights = gWeights + row * Nk;  // (visible)
  const float* v = gV + head * Nk * d + c;     // column c of (Nk, d)
  float sum = 0.0f;
  for (std::int64_t j = 0; j < visible; ++j) sum += weights[j] * v[j * d];
  // A row that sees no key has no row_sum: 0 / 0 would be NaN, and the contract says 0.
  gO[row * d + c] = visible == 0 ? 0.0f : sum / gRowSum[row];
}

}  // namespace

void deferred_forward(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  float* gS = static_cast<float*>(args.workspace);  // (B*H, Nq, Nk)
  float* gRowSum = gS + B * H * Nq * Nk;            // (B*H, Nq)

  const dim3 block(kBlockColumns, kBlockRows);
  const auto heads = static_cast<unsigned>(B * H);
  const unsigned row_blocks = ceil_div(Nq, kBlockRows);
  if (Nk > 0) {
    launch(scores_kernel, dim3(heads, row_blocks, ceil_div(Nk, kBlockColumns)), block, 0, nullptr,
           args.q, args.k, gS, Nq, Nk, d, diagonal, args.scale);
  }
  constexpr int kThreads = 128;
  launch(weights_kernel, ceil_div(B * H * Nq, kThreads), kThreads, 0, nullptr, gS, gRowSum,
         args.lse, B * H * Nq, Nq, Nk, diagonal);
  launch(divided_outputs_kernel, dim3(heads, row_blocks, ceil_div(d, kBlockColumns)), block, 0,
         nullptr, gS, gRowSum, args.v, args.o, Nq, Nk, d, diagonal);
}

}  // namespace attn::naive_gpu
