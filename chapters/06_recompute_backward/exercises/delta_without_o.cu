// SPDX-License-Identifier: MIT
//
// Exercise: delta without O. Somebody did not keep the forward pass's output, and step 2 begins
// with delta_i = dO_i . O_i. See "Exercises" in the lesson. Step 2 is used as it stands; delta is
// yours. As it stands it compiles, and computes the wrong thing:
//   cmake --build build --target ch06_exercise && ./build/ch06_exercise
#include "chapters/06_recompute_backward/step2_recompute.cu"
#include "common/device/warp_reduce.cuh"

namespace attn::recompute_backward {
namespace {

constexpr int kWarp = 32;
constexpr int kWarpsPerBlock = 4;

/// delta_i = sum over the keys that row i sees of P_ij dP_ij, one warp per row of all heads.
/// Grid: ceil(rows / kWarpsPerBlock); block: kWarp * kWarpsPerBlock.
__global__ void delta_kernel([[maybe_unused]] const float* gQ, [[maybe_unused]] const float* gK,
                             [[maybe_unused]] const float* gV, [[maybe_unused]] const float* gDO,
                             [[maybe_unused]] const float* gLSE, float* gDelta, std::int64_t rows,
                             [[maybe_unused]] std::int64_t Nq, [[maybe_unused]] std::int64_t Nk,
                             [[maybe_unused]] std::int64_t d,
                             [[maybe_unused]] std::int64_t diagonal, [[maybe_unused]] float scale) {
  const unsigned lane = threadIdx.x % kWarp;
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarpsPerBlock + threadIdx.x / kWarp;
  if (row >= rows) return;  // the whole warp
  float sum = 0.0f;
  // Yours. What does the lesson say delta is, besides dO_i . O_i?
  if (lane == 0) gDelta[row] = sum;
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
