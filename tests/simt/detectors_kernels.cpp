// SPDX-License-Identifier: MIT
//
// One bug per kernel, that only a detector sees. `// bug: <name>` marks the line that the report
// must name; where two accesses race, both lines carry the mark. With kRepaired the same kernel is
// right. Where the bug is inside one block, only block 1 has it.
#include <stdexcept>

#include "common/device/cuda.cuh"
#include "tests/simt/kernels.hpp"

namespace attn::simt_test {
namespace {

constexpr unsigned kFullMask = 0xFFFFFFFFu;
constexpr int kThreads = static_cast<int>(kDetectorThreads);

__device__ int thread() { return static_cast<int>(threadIdx.x); }
__device__ int global_thread() { return static_cast<int>(blockIdx.x) * kThreads + thread(); }
__device__ bool misbehaves() { return blockIdx.x == 1; }

// --- out of bounds: n = 191, one element less than there are threads ---------------------------

template <bool kRepaired>
__global__ void read_past_end_kernel(Arrays a) {
  const int i = global_thread();
  if (i >= a.n) return;
  const int next = kRepaired && i + 1 == a.n ? i : i + 1;
  const float value = a.in[next];  // bug: read_past_end
  a.out[i] = value;
}

template <bool kRepaired>
__global__ void read_before_start_kernel(Arrays a) {
  const int i = global_thread();
  if (i >= a.n) return;
  const int previous = kRepaired && i == 0 ? 0 : i - 1;
  const float value = a.in[previous];  // bug: read_before_start
  a.out[i] = value;
}

template <bool kRepaired>
__global__ void write_past_end_kernel(Arrays a) {
  const int i = global_thread();
  if (kRepaired ? i < a.n : i <= a.n) {
    a.out[i] = 1.0f;  // bug: write_past_end
  }
}

template <bool kRepaired>
__global__ void write_before_start_kernel(Arrays a) {
  const int i = global_thread();
  if (i >= a.n) return;
  const int to = kRepaired ? i : i - 1;
  a.out[to] = 1.0f;  // bug: write_before_start
}

template <bool kRepaired>
__global__ void vector_past_end_kernel(Arrays a) {
  const int i = global_thread();
  const int vectors = kRepaired ? a.n / 4 : (a.n + 3) / 4;
  if (i >= vectors) return;
  const float4 value = reinterpret_cast<const float4*>(a.in)[i];  // bug: vector_past_end
  a.out[i] = value.x + value.w;
}

template <bool kRepaired>
__global__ void atomic_past_end_kernel(Arrays a) {
  const int i = global_thread();
  if (kRepaired ? i < a.n : i <= a.n) {
    atomicAdd(a.out + i, 1.0f);  // bug: atomic_past_end
  }
}

template <bool kRepaired>
__global__ void foreign_pointer_kernel(Arrays a) {
  const int i = global_thread();
  if (i >= a.n) return;
  const float* from = kRepaired ? a.in : a.foreign;
  const float value = from[i];  // bug: foreign_pointer
  a.out[i] = value;
}

template <bool kRepaired>
__global__ void dynamic_shared_past_end_kernel(Arrays a) {
  float* tile = dynamic_shared<float>();  // (blockDim.x)
  const int t = thread();
  const int to = kRepaired || !misbehaves() ? t : t + 1;
  tile[to] = 1.0f;  // bug: dynamic_shared_past_end
  a.out[global_thread()] = tile[to];
}

// --- misaligned ---------------------------------------------------------------------------------

template <bool kRepaired>
__global__ void misaligned_float4_kernel(Arrays a) {
  const int i = global_thread();
  if (i >= a.n / 4 - 1) return;
  const float* from = a.in + 4 * i + (kRepaired ? 0 : 1);
  const float4 value = *reinterpret_cast<const float4*>(from);  // bug: misaligned_float4
  a.out[i] = value.x;
}

template <bool kRepaired>
__global__ void misaligned_float2_kernel(Arrays a) {
  const int i = global_thread();
  if (i >= a.n / 2 - 1) return;
  float* to = a.out + 2 * i + (kRepaired ? 0 : 1);
  *reinterpret_cast<float2*>(to) = make_float2(1.0f, 2.0f);  // bug: misaligned_float2
}

template <bool kRepaired>
__global__ void misaligned_shared_kernel(Arrays a) {
  float* tile = dynamic_shared<float>();  // (blockDim.x)
  const int t = thread();
  tile[t] = a.in[t];
  __syncthreads();  // the tile is complete
  if (t >= 8) return;
  const float* from = tile + 4 * t + (kRepaired || !misbehaves() ? 0 : 2);
  const float4 value = *reinterpret_cast<const float4*>(from);  // bug: misaligned_shared
  a.out[global_thread()] = value.x;
}

// --- uninitialised ------------------------------------------------------------------------------

template <bool kRepaired>
__global__ void shared_uninitialised_kernel(Arrays a) {
  __shared__ float tile[kThreads];
  const int t = thread();
  if (kRepaired || !misbehaves() || t != 5) tile[t] = 1.0f;
  __syncthreads();
  const float value = tile[kThreads - 1 - t];  // bug: shared_uninitialised
  a.out[global_thread()] = value;
}

// Block 1 relies on what block 0 left in shared memory.
template <bool kRepaired>
__global__ void shared_carried_over_kernel(Arrays a) {
  float* tile = dynamic_shared<float>();  // (blockDim.x)
  const int t = thread();
  if (kRepaired || !misbehaves()) tile[t] = 1.0f;
  __syncthreads();
  const float value = tile[t];  // bug: shared_carried_over
  a.out[global_thread()] = value;
}

template <bool kRepaired>
__global__ void global_uninitialised_kernel(Arrays a) {
  const int i = global_thread();
  if (kRepaired || i != 70) a.scratch[i] = 1.0f;
  const float value = a.scratch[i];  // bug: global_uninitialised
  a.out[i] = value;
}

template <bool kRepaired>
__global__ void bytes_uninitialised_kernel(Arrays a) {
  const int i = global_thread();
  unsigned char* bytes = reinterpret_cast<unsigned char*>(a.scratch + i);
  bytes[0] = 0;
  bytes[1] = 0;
  bytes[3] = 0x40;
  if (kRepaired || i != 64) bytes[2] = 0;
  const float value = a.scratch[i];  // bug: bytes_uninitialised
  a.out[i] = value;
}

template <bool kRepaired>
__global__ void atomic_uninitialised_kernel(Arrays a) {
  const int i = global_thread();
  if (kRepaired || i != 100) a.scratch[i] = 1.0f;
  atomicAdd(a.scratch + i, 1.0f);  // bug: atomic_uninitialised
}

// --- races in shared memory ---------------------------------------------------------------------

/// Makes a shared array's contents defined, so that a race is the only bug left.
__device__ void clear(float* tile) {
  tile[thread()] = 0.0f;
  __syncthreads();
}

template <bool kRepaired>
__global__ void shared_read_after_write_kernel(Arrays a) {
  __shared__ float tile[kThreads];
  clear(tile);
  const int t = thread();
  tile[t] = 1.0f;  // bug: shared_read_after_write
  if (kRepaired || !misbehaves()) __syncthreads();
  const float value = tile[(t + 1) % kThreads];  // bug: shared_read_after_write
  a.out[global_thread()] = value;
}

template <bool kRepaired>
__global__ void shared_write_after_read_kernel(Arrays a) {
  __shared__ float tile[kThreads];
  clear(tile);
  const int t = thread();
  const float value = tile[(t + 1) % kThreads];  // bug: shared_write_after_read
  if (kRepaired || !misbehaves()) __syncthreads();
  tile[t] = value + 1.0f;  // bug: shared_write_after_read
  a.out[global_thread()] = value;
}

// Two warps write the same elements.
template <bool kRepaired>
__global__ void shared_write_after_write_kernel(Arrays a) {
  __shared__ float tile[kThreads];
  const int t = thread();
  const int to = kRepaired || !misbehaves() ? t : t % 32;
  tile[to] = static_cast<float>(t);  // bug: shared_write_after_write
  __syncthreads();
  a.out[global_thread()] = tile[kRepaired || !misbehaves() ? t : t % 32];
}

// Two lanes of a warp write the same element in the same instruction.
template <bool kRepaired>
__global__ void shared_write_same_kernel(Arrays a) {
  __shared__ float tile[kThreads];
  const int t = thread();
  const int to = kRepaired || !misbehaves() ? t : t / 2;
  tile[to] = static_cast<float>(t);  // bug: shared_write_same
  __syncthreads();
  a.out[global_thread()] = tile[kRepaired || !misbehaves() ? t : t / 2];
}

// The barrier before the next tile is loaded is missing.
template <bool kRepaired>
__global__ void shared_tile_loop_kernel(Arrays a) {
  __shared__ float tile[kThreads];
  const int t = thread();
  float sum = 0.0f;
  for (int round = 0; round < 3; ++round) {
    tile[t] = a.in[t];              // bug: shared_tile_loop
    __syncthreads();                // the tile is complete
    sum += tile[kThreads - 1 - t];  // bug: shared_tile_loop
    if (kRepaired || !misbehaves()) __syncthreads();
  }
  a.out[global_thread()] = sum;
}

template <bool kRepaired>
__global__ void shared_atomic_then_read_kernel(Arrays a) {
  __shared__ int count;
  if (thread() == 0) count = 0;
  __syncthreads();
  atomicAdd(&count, 1);  // bug: shared_atomic_then_read
  if (kRepaired || !misbehaves()) __syncthreads();
  const int value = count;  // bug: shared_atomic_then_read
  a.out[global_thread()] = static_cast<float>(value);
}

// Lanes that run together today need not tomorrow: only __syncwarp orders what they exchange.
template <bool kRepaired>
__global__ void syncwarp_missing_kernel(Arrays a) {
  __shared__ float tile[kThreads];
  clear(tile);
  const int t = thread();
  tile[t] = 1.0f;  // bug: syncwarp_missing
  if (kRepaired || !misbehaves()) __syncwarp();
  const float value = tile[t ^ 1];  // bug: syncwarp_missing
  a.out[global_thread()] = value;
}

// Four lanes read four words at once, among them each its own: that one is no race.
template <bool kRepaired>
__global__ void syncwarp_missing_wide_kernel(Arrays a) {
  alignas(16) __shared__ float tile[kThreads];
  clear(tile);
  const int t = thread();
  tile[t] = 1.0f;  // bug: syncwarp_missing_wide
  if (kRepaired || !misbehaves()) __syncwarp();
  const float4 values = reinterpret_cast<const float4*>(tile)[t / 4];  // bug: syncwarp_missing_wide
  a.out[global_thread()] = values.x;
}

template <bool kRepaired>
__global__ void shuffle_does_not_order_kernel(Arrays a) {
  __shared__ float tile[kThreads];
  clear(tile);
  const int t = thread();
  tile[t] = 1.0f;  // bug: shuffle_does_not_order
  const int other = __shfl_xor_sync(kFullMask, t, 1);
  if (kRepaired || !misbehaves()) __syncwarp();
  const float value = tile[other];  // bug: shuffle_does_not_order
  a.out[global_thread()] = value;
}

template <bool kRepaired>
__global__ void syncwarp_wrong_lanes_kernel(Arrays a) {
  __shared__ float tile[kThreads];
  clear(tile);
  const int t = thread();
  const unsigned half = t % 32 < 16 ? 0x0000FFFFu : 0xFFFF0000u;
  tile[t] = 1.0f;  // bug: syncwarp_wrong_lanes
  __syncwarp(kRepaired || !misbehaves() ? kFullMask : half);
  const float value = tile[t ^ 16];  // bug: syncwarp_wrong_lanes
  a.out[global_thread()] = value;
}

template <bool kRepaired>
__global__ void syncwarp_across_warps_kernel(Arrays a) {
  __shared__ float tile[kThreads];
  clear(tile);
  const int t = thread();
  tile[t] = 1.0f;  // bug: syncwarp_across_warps
  __syncwarp();
  if (kRepaired || !misbehaves()) __syncthreads();
  const float value = tile[t ^ 32];  // bug: syncwarp_across_warps
  a.out[global_thread()] = value;
}

// Warp 0 writes both halves of each word, warp 1 the lower ones again.
template <bool kRepaired>
__global__ void shared_half_kernel(Arrays a) {
  __shared__ unsigned short tile[kThreads];
  const int t = thread();
  if (t < 32) {
    tile[2 * t] = static_cast<unsigned short>(t);  // bug: shared_half
    tile[2 * t + 1] = 1;
  }
  if (kRepaired || !misbehaves()) __syncthreads();
  if (t >= 32) {
    tile[2 * (t - 32)] = static_cast<unsigned short>(t);  // bug: shared_half
  }
  __syncthreads();
  a.out[global_thread()] = static_cast<float>(tile[t]);
}

// Two lanes write the halves of a word, a third reads it whole.
template <bool kRepaired>
__global__ void shared_halves_kernel(Arrays a) {
  alignas(4) __shared__ unsigned short tile[kThreads];
  const int t = thread();
  tile[t] = 0;
  __syncthreads();                           // whatever else is wrong, the tile is initialised
  tile[t] = static_cast<unsigned short>(t);  // bug: shared_halves
  if (kRepaired || !misbehaves()) __syncthreads();
  if (t >= 32) {
    const unsigned value = reinterpret_cast<const unsigned*>(tile)[t - 32];  // bug: shared_halves
    a.out[global_thread()] = static_cast<float>(value);
  }
}

// --- races in global memory, within a block -----------------------------------------------------

template <bool kRepaired>
__global__ void global_read_after_write_kernel(Arrays a) {
  float* mine = a.out + blockIdx.x * kDetectorThreads;  // (blockDim.x)
  const int t = thread();
  mine[t] = 1.0f;  // bug: global_read_after_write
  if (kRepaired || !misbehaves()) __syncthreads();
  const float value = mine[(t + 1) % kThreads];  // bug: global_read_after_write
  a.result[global_thread()] = value;
}

template <bool kRepaired>
__global__ void global_write_after_read_kernel(Arrays a) {
  float* mine = a.out + blockIdx.x * kDetectorThreads;  // (blockDim.x)
  const int t = thread();
  const float value = mine[(t + 1) % kThreads];  // bug: global_write_after_read
  if (kRepaired || !misbehaves()) __syncthreads();
  mine[t] = value;  // bug: global_write_after_read
}

template <bool kRepaired>
__global__ void global_write_after_write_kernel(Arrays a) {
  const int i = global_thread();
  const int to = kRepaired || !misbehaves() ? i : i - i % 64 + i % 32;
  a.out[to] = static_cast<float>(i);  // bug: global_write_after_write
}

template <bool kRepaired>
__global__ void global_syncwarp_missing_kernel(Arrays a) {
  const int i = global_thread();
  a.out[i] = 1.0f;  // bug: global_syncwarp_missing
  if (kRepaired || !misbehaves()) __syncwarp();
  const float value = a.out[i ^ 1];  // bug: global_syncwarp_missing
  a.result[i] = value;
}

// Whole words first, then a half of each by the neighbour's lane. Each block has its own words, so
// that none is split before.
template <bool kRepaired>
__global__ void global_word_then_half_kernel(Arrays a) {
  float* mine = a.out + blockIdx.x * kDetectorThreads;  // (blockDim.x)
  const int t = thread();
  mine[t] = 1.0f;  // bug: global_word_then_half
  if (kRepaired || !misbehaves()) __syncwarp();
  reinterpret_cast<unsigned short*>(mine)[2 * (t ^ 1) + 1] = 2;  // bug: global_word_then_half
}

template <bool kRepaired>
__global__ void global_half_kernel(Arrays a) {
  unsigned short* mine =
      reinterpret_cast<unsigned short*>(a.out + blockIdx.x * kDetectorThreads);  // (2 * blockDim.x)
  const int t = thread();
  if (t < 32) {
    mine[2 * t + 1] = static_cast<unsigned short>(t);  // bug: global_half
    mine[2 * t] = 1;
  }
  if (kRepaired || !misbehaves()) __syncthreads();
  if (t >= 32) {
    mine[2 * (t - 32) + 1] = static_cast<unsigned short>(t);  // bug: global_half
  }
}

// --- races between blocks -----------------------------------------------------------------------

template <bool kRepaired>
__global__ void blocks_write_write_kernel(Arrays a) {
  const int to = kRepaired ? global_thread() : thread();
  a.out[to] = static_cast<float>(blockIdx.x);  // bug: blocks_write_write
}

template <bool kRepaired>
__global__ void blocks_write_read_kernel(Arrays a) {
  const int t = thread();
  float value = 0.0f;
  if (blockIdx.x == 1) {
    a.out[t] = 1.0f;  // bug: blocks_write_read
  } else {
    const float* from = kRepaired ? a.in : a.out;
    value = from[t];  // bug: blocks_write_read
  }
  a.result[global_thread()] = value;
}

// A block reads its right-hand neighbour's first element, which that block writes.
template <bool kRepaired>
__global__ void blocks_halo_kernel(Arrays a) {
  const int i = global_thread();
  const int next = i + 1 < a.n ? i + 1 : i;
  const float* from = kRepaired ? a.in : a.out;
  float value = 0.0f;
  if (next / kThreads != static_cast<int>(blockIdx.x)) {
    value = from[next];  // bug: blocks_halo
  }
  a.out[i] = value;  // bug: blocks_halo
}

template <bool kRepaired>
__global__ void blocks_write_atomic_kernel(Arrays a) {
  if (thread() != 0) return;
  if (blockIdx.x == 1 && !kRepaired) {
    a.out[0] = 1.0f;  // bug: blocks_write_atomic
  } else {
    atomicAdd(a.out, 1.0f);  // bug: blocks_write_atomic
  }
}

template <bool kRepaired>
__global__ void blocks_read_atomic_kernel(Arrays a) {
  if (thread() != 0) return;
  float value = 0.0f;
  if (blockIdx.x == 1) {
    value = kRepaired ? a.in[0] : a.out[0];  // bug: blocks_read_atomic
  } else {
    atomicAdd(a.out, 1.0f);  // bug: blocks_read_atomic
  }
  a.result[global_thread()] = value;
}

// Every block writes its half of one word, block 1 also that of block 0.
template <bool kRepaired>
__global__ void blocks_half_kernel(Arrays a) {
  if (thread() != 0) return;
  unsigned short* halves = reinterpret_cast<unsigned short*>(a.out);
  halves[blockIdx.x] = static_cast<unsigned short>(blockIdx.x);  // bug: blocks_half
  if (blockIdx.x == 1 && !kRepaired) {
    halves[0] = 7;  // bug: blocks_half
  }
}

// Two blocks read a half, and the one that reads it last then writes it.
template <bool kRepaired>
__global__ void blocks_read_half_kernel(Arrays a) {
  if (thread() != 0 || blockIdx.x == 2) return;
  unsigned short* halves = reinterpret_cast<unsigned short*>(a.out);
  const unsigned short value = halves[1];  // bug: blocks_read_half
  if (blockIdx.x == 1) {
    halves[kRepaired ? 0 : 1] = 7;  // bug: blocks_read_half
  }
  a.result[global_thread()] = static_cast<float>(value);
}

// --- legal --------------------------------------------------------------------------------------

__global__ void close_to_a_race_kernel(Arrays a) {
  __shared__ unsigned char bytes[kThreads];
  alignas(4) __shared__ unsigned short halves[kThreads];
  __shared__ float constant;
  __shared__ int count;
  const int t = thread();
  const int i = global_thread();
  bytes[t] = static_cast<unsigned char>(t);    // four threads share a word, not a byte
  halves[t] = static_cast<unsigned short>(t);  // two share a word, not a half
  halves[t] = static_cast<unsigned short>(halves[t] + 1);
  if (t == 0) {
    constant = 1.0f;
    constant = constant + 1.0f;  // one thread may do what it likes
    count = 0;
  }
  __syncthreads();
  atomicAdd(&count, 1);
  const unsigned both = reinterpret_cast<const unsigned*>(halves)[t / 2];
  const float sum = constant + static_cast<float>(bytes[(t + 7) % kThreads] + both);
  // Blocks share words in global memory, too: byte b of word t belongs to block b.
  reinterpret_cast<unsigned char*>(a.out + t)[blockIdx.x] = 1;
  atomicAdd(a.out + kThreads, 1.0f);
  const float first = a.in[0];
  __syncthreads();
  if (t == 0) a.result[blockIdx.x] = static_cast<float>(count) + sum + first;
  a.scratch[i] = sum;
  a.scratch[i] += 1.0f;
}

__global__ void write_all_kernel(Arrays a) {
  const int i = global_thread();
  a.out[i] = static_cast<float>(i);
}

__global__ void read_reversed_kernel(Arrays a) {
  const int i = global_thread();
  const float value = a.out[a.n - 1 - i];
  a.result[i] = value;
}

struct Bug {
  const char* name;
  void (*buggy)(Arrays);
  void (*repaired)(Arrays);
};

#define ATTN_BUG(name) \
  { #name, name##_kernel < false>, name##_kernel < true> }
constexpr Bug kBugs[] = {
    ATTN_BUG(read_past_end),
    ATTN_BUG(read_before_start),
    ATTN_BUG(write_past_end),
    ATTN_BUG(write_before_start),
    ATTN_BUG(vector_past_end),
    ATTN_BUG(atomic_past_end),
    ATTN_BUG(foreign_pointer),
    ATTN_BUG(dynamic_shared_past_end),
    ATTN_BUG(misaligned_float4),
    ATTN_BUG(misaligned_float2),
    ATTN_BUG(misaligned_shared),
    ATTN_BUG(shared_uninitialised),
    ATTN_BUG(shared_carried_over),
    ATTN_BUG(global_uninitialised),
    ATTN_BUG(bytes_uninitialised),
    ATTN_BUG(atomic_uninitialised),
    ATTN_BUG(shared_read_after_write),
    ATTN_BUG(shared_write_after_read),
    ATTN_BUG(shared_write_after_write),
    ATTN_BUG(shared_write_same),
    ATTN_BUG(shared_tile_loop),
    ATTN_BUG(shared_atomic_then_read),
    ATTN_BUG(syncwarp_missing),
    ATTN_BUG(syncwarp_missing_wide),
    ATTN_BUG(shuffle_does_not_order),
    ATTN_BUG(syncwarp_wrong_lanes),
    ATTN_BUG(syncwarp_across_warps),
    ATTN_BUG(shared_half),
    ATTN_BUG(shared_halves),
    ATTN_BUG(global_read_after_write),
    ATTN_BUG(global_write_after_read),
    ATTN_BUG(global_write_after_write),
    ATTN_BUG(global_syncwarp_missing),
    ATTN_BUG(global_half),
    ATTN_BUG(global_word_then_half),
    ATTN_BUG(blocks_write_write),
    ATTN_BUG(blocks_write_read),
    ATTN_BUG(blocks_halo),
    ATTN_BUG(blocks_write_atomic),
    ATTN_BUG(blocks_read_atomic),
    ATTN_BUG(blocks_half),
    ATTN_BUG(blocks_read_half),
};
#undef ATTN_BUG

}  // namespace

const char* detectors_kernels_file() { return __FILE__; }

void run_bug(const std::string& name, bool repaired, const Arrays& arrays) {
  for (const Bug& bug : kBugs) {
    if (bug.name != name) continue;
    launch(repaired ? bug.repaired : bug.buggy, kDetectorBlocks, kDetectorThreads,
           kDetectorThreads * sizeof(float), nullptr, arrays);
    return;
  }
  throw std::logic_error("no kernel called " + name);
}

std::vector<std::string> bug_names() {
  std::vector<std::string> names;
  for (const Bug& bug : kBugs) names.emplace_back(bug.name);
  return names;
}

void run_close_to_a_race(const Arrays& arrays) {
  launch(close_to_a_race_kernel, kDetectorBlocks, kDetectorThreads, 0, nullptr, arrays);
}

void run_two_launches(const Arrays& arrays) {
  launch(write_all_kernel, kDetectorBlocks, kDetectorThreads, 0, nullptr, arrays);
  launch(read_reversed_kernel, kDetectorBlocks, kDetectorThreads, 0, nullptr, arrays);
}

}  // namespace attn::simt_test
