// SPDX-License-Identifier: MIT
//
// Kernels that are each held back by one resource of a GPU, as plain host functions: each launches
// one kernel with the given grid and block on device pointers.
#pragma once

namespace attn::simt_test {

/// out[i] = 2 * in[i], one element per thread: memory, or L2 where `in` is an intermediate result.
void run_scale(unsigned blocks, unsigned threads, const float* in, float* out);
/// out[i] = i: nothing is read.
void run_fill(unsigned blocks, unsigned threads, float* out);
/// out[block] = how many elements of the block's part of `in` are positive: every element is read,
/// and one float per block is written.
void run_count(unsigned blocks, unsigned threads, const float* in, float* out);
/// Every thread of every block reads the same 4 KiB, one float per lane and round: L1.
void run_reread(unsigned blocks, unsigned threads, int rounds, const float* in, float* out);
/// Every warp reads a column of a [32][32] tile in shared memory in each round: 32 wavefronts.
void run_columns(unsigned blocks, unsigned threads, int rounds, float* out);
/// `rounds` exponentials per thread, in registers.
void run_exponentials(unsigned blocks, unsigned threads, int rounds, float* out);
/// `rounds` multiply-adds per thread, in registers.
void run_multiply_adds(unsigned blocks, unsigned threads, int rounds, float* out);

}  // namespace attn::simt_test
