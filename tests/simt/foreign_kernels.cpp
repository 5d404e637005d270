// SPDX-License-Identifier: MIT
#include "tests/simt/foreign_kernels.hpp"

#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <stdexcept>
#include <utility>

#include "common/device/cuda.cuh"

namespace attn::simt_test {
namespace {

namespace cg = cooperative_groups;

// --- math ---------------------------------------------------------------------------------------

__global__ void abs_kernel(const float* x, float* y) { y[threadIdx.x] = abs(x[threadIdx.x]); }
__global__ void exp_kernel(const float* x, float* y) { y[threadIdx.x] = exp(x[threadIdx.x]); }
__global__ void expf_kernel(const float* x, float* y) { y[threadIdx.x] = expf(x[threadIdx.x]); }
__global__ void std_exp_kernel(const float* x, float* y) {
  y[threadIdx.x] = std::exp(x[threadIdx.x]);
}
__global__ void tanhf_kernel(const float* x, float* y) { y[threadIdx.x] = tanhf(x[threadIdx.x]); }
__global__ void logf_kernel(const float* x, float* y) { y[threadIdx.x] = logf(x[threadIdx.x]); }

/// One thread: the overloads of min, max and of the classifying functions.
__global__ void overloads_kernel(const float* x, float* y) {
  const std::size_t n = 9;
  y[0] = static_cast<float>(min(3, blockDim.x));
  y[1] = static_cast<float>(max(1.0, 2.0));
  y[2] = static_cast<float>(min(n, std::size_t{7}));
  y[3] = static_cast<float>(max(-1, 2u));  // as unsigned: the bits of -1 are the largest
  y[4] = static_cast<float>(max(2.5f, 1.0));
  y[5] = static_cast<float>(min(-5LL, 3LL));
  y[6] = static_cast<float>((isnan(x[0]) ? 1 : 0) + (isinf(x[0]) ? 2 : 0) +
                            (isfinite(x[0]) ? 4 : 0) + (signbit(x[0]) ? 8 : 0));
}

/// Thread t: the fast functions of x[t], ten in a row.
__global__ void fast_kernel(const float* x, float* y) {
  const float value = x[threadIdx.x];
  float* to = y + 10 * threadIdx.x;
  to[0] = __sinf(value);
  to[1] = __cosf(value);
  to[2] = __tanf(value);
  to[3] = __powf(value, 1.5f);
  to[4] = __log10f(value);
  to[5] = __exp10f(value);
  __sincosf(value, &to[6], &to[7]);
  to[8] = rsqrt(value);
  to[9] = fdividef(1.0f, value);
}

/// One thread: integer and rounding intrinsics of fixed values.
__global__ void intrinsics_kernel(const float* x, float* y) {
  const float* const seven_halves = x;  // 3.5
  int* to = reinterpret_cast<int*>(y);
  to[0] = __mul24(-3, 1 << 20);
  to[1] = static_cast<int>(__umul24(0xFF000002u, 3u));
  to[2] = __mulhi(1 << 30, -8);
  to[3] = static_cast<int>(__umulhi(1u << 31, 6u));
  to[4] = static_cast<int>(__byte_perm(0x33221100u, 0x77665544u, 0x0715u));
  to[5] = __dp4a(0x01FF0203, 0x04030201, 10);
  to[6] = __float2int_rn(*seven_halves);
  to[7] = __float2int_rz(-*seven_halves);
  to[8] = __float2int_ru(*seven_halves);
  to[9] = __float2int_rd(-*seven_halves);
  to[10] = __float2int_rn(1e20f);
  to[11] = static_cast<int>(__float2uint_rn(-4.0f));
  to[12] = static_cast<int>(__brev(0x00000001u));
  to[13] = __clz(0);
  to[14] = __ffs(0x50);
  to[15] = static_cast<int>(__funnelshift_l(0x80000001u, 0x00000003u, 4));
  to[16] = static_cast<int>(__usad(3u, 10u, 100u));
  to[17] = __hadd(-3, -4);
  to[18] = static_cast<int>(umin(3u, 0xFFFFFFFFu));
  to[19] = __float_as_int(__fdiv_rn(1.0f, 3.0f));
  to[20] = __float_as_int(__fmaf_rn(2.0f, 3.0f, 0.5f));
  to[21] = static_cast<int>(__double2ll_rn(-2.5));
  to[22] = __double2hiint(__hiloint2double(0x40080000, 5));
}

/// Copies x to y with a cache hint on each side.
__global__ void hints_kernel(const float* x, float* y) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  __stcs(y + i, __ldcs(x + i));  // bug: hints
}

// --- variables ----------------------------------------------------------------------------------

__device__ unsigned tickets = 0;
__device__ float table[32];
__constant__ float factors[32];

/// Each thread draws a number.
__global__ void ticket_kernel(const float*, float* y) {
  const unsigned own = atomicAdd(&tickets, 1u);
  y[own % blockDim.x] = static_cast<float>(own);
}

__global__ void table_kernel(const float*, float* y) {
  const float value = table[threadIdx.x];
  y[threadIdx.x] = value * factors[threadIdx.x];
  table[threadIdx.x] = 2.0f * value;
}

__global__ void variable_race_kernel(const float*, float*) {
  table[0] = static_cast<float>(blockIdx.x);  // bug: variable_race
}

// --- one word, many threads ---------------------------------------------------------------------

/// The word at y counts threads, one at a time.
__global__ void cas_add_kernel(const float*, float* y) {
  auto* word = reinterpret_cast<unsigned*>(y);
  unsigned seen = *word, expected;
  do {
    expected = seen;
    seen = atomicCAS(word, expected, expected + 1);
  } while (seen != expected);
}

/// The word at y becomes the largest of x; who has less does not try.
__global__ void cas_maximum_kernel(const float* x, float* y) {
  auto* word = reinterpret_cast<int*>(y);
  const float own = x[blockIdx.x * blockDim.x + threadIdx.x];
  int seen = *word;
  while (own > __int_as_float(seen)) {
    const int expected = seen;
    seen = atomicCAS(word, expected, __float_as_int(own));
    if (seen == expected) break;
  }
}

/// The same mistake without a loop: a plain read of what other threads add to.
__global__ void read_beside_atomic_kernel(const float*, float* y) {
  if (threadIdx.x == 0) {
    y[1] = y[0];  // bug: read_beside_atomic
  } else {
    atomicAdd(y, 1.0f);  // bug: read_beside_atomic
  }
}

__global__ void flag_kernel(const float* x, float* y) {
  if (x[threadIdx.x] < 0.0f) *y = 1.0f;  // bug: flag
}

__global__ void warp_value_kernel(const float*, float* y) {
  __shared__ float of_warp[4];
  of_warp[threadIdx.x / 32] = 3.0f;  // bug: warp_value
  __syncthreads();
  y[threadIdx.x] = of_warp[threadIdx.x / 32];
}

struct alignas(16) Wide {
  float4 a, b;
};
/// All store 32 bytes that differ in the last four only.
__global__ void wide_kernel(const float*, float* y) {
  Wide wide{};
  wide.b.w = static_cast<float>(threadIdx.x);
  *reinterpret_cast<Wide*>(y) = wide;  // bug: wide
}

/// Two values for one word, each by one warp.
__global__ void two_values_kernel(const float*, float* y) {
  *y = threadIdx.x < 32 ? 1.0f : 2.0f;  // bug: two_values
}

__global__ void shared_reuse_kernel(const float* x, float* y) {
  __shared__ float scratch[4];
  if (threadIdx.x == 0) scratch[0] = x[0];
  __syncthreads();
  const float first = scratch[0];                                         // bug: shared_reuse
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x[threadIdx.x];  // bug: shared_reuse
  __syncthreads();
  y[threadIdx.x] = first;
}

// --- barriers -----------------------------------------------------------------------------------

/// One warp loads, the other stores; 64 threads.
__global__ void two_barriers_kernel(const float* x, float* y) {
  __shared__ float tile[32];
  if (threadIdx.x < 32) {
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();  // bug: two_barriers
  } else {
    __syncthreads();  // bug: two_barriers
    y[threadIdx.x - 32] = tile[threadIdx.x - 32];
  }
}

/// In the second round threads 48 to 63 skip the barrier.
__global__ void tail_kernel(const float* x, float* y) {
  __shared__ float sums[64];
  sums[threadIdx.x] = 0.0f;
  __syncthreads();
  for (unsigned i = threadIdx.x; i < 128; i += 64) {
    if (i < 112) {
      sums[threadIdx.x] += x[i];
      __syncthreads();  // bug: tail
    }
  }
  if (threadIdx.x == 0) y[0] = sums[0];
}

/// The same with a return: these threads are gone, and nobody waits for them.
__global__ void early_return_kernel(const float* x, float* y) {
  __shared__ float sums[64];
  if (threadIdx.x >= 48) return;
  sums[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = sums[47 - threadIdx.x];
}

// --- warps and groups ---------------------------------------------------------------------------

/// Thread t of one warp: what it matches, and reductions; eight numbers each.
__global__ void match_kernel(const float* x, float* y) {
  const int value = static_cast<int>(x[threadIdx.x]);
  auto* to = reinterpret_cast<unsigned*>(y) + 8 * threadIdx.x;
  int all = -1;
  to[0] = __match_any_sync(0xFFFFFFFFu, value);
  to[1] = __match_all_sync(0xFFFFFFFFu, value / 100, &all);
  to[2] = static_cast<unsigned>(all);
  to[3] = static_cast<unsigned>(__reduce_add_sync(0xFFFFFFFFu, value));
  to[4] = static_cast<unsigned>(__reduce_min_sync(0xFFFFFFFFu, value));
  to[5] = __reduce_max_sync(0xFFFFFFFFu, static_cast<unsigned>(value));
  to[6] = __reduce_or_sync(0xFFFFFFFFu, static_cast<unsigned>(value));
  to[7] = __reduce_xor_sync(0xFFFFFFFFu, static_cast<unsigned>(value));
}

/// Sums of tiles of 8, then what thread 2 of the tile has, then the tile's place; the block's sum.
__global__ void tiles_kernel(const float* x, float* y) {
  const cg::thread_block block = cg::this_thread_block();
  const auto tile = cg::tiled_partition<8>(block);
  const cg::thread_block_tile<32> warp = cg::tiled_partition<32>(block);
  __shared__ float of_warp[32];
  const unsigned t = block.thread_rank();
  const float own = x[t];
  y[8 * t] = cg::reduce(tile, own, cg::plus<float>());
  y[8 * t + 1] = tile.shfl(own, 2);
  y[8 * t + 2] = static_cast<float>(tile.meta_group_rank() * 100 + tile.thread_rank());
  y[8 * t + 3] = static_cast<float>(tile.ballot(own > 0.0f));
  y[8 * t + 4] = cg::inclusive_scan(tile, own);
  y[8 * t + 5] = cg::reduce(warp, own, cg::less<float>());
  y[8 * t + 6] = tile.shfl_down(own, 3);
  of_warp[warp.meta_group_rank()] = cg::reduce(warp, own, cg::plus<float>());  // bug: tiles
  cg::sync(block);
  float sum = 0.0f;
  for (unsigned w = 0; w < warp.meta_group_size(); ++w) sum += of_warp[w];
  y[8 * t + 7] = sum;
}

/// The lanes with a positive x fetch places in y + 1 with one atomic per warp and store x there.
__global__ void filter_kernel(const float* x, float* y) {
  const float own = x[blockIdx.x * blockDim.x + threadIdx.x];
  auto* count = reinterpret_cast<unsigned*>(y);
  if (own > 0.0f) {
    const cg::coalesced_group active = cg::coalesced_threads();
    unsigned first = 0;
    if (active.thread_rank() == 0) first = atomicAdd(count, active.size());
    y[1 + active.shfl(first, 0) + active.thread_rank()] = own;
  }
}

/// Which lanes are together in each arm of a branch, and in each round of a loop.
__global__ void active_kernel(const float*, float* y) {
  auto* to = reinterpret_cast<unsigned*>(y) + 4 * threadIdx.x;
  if (threadIdx.x % 4 == 1) {
    to[0] = __activemask();
  } else {
    to[0] = __activemask();
  }
  for (unsigned round = 0; round <= threadIdx.x % 3; ++round) to[1 + round] = __activemask();
}

// --- 16 bits ------------------------------------------------------------------------------------

/// Thread t: x[t] and its square through __half and __nv_bfloat16, and a pair copied whole.
__global__ void half_kernel(const float* x, float* y) {
  __shared__ __half2 pairs[32];
  const unsigned t = threadIdx.x;
  const __half h = __float2half(x[t]);
  const __nv_bfloat16 b = __float2bfloat16(x[t]);
  y[6 * t] = __half2float(h);
  y[6 * t + 1] = __half2float(__hmul(h, h));
  y[6 * t + 2] = __bfloat162float(b);
  y[6 * t + 3] = __bfloat162float(b * b);
  pairs[t] = __floats2half2_rn(x[t], -x[t]);
  __syncthreads();
  const __half2 mine = __hadd2(pairs[t], pairs[31 - t]);
  const float2 both = __half22float2(mine);
  y[6 * t + 4] = both.x;
  y[6 * t + 5] = both.y;
}

using Kernel = void (*)(const float*, float*);
#define ATTN_FOREIGN(name) \
  { #name, name##_kernel }
constexpr std::pair<const char*, Kernel> kKernels[] = {
    ATTN_FOREIGN(abs),           ATTN_FOREIGN(exp),
    ATTN_FOREIGN(expf),          ATTN_FOREIGN(std_exp),
    ATTN_FOREIGN(tanhf),         ATTN_FOREIGN(logf),
    ATTN_FOREIGN(overloads),     ATTN_FOREIGN(fast),
    ATTN_FOREIGN(intrinsics),    ATTN_FOREIGN(hints),
    ATTN_FOREIGN(ticket),        ATTN_FOREIGN(table),
    ATTN_FOREIGN(variable_race), ATTN_FOREIGN(cas_add),
    ATTN_FOREIGN(cas_maximum),   ATTN_FOREIGN(read_beside_atomic),
    ATTN_FOREIGN(flag),          ATTN_FOREIGN(warp_value),
    ATTN_FOREIGN(wide),          ATTN_FOREIGN(two_values),
    ATTN_FOREIGN(shared_reuse),  ATTN_FOREIGN(two_barriers),
    ATTN_FOREIGN(tail),          ATTN_FOREIGN(early_return),
    ATTN_FOREIGN(match),         ATTN_FOREIGN(tiles),
    ATTN_FOREIGN(filter),        ATTN_FOREIGN(active),
    ATTN_FOREIGN(half),
};

}  // namespace

const char* foreign_kernels_file() { return __FILE__; }

void run_foreign(const std::string& name, unsigned blocks, unsigned threads, const float* x,
                 float* y) {
  for (const auto& [known, kernel] : kKernels) {
    if (name == known) return launch(kernel, blocks, threads, 0, nullptr, x, y);
  }
  throw std::logic_error("no kernel " + name);
}

void write_variables(const float* new_table, const float* new_factors) {
  CUDA_CHECK(cudaMemcpyToSymbol(table, new_table, sizeof(table)));
  CUDA_CHECK(cudaMemcpyToSymbol(factors, new_factors, sizeof(factors)));
}

void read_variables(float* to_table, float* to_factors) {
  CUDA_CHECK(cudaMemcpyFromSymbol(to_table, table, sizeof(table)));
  CUDA_CHECK(cudaMemcpyFromSymbol(to_factors, factors, sizeof(factors)));
}

}  // namespace attn::simt_test
