// SPDX-License-Identifier: MIT
//
// What both passes of the twin ask about the pairs of one head.
#pragma once

#include <bit>
#include <cstdint>

#include "chapters/15_scores/bias.hpp"
#include "common/attention.hpp"
#include "common/cpu_tiles.hpp"
#include "common/device/band.hpp"
#include "common/philox.hpp"

namespace attn::scores {

/// Whether nothing is done to scores and weights but what chapter 07 does.
inline bool is_plain(const Extras& extras) {
  return extras.softcap == 0 && extras.bias == nullptr && extras.alibi == nullptr &&
         extras.sink_logits == nullptr && extras.dropout == 0;
}

/// A score after all that is done to it, and its derivative by scale * q . k.
struct Logit {
  float value, slope;
  bool seen;  // not hidden by the bias
};

struct Head {
  std::int64_t head, b, h, Nq, Nk, d;
  device::Band band;
  std::int64_t own_key;  // of row 0
  BiasRows bias;
  float softcap, slope, sink;
  std::uint64_t seed;
  std::uint32_t threshold;  // of dropout
  float kept;               // what a weight is multiplied by that dropout leaves

  template <class Args>
  Head(const Args& a, std::int64_t number)
      : head(number),
        b(number / a.shape.H),
        h(number % a.shape.H),
        Nq(a.shape.Nq),
        Nk(a.shape.Nk),
        d(a.shape.d),
        band(device::band_of(a.mask, Nq, Nk)),
        own_key(own_key_of_first_row(a.mask, Nq, Nk)),
        bias(bias_array_of(a.extras).head(b, h)),
        softcap(a.extras.softcap),
        slope(a.extras.alibi == nullptr ? 0.0f : a.extras.alibi[h]),
        sink(a.extras.sink_logits == nullptr ? -std::numeric_limits<float>::infinity()
                                             : a.extras.sink_logits[h]),
        seed(a.extras.dropout_seed),
        threshold(dropout_threshold(a.extras.dropout)),
        kept(1.0f / (1.0f - a.extras.dropout)) {}

  /// Of row i and key j, from scale * q . k.
  Logit logit(std::int64_t i, std::int64_t j, float score) const {
    Logit result{score, 1.0f, true};
    if (softcap > 0) {
      const float squeezed = std::tanh(score / softcap);
      result = {softcap * squeezed, 1.0f - squeezed * squeezed, true};
    }
    if (bias.gBias != nullptr) {
      const float added = bias.at(i, j);
      result.seen = added != -std::numeric_limits<float>::infinity();
      result.value += added;
    }
    result.value -= slope * std::abs(static_cast<float>(own_key + i - j));
    return result;
  }

  /// What dropout multiplies the weight by.
  float factor(std::int64_t i, std::int64_t j) const {
    if (threshold == 0) return 1.0f;
    return dropout_bits(seed, b, h, i, j) < threshold ? 0.0f : kept;
  }
};

/// Calls work(begin, end) for every run of set bits.
template <class Work>
void for_each_run(std::uint64_t bits, Work work) {
  while (bits != 0) {
    const int begin = std::countr_zero(bits);
    const int end = begin + std::countr_one(bits >> begin);
    work(begin, end);
    if (end == 64) return;
    bits = bits >> end << end;
  }
}

}  // namespace attn::scores
