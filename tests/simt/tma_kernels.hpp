// SPDX-License-Identifier: MIT
//
// Kernels with mbarriers and copies by TMA, right and with one bug each.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "common/tensor_layout.hpp"

namespace attn::simt_test {

/// This file's name as the compiler sees it; line_of() looks up the marked lines in it.
const char* tma_kernels_file();

constexpr int kRingRows = 16;     // of a tile
constexpr int kRingColumns = 32;  // floats
constexpr int kRingStages = 3;    // at most

/// A ring of stages that only copies: one thread of warp 0 brings tile after tile by TMA, swizzled,
/// and the other `consumers` warps copy each, row by row, to out[tiles][16][32]. `in` has `rows`
/// rows of 32; rows beyond the last arrive as zeros.
enum class Ring {
  kRight,
  kFirstParity,       // the producer begins with parity 0
  kProducerParity,    // which never flips
  kConsumerParity,    // the consumers' never flips
  kNoEmptyWait,       // the producer does not wait until a stage is free
  kNoFullWait,        // the consumers wait until the first is full, and no more
  kOneLaneWaits,      // then only lane 0 of each warp does; the others vote with it
  kExpectTooLittle,   // half of the tile's bytes are announced
  kExpectTooMuch,     // and 128 more than it has
  kTwoCopies,         // a tile comes in two halves, of which one is announced
  kCountOfThreads,    // lane 0 arrives for its warp, and init() was told of all lanes
  kCountOfWarps,      // the other way round
  kNoInitFence,       // before TMA sees the barriers
  kNoInitBarrier,     // before the consumers use them
  kReleasedEarly,     // a stage is free before it has been read
  kNoSyncwarp,        // before lane 0 says so
  kWritten,           // consumers write to the tile when they have read it, and fence
  kWrittenNotFenced,  // they do not
  kOneTileMore,       // is brought than anyone waits for
  kBlockBarrier,      // consumers wait by one thread, and meet in __syncthreads: right
};
void run_ring(Ring variant, int stages, int consumers, int tiles, int rows, float* in, float* out);

/// One thread brings the box of `layout` at `corner` (`layout.rank` coordinates); out has its bytes
/// as they lie in shared memory, from byte `to` on, after a wait for them or without.
void run_box(const TensorLayout& layout, const std::array<int, 4>& corner, unsigned to, bool waits,
             unsigned* out);

/// One block of 64 threads fills a tile of 16 x 32 floats with 100 row + column, and one thread
/// stores it to rows first_row.. of out[rows][32]; then all fill it again with zeros.
enum class Store {
  kRight,
  kNoFence,          // between the proxies
  kLateFence,        // behind the barrier
  kOneFence,         // by one thread only
  kNoBarrier,        // before the store
  kNoWait,           // before the tile is filled again
  kNoSecondBarrier,  // between the wait and the zeros
  kEarlyBarrier,     // it stands before the wait
  kNoLastWait,       // at the end of the kernel
  kNoCommit,         // the wait is for nothing
  kWaitsTooFew,      // one group too many may be under way
};
void run_store(Store variant, int first_row, int rows, float* out);

/// Warp 0 fills 32 floats of shared memory with its lanes' numbers and arrives at an mbarrier; warp
/// 1 waits and stores element 31 - lane to out[lane].
enum class Arrival {
  kAllLanes,    // each lane for itself
  kOneLane,     // lane 0, behind a __syncwarp
  kNoSyncwarp,  // lane 0, without
  kTooEarly,    // before they have written
};
void run_arrival(Arrival variant, float* out);

/// The lanes of one warp meet at an mbarrier, each in its turn, and then each writes its number to
/// out[lane].
void run_meeting(float* out);

/// A kernel that misuses an mbarrier or TMA, one block of 32 threads with 8 KiB of shared memory;
/// `in` has 64 rows of 32 floats.
void run_tma_misuse(const std::string& name, float* in, float* out);

/// Threads that wait for mbarriers that nobody completes.
void run_deadlock(float* out);

}  // namespace attn::simt_test
