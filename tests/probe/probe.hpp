// SPDX-License-Identifier: MIT
//
// A step that takes every element and every extra, as simply as a kernel can: one thread for a row,
// or for a key. It stands between the contract and the chapters that will use it: the checker must
// find it right, and each of these bugs in it wrong.
#pragma once

#include "common/attention.hpp"

namespace attn::probe {

enum class Bug {
  kNone,
  kLostFirstKey,       // a window's first key is left out
  kNoLowerBound,       // a window's lower bound is forgotten
  kIgnoresQ,           // all logits are 0
  kNoRescale,          // the output is not rescaled when the maximum grows
  kNarrowSum,          // the sum of weights is kept in the element
  kNarrowOutput,       // the output is accumulated in the element
  kNarrowLse,          // LSE is rounded to the element
  kHeadModulo,         // query head h reads key head h % Hkv
  kValueAsKey,         // V's rows lie as far apart as K's
  kGapWritten,         // one element more than a row of O is written
  kPackedNeighbour,    // a packed sequence reads one key of the next one
  kCountFromZero,      // causal and windows count from key 0, not from the first valid one
  kSinkEscapesCausal,  // sink keys are seen by rows before them
  kSinkFromZero,       // sink keys count from key 0, not from the first valid one
  kBoundClamped,       // `before` is clamped to Nk, which is too little for a row far beyond Nk
  kCapAfterBias,       // the softcap squeezes the bias too
  kBiasTransposed,     // the bias is read with row and key exchanged
  kSinkNotInLse,       // a sink logit divides, but LSE does not know
  kDropoutUnscaled,    // weights that stay do not grow
  kDropoutInLse,       // dropped weights are missing in the denominator
  kDeltaForgotten,     // dS = P dP
  kCapNotDerived,      // the softcap's derivative is forgotten
  kGradLseForgotten,
  kDropoutOnlyForward,  // the backward pass drops nothing
  kGroupOverwritten,    // dK and dV hold the last query head of a group only
};

/// The probe with one bug; forward and backward.
const Chapter& chapter(Bug bug);

}  // namespace attn::probe
