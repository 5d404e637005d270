// SPDX-License-Identifier: MIT
//
// Softmax of a row that is seen piece by piece (Milakov and Gimelshein 2018, "Online normalizer
// calculation for softmax"). What has been seen so far is two numbers:
//   row_max  m = the largest logit
//   row_sum  l = the sum of exp(logit - m)
// and everything that was computed relative to an older maximum is brought up to date by one
// factor, exp(m_old - m_new).
#pragma once

#include <cmath>

#include "common/attention.hpp"

namespace attn::online_softmax {

/// Two halves of a row, each seen alone, are put together by merge(). The pairs with merge() are a
/// monoid: merge is associative, and the row with no logits yet, (-inf, 0), changes nothing.
struct RunningSoftmax {
  float row_max = -INFINITY;
  float row_sum = 0.0f;
};

/// The reference point that exponents are taken from. Before any finite logit it is 0, so that
/// -inf minus -inf, which is NaN, never happens.
ATTN_HOST_DEVICE inline float reference_point(float row_max) {
  return row_max == -INFINITY ? 0.0f : row_max;
}

/// Both halves' statistics as one. Each sum is rescaled from its own maximum to the common one.
ATTN_HOST_DEVICE inline RunningSoftmax merge(RunningSoftmax a, RunningSoftmax b) {
  const float row_max = fmaxf(a.row_max, b.row_max);
  const float reference = reference_point(row_max);
  return {row_max,
          a.row_sum * expf(a.row_max - reference) + b.row_sum * expf(b.row_max - reference)};
}

/// LSE of a row that sees a key: the natural log of the sum of exp(logit). NaN if all its logits
/// are -inf, as such a row has no softmax. (A row that sees no key has the same m and l; only its
/// indices tell the two apart.)
ATTN_HOST_DEVICE inline float log_sum_exp(RunningSoftmax s) {
  return s.row_sum == 0.0f ? NAN : s.row_max + logf(s.row_sum);
}

}  // namespace attn::online_softmax
