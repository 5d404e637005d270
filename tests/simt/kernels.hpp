// SPDX-License-Identifier: MIT
//
// The kernels that the tests of the CPU machine run, as plain host functions: each launches one
// kernel on device pointers and returns when it is done. They are compiled like a chapter's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace attn::simt_test {

/// dim3 for files that do not include CUDA's names.
struct Extent {
  unsigned x = 1, y = 1, z = 1;
  std::size_t count() const { return std::size_t{x} * y * z; }
};

// --- grid_kernels.cpp: who am I, where do I end -------------------------------------------------

inline constexpr int kIdentityWords = 13;
/// Each thread writes threadIdx, blockIdx, blockDim, gridDim and warpSize at its place in the order
/// (block, thread), x fastest. `words` holds kIdentityWords numbers per thread.
void run_identity(Extent grid, Extent block, unsigned* words);
/// Each thread of a 3-D block writes the linear thread id of lane 0 of its warp.
void run_warp_leaders(Extent block, unsigned* leaders);
/// out[i] = 2 * in[i] for i < n, blocks of `threads`.
void run_double(const int* in, int* out, std::int64_t n, unsigned threads);
/// Adds 1 to each element, one element per thread.
void run_increment(unsigned blocks, unsigned threads, unsigned* counts);
/// Each thread adds its own index to the kernel's parameter and writes the parameter out.
void run_private_parameters(unsigned threads, int base, int* out);
struct Affine {
  double slope;
  int offset;
};
/// out[i] = slope * i + offset, by a template kernel that gets a struct by value.
template <typename T>
void run_affine(unsigned threads, Affine affine, T* out);

// --- barrier_kernels.cpp ------------------------------------------------------------------------

/// Threads at and above `alive` return before the barrier; the others reverse `in` into `out`.
void run_reverse_survivors(unsigned threads, unsigned alive, const int* in, int* out);
/// In round r thread r leaves; the others write how many __syncthreads_count(1) saw.
/// counts[round * threads + thread]; rounds = threads.
void run_leave_one_by_one(unsigned threads, int* counts);
/// Inclusive prefix sum of each block's row, log2(threads) rounds with two barriers each.
void run_scan(unsigned blocks, unsigned threads, const int* in, int* out);
/// Block b passes a token through its threads in b rounds, a barrier in each.
void run_rounds_by_block(unsigned blocks, unsigned threads, int* out);
/// Barriers in the arms of a condition that is the same for the whole block.
void run_uniform_branches(unsigned blocks, unsigned threads, int* out);
/// For each round: what __syncthreads_count, _and, _or return to each thread for predicate[round].
/// Results [rounds][threads]. Threads at and above `alive` return first.
void run_barrier_reductions(unsigned threads, unsigned alive, int rounds, const int* predicates,
                            int* count, int* all, int* any);
/// Writes in global memory before a barrier are seen by the block's other threads after it.
void run_rotate_in_place(unsigned blocks, unsigned threads, int rounds, int* data);

// --- warp_kernels.cpp ---------------------------------------------------------------------------

enum class Shuffle { kIndex, kUp, kDown, kXor };
/// result[t] = the shuffle of values[t] by operands[t] among masks[warp]; lanes outside the mask do
/// not take part and leave result[t] alone. One block.
template <typename T>
void run_shuffle(Shuffle shuffle, unsigned threads, const unsigned* masks, int width,
                 const T* values, const int* operands, T* result);
/// Votes over predicates[t] among masks[warp]: any, all, ballot, each written by the lanes inside.
void run_votes(unsigned threads, const unsigned* masks, const int* predicates, int* any, int* all,
               unsigned* ballot);
/// __ballot_sync(0xffffffff, 1) and __activemask() of every thread.
void run_lane_census(unsigned threads, unsigned* ballot, unsigned* active);
/// Lanes at and above `alive` return; the others vote and shuffle with a full mask.
void run_full_mask_after_exit(int alive, unsigned* ballot, int* rotated);
/// The halves of a warp shuffle at different places, each with its own mask and its own number of
/// rounds, then meet again.
void run_split_warp(int low_rounds, int high_rounds, int* out);
/// Sum of each warp by a butterfly, `rounds` times, each warp a different number of times.
void run_butterfly(unsigned threads, const float* in, float* out);
/// Block sum: shuffles within warps, shared memory between them; any number of threads.
void run_block_sum(unsigned blocks, unsigned threads, const float* in, float* sums);
/// Lanes of each group of `group` lanes exchange through shared memory, ordered by
/// __syncwarp(mask).
void run_syncwarp_exchange(unsigned threads, int group, int rounds, int* out);

// --- memory_kernels.cpp -------------------------------------------------------------------------

/// Each block fills its static shared arrays with its own number and sums what it finds there.
void run_static_shared(unsigned blocks, unsigned threads, int* sums);
/// Each block reverses its part of `in` through dynamic shared memory; offsets[b] = address of the
/// dynamic shared memory modulo 1024.
void run_dynamic_shared(unsigned blocks, unsigned threads, const float* in, float* out,
                        unsigned* offsets);
/// Fills `words` of dynamic shared memory and a static array beside them, each with its own
/// pattern; changed[b] counts the words of block b that did not keep it.
void run_shared_sizes(unsigned blocks, unsigned threads, int words, int* changed);
/// Two kernels whose static shared arrays have the same name.
void run_same_name(int* first, int* second);

