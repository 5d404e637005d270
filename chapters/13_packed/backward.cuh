// SPDX-License-Identifier: MIT
//
// What both kernels of step 4 have in shared memory, and which pairs of a tile are visible.
#pragma once

#include "chapters/13_packed/packed.hpp"
#include "chapters/13_packed/ranges.cuh"
#include "chapters/13_packed/sequences.hpp"
#include "common/device/recompute.cuh"
#include "common/device/tiles.cuh"

namespace attn::packed {

inline constexpr int kBackwardThreads = 128;

/// A (Br, Bc) tile of a sequence: its first key, its rows and what they see.
struct RangePlace {
  std::int64_t j0, rows_left, d;
  const RowKeys* sKeys;  // (Br)

  /// Rows of the tile that lie inside the matrix.
  __device__ __forceinline__ int rows(int Br) const {
    return rows_left < Br ? static_cast<int>(rows_left) : Br;
  }
  /// Whether row r of the tile sees key j0 + key.
  __device__ __forceinline__ bool sees(int r, int key, int /*Bc*/) const {
    return sKeys[r].has(j0 + key);
  }
  /// Bit r: whether row r of the tile sees key j0 + key.
  __device__ __forceinline__ unsigned rows_of(int key, int Br) const {
    unsigned bits = 0;
    for (int r = 0; r < Br; ++r) bits |= (sKeys[r].has(j0 + key) ? 1u : 0u) << r;
    return bits;
  }
};

/// The block's shared memory, cut into tiles.
template <int kD>
struct SharedTiles {
  static constexpr BackwardTiles kT = backward_tiles_for(kD);
  static constexpr std::size_t kBytes =
      kT.floats() * sizeof(float) + kT.Br * sizeof(RowKeys) + kT.Bc * sizeof(unsigned);
  static_assert(kT.floats() % 2 == 0 && kT.Br <= 32 && kBytes <= 48 * 1024);
  float* sQ = dynamic_shared<float>();                             // (Br, D + 1)
  float* sDO = sQ + kT.Br * (kD + 1);                              // (Br, D + 1)
  float* sK = sDO + kT.Br * (kD + 1);                              // (Bc, D + 1)
  float* sV = sK + kT.Bc * (kD + 1);                               // (Bc, D + 1)
  float* sP = sV + kT.Bc * (kD + 1);                               // (Br, Bc + 1)
  float* sDS = sP + kT.Br * (kT.Bc + 1);                           // (Br, Bc + 1)
  float* sLSE = sDS + kT.Br * (kT.Bc + 1);                         // (Br)
  float* sDelta = sLSE + kT.Br;                                    // (Br)
  RowKeys* sKeys = reinterpret_cast<RowKeys*>(sDelta + kT.Br);     // (Br)
  unsigned* sSeenBy = reinterpret_cast<unsigned*>(sKeys + kT.Br);  // (Bc)

  /// K_j and V_j, from the sequence's first key on, of which there are Nk.
  __device__ __forceinline__ void load_keys(const float* gK, const float* gV, std::int64_t j0,
                                            std::int64_t Nk, std::int64_t d) const {
    device::load_tile<kBackwardThreads, kT.Bc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kBackwardThreads, kT.Bc, kD>(sV, kD + 1, gV + j0 * d, Nk - j0, d);
  }
  /// Q_i, dO_i, LSE_i and delta_i, from the sequence's first query on, and what row threadIdx.x
  /// sees.
  __device__ __forceinline__ void load_queries(const float* gQ, const float* gDO, const float* gLSE,
                                               const float* gDelta, const RowKeys& own,
                                               std::int64_t i0, std::int64_t Nq,
                                               std::int64_t d) const {
    device::load_tile<kBackwardThreads, kT.Br, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
    device::load_tile<kBackwardThreads, kT.Br, kD>(sDO, kD + 1, gDO + i0 * d, Nq - i0, d);
    if (threadIdx.x >= kT.Br) return;
    sKeys[threadIdx.x] = own;
    if (i0 + threadIdx.x >= Nq) return;
    sLSE[threadIdx.x] = gLSE[i0 + threadIdx.x];
    sDelta[threadIdx.x] = gDelta[i0 + threadIdx.x];
  }
};

}  // namespace attn::packed
