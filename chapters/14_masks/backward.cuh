// SPDX-License-Identifier: MIT
//
// What both kernels of step 4 have in shared memory, and which pairs of a tile are visible.
#pragma once

#include "chapters/14_masks/masks.hpp"
#include "chapters/14_masks/pack.cuh"
#include "common/device/masked_rows.cuh"
#include "common/device/recompute.cuh"
#include "common/device/tiles.cuh"

namespace attn::masks {

inline constexpr int kBackwardThreads = 128;

/// What recompute_tile asks of a tile (device::TilePlace), answered by words.
struct WordPlace {
  std::int64_t rows_left, d;  // rows from the tile's first to the matrix's last
  const unsigned* sWords;     // (Br)

  __device__ __forceinline__ int rows(int Br) const {
    return rows_left < Br ? static_cast<int>(rows_left) : Br;
  }
  __device__ __forceinline__ bool sees(int r, int key, int /*Bc*/) const {
    const device::RowWord seen{sWords[r]};
    return seen.sees(key);
  }
};

/// The block's shared memory, cut into tiles.
template <int kD>
struct SharedTiles {
  static constexpr BackwardTiles kT = backward_tiles_for(kD);
  static constexpr std::size_t kBytes =
      kT.floats() * sizeof(float) + (kT.Br + kT.Bc) * sizeof(unsigned);
  static_assert(kT.Br <= 32 && kBytes <= 48 * 1024);
  float* sQ = dynamic_shared<float>();                             // (Br, D + 1)
  float* sDO = sQ + kT.Br * (kD + 1);                              // (Br, D + 1)
  float* sK = sDO + kT.Br * (kD + 1);                              // (Bc, D + 1)
  float* sV = sK + kT.Bc * (kD + 1);                               // (Bc, D + 1)
  float* sP = sV + kT.Bc * (kD + 1);                               // (Br, Bc + 1)
  float* sDS = sP + kT.Br * (kT.Bc + 1);                           // (Br, Bc + 1)
  float* sLSE = sDS + kT.Br * (kT.Bc + 1);                         // (Br)
  float* sDelta = sLSE + kT.Br;                                    // (Br)
  unsigned* sWords = reinterpret_cast<unsigned*>(sDelta + kT.Br);  // (Br) keys that a row sees
  unsigned* sSeenBy = sWords + kT.Br;                              // (Bc) rows that see a key

  /// K_j and V_j, from the head's first key on, of which there are Nk.
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
  /// The words of the rows from i0 on, which are not read if all are `whole`. gWords: of all Nq
  /// rows, for this tile of keys. Returns that of row threadIdx.x, 0 if there is none.
  __device__ __forceinline__ unsigned load_words(const Word<kT.Bc>* gWords, bool whole,
                                                 std::int64_t i0, std::int64_t Nq) const {
    unsigned word = 0;
    if (threadIdx.x < kT.Br && i0 + threadIdx.x < Nq) {
      word = whole ? kAllKeys<kT.Bc> : gWords[i0 + threadIdx.x];
    }
    if (threadIdx.x < kT.Br) sWords[threadIdx.x] = word;
    return word;
  }
  /// Makes sSeenBy, bit r of which says whether row r sees the key. word: as returned above; the
  /// first warp has all of them, and one vote per key turns them round.
  __device__ __forceinline__ void turn_words(unsigned word) const {
    if (threadIdx.x >= 32) return;  // a whole warp
    unsigned seen_by = 0;
    for (int key = 0; key < kT.Bc; ++key) {
      const unsigned rows = __ballot_sync(device::kAllLanes, static_cast<int>(word >> key & 1u));
      if (static_cast<int>(threadIdx.x) == key) seen_by = rows;
    }
    if (threadIdx.x < kT.Bc) sSeenBy[threadIdx.x] = seen_by;
  }

  /// dK and dV of a key in column c, from the rows that see it.
  template <class Rows>
  __device__ __forceinline__ void add_to_key(const Rows& seen_by, int key, int c, float& grad_k,
                                             float& grad_v) const {
#pragma unroll 4
    for (int r = 0; r < kT.Br; ++r) {
      if (!seen_by.sees(r)) continue;
      grad_v += sP[r * (kT.Bc + 1) + key] * sDO[r * (kD + 1) + c];
      grad_k += sDS[r * (kT.Bc + 1) + key] * sQ[r * (kD + 1) + c];
    }
  }
  /// dQ of row r in column c, from the keys that it sees.
  template <class Keys>
  __device__ __forceinline__ void add_to_query(const Keys& seen, int r, int c,
                                               float& grad_q) const {
#pragma unroll 8
    for (int j = 0; j < kT.Bc; ++j) {
      if (seen.sees(j)) grad_q += sDS[r * (kT.Bc + 1) + j] * sK[j * (kD + 1) + c];
    }
  }
};

}  // namespace attn::masks
