// SPDX-License-Identifier: MIT
//
// Tiles as wgmma and TMA want them: panels of 64 columns, one behind the other. A row of a panel is
// 128 bytes, eight chunks of 16, and chunk c of row r lies where chunk c ^ (r % 8) would: chapter
// 10's swizzle of 64 columns, which the hardware knows as the one of 128 bytes. Every panel starts
// at a multiple of 1,024 bytes.
#pragma once

#include "common/device/wgmma.cuh"

namespace attn::hopper {

inline constexpr int kPanel = 64;             // columns
inline constexpr unsigned kRowBytes = 128;    // of a panel
inline constexpr unsigned kEightRows = 1024;  // bytes after which the swizzle begins again

/// Columns 16 step to 16 step + 15 of a tile of kRows rows, from row `row` on, a multiple of 8: A,
/// or B whose columns are the tile's rows.
template <int kRows>
__device__ __forceinline__ std::uint64_t rows_descriptor(unsigned tile, int row, int step) {
  const int panel = step / (kPanel / 16);
  const unsigned start = tile + static_cast<unsigned>(panel * kRows + row) * kRowBytes +
                         static_cast<unsigned>(step % (kPanel / 16)) * 32;
  return device::matrix_descriptor(start, 16, kEightRows, Swizzle::k128);
}

/// Rows 16 step to 16 step + 15 of a tile of kRows rows: B whose rows are the tile's.
template <int kRows>
__device__ __forceinline__ std::uint64_t columns_descriptor(unsigned tile, int step) {
  return device::matrix_descriptor(tile + static_cast<unsigned>(step) * 16 * kRowBytes,
                                   kRows * kRowBytes, kEightRows, Swizzle::k128);
}

/// Calls `run.operator()<kD>()` with d, 64 or 128.
template <class Run>
void with_columns(std::int64_t d, Run run) {
  if (d == 64) return run.template operator()<64>();
  run.template operator()<128>();
}

}  // namespace attn::hopper
