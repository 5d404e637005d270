// SPDX-License-Identifier: MIT
//
// A check of the oracle's gradients that shares no formula with them.
#pragma once

#include "common/reference/reference.hpp"

namespace attn::reference {

/// The gradients of the loss sum(dO * O) + sum(dLSE * LSE) by central differences of
/// reference::forward with step `step` in every element of Q, K, V, the bias and the sink logits:
/// (loss(x + step) - loss(x - step)) / (2 step). Costs two forward passes per input element, so
/// keep the shape tiny. All inputs must be finite, but for a bias of -inf.
///
/// With a step h the truncation error is of order h^2 and the rounding error of order 2^-53 / h;
/// h = 1e-5 puts both near 1e-10.
Gradients finite_differences(Inputs inputs, double step = 1e-5);

/// Largest |a - b| over the gradients, each divided by the largest element of b (an array of
/// b that is all zero: absolute). NaN if a NaN is among them.
double relative_error(const Gradients& a, const Gradients& b);

}  // namespace attn::reference
