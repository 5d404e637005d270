// SPDX-License-Identifier: MIT
//
// What the kernels of step 5 share: their tiles in shared memory, and how one pair is recomputed.
#pragma once

#include "chapters/15_scores/bias.hpp"
#include "chapters/15_scores/dropout.cuh"
#include "chapters/15_scores/scores.hpp"
#include "common/device/band.hpp"
#include "common/device/tiles.cuh"

namespace attn::scores {

inline constexpr int kBackwardThreads = 128;

/// Where the arrays of a problem lie, and their sizes.
struct Arrays {
  const float *gQ, *gK, *gV, *gDO, *gLSE, *gDelta;
  std::int64_t B, H, Nq, Nk, d;
};

/// What is done to the scores of a problem.
struct Rules {
  Mask mask;
  float scale, softcap;
  BiasArray bias;
  const float* gSlopes;
  Dropout dropout;
};

inline Rules rules_of(const BackwardArgs& args) {
  const Extras& extras = args.extras;
  return {args.mask,    args.scale,        extras.softcap, bias_array_of(extras),
          extras.alibi, dropout_of(extras)};
}

/// What is done to those of one tile, from row i0 and key j0 on.
struct TileRule {
  float scale, softcap;
  BiasRows bias;
  float slope, own_key;  // as in the forward steps
  device::TileBand band;
  int rows;       // of the tile that lie inside the matrix
  float dropped;  // what a weight that is kept is multiplied by
};

/// What is done to the scores of head (b, h).
struct HeadRule {
  std::int64_t b, h, Nq, Nk;
  device::Band band;
  BiasRows bias;
  float slope;

  __device__ __forceinline__ HeadRule(const Rules& rules, std::int64_t batch, std::int64_t head,
                                      std::int64_t queries, std::int64_t keys)
      : b(batch),
        h(head),
        Nq(queries),
        Nk(keys),
        band(device::band_of(rules.mask, Nq, Nk)),
        bias(rules.bias.head(b, h)),
        slope(rules.gSlopes == nullptr ? 0.0f : rules.gSlopes[h]) {}

  template <int kBr, int kBc>
  __device__ __forceinline__ TileRule tile(const Rules& rules, std::int64_t i0,
                                           std::int64_t j0) const {
    const std::int64_t own_key = i0 + own_key_of_first_row(rules.mask, Nq, Nk) - j0;
    return {rules.scale,
            rules.softcap,
            bias.from(i0, j0),
            slope,
            static_cast<float>(own_key),
            band.in_tile(i0, j0, kBc),
            Nq - i0 < kBr ? static_cast<int>(Nq - i0) : kBr,
            rules.dropout.factor};
  }
};

/// One pair, of forward and backward pass.
struct Pair {
  bool seen = false;
  float weight = 0.0f;      // what V is multiplied by: P, with dropout
  float grad_logit = 0.0f;  // by what the exponential is taken of: the bias, too
  float grad_score = 0.0f;  // by scale * q . k
};

/// The block's shared memory, cut into tiles.
template <int kD>
struct SharedTiles {
  static constexpr BackwardTiles kT = backward_tiles_for(kD);
  static constexpr std::size_t kBytes = kT.floats() * sizeof(float) + 2 * kT.Br * sizeof(unsigned);
  static_assert(kT.Bc <= 32 && kBytes <= 48 * 1024);
  float* sQ = dynamic_shared<float>();                             // (Br, D + 1)
  float* sDO = sQ + kT.Br * (kD + 1);                              // (Br, D + 1)
  float* sK = sDO + kT.Br * (kD + 1);                              // (Bc, D + 1)
  float* sV = sK + kT.Bc * (kD + 1);                               // (Bc, D + 1)
  float* sP = sV + kT.Bc * (kD + 1);                               // (Br, Bc + 1)
  float* sDS = sP + kT.Br * (kT.Bc + 1);                           // (Br, Bc + 1)
  float* sLSE = sDS + kT.Br * (kT.Bc + 1);                         // (Br)
  float* sDelta = sLSE + kT.Br;                                    // (Br)
  unsigned* sWords = reinterpret_cast<unsigned*>(sDelta + kT.Br);  // (Br) what a row sees
  unsigned* sKept = sWords + kT.Br;                                // (Br) and what dropout leaves

