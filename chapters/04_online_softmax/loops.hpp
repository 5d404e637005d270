// SPDX-License-Identifier: MIT
//
// Softmax of one row three times, each with one pass over the logits less than the one before.
#pragma once

#include <cstdint>

namespace attn::online_softmax {

// Each computes, for n >= 1 finite logits s and values v (one number each, for simplicity),
//   the sum over j of softmax(s)[j] * v[j]
// and differs only in how often it has to see s.

/// Pass 1 finds the maximum, pass 2 the sum, pass 3 the result.
float three_passes(const float* s, const float* v, std::int64_t n);
/// Maximum and sum in one pass, by rescaling; pass 2 the result.
float two_passes(const float* s, const float* v, std::int64_t n);
/// The result too is rescaled as the maximum rises: one pass. No logit is needed twice.
float one_pass(const float* s, const float* v, std::int64_t n);

}  // namespace attn::online_softmax
