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
  constexpr int kRowChunks[] = {1, 8, 4, 2};  // by the upper two bits
  return {.start = field(bits, 0),
          .leading = field(bits, 16),
          .stride = field(bits, 32),
          .base_offset = static_cast<unsigned>(bits >> 49 & 7),
          .row_chunks = kRowChunks[bits >> 62]};
}

unsigned chunk_address(const MatrixDescriptor& matrix, int mn, int k, bool mn_major) {
  // Chunks lie along k, and the layout's rows along mn; or the other way round.
  const int along = (mn_major ? mn : k) / kChunk;
  const int across = mn_major ? k : mn;
  const int chunk = along % matrix.row_chunks;
  // The next block along the chunks, and the next one across. Without a swizzle the two distances
  // change places where the matrix is MN-major.
  const bool plain = matrix.row_chunks == 1;
  const unsigned along_bytes = plain && mn_major ? matrix.stride : matrix.leading;
  const unsigned across_bytes = plain && mn_major ? matrix.leading : matrix.stride;
  const auto times = [](int count, unsigned bytes) { return static_cast<unsigned>(count) * bytes; };
  const unsigned address = matrix.start + times(along / matrix.row_chunks, along_bytes) +
                           times(across / kRowsOfABlock, across_bytes) +
                           times(across % kRowsOfABlock * matrix.row_chunks + chunk, kBytes);
  // The swizzle acts on the address: of 128 bytes 1, 2, 4 or 8 chunks change places, as the number
  // of the 128 bytes says.
  return address ^ (address >> 7 & static_cast<unsigned>(matrix.row_chunks - 1)) << 4;
}

}  // namespace attn::simt
