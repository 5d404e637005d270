// SPDX-License-Identifier: MIT
//
// How far float32 results may lie from the float64 oracle. Every bound is a count of roundings
// times the size of what is rounded; none is a constant chosen to make a test pass. In all of them
//   eps   = 2^-23, the distance from 1 to the next float32 (one rounding errs by at most eps / 2)
//   Nk    = number of keys
//   L     = max_ij |scale| sum_c |q_ic| |k_jc|, the size that a logit's roundings scale with
#pragma once

#include <cstdint>

#include "common/element.hpp"

namespace attn::verify {

inline constexpr double kEps = 0x1p-23;

/// A weight below 2^-126 may be 0 in float32, or hold fewer digits. A gradient's sum of such terms
/// errs by less than this, which is nothing beside a gradient that anybody would use.
inline constexpr double kUnderflow = 0x1p-100;

/// |dO| where every logit is exact in float32. What rounds is exp (a few eps), the sum of Nk terms
/// and the weighted sum of Nk rows of V: (8 + Nk/8) eps max|V|. Nk roundings of eps/2 that all
/// point the same way would give Nk; an eighth of it covers what random signs leave, with room.
double exact_o_tolerance(std::int64_t Nk, double max_v);

/// |dLSE| where every logit is exact: LSE = max + log(sum) rounds once, by half a unit, and the
/// sum's relative error is an absolute one of its logarithm, which lies between 0 and log(Nk):
/// eps/2 |LSE| + (4 + Nk/256) eps (1 + log(Nk)). Where |LSE| is large this is one rounding and no
/// more: the backward pass subtracts LSE from a logit as large.
double exact_lse_tolerance(std::int64_t Nk, double lse);

/// |dO| in general: twice the largest error that plain float32 loops make on the same inputs, plus
/// (16 + Nk/8 + 2L) eps max|V|. An error of a logit is a relative error of its weight, hence 2L.
double o_tolerance(double float32_error, std::int64_t Nk, double L, double max_v);

/// |dLSE| in general: as in the exact case, and the logits' own errors reach LSE undiminished, with
/// weights that sum to 1: 2 x (error of plain float32 loops) + (exact_lse_tolerance) + 2L eps.
double lse_tolerance(double float32_error, std::int64_t Nk, double L, double lse);

/// |dQ|, |dK|, |dV| where every logit is exact: 64 eps G + kUnderflow, with G the largest sum of
/// the magnitudes of the terms that the gradient adds up (reference::Magnitudes). The truth is the
/// formula at the very LSE and O that the step is given, rounded to float32 as they are: S - LSE is
/// then a difference of two float32 numbers, and how large they are does not matter.
double exact_gradient_tolerance(double G);

/// The same in general: (64 + 4L) eps G + kUnderflow. A logit's error, up to 2L eps, is a relative
/// error of P. From L = 2e6 on this sees nothing, and it need not: what large logits break, the
/// inputs with exact ones show (kVeryNegative, kSaw, kHuge).
double gradient_tolerance(double L, double G);

/// What storing in 16 bits adds to |dO|: P is rounded before P V, O after it, each by at most u of
/// its size (unit_roundoff), and half as much again for room: 1.5 u (sum_j p |v| + |o|), and half
/// of float16's smallest step. 0 for float32, whose roundings the bounds above count.
double stored_o_tolerance(Element element, double weighted_v, double o);

/// The same for |dQ|, |dK| and |dV|, with the sum of the magnitudes of the rounded factors: of dS
/// before dS K and dS^T Q, of P before P^T dO (reference::Magnitudes).
double stored_gradient_tolerance(Element element, double rounded, double gradient);

}  // namespace attn::verify
