// SPDX-License-Identifier: MIT
#include "common/simt/models/matrix_descriptor.hpp"

namespace attn::simt {
namespace {

constexpr int kChunk = 8;         // elements
constexpr unsigned kBytes = 16;   // of a chunk
constexpr int kRowsOfABlock = 8;  // whatever its width

/// Sizes and distances are given in chunks, 14 bits each.
unsigned field(std::uint64_t bits, int first) {
  return static_cast<unsigned>(bits >> first & 0x3FFF) * kBytes;
}

}  // namespace

MatrixDescriptor decode_descriptor(std::uint64_t bits) {
  // Not numbered as in tensor maps.
  constexpr Swizzle kSwizzles[] = {Swizzle::kNone, Swizzle::k128, Swizzle::k64, Swizzle::k32};
  return {.start = field(bits, 0),
          .leading = field(bits, 16),
          .stride = field(bits, 32),
          .base_offset = static_cast<unsigned>(bits >> 49 & 7),
          .swizzle = kSwizzles[bits >> 62]};
}

unsigned chunk_address(const MatrixDescriptor& matrix, int mn, int k, bool mn_major) {
  // Chunks lie along k, and the layout's rows along mn; or the other way round.
  const int row_chunks = 1 << static_cast<int>(matrix.swizzle);  // W
  const int along = (mn_major ? mn : k) / kChunk;
  const int across = mn_major ? k : mn;
  const int chunk = along % row_chunks;
  // The next block along the chunks, and the next one across. Without a swizzle the two distances
  // change places where the matrix is MN-major.
  const bool plain = row_chunks == 1;
  const unsigned along_bytes = plain && mn_major ? matrix.stride : matrix.leading;
  const unsigned across_bytes = plain && mn_major ? matrix.leading : matrix.stride;
  const auto times = [](int count, unsigned bytes) { return static_cast<unsigned>(count) * bytes; };
  const unsigned address = matrix.start + times(along / row_chunks, along_bytes) +
                           times(across / kRowsOfABlock, across_bytes) +
                           times(across % kRowsOfABlock * row_chunks + chunk, kBytes);
  return swizzled(matrix.swizzle, address);
}

}  // namespace attn::simt
