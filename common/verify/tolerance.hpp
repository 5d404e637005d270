// SPDX-License-Identifier: MIT
//
// How far float32 results may lie from the float64 oracle. Every bound is a count of roundings
// times the size of what is rounded; none is a constant chosen to make a test pass. In all of them
//   eps   = 2^-23, the distance from 1 to the next float32 (one rounding errs by at most eps / 2)
//   Nk    = number of keys
//   L     = max_ij |scale| sum_c |q_ic| |k_jc|, the size that a logit's roundings scale with
#pragma once

#include <cstdint>

namespace attn::verify {

inline constexpr double kEps = 0x1p-23;

/// |dO| where every logit is exact in float32. What rounds is exp (a few eps), the sum of Nk terms
/// and the weighted sum of Nk rows of V: (8 + Nk/8) eps max|V|. Nk roundings of eps/2 that all
/// point the same way would give Nk; an eighth of it covers what random signs leave, with room.
double exact_o_tolerance(std::int64_t Nk, double max_v);

/// |dLSE| where every logit is exact: LSE = max + log(sum) rounds relative to itself, and the sum's
/// relative error is an absolute one of its logarithm: (4 + Nk/256) eps (1 + |LSE|).
double exact_lse_tolerance(std::int64_t Nk, double lse);

/// |dO| in general: twice the largest error that plain float32 loops make on the same inputs, plus
/// (16 + Nk/8 + 2L) eps max|V|. An error of a logit is a relative error of its weight, hence 2L.
double o_tolerance(double float32_error, std::int64_t Nk, double L, double max_v);

/// |dLSE| in general: as in the exact case, and the logits' own errors reach LSE undiminished, with
/// weights that sum to 1: 2 x (error of plain float32 loops) + (4 + Nk/256) eps (1 + |LSE|)
/// + 2L eps.
double lse_tolerance(double float32_error, std::int64_t Nk, double L, double lse);

/// |dQ|, |dK|, |dV|: (64 + 4L) eps G, with G the largest sum of the magnitudes of the terms that
/// the gradient adds up (reference::Magnitudes). P = exp(S - LSE) carries the errors of S and of
/// LSE, which is rounded to float32 and as large as L: hence 4L.
double gradient_tolerance(double L, double G);

}  // namespace attn::verify
