// SPDX-License-Identifier: MIT
//
// Kernels whose memory traffic can be worked out by hand, as plain host functions: each launches
// one kernel on device pointers. What is expected of each, and why, stands in tracer_test.cpp.
#pragma once

#include <array>

namespace attn::simt_test {

/// This file's kernels, as the compiler sees the file's name.
const char* tracer_kernels_file();
/// The line of the naive matmul that loads A; the next one loads B.
int naive_matmul_load_line();

enum class Move {
  kGlobalLoad,
  kGlobalStore,
  kGlobalAtomic,  // 4 bytes
  kSharedLoad,
  kSharedStore,
  kSharedAtomic  // 4 bytes
};

inline constexpr int kPatternBytes = 32 * 1024;
/// One warp, one access: each lane in `lanes` moves `bytes` (1, 2, 4, 8 or 16) at its offset, below
/// kPatternBytes, in the array or in the block's dynamic shared memory. `threads` lanes exist.
struct Pattern {
  Move move = Move::kGlobalLoad;
  int bytes = 4;
  unsigned lanes = ~0u;
  unsigned threads = 32;
  std::array<int, 32> offsets = {};
};
/// `array`: kPatternBytes of zeros.
void run_pattern(const Pattern& pattern, unsigned char* array);

enum class Matmul { kNaive, kSwappedIndices, kTiled };
/// C = A B, n x n, n a multiple of 32. One thread per element of C.
void run_matmul(Matmul kind, const float* A, const float* B, float* C, int n);

inline constexpr int kProductRows = 8;
inline constexpr int kProductKeys = 16;
inline constexpr int kProductD = 32;
/// S = Q K^T for Q (kProductRows, kProductD), K (kProductKeys, kProductD) in shared memory, rows
/// padded to kProductD + 4: one warp of 4 x 8 lanes, each with 2 rows and 2 keys, which it reads
/// 16 bytes at a time. Lane l has rows and keys of number l / 8 and l % 8; with `pairs`, of the
/// numbers made of its bits 1, 4 and 0, 2, 3, so that it shares its rows with lane l ^ 1 and its
/// keys with lane l ^ 2.
void run_product(bool pairs, const float* Q, const float* K, float* S);

/// out = transpose of in, 32 x 32, through a [32][32] or a [32][33] shared tile.
void run_transpose(bool padded, const float* in, float* out);

/// out[lane] = sum over rows i >= lane of weights[i] * S[i][lane], for S (rows, 32): one warp.
void run_causal_columns(const float* weights, const float* S, float* out, int rows);
/// The same without weights: a lane that skips a row runs no access at all.
void run_late_lanes(const float* S, float* out, int rows);
/// out[lane] = sum of x[r][j], x (rounds, 4), over j <= (lane + r) % 4: one warp, loops in a loop.
void run_nested_loops(const float* x, float* out, int rounds);
/// out[lane] = x[0] + ... + x[lane]: one warp, lane-dependent trip count.
void run_uneven_loop(const float* x, float* out);
/// Of `threads` threads those below n go on: even ones load a, odd ones b, and all of those store.
void run_branches(unsigned threads, int n, const float* a, const float* b, float* out);
/// Lane 0 first loads x[0 .. count), alone; then each lane loads x[lane].
void run_lone_lane(const float* x, float* out, int count);
/// below[lane] = f(lane % 2), above[lane] = g(lane % 2); f and g are called and branch on that.
void run_calls(float* below, float* above);
/// In each round a coalesced load and a shuffle in groups of 8 lanes; then one of half the warp.
void run_group_shuffles(const float* x, float* out, int rounds);
/// In each round a coalesced load and a shuffle of all lanes.
void run_shuffle_rounds(const float* x, float* out, int rounds);
/// Lanes 0-15 load from shared memory, lanes 16-31 from global memory, through one pointer.
void run_mixed_spaces(const float* x, float* out);

/// out[lane] = what three votes, a shuffle of 32 bits and one of 64 say; then, apart from each
/// other, the lower and the upper half of the warp shuffle among themselves.
void run_warp_instructions(const float* x, float* out);

/// data[i] += 1.
void run_in_place(float* data, unsigned blocks, unsigned threads);
/// Thread t loads float 8 t and stores float 8 t + 4: one half of each sector each.
void run_half_sectors(float* data, unsigned threads);
/// Thread t stores out[2 t] = make_float4 of constants, out[2 t + 1] = make_float4 of x[4 t...].
void run_make_float4(const float* x, float* out, unsigned threads);
/// Every thread adds its n-th part of x[0 .. 1024) again and again.
void run_rounds(const float* x, float* out, unsigned blocks, unsigned threads, int rounds);
/// Every thread adds 1 to *counter, and 1 to a counter in shared memory.
void run_counters(int* counter, unsigned blocks, unsigned threads);

/// Each block passes `rounds` barriers, with the threads at and above `alive` gone.
void run_barriers(unsigned blocks, unsigned threads, unsigned alive, int rounds, int* out);
inline constexpr int kSpecialFunctions = 7;  // calls per thread of the kernel below
/// Calls every function that runs on the special-function unit once, and others that do not.
void run_special_functions(unsigned threads, const float* in, float* out);
/// `threads` bytes of the dynamic shared memory are used.
void run_dynamic_shared_bytes(unsigned threads, unsigned shared_bytes, unsigned char* out);

}  // namespace attn::simt_test
