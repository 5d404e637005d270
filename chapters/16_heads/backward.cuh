// SPDX-License-Identifier: MIT
//
// What the kernels of step 5 share: their tiles in shared memory, and how one pair is recomputed.
#pragma once

#include "chapters/16_heads/change.cuh"
#include "chapters/16_heads/heads.hpp"
#include "chapters/16_heads/seen_rows.cuh"
#include "common/device/dropout.cuh"
#include "common/device/load_rows.cuh"
#include "common/device/tiles.cuh"

namespace attn::heads {

inline constexpr int kBackwardWarps = 4;
inline constexpr int kBackwardThreads = 32 * kBackwardWarps;

/// What the backward pass reads.
struct Arrays {
  const float *gQ, *gK, *gV, *gDO, *gLSE, *gDelta;
};

/// The elements of a (rows, kD) matrix that a thread adds up, number m of them. Their columns are
/// few: kColumns.
template <int kD, int kElements>
struct Owned {
  static constexpr int kCount = kElements / kBackwardThreads;
  static constexpr int kColumns = kD > kBackwardThreads ? kD / kBackwardThreads : 1;

  __device__ __forceinline__ static int row(int m) {
    return (threadIdx.x + m * kBackwardThreads) / kD;
  }
  __device__ __forceinline__ static int column(int m) {
    return (threadIdx.x + m % kColumns * kBackwardThreads) % kD;
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
  static constexpr std::size_t kBytes = kT.floats() * sizeof(float) + 3 * kT.Br * sizeof(unsigned);
  static_assert(kT.Br <= 32 && kT.Bc <= 32 && kBytes <= 48 * 1024);
  using Seen = SeenRows<kBackwardWarps, kT.Br, kT.Bc>;
  float* sQ = dynamic_shared<float>();                              // (Br, D + 1)
  float* sDO = sQ + kT.Br * (kD + 1);                               // (Br, D + 1)
  float* sK = sDO + kT.Br * (kD + 1);                               // (Bc, D + 1)
  float* sV = sK + kT.Bc * (kD + 1);                                // (Bc, D + 1)
  float* sP = sV + kT.Bc * (kD + 1);                                // (Br, Bc + 1)
  float* sDS = sP + kT.Br * (kT.Bc + 1);                            // (Br, Bc + 1)
  float* sLSE = sDS + kT.Br * (kT.Bc + 1);                          // (Br)
  float* sDelta = sLSE + kT.Br;                                     // (Br)
  float* sSlopes = sDelta + kT.Br;                                  // (Br)
  unsigned* sWords = reinterpret_cast<unsigned*>(sSlopes + kT.Br);  // (Br) what a row sees
  unsigned* sKept = sWords + kT.Br;  // (Br) what dropout leaves of it

  /// K_j and V_j.
  __device__ __forceinline__ void load_keys(const Arrays& in, const Request& request,
                                            const Sequence& at, std::int64_t kv_head,
                                            std::int64_t j0) const {
    const Layout &k = request.layouts.k, &v = request.layouts.v;
    device::load_tile<kBackwardThreads, kT.Bc, kD>(
        sK, kD + 1, in.gK + k.at(at.b, kv_head, at.k_row + j0), at.Nk - j0, request.d, k.row);
    device::load_tile<kBackwardThreads, kT.Bc, kD>(
        sV, kD + 1, in.gV + v.at(at.b, kv_head, at.k_row + j0), at.Nk - j0, request.d_v, v.row);
  }
  /// Q, dO, LSE, delta and slopes of some rows.
  __device__ __forceinline__ void load_queries(const Arrays& in, const Request& request,
                                               const Sequence& at,
                                               const device::RowTile& rows) const {
    const auto place = [&](const Layout& layout, int r) {
      return layout.at(at.b, rows.head(r), at.q_row + rows.i0 + rows.token(r));
    };
    device::load_rows<kBackwardThreads, kT.Br, kD>(sQ, kD + 1, rows.rows, request.d, [&](int r) {
      return in.gQ + place(request.layouts.q, r);
    });
    device::load_rows<kBackwardThreads, kT.Br, kD>(sDO, kD + 1, rows.rows, request.d_v, [&](int r) {
      return in.gDO + place(request.layouts.o, r);
    });
    const int r = threadIdx.x;
    const std::int64_t of_row = place(request.layouts.lse, r);
    if (r < rows.rows) {
      sLSE[r] = in.gLSE[of_row];
      sDelta[r] = in.gDelta[of_row];
    }
    load_slopes(request, rows, sSlopes);
  }
  /// What the rows see of the tile from key j0 on, and what dropout leaves of it.
  __device__ __forceinline__ void load_words(const Seen& seen, const Request& request,
                                             const Sequence& at, const device::RowTile& rows,
                                             std::int64_t j0) const {
    seen.store(sWords);
    device::draw<kBackwardThreads, kT.Br, kT.Bc>(request.dropout, at.b, j0, sKept, [&](int r) {
      return device::DrawnRow{rows.head(r), rows.i0 + rows.token(r)};
    });
  }

  /// Pair (r, key) of a tile, between barriers. change: what is done to the tile's scores.
  __device__ __forceinline__ Pair pair(const Change& change, int r, int key) const {
    const device::RowWord seen{sWords[r]};
    if (!seen.sees(key)) return {};
    const Request& request = change.request;
    const int columns = static_cast<int>(request.d > request.d_v ? request.d : request.d_v);
    float dot = 0.0f;     // q . k
    float grad_p = 0.0f;  // dO . v
#pragma unroll 8
    for (int c = 0; c < columns; ++c) {
      dot += sQ[r * (kD + 1) + c] * sK[key * (kD + 1) + c];
      grad_p += sDO[r * (kD + 1) + c] * sV[key * (kD + 1) + c];
    }
    float derivative;  // of the softcap
    const float s = change.seen_pair(r, key, __fmul_rn(request.scale, dot), derivative);
    const float p = expf(s - sLSE[r]);
    const device::Dropout& dropout = request.dropout;
    const device::KeptRows kept{sKept, dropout.threshold, dropout.factor};
    const auto weigh = kept.row(r);
    const float grad_logit = p * (weigh(key, grad_p) - sDelta[r]);
    return {true, weigh(key, p), grad_logit, derivative * grad_logit};
  }

  /// All pairs of the tile that are seen: their weights, if they are wanted, and gradients of
  /// scores to sDS. Between barriers.
  __device__ __forceinline__ void recompute(const Change& change, float* weights) const {
    for (int n = threadIdx.x; n < kT.Br * kT.Bc; n += kBackwardThreads) {
      const int r = n / kT.Bc;  // neighbouring lanes take neighbouring keys
      const int key = n % kT.Bc;
      const Pair pair = this->pair(change, r, key);
      if (!pair.seen) continue;
      if (weights != nullptr) weights[r * (kT.Bc + 1) + key] = pair.weight;
      sDS[r * (kT.Bc + 1) + key] = pair.grad_score;
    }
  }
};

}  // namespace attn::heads
