// SPDX-License-Identifier: MIT
#include <stdexcept>

#include "common/device/named_barrier.cuh"
#include "tests/simt/named_barrier_kernels.hpp"

namespace attn::simt_test {
namespace {

using device::named_arrive;
using device::named_sync;

constexpr int kFull = 1, kEmpty = 2;  // barriers: the tile is there; the tile has been read

__device__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
__device__ int warp() { return static_cast<int>(threadIdx.x) / 32; }

template <HandOver kVariant>
__global__ void hand_over_kernel(int rounds, const float* in, float* scratch, float* out) {
  constexpr bool kFullBarrier = kVariant != HandOver::kNoFull;
  __shared__ float sTile[32];
  float* tile = kVariant == HandOver::kGlobal ? scratch : sTile;
  const int threads = static_cast<int>(blockDim.x);
  if (warp() == 0) tile[lane()] = 0.0f;
  __syncthreads();  // whatever else is wrong, the tile is initialised
  if (warp() == 0) {
    for (int round = 0; round < rounds; ++round) {
      if (round > 0) named_sync(kEmpty, threads);
      if (kVariant == HandOver::kArriveFirst) named_arrive(kFull, threads);
      const float value = in[32 * round + lane()];
      tile[lane()] = value;  // bug: hand_over
      if (kFullBarrier && kVariant != HandOver::kArriveFirst) named_arrive(kFull, threads);
      if (kVariant == HandOver::kWriteAfter && lane() == 5) {
        tile[5] = value + 1.0f;  // bug: hand_over
      }
    }
    return;
  }
  const int consumers = threads / 32 - 1;
  const int late = kVariant == HandOver::kReadLate        ? consumers
                   : kVariant == HandOver::kReadLateFirst ? 1
                                                          : 0;
  float sum = 0.0f;
  for (int round = 0; round < rounds; ++round) {
    if (kFullBarrier) named_sync(kFull, threads);
    if (warp() == late && round + 1 < rounds) named_arrive(kEmpty, threads);
    sum += tile[31 - lane()];  // bug: hand_over
    if (warp() != late && round + 1 < rounds) named_arrive(kEmpty, threads);
  }
  out[32 * (warp() - 1) + lane()] = sum;
}

template <Relay kVariant>
__global__ void relay_kernel(float* out) {
  constexpr bool kTooEarly = kVariant == Relay::kTooEarly || kVariant == Relay::kArriveOnly;
  __shared__ float sTile[32];
  if (warp() == 0) sTile[lane()] = 0.0f;
  __syncthreads();  // whatever else is wrong, the tile is initialised
  if (warp() == 0) {
    sTile[lane()] = static_cast<float>(lane());  // bug: relay
    named_arrive(1, 64);
  } else if (warp() == 1) {
    if (kTooEarly) named_arrive(2, 64);
    named_sync(1, 64);
    if (!kTooEarly) named_arrive(2, 64);
    if (kVariant == Relay::kArriveOnly) named_arrive(3, 64);
  } else {
    named_sync(2, 64);
    if (kVariant == Relay::kArriveOnly) named_arrive(3, 64);
  }
  if (kVariant == Relay::kWholeBlock) __syncthreads();
  if (warp() == 2 || kVariant == Relay::kWholeBlock) {
    const float value = sTile[31 - lane()];  // bug: relay
    out[threadIdx.x] = value;
  }
}

template <Neighbours kVariant>
__global__ void neighbours_kernel(float* out) {
  __shared__ float sTile[64];
  sTile[threadIdx.x] = static_cast<float>(threadIdx.x);  // bug: neighbours
  if (kVariant == Neighbours::kSync) {
    named_sync(warp() + 1, 32);
  } else {
    named_arrive(warp() + 1, 32);
  }
  const float value = sTile[threadIdx.x ^ 1];  // bug: neighbours
  out[threadIdx.x] = value;
}

__global__ void id_zero_kernel(float*) {
  named_sync(0, 96);  // bug: id_zero
}

__global__ void id_too_large_kernel(float*) {
  named_arrive(16, 96);  // bug: id_too_large
}

__global__ void odd_count_kernel(float*) {
  named_sync(1, 48);  // bug: odd_count
}

__global__ void large_count_kernel(float*) {
  named_sync(1, 128);  // bug: large_count
}

__global__ void unequal_counts_kernel(float*) {
  if (warp() == 0) named_arrive(1, 64);  // bug: unequal_counts
  if (warp() == 1) named_arrive(1, 96);  // bug: unequal_counts
}

// The consumer is never asked whether it has come.
__global__ void arrives_twice_kernel(float*) {
  if (warp() == 0) {
    for (int round = 0; round < 2; ++round) {
      named_arrive(1, 64);  // bug: arrives_twice
    }
  }
}

__global__ void one_too_many_kernel(float* out) {
  if (warp() == 0) named_sync(1, 64);
  if (warp() == 1) {
    named_arrive(1, 64);
    named_arrive(2, 64);  // bug: one_too_many
  }
  out[threadIdx.x] = 1.0f;
}

__global__ void two_ids_kernel(float*) {
  named_sync(1 + lane() / 16, 96);  // bug: two_ids
}

__global__ void half_a_warp_kernel(float*) {
  if (lane() < 16) {
    named_sync(1, 96);  // bug: half_a_warp
  } else {
    __syncthreads();
  }
}

// Warp 2 is counted, and has left.
__global__ void deadlock_kernel(float*) {
  if (warp() == 0) {
    named_sync(4, 96);  // bug: deadlock_sync
  }
  if (warp() == 1) named_arrive(4, 96);
  if (warp() == 1) {
    __syncthreads();  // bug: deadlock_block
  }
}

struct Misuse {
  const char* name;
  void (*kernel)(float*);
};
constexpr Misuse kMisuses[] = {
    {"id_zero", id_zero_kernel},
    {"id_too_large", id_too_large_kernel},
    {"odd_count", odd_count_kernel},
    {"large_count", large_count_kernel},
    {"unequal_counts", unequal_counts_kernel},
    {"arrives_twice", arrives_twice_kernel},
    {"one_too_many", one_too_many_kernel},
    {"two_ids", two_ids_kernel},
    {"half_a_warp", half_a_warp_kernel},
    {"deadlock", deadlock_kernel},
};

}  // namespace

const char* named_barrier_kernels_file() { return __FILE__; }

void run_hand_over(HandOver variant, unsigned consumers, int rounds, const float* in,
                   float* scratch, float* out) {
  const auto run = [&](void (*kernel)(int, const float*, float*, float*)) {
    launch(kernel, 1, 32 * (consumers + 1), 0, nullptr, rounds, in, scratch, out);
  };
  switch (variant) {
    case HandOver::kShared:
      return run(hand_over_kernel<HandOver::kShared>);
    case HandOver::kGlobal:
      return run(hand_over_kernel<HandOver::kGlobal>);
    case HandOver::kNoFull:
      return run(hand_over_kernel<HandOver::kNoFull>);
    case HandOver::kArriveFirst:
      return run(hand_over_kernel<HandOver::kArriveFirst>);
    case HandOver::kWriteAfter:
      return run(hand_over_kernel<HandOver::kWriteAfter>);
    case HandOver::kReadLate:
      return run(hand_over_kernel<HandOver::kReadLate>);
    case HandOver::kReadLateFirst:
      return run(hand_over_kernel<HandOver::kReadLateFirst>);
  }
}

void run_relay(Relay variant, float* out) {
  const auto run = [&](void (*kernel)(float*)) { launch(kernel, 1, 96, 0, nullptr, out); };
  switch (variant) {
    case Relay::kInTurn:
      return run(relay_kernel<Relay::kInTurn>);
    case Relay::kTooEarly:
      return run(relay_kernel<Relay::kTooEarly>);
    case Relay::kArriveOnly:
      return run(relay_kernel<Relay::kArriveOnly>);
    case Relay::kWholeBlock:
      return run(relay_kernel<Relay::kWholeBlock>);
  }
}

void run_neighbours(Neighbours variant, float* out) {
  launch(variant == Neighbours::kSync ? neighbours_kernel<Neighbours::kSync>
                                      : neighbours_kernel<Neighbours::kArrive>,
         1, 64, 0, nullptr, out);
}

void run_misuse(const std::string& name, float* out) {
  for (const Misuse& misuse : kMisuses) {
    if (misuse.name == name) return launch(misuse.kernel, 1, 96, 0, nullptr, out);
  }
  throw std::logic_error("no kernel called " + name);
}

}  // namespace attn::simt_test
