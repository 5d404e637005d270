// SPDX-License-Identifier: MIT
#include "common/device/cuda.cuh"
#include "tests/simt/kernels.hpp"

namespace attn::simt_test {
namespace {

constexpr unsigned kFullMask = 0xFFFFFFFFu;

template <typename T>
__global__ void shuffle_kernel(Shuffle shuffle, const unsigned* masks, int width, const T* values,
                               const int* operands, T* result) {
  const unsigned t = threadIdx.x;
  const unsigned mask = masks[t / 32];
  if ((mask >> (t % 32) & 1u) == 0) return;
  const T value = values[t];
  const int operand = operands[t];
  const unsigned delta = static_cast<unsigned>(operand);
  T got{};
  switch (shuffle) {
    case Shuffle::kIndex:
      got = __shfl_sync(mask, value, operand, width);
      break;
    case Shuffle::kUp:
      got = __shfl_up_sync(mask, value, delta, width);
      break;
    case Shuffle::kDown:
      got = __shfl_down_sync(mask, value, delta, width);
      break;
    case Shuffle::kXor:
      got = __shfl_xor_sync(mask, value, operand, width);
      break;
  }
  result[t] = got;
}

__global__ void votes_kernel(const unsigned* masks, const int* predicates, int* any, int* all,
                             unsigned* ballot) {
  const unsigned t = threadIdx.x;
  const unsigned mask = masks[t / 32];
  if ((mask >> (t % 32) & 1u) == 0) return;
  const int predicate = predicates[t];
  any[t] = __any_sync(mask, predicate);
  all[t] = __all_sync(mask, predicate);
  ballot[t] = __ballot_sync(mask, predicate);
}

__global__ void lane_census_kernel(unsigned* ballot, unsigned* active) {
  ballot[threadIdx.x] = __ballot_sync(kFullMask, 1);
  active[threadIdx.x] = __activemask();
}

__global__ void full_mask_after_exit_kernel(int alive, unsigned* ballot, int* rotated) {
  const int lane = static_cast<int>(threadIdx.x);
  if (lane >= alive) return;
  ballot[lane] = __ballot_sync(kFullMask, 1);
  rotated[lane] = __shfl_sync(kFullMask, 10 * lane, (lane + 1) % alive);
}

__global__ void split_warp_kernel(int low_rounds, int high_rounds, int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  int value = lane;
  if (lane < 16) {
    for (int round = 0; round < low_rounds; ++round) {
      value = __shfl_sync(0x0000FFFFu, value, (lane + 1) % 16);
    }
  } else {
    for (int round = 0; round < high_rounds; ++round) {
      value = __shfl_sync(0xFFFF0000u, value, 16 + (lane + 1) % 16);
    }
  }
  __syncwarp();  // the halves meet again
  out[lane] = __shfl_xor_sync(kFullMask, value, 16);
}

__global__ void butterfly_kernel(const float* in, float* out) {
  const unsigned t = threadIdx.x;
  float sum = in[t];
  for (unsigned round = 0; round <= t / 32; ++round) {
    for (int distance = 16; distance > 0; distance /= 2) {
      sum += __shfl_xor_sync(kFullMask, sum, distance);
    }
  }
  out[t] = sum;
}

__global__ void block_sum_kernel(const float* in, float* sums) {
  __shared__ float warp_sums[32];
  const unsigned t = threadIdx.x;
  const unsigned lane = t % 32;
  const unsigned lanes = min(32u, blockDim.x - (t - lane));  // the last warp may be partial
  const unsigned mask = lanes == 32 ? kFullMask : (1u << lanes) - 1;
  float sum = in[std::size_t{blockIdx.x} * blockDim.x + t];
  for (unsigned distance = 16; distance > 0; distance /= 2) {
    const bool inside = lane + distance < lanes;  // only lanes in the mask may be read
    const float other = __shfl_sync(mask, sum, static_cast<int>(inside ? lane + distance : lane));
    if (inside) sum += other;
  }
  if (lane == 0) warp_sums[t / 32] = sum;
  __syncthreads();  // every warp's sum is in shared memory
  if (t != 0) return;
  float total = 0.0f;
  for (unsigned warp = 0; warp < (blockDim.x + 31) / 32; ++warp) total += warp_sums[warp];
  sums[blockIdx.x] = total;
}

__global__ void syncwarp_exchange_kernel(int group, int rounds, int* out) {
  __shared__ int values[1024];
  const int t = static_cast<int>(threadIdx.x);
  const int lane = t % 32;
  const int first = lane / group * group;
  const unsigned ones = group == 32 ? kFullMask : (1u << group) - 1;
  const unsigned mask = ones << first;
  const int neighbour = t - lane + first + (lane - first + 1) % group;
  values[t] = t;
  __syncwarp(mask);
  // Each group passes its values around as often as its own number says.
  for (int round = 0; round < rounds + t / group; ++round) {
    const int value = values[neighbour];
    __syncwarp(mask);  // the group has read
    values[t] = value;
    __syncwarp(mask);  // the group has written
  }
  out[t] = values[t];
}

}  // namespace

template <typename T>
void run_shuffle(Shuffle shuffle, unsigned threads, const unsigned* masks, int width,
                 const T* values, const int* operands, T* result) {
  launch(shuffle_kernel<T>, 1, threads, 0, nullptr, shuffle, masks, width, values, operands,
         result);
}
template void run_shuffle(Shuffle, unsigned, const unsigned*, int, const int*, const int*, int*);
template void run_shuffle(Shuffle, unsigned, const unsigned*, int, const unsigned*, const int*,
                          unsigned*);
template void run_shuffle(Shuffle, unsigned, const unsigned*, int, const long long*, const int*,
                          long long*);
template void run_shuffle(Shuffle, unsigned, const unsigned*, int, const float*, const int*,
                          float*);
template void run_shuffle(Shuffle, unsigned, const unsigned*, int, const double*, const int*,
                          double*);

void run_votes(unsigned threads, const unsigned* masks, const int* predicates, int* any, int* all,
               unsigned* ballot) {
  launch(votes_kernel, 1, threads, 0, nullptr, masks, predicates, any, all, ballot);
}

void run_lane_census(unsigned threads, unsigned* ballot, unsigned* active) {
  launch(lane_census_kernel, 1, threads, 0, nullptr, ballot, active);
}

void run_full_mask_after_exit(int alive, unsigned* ballot, int* rotated) {
  launch(full_mask_after_exit_kernel, 1, 32, 0, nullptr, alive, ballot, rotated);
}

void run_split_warp(int low_rounds, int high_rounds, int* out) {
  launch(split_warp_kernel, 1, 32, 0, nullptr, low_rounds, high_rounds, out);
}

void run_butterfly(unsigned threads, const float* in, float* out) {
  launch(butterfly_kernel, 1, threads, 0, nullptr, in, out);
}

void run_block_sum(unsigned blocks, unsigned threads, const float* in, float* sums) {
  launch(block_sum_kernel, blocks, threads, 0, nullptr, in, sums);
}

void run_syncwarp_exchange(unsigned threads, int group, int rounds, int* out) {
  launch(syncwarp_exchange_kernel, 1, threads, 0, nullptr, group, rounds, out);
}

}  // namespace attn::simt_test
