// SPDX-License-Identifier: MIT
//
// Taught in chapter 08 (step 5): 2^x by the one instruction that the special-function unit has for
// it.
#pragma once

#include <math.h>

#include "common/device/cuda.cuh"

namespace attn::device {

/// 2^x. exp2f is correct for results below 2^-126, too: it multiplies x's result out of the range
/// that the unit cannot give, for which it needs a comparison and two multiplications. If
/// kApproximate, they are left out, and results below 2^-126 are 0. Nothing else is given up: both
/// are off by at most 2 units in the last place. In a softmax the weight of the row's maximum is 1,
/// and what is lost beside it is less than 2^-126 for each key.
template <bool kApproximate>
__device__ __forceinline__ float exp2(float x) {
  if constexpr (!kApproximate) {
    return exp2f(x);
  } else {
#ifdef __CUDACC__
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
#else
    const float result = exp2f(x);
    return result < 0x1p-126f ? 0.0f : result;
#endif
  }
}

}  // namespace attn::device
