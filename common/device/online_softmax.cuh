// SPDX-License-Identifier: MIT
//
// Taught in chapter 04: the statistics of a row that is seen piece by piece.
#pragma once

#include "common/device/cuda.cuh"

namespace attn::device {

/// The point that exponents are taken from: the row's maximum, or 0 while no finite logit has been
/// seen, because -inf minus -inf is NaN.
ATTN_HOST_DEVICE inline float reference_point(float row_max) {
  return row_max == -INFINITY ? 0.0f : row_max;
}

/// The natural log of the sum of exp(logit); -inf for a row without logits.
ATTN_HOST_DEVICE inline float log_sum_exp(float row_max, float row_sum) {
  return row_sum == 0.0f ? -INFINITY : row_max + logf(row_sum);
}

}  // namespace attn::device
