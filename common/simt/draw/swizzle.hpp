// SPDX-License-Identifier: MIT
//
// Which banks ldmatrix reads where the rows of a tile follow each other, where 16 bytes of padding
// lie between them, and where their chunks are swizzled. The wavefronts are those that the tracer
// would count (transactions.hpp).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/simt/draw/diagram.hpp"

namespace attn::simt::draw {

inline constexpr int kChunkBytes = 16;  // what a lane names for ldmatrix, 8 elements
inline constexpr int kMatrixRows = 8;   // that one phase of ldmatrix reads

/// How a tile of 16-bit elements lies in shared memory.
struct TileLayout {
  enum Kind { kPlain, kPadded, kSwizzled };
  Kind kind;
  int elements;  // of a row

  int chunks() const { return elements * 2 / kChunkBytes; }
  /// Where chunk `chunk` of row `row` begins, in bytes.
  std::uintptr_t offset(int row, int chunk) const;
  /// For reading a matrix: chunk `chunk` of the rows row .. row + 7.
  std::uint64_t wavefronts(int row, int chunk) const;
};

/// The largest number of wavefronts that a matrix of the tile's first 64 rows takes, anywhere.
std::uint64_t worst_wavefronts(const TileLayout& layout);

/// "64" or "128". Throws Error(kBadArgument).
int parse_row_elements(std::string_view text);

Diagram draw_swizzle(int elements, const std::string& command);

}  // namespace attn::simt::draw
