// SPDX-License-Identifier: MIT
//
// Kernels whose every access is known, for the pictures. What each touches stands in draw_test.cpp.
#pragma once

namespace attn::simt_test {

inline constexpr int kStairWarps = 4;
/// One block of kStairWarps warps. Warp w loads x[32 r + lane] for r = 0 .. w and keeps the sum in
/// shared memory; behind a barrier each thread stores its sum: out[thread].
void run_stairs(const float* x, float* out);

/// One warp: lane n loads x[stride * n] and adds it to sums[n / 4].
void run_strided(const float* x, float* sums, int stride);

}  // namespace attn::simt_test
