// SPDX-License-Identifier: MIT
//
// Solution of the exercise (silver): delta from P and dP, both recomputed. The warp streams the
// keys that its row sees, as chapter 04's does; the lanes share the columns.
//   cmake --build build --target ch06_solution && ./build/ch06_solution
#include "chapters/06_recompute_backward/step2_recompute.cu"
#include "common/device/warp_reduce.cuh"

namespace attn::recompute_backward {
namespace {

constexpr int kWarp = 32;
constexpr int kWarpsPerBlock = 4;

/// delta_i = sum of P_ij dP_ij over sum of P_ij, over the keys that row i sees; one warp per row of
/// all heads.
/// Grid: ceil(rows / kWarpsPerBlock); block: kWarp * kWarpsPerBlock.
__global__ void delta_kernel(const float* gQ, const float* gK, const float* gV, const float* gDO,
                             const float* gLSE, float* gDelta, std::int64_t rows, std::int64_t Nq,
                             std::int64_t Nk, std::int64_t d, std::int64_t diagonal, float scale) {
  const unsigned lane = threadIdx.x % kWarp;
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarpsPerBlock + threadIdx.x / kWarp;
  if (row >= rows) return;  // the whole warp
  const std::int64_t head = row / Nq;
  const std::int64_t visible = visible_keys(row % Nq, diagonal, Nk);
  float sum = 0.0f;
  float weights = 0.0f;  // 1, but for the rounding of LSE, which is as large as the logits
  for (std::int64_t j = 0; j < visible; ++j) {
    const std::int64_t key = (head * Nk + j) * d;
    float score = 0.0f;   // q . k
    float grad_p = 0.0f;  // dO . v
    for (std::int64_t c = lane; c < d; c += kWarp) {
      score += gQ[row * d + c] * gK[key + c];
      grad_p += gDO[row * d + c] * gV[key + c];
    }
    const float p = expf(__fmul_rn(scale, device::warp_sum(score)) - gLSE[row]);
    sum += p * device::warp_sum(grad_p);
    weights += p;
  }
  if (lane == 0) gDelta[row] = visible > 0 ? sum / weights : 0.0f;
}

}  // namespace

/// What step 2 calls first. O is not there.
void delta(const BackwardArgs& args, float* gDelta) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(delta_kernel, ceil_div(B * H * Nq, kWarpsPerBlock), kWarp * kWarpsPerBlock, 0, nullptr,
         args.q, args.k, args.v, args.grad_o, args.lse, gDelta, B * H * Nq, Nq, Nk, d,
         attn::diagonal(args.mask, Nq, Nk), args.scale);
}

}  // namespace attn::recompute_backward
