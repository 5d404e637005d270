// SPDX-License-Identifier: MIT
#include <stdexcept>

#include "common/device/async_copy.cuh"
#include "tests/simt/async_copy_kernels.hpp"

namespace attn::simt_test {
namespace {

using device::cp_async_16;
using device::cp_async_commit;
using device::cp_async_wait;
using device::shared_address;

__device__ unsigned sum_of(const uint4* part) {
  const uint4 words = *part;  // bug: pipeline_read
  return words.x + words.y + words.z + words.w;
}

template <Pipeline kVariant>
__global__ void pipeline_kernel(int rounds, int valid, const unsigned* in, unsigned* out) {
  auto* sTiles = dynamic_shared<uint4>();
  const int t = static_cast<int>(threadIdx.x);
  const auto start = [&](int round) {
    const unsigned* from = in + 4 * (kCopyThreads * round + t);
    const unsigned to = shared_address(sTiles + round % 2 * kCopyThreads + t);
    cp_async_16(to, from, t < valid);  // bug: pipeline_copy
    if (kVariant != Pipeline::kNoCommit) cp_async_commit();
  };
  start(0);
  unsigned sum = 0;
  for (int round = 0; round < rounds; ++round) {
    const uint4* tile = sTiles + round % 2 * kCopyThreads;
    if (kVariant == Pipeline::kMatrices) {
      unsigned x[4];
      device::ldmatrix_x4(x, tile + t % 32);  // bug: pipeline_read
      sum += x[0];
    }
    if (kVariant == Pipeline::kStore && t == 5) {
      sTiles[round % 2 * kCopyThreads + 5].y = 1;  // bug: pipeline_store
    }
    if (kVariant == Pipeline::kTwice && t == 5) {
      cp_async_16(shared_address(tile + 5), in, true);  // bug: pipeline_again
    }
    const bool more = round + 1 < rounds;
    if (more) start(round + 1);
    if (kVariant == Pipeline::kWaitsTooLittle) {
      cp_async_wait<1>();
    } else if (kVariant != Pipeline::kNoWait) {
      if (more) {
        cp_async_wait<1>();
      } else {
        cp_async_wait<0>();
      }
    }
    if (kVariant == Pipeline::kOneBarrier ? round == 0 : kVariant != Pipeline::kNoBarrier) {
      __syncthreads();
    }
    sum += sum_of(tile + kCopyThreads - 1 - t);
    if (kVariant != Pipeline::kNoSecondBarrier) __syncthreads();
  }
  out[t] = sum;
}

template <bool kBoth>
__global__ void two_groups_kernel(const unsigned* in, unsigned* out) {
  auto* sParts = dynamic_shared<uint4>();
  const int t = static_cast<int>(threadIdx.x);
  for (int group = 0; group < 2; ++group) {
    cp_async_16(shared_address(sParts + 32 * group + t), in + 8 * t + 4 * group, true);
    cp_async_commit();
  }
  cp_async_wait<kBoth ? 0 : 1>();
  const unsigned first = sParts[t].x;
  const unsigned second = sParts[32 + t].x;  // bug: two_groups
  out[2 * t] = first;
  out[2 * t + 1] = second;
}

template <bool kSync>
__global__ void neighbour_copies_kernel(const unsigned* in, unsigned* out) {
  auto* sParts = dynamic_shared<uint4>();
  const int t = static_cast<int>(threadIdx.x);
  cp_async_16(shared_address(sParts + t), in + 4 * t, true);  // bug: neighbour_copy
  cp_async_commit();
  cp_async_wait<0>();
  if (kSync) __syncwarp();
  const unsigned word = sParts[t ^ 1].x;  // bug: neighbour_read
  out[t] = word;
}

template <bool kSwizzled>
__global__ void copy_columns_kernel(const unsigned* in, unsigned* out) {
  auto* sParts = dynamic_shared<uint4>();
  const int t = static_cast<int>(threadIdx.x);
  const int row = t % 8, chunk = t / 8;
  const int place = 8 * row + (kSwizzled ? chunk ^ row : chunk);
  cp_async_16(shared_address(sParts + place), in + 4 * t, true);  // bug: copy_columns
  cp_async_commit();
  cp_async_wait<0>();
  const unsigned word = sParts[place].x;
  out[t] = word;
}

#ifndef __CUDACC__
__global__ void small_copies_kernel(const unsigned* in, unsigned* out) {
  auto* sWords = dynamic_shared<unsigned>();
  const auto t = threadIdx.x;
  const auto here = std::source_location::current();
  simt::cp_async(8 * t, in + t, 4, t % 2 == 0 ? 4 : 2, here);
  simt::cp_async(256 + 8 * t, in + 32 + 2 * t, 8, t % 2 == 0 ? 4 : 0, here);
  sWords[2 * t + 1] = t;  // beside what is under way
  cp_async_commit();
  cp_async_wait<0>();
  const unsigned four = sWords[2 * t], beside = sWords[2 * t + 1];
  const unsigned low = sWords[64 + 2 * t], high = sWords[65 + 2 * t];
  out[4 * t] = four;
  out[4 * t + 1] = beside;
  out[4 * t + 2] = low;
  out[4 * t + 3] = high;
}

__global__ void odd_size_kernel(const unsigned* in, unsigned*) {
  simt::cp_async(0, in, 12, 12, std::source_location::current());  // bug: odd_size
}

__global__ void too_valid_kernel(const unsigned* in, unsigned*) {
  simt::cp_async(0, in, 4, 8, std::source_location::current());  // bug: too_valid
}
#endif

__global__ void misaligned_to_kernel(const unsigned* in, unsigned*) {
  cp_async_16(16 * threadIdx.x + 8, in, true);  // bug: misaligned_to
}

__global__ void misaligned_from_kernel(const unsigned* in, unsigned*) {
  cp_async_16(16 * threadIdx.x, in + 3, true);  // bug: misaligned_from
}

__global__ void shared_end_kernel(const unsigned* in, unsigned*) {
  cp_async_16(16 * threadIdx.x + 16, in, true);  // bug: shared_end
}

__global__ void beyond_source_kernel(const unsigned* in, unsigned*) {
  cp_async_16(16 * threadIdx.x, in + 4 * threadIdx.x + 4, true);  // bug: beyond_source
}

__global__ void from_shared_kernel(const unsigned*, unsigned*) {
  cp_async_16(16 * threadIdx.x, dynamic_shared<uint4>() + threadIdx.x, true);  // bug: from_shared
}

struct Misuse {
  const char* name;
  void (*kernel)(const unsigned*, unsigned*);
};
constexpr Misuse kMisuses[] = {
#ifndef __CUDACC__
    {"odd_size", odd_size_kernel},           {"too_valid", too_valid_kernel},
#endif
    {"misaligned_to", misaligned_to_kernel}, {"misaligned_from", misaligned_from_kernel},
    {"shared_end", shared_end_kernel},       {"beyond_source", beyond_source_kernel},
    {"from_shared", from_shared_kernel},
};

constexpr std::size_t kWarpBytes = 32 * 16;

}  // namespace

const char* async_copy_kernels_file() { return __FILE__; }

void run_pipeline(Pipeline variant, int rounds, int valid, const unsigned* in, unsigned* out) {
  const auto run = [&](void (*kernel)(int, int, const unsigned*, unsigned*)) {
    launch(kernel, 1, kCopyThreads, 2 * 16 * kCopyThreads, nullptr, rounds, valid, in, out);
  };
  switch (variant) {
    case Pipeline::kRight:
      return run(pipeline_kernel<Pipeline::kRight>);
    case Pipeline::kNoWait:
      return run(pipeline_kernel<Pipeline::kNoWait>);
    case Pipeline::kWaitsTooLittle:
      return run(pipeline_kernel<Pipeline::kWaitsTooLittle>);
    case Pipeline::kNoCommit:
      return run(pipeline_kernel<Pipeline::kNoCommit>);
    case Pipeline::kNoBarrier:
      return run(pipeline_kernel<Pipeline::kNoBarrier>);
    case Pipeline::kOneBarrier:
      return run(pipeline_kernel<Pipeline::kOneBarrier>);
    case Pipeline::kNoSecondBarrier:
      return run(pipeline_kernel<Pipeline::kNoSecondBarrier>);
    case Pipeline::kMatrices:
      return run(pipeline_kernel<Pipeline::kMatrices>);
    case Pipeline::kStore:
      return run(pipeline_kernel<Pipeline::kStore>);
    case Pipeline::kTwice:
      return run(pipeline_kernel<Pipeline::kTwice>);
  }
}

void run_two_groups(bool wait_for_both, const unsigned* in, unsigned* out) {
  launch(wait_for_both ? two_groups_kernel<true> : two_groups_kernel<false>, 1, 32, 2 * kWarpBytes,
         nullptr, in, out);
}

void run_neighbour_copies(bool sync_warp, const unsigned* in, unsigned* out) {
  launch(sync_warp ? neighbour_copies_kernel<true> : neighbour_copies_kernel<false>, 1, 32,
         kWarpBytes, nullptr, in, out);
}

void run_copy_columns(bool swizzled, const unsigned* in, unsigned* out) {
  launch(swizzled ? copy_columns_kernel<true> : copy_columns_kernel<false>, 1, 32, 8 * 128, nullptr,
         in, out);
}

#ifndef __CUDACC__
void run_small_copies(const unsigned* in, unsigned* out) {
  launch(small_copies_kernel, 1, 32, 2 * 256, nullptr, in, out);
}
#endif

void run_copy_misuse(const std::string& name, const unsigned* in, unsigned* out) {
  for (const Misuse& misuse : kMisuses) {
    if (misuse.name == name) return launch(misuse.kernel, 1, 32, kWarpBytes, nullptr, in, out);
  }
  throw std::logic_error("no kernel called " + name);
}

}  // namespace attn::simt_test