/// out[i] = in[i] moved as float4, float2, float.
void run_vector_copy(const float* in, float* out, int n, int width);
inline constexpr int kVectorFacts = 24;
/// sizeof and alignof of the vector types in a kernel, and the members that make_* fills.
void run_vector_facts(int* facts);

enum class Atomic { kAdd, kSub, kExch, kMin, kMax, kAnd, kOr, kXor, kInc, kDec, kCas };
/// Every thread applies the operation once to *target with operands[i] and writes what it got.
/// kCas: replaces 0 by the operand. T: int, unsigned.
template <typename T>
void run_atomic(Atomic op, unsigned blocks, unsigned threads, T* target, const T* operands,
                T* old_values);
/// atomicAdd of operands[i] to target[i % targets]; T: int, unsigned, unsigned long long, float,
/// double.
template <typename T>
void run_atomic_add(unsigned blocks, unsigned threads, T* target, unsigned targets,
                    const T* operands, T* old_values);
/// A 64-bit atomic maximum built from atomicCAS in a loop.
void run_cas_maximum(unsigned blocks, unsigned threads, unsigned long long* target,
                     const unsigned long long* operands);
/// Histogram: counted in shared memory with atomics, added to global memory with atomics.
void run_histogram(unsigned blocks, unsigned threads, const int* values, int n, int* bins,
                   int bin_count);

// --- math_kernels.cpp ---------------------------------------------------------------------------

enum class Unary {
  kExpf,
  kFastExp,
  kExp2f,
  kLogf,
  kFastLog,
  kLog2f,
  kFastLog2,
  kRsqrtf,
  kSqrtf,
  kReciprocal,
  kFabsf
};
void run_unary(Unary op, const float* in, float* out, int n);
enum class Binary { kFastDivide, kMax, kMin };
void run_binary(Binary op, const float* a, const float* b, float* out, int n);
/// fmaf of consecutive triples.
void run_fma(const float* triples, float* out, int n);
/// __popc, __ffs, __clz, __brev of each value: four results per value.
void run_bits(const unsigned* in, unsigned* out, int n);
/// out[i] = __ldg(in + i).
void run_ldg(const float* in, float* out, int n);

// --- failure_kernels.cpp: each has one bug, on the line marked with its name --------------------

/// This file's name as the compiler sees it; line_of() looks up the marked lines in it.
const char* failure_kernels_file();

enum class Failure {
  kDivergentBarrier,       // two __syncthreads() in the arms of a thread-dependent condition
  kDivergentKinds,         // __syncthreads() in one arm, __syncthreads_count() in the other
  kUnequalLoops,           // thread-dependent trip count around a barrier, another one behind it
  kShuffleAgainstBarrier,  // half a warp shuffles with a full mask, the other half is at a barrier
  kSelfNotInMask,          // a lane calls with a mask that lacks its own bit
  kUnequalMasks,           // the halves of a warp call with different masks that name each other
  kSyncwarpIncomplete,     // __syncwarp(full) by every other lane, the rest at a barrier
  kVoteIncomplete,         // __ballot_sync(full) by all lanes of a warp but one, that at a barrier
  kCircularWait,           // three lanes wait for each other in a ring
  kBadWidth,               // a shuffle of width 12
  kAbsentLane,             // a shuffle reads a lane that its mask does not name
  kExitedLane,             // a shuffle reads a lane that has exited
  kEndlessLoop,            // one thread counts past its end, without a memory access
  kEndlessBarrier,         // the whole block meets at a barrier for ever
  kEndlessWait,            // every thread waits for a value that nobody writes
  kBarrierAfterReturn,     // threads 50 to 63 return, the others go on to a barrier: legal
};
/// Grid (3, 2, 1), block (64, 1, 1); only block (2, 1, 0) misbehaves.
void run_failure(Failure failure, int* out);
/// Thread (7, 0, 0) of block (3, 0, 0) of 8 throws std::runtime_error("thread 7 of block 3").
void run_throw(int* out);
/// Every thread of every block throws.
void run_all_throw();
/// Launches one kernel that sets *ran = 1 with any configuration, legal or not.
void run_configuration(Extent grid, Extent block, std::size_t shared_bytes, int* ran);

// --- detectors_kernels.cpp: bugs that only the detectors see, each beside its repaired twin ------

const char* detectors_kernels_file();

/// Arrays of n floats. All but `scratch` are initialised.
struct Arrays {
  const float* in;
  float* out;
  float* result;
  float* scratch;
  const float* foreign;  // a pointer that a kernel may not use
  int n;
};
inline constexpr unsigned kDetectorBlocks = 3, kDetectorThreads = 64;
/// Launches `<name>_kernel`, grid 3, block 64.
void run_bug(const std::string& name, bool repaired, const Arrays& arrays);
std::vector<std::string> bug_names();
/// Legal accesses that lie close to a race: bytes of one word, reads of one word, atomics.
void run_close_to_a_race(const Arrays& arrays);
/// out[i] = i in one launch; result[i] = out[n - 1 - i], read by other blocks, in a second one.
void run_two_launches(const Arrays& arrays);

}  // namespace attn::simt_test
