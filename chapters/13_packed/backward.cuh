// SPDX-License-Identifier: MIT
//
// What both kernels of step 4 have in shared memory, and which pairs of a tile are visible.
#pragma once

#include "chapters/13_packed/packed.hpp"
#include "chapters/13_packed/ranges.cuh"
#include "chapters/13_packed/sequences.hpp"
#include "common/device/masked_rows.cuh"
#include "common/device/recompute.cuh"
#include "common/device/tiles.cuh"

namespace attn::packed {

inline constexpr int kBackwardThreads = 128;

/// A (Br, Bc) tile of a sequence: how many of its rows are left, and what they see.
struct WordPlace {
  std::int64_t rows_left, d;
  device::WordTile seen;

  /// Rows of the tile that lie inside the matrix.
  __device__ __forceinline__ int rows(int Br) const {
    return rows_left < Br ? static_cast<int>(rows_left) : Br;
  }
  /// Whether row r of the tile sees this key of it.
  __device__ __forceinline__ bool sees(int r, int key, int /*Bc*/) const {
    return seen.row(r).sees(key);
  }
};

/// The words of up to 32 rows, read across by votes: lane r brings row r's and takes that of key r,
/// whose bits are rows. All 32 lanes of a warp must call it.
template <int kKeys>
__device__ __forceinline__ unsigned rows_of_key(unsigned keys_of_row) {
  const int lane = threadIdx.x % 32;
  unsigned rows = 0;
  for (int key = 0; key < kKeys; ++key) {
    const unsigned voters = __ballot_sync(device::kAllLanes, (keys_of_row >> key & 1u) != 0);
    if (lane == key) rows = voters;
  }
  return rows;
}

/// The block's shared memory, cut into tiles.
template <int kD>
struct SharedTiles {
  static constexpr BackwardTiles kT = backward_tiles_for(kD);
  static constexpr std::size_t kBytes =
      kT.floats() * sizeof(float) + SharedKeys<kT.Br>::kBytes + (kT.Br + kT.Bc) * sizeof(unsigned);
  static_assert(kT.floats() % 2 == 0 && kT.Br <= 32 && kT.Bc <= 32 && kBytes <= 48 * 1024);
  float* sQ = dynamic_shared<float>();      // (Br, D + 1)
  float* sDO = sQ + kT.Br * (kD + 1);       // (Br, D + 1)
  float* sK = sDO + kT.Br * (kD + 1);       // (Bc, D + 1)
  float* sV = sK + kT.Bc * (kD + 1);        // (Bc, D + 1)
  float* sP = sV + kT.Bc * (kD + 1);        // (Br, Bc + 1)
  float* sDS = sP + kT.Br * (kT.Bc + 1);    // (Br, Bc + 1)
  float* sLSE = sDS + kT.Br * (kT.Bc + 1);  // (Br)
  float* sDelta = sLSE + kT.Br;             // (Br)
  SharedKeys<kT.Br> sKeys{reinterpret_cast<std::int64_t*>(sDelta + kT.Br)};
  unsigned* sSeen = reinterpret_cast<unsigned*>(sKeys.sBounds + 4 * kT.Br);  // (Br) words of a tile
  unsigned* sSeenBy = sSeen + kT.Br;  // (Bc) the same by keys

  /// K_j and V_j, from the sequence's first key on, of which there are Nk.
  __device__ __forceinline__ void load_keys(const float* gK, const float* gV, std::int64_t j0,
                                            std::int64_t Nk, std::int64_t d) const {
    device::load_tile<kBackwardThreads, kT.Bc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kBackwardThreads, kT.Bc, kD>(sV, kD + 1, gV + j0 * d, Nk - j0, d);
  }
  /// Q_i, dO_i, LSE_i and delta_i, from the sequence's first query on, of which there are Nq.
  __device__ __forceinline__ void load_queries(const float* gQ, const float* gDO, const float* gLSE,
                                               const float* gDelta, std::int64_t i0,
                                               std::int64_t Nq, std::int64_t d) const {
    device::load_tile<kBackwardThreads, kT.Br, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
    device::load_tile<kBackwardThreads, kT.Br, kD>(sDO, kD + 1, gDO + i0 * d, Nq - i0, d);
    if (threadIdx.x >= kT.Br || i0 + threadIdx.x >= Nq) return;
    sLSE[threadIdx.x] = gLSE[i0 + threadIdx.x];
    sDelta[threadIdx.x] = gDelta[i0 + threadIdx.x];
  }
};

}  // namespace attn::packed
