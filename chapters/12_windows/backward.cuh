// SPDX-License-Identifier: MIT
//
// What both kernels of step 5 have in shared memory, and which pairs of a tile are visible.
#pragma once

#include "chapters/12_windows/sinks.hpp"
#include "chapters/12_windows/windows.hpp"
#include "common/device/recompute.cuh"
#include "common/device/tiles.cuh"

namespace attn::windows {

inline constexpr int kBackwardThreads = 128;

/// What recompute_tile asks of a tile (device::TilePlace), answered by a band.
struct BandPlace {
  TileSinkBand tile;
  std::int64_t rows_left, d;  // rows from the tile's first to the matrix's last

  __device__ __forceinline__ int rows(int Br) const {
    return rows_left < Br ? static_cast<int>(rows_left) : Br;
  }
  __device__ __forceinline__ bool sees(int r, int key, int /*Bc*/) const {
    return tile.sees(r, key);
  }
};

/// The block's shared memory, cut into tiles.
template <int kD>
struct SharedTiles {
  static constexpr BackwardTiles kT = backward_tiles_for(kD);
  static_assert(kT.floats() * sizeof(float) <= 48 * 1024);
  float* sQ = dynamic_shared<float>();      // (Br, D + 1)
  float* sDO = sQ + kT.Br * (kD + 1);       // (Br, D + 1)
  float* sK = sDO + kT.Br * (kD + 1);       // (Bc, D + 1)
  float* sV = sK + kT.Bc * (kD + 1);        // (Bc, D + 1)
  float* sP = sV + kT.Bc * (kD + 1);        // (Br, Bc + 1)
  float* sDS = sP + kT.Br * (kT.Bc + 1);    // (Br, Bc + 1)
  float* sLSE = sDS + kT.Br * (kT.Bc + 1);  // (Br)
  float* sDelta = sLSE + kT.Br;             // (Br)

  /// K_j and V_j, from the head's first valid key on, of which there are `keys`.
  __device__ __forceinline__ void load_keys(const float* gK, const float* gV, std::int64_t j0,
                                            std::int64_t keys, std::int64_t d) const {
    device::load_tile<kBackwardThreads, kT.Bc, kD>(sK, kD + 1, gK + j0 * d, keys - j0, d);
    device::load_tile<kBackwardThreads, kT.Bc, kD>(sV, kD + 1, gV + j0 * d, keys - j0, d);
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
};

}  // namespace attn::windows
