// SPDX-License-Identifier: MIT
//
// Kernels whose warps hand tiles to each other through named barriers, right and with one bug each.
#pragma once

#include <string>

namespace attn::simt_test {

/// This file's name as the compiler sees it; line_of() looks up the marked lines in it.
const char* named_barrier_kernels_file();

/// Warp 0 brings `rounds` tiles of 32 floats from `in`, one after the other; each of the other
/// `consumers` warps adds them up, lane l element 31 - l, into its row of out[consumers][32].
enum class HandOver {
  kShared,         // through shared memory
  kGlobal,         // through `scratch`, 32 floats
  kNoFull,         // nobody tells the consumers that the tile is there
  kArriveFirst,    // the producer says so before it has written it
  kWriteAfter,     // and writes one element of it after it has said so
  kReadLate,       // the last consumer says that it is done before it has read the tile
  kReadLateFirst,  // the first one does
};
void run_hand_over(HandOver variant, unsigned consumers, int rounds, const float* in,
                   float* scratch, float* out);

/// One block of 96 threads. Warp 0 fills 32 floats of shared memory and tells warp 1, which tells
/// warp 2, which reads them: out[64 + l] = 31 - l.
enum class Relay {
  kInTurn,
  kTooEarly,    // warp 1 tells warp 2 before it has heard of warp 0
  kArriveOnly,  // and again afterwards, on a barrier where warp 2 does not wait
  kWholeBlock,  // behind the named barriers all threads meet, and all read
};
void run_relay(Relay variant, float* out);

/// One block of 64 threads; every lane writes an element and reads its neighbour's, in one warp.
enum class Neighbours { kSync, kArrive };
void run_neighbours(Neighbours variant, float* out);

/// A kernel that misuses named barriers, one block of 96 threads.
void run_misuse(const std::string& name, float* out);

}  // namespace attn::simt_test
