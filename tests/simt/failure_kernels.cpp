// SPDX-License-Identifier: MIT
//
// Kernels with one bug each. A comment `bug: <name>` marks the line that the report must name;
// tests look it up by that comment. Only block (2, 1, 0) misbehaves.
#include <stdexcept>

#include "common/device/cuda.cuh"
#include "tests/simt/kernels.hpp"

namespace attn::simt_test {
namespace {

constexpr unsigned kFullMask = 0xFFFFFFFFu;

__device__ bool misbehaves() { return blockIdx.x == 2 && blockIdx.y == 1; }

/// Each thread's own place in `out`.
__device__ int& own(int* out) {
  return out[(blockIdx.y * gridDim.x + blockIdx.x) * blockDim.x + threadIdx.x];
}

__global__ void divergent_barrier_kernel(int* out) {
  if (misbehaves() && threadIdx.x < 16) {
    own(out) = 1;
    __syncthreads();  // bug: divergent_barrier_a
  } else {
    own(out) = 2;
    __syncthreads();  // bug: divergent_barrier_b
  }
}

__global__ void divergent_kinds_kernel(int* out) {
  if (misbehaves() && threadIdx.x >= 32) {
    __syncthreads();  // bug: divergent_kinds_a
  } else {
    own(out) = __syncthreads_count(1);  // bug: divergent_kinds_b
  }
}

__global__ void unequal_loops_kernel(int* out) {
  const unsigned rounds = misbehaves() && threadIdx.x == 5 ? 3 : 2;
  for (unsigned round = 0; round < rounds; ++round) {
    __syncthreads();  // bug: unequal_loops_a
  }
  own(out) = 1;
  __syncthreads();  // bug: unequal_loops_b
  own(out) = 2;
}

__global__ void shuffle_against_barrier_kernel(int* out) {
  int value = static_cast<int>(threadIdx.x);
  if (!misbehaves() || threadIdx.x % 32 < 16) {
    value = __shfl_xor_sync(kFullMask, value, 1);  // bug: shuffle_against_barrier
  }
  __syncthreads();
  own(out) = value;
}

__global__ void self_not_in_mask_kernel(int* out) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned mask = misbehaves() ? kFullMask & ~(1u << 5) : kFullMask;
  const int value = __shfl_sync(mask, static_cast<int>(lane), 0);  // bug: self_not_in_mask
  own(out) = value;
}

__global__ void unequal_masks_kernel(int* out) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned mask = misbehaves() && lane >= 16 ? 0xFFFF0001u : kFullMask;
  const int value = __shfl_sync(mask, static_cast<int>(lane), 0);  // bug: unequal_masks
  own(out) = value;
}

__global__ void syncwarp_incomplete_kernel(int* out) {
  if (!misbehaves() || threadIdx.x % 2 == 0) {
    __syncwarp();  // bug: syncwarp_incomplete
  }
  __syncthreads();
  own(out) = 1;
}

__global__ void vote_incomplete_kernel(int* out) {
  unsigned votes = 0;
  if (!misbehaves() || threadIdx.x != 40) {
    votes = __ballot_sync(kFullMask, 1);  // bug: vote_incomplete
  }
  __syncthreads();
  own(out) = static_cast<int>(votes);
}

// Lane 0 waits for lane 1, lane 1 for lane 2, lane 2 for lane 0.
__global__ void circular_wait_kernel(int* out) {
  const unsigned lane = threadIdx.x;
  if (misbehaves() && lane < 3) {
    const unsigned mask = 1u << lane | 1u << ((lane + 1) % 3);
    __syncwarp(mask);  // bug: circular_wait
  }
  own(out) = 1;
}

__global__ void bad_width_kernel(int* out) {
  const int value = static_cast<int>(threadIdx.x);
  const int width = misbehaves() ? 12 : 16;
  own(out) = __shfl_sync(kFullMask, value, 0, width);  // bug: bad_width
}

