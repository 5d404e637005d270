// SPDX-License-Identifier: MIT
//
// Kernels that copy to shared memory without waiting, right and with one bug each.
#pragma once

#include <string>

namespace attn::simt_test {

/// This file's name as the compiler sees it; line_of() looks up the marked lines in it.
const char* async_copy_kernels_file();

constexpr int kCopyThreads = 64;  // of a block; a tile has 16 bytes for each

/// One block goes through `rounds` tiles with two buffers: the next tile comes while this one is
/// read. Thread t adds up the four words of the 16 bytes that thread 63 - t has copied. Only the
/// first `valid` threads' parts of a tile are read, the others are zeros.
enum class Pipeline {
  kRight,
  kNoWait,
  kWaitsTooLittle,   // one group too many may be under way
  kNoCommit,         // the copies are in no group
  kNoBarrier,        // the threads do not wait for each other's copies
  kOneBarrier,       // but for those of the first tile
  kNoSecondBarrier,  // nor for each other's reads, before the next copies
  kMatrices,         // the tile is read by ldmatrix, too early
  kStore,            // somebody stores to the tile that is under way
  kTwice             // somebody copies to it a second time
};
void run_pipeline(Pipeline variant, int rounds, int valid, const unsigned* in, unsigned* out);

/// One warp: each lane copies 16 bytes in a group, another 16 in a second group, and reads its own
/// first word of each with the second under way; of in[32][2][4].
void run_two_groups(bool wait_for_both, const unsigned* in, unsigned* out);

/// One warp: each lane copies 16 bytes, waits, and reads what its neighbour has copied.
void run_neighbour_copies(bool sync_warp, const unsigned* in, unsigned* out);

/// One warp copies 32 times 16 bytes, lane l to row l % 8, column 16 (l / 8) bytes, of rows of 128
/// bytes; `swizzled`: such that no two share a bank. out[l] is what lane l has copied, 4 bytes.
void run_copy_columns(bool swizzled, const unsigned* in, unsigned* out);

/// One warp: each lane copies 4 bytes, then 8, of which not all are valid in each, and stores its
/// number behind the 4. out[4 l + i] are these four words. (On the CPU machine.)
void run_small_copies(const unsigned* in, unsigned* out);

/// A kernel with a bug, one block of 32 threads; `in` has 128 words.
void run_copy_misuse(const std::string& name, const unsigned* in, unsigned* out);

}  // namespace attn::simt_test