  /// K_j and V_j, from the head's first key on.
  __device__ __forceinline__ void load_keys(const float* gK, const float* gV, std::int64_t j0,
                                            std::int64_t Nk, std::int64_t d) const {
    device::load_tile<kBackwardThreads, kT.Bc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kBackwardThreads, kT.Bc, kD>(sV, kD + 1, gV + j0 * d, Nk - j0, d);
  }
  /// Q_i, dO_i, LSE_i and delta_i, from the head's first query on.
  __device__ __forceinline__ void load_queries(const float* gQ, const float* gDO, const float* gLSE,
                                               const float* gDelta, std::int64_t i0,
                                               std::int64_t Nq, std::int64_t d) const {
    device::load_tile<kBackwardThreads, kT.Br, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
    device::load_tile<kBackwardThreads, kT.Br, kD>(sDO, kD + 1, gDO + i0 * d, Nq - i0, d);
    if (threadIdx.x < kT.Br && i0 + threadIdx.x < Nq) {
      sLSE[threadIdx.x] = gLSE[i0 + threadIdx.x];
      sDelta[threadIdx.x] = gDelta[i0 + threadIdx.x];
    }
  }

  /// Pair (r, key) of the tile. `kept`: whether dropout leaves it.
  __device__ __forceinline__ Pair pair(const TileRule& rule, int r, int key, bool kept,
                                       std::int64_t d) const {
    if (r >= rule.rows || !rule.band.sees(r, key)) return {};
    const float bias = rule.bias.gBias == nullptr ? 0.0f : rule.bias.at(r, key);
    if (bias == -INFINITY) return {};
    const int columns = static_cast<int>(d);
    float dot = 0.0f;     // q . k
    float grad_p = 0.0f;  // dO . v
#pragma unroll 8
    for (int c = 0; c < columns; ++c) {
      dot += sQ[r * (kD + 1) + c] * sK[key * (kD + 1) + c];
      grad_p += sDO[r * (kD + 1) + c] * sV[key * (kD + 1) + c];
    }
    // Rounded in the same order as in the forward pass, product by product.
    float s = __fmul_rn(rule.scale, dot);
    float slope = 1.0f;  // of softcap's tanh
    if (rule.softcap > 0.0f) {
      const float squeezed = tanhf(s / rule.softcap);
      slope = 1.0f - squeezed * squeezed;
      s = __fmul_rn(rule.softcap, squeezed);
    }
    s += bias;
    s -= __fmul_rn(rule.slope, fabsf(rule.own_key + static_cast<float>(r - key)));
    const float p = expf(s - sLSE[r]);
    const float factor = kept ? rule.dropped : 0.0f;
    const float grad_logit = p * (factor * grad_p - sDelta[r]);
    return {true, factor * p, grad_logit, slope * grad_logit};
  }

  /// All pairs of the tile: weights to sP, unless it is not wanted, gradients of scores to sDS,
  /// where the pair is seen, and which ones are to sWords. Between barriers.
  __device__ __forceinline__ void recompute(const TileRule& rule, const Dropout& dropout,
                                            bool wants_p, std::int64_t d) const {
    const int lane = threadIdx.x % 32;
    for (int n = threadIdx.x; n < kT.Br * kT.Bc; n += kBackwardThreads) {
      const int r = n / kT.Bc;  // neighbouring lanes take neighbouring keys
      const int key = n % kT.Bc;
      const Pair pair = this->pair(rule, r, key, kept_of_row(dropout, sKept, r).sees(key), d);
      const unsigned votes = __ballot_sync(device::kAllLanes, pair.seen);
      if (pair.seen && wants_p) sP[r * (kT.Bc + 1) + key] = pair.weight;
      if (pair.seen) sDS[r * (kT.Bc + 1) + key] = pair.grad_score;
      // A row of 16 keys has half the votes.
      if (key == 0) sWords[r] = votes >> lane & ~0u >> (32 - kT.Bc);
    }
  }
};

}  // namespace attn::scores