__global__ void absent_lane_kernel(int* out) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int source = misbehaves() && lane == 3 ? 20 : 0;
  int value = lane;
  if (lane < 8) {
    value = __shfl_sync(0x000000FFu, lane, source);  // bug: absent_lane
  }
  own(out) = value;
}

__global__ void exited_lane_kernel(int* out) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  if (lane >= 30) return;
  const unsigned delta = misbehaves() ? 1 : 0;
  own(out) = __shfl_down_sync(kFullMask, lane, delta);  // bug: exited_lane
}

__global__ void endless_loop_kernel(int* out) {
  unsigned value = misbehaves() && threadIdx.x == 5 ? 50 : 4;
  // Doubling 50 and adding 2, again and again, never leads to 4.
  while (value != 4) value = 2 * value + 2;  // bug: endless_loop
  own(out) = static_cast<int>(value);
}

__global__ void endless_barrier_kernel(int* out) {
  const bool misbehaving = misbehaves();
  for (unsigned odd = 1; misbehaving && odd != 0; odd += 2)
    __syncthreads();  // bug: endless_barrier
  own(out) = 1;
}

__global__ void endless_wait_kernel(int* out) {
  int* flag = &own(out);
  *flag = misbehaves() ? 1 : 0;
  while (atomicAdd(flag, 0) == 1) continue;  // bug: endless_wait
}

__global__ void barrier_after_return_kernel(int* out) {
  if (misbehaves() && threadIdx.x >= 50) return;  // bug: barrier_after_return_a
  own(out) = 1;
  __syncthreads();  // bug: barrier_after_return_b
  own(out) = 2;
}

__global__ void throw_kernel(int* out) {
  if (blockIdx.x == 3 && threadIdx.x == 7) throw std::runtime_error("thread 7 of block 3");
  __syncthreads();
  out[std::size_t{blockIdx.x} * blockDim.x + threadIdx.x] = 1;
}

__global__ void all_throw_kernel() { throw std::runtime_error("every thread"); }

__global__ void configuration_kernel(int* ran) {
  if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) atomicExch(ran, 1);
}

auto kernel_of(Failure failure) {
  switch (failure) {
    case Failure::kDivergentBarrier:
      return divergent_barrier_kernel;
    case Failure::kDivergentKinds:
      return divergent_kinds_kernel;
    case Failure::kUnequalLoops:
      return unequal_loops_kernel;
    case Failure::kShuffleAgainstBarrier:
      return shuffle_against_barrier_kernel;
    case Failure::kSelfNotInMask:
      return self_not_in_mask_kernel;
    case Failure::kUnequalMasks:
      return unequal_masks_kernel;
    case Failure::kSyncwarpIncomplete:
      return syncwarp_incomplete_kernel;
    case Failure::kVoteIncomplete:
      return vote_incomplete_kernel;
    case Failure::kCircularWait:
      return circular_wait_kernel;
    case Failure::kBadWidth:
      return bad_width_kernel;
    case Failure::kAbsentLane:
      return absent_lane_kernel;
    case Failure::kExitedLane:
      return exited_lane_kernel;
    case Failure::kEndlessLoop:
      return endless_loop_kernel;
    case Failure::kEndlessBarrier:
      return endless_barrier_kernel;
    case Failure::kEndlessWait:
      return endless_wait_kernel;
    case Failure::kBarrierAfterReturn:
      return barrier_after_return_kernel;
  }
  throw std::logic_error("no such failure");
}

}  // namespace

const char* failure_kernels_file() { return __FILE__; }

void run_failure(Failure failure, int* out) {
  launch(kernel_of(failure), dim3(3, 2), 64, 0, nullptr, out);
}

void run_throw(int* out) { launch(throw_kernel, 8, 32, 0, nullptr, out); }

void run_all_throw() { launch(all_throw_kernel, 100, 64, 0, nullptr); }

void run_configuration(Extent grid, Extent block, std::size_t shared_bytes, int* ran) {
  launch(configuration_kernel, dim3(grid.x, grid.y, grid.z), dim3(block.x, block.y, block.z),
         shared_bytes, nullptr, ran);
}

}  // namespace attn::simt_test
