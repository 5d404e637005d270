// SPDX-License-Identifier: MIT
//
// What is done to a score: softcap, bias, ALiBi, in this order.
#pragma once

#include "chapters/16_heads/request.hpp"
#include "common/device/group.hpp"
#include "common/device/masked_rows.cuh"

namespace attn::heads {

/// To the scores of a tile, as device::scores asks for it. Every product is rounded by itself, so
/// that forward and backward pass make the same scores.
struct Change {
  const Request& request;
  const Sequence& at;
  const device::RowTile& rows;
  const unsigned* sWords;  // (Br) what the rows see
  const float* sSlopes;    // (Br) of ALiBi, not read without
  std::int64_t j0;

  __device__ __forceinline__ float operator()(int r, int key, float s) const {
    if (request.adds()) {
      const device::RowWord seen{sWords[r]};
      if (!seen.sees(key)) return s;  // and is perhaps no pair
    }
    float derivative;
    return seen_pair(r, key, s, derivative);
  }
  /// The same for a pair that is seen. derivative: of the softcap.
  __device__ __forceinline__ float seen_pair(int r, int key, float s, float& derivative) const {
    derivative = 1.0f;
    if (request.softcap > 0.0f) {
      const float squeezed = tanhf(s / request.softcap);
      derivative = 1.0f - squeezed * squeezed;
      s = __fmul_rn(request.softcap, squeezed);
    }
    if (!request.adds()) return s;
    const std::int64_t i = rows.i0 + rows.token(r), j = j0 + key;
    if (request.bias.given()) s += request.bias.at(at.b, rows.head(r), i, j);
    if (request.slopes == nullptr) return s;
    const float slope = sSlopes[r];
    return s - __fmul_rn(slope, fabsf(static_cast<float>(at.own + i - j)));
  }
};

/// The slopes of a tile's rows, a thread each, to sSlopes; before a barrier.
__device__ __forceinline__ void load_slopes(const Request& request, const device::RowTile& rows,
                                            float* sSlopes) {
  const int r = threadIdx.x;
  if (request.slopes != nullptr && r < rows.rows) sSlopes[r] = request.slopes[rows.head(r)];
}

}  // namespace attn::heads
