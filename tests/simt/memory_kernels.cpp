// SPDX-License-Identifier: MIT
#include "common/device/cuda.cuh"
#include "tests/simt/kernels.hpp"

namespace attn::simt_test {
namespace {

constexpr int kStaticElements = 1024;

__global__ void static_shared_kernel(int* sums) {
  __shared__ int numbers[kStaticElements];
  __shared__ int table[32][33];
  __shared__ double wide;
  const int t = static_cast<int>(threadIdx.x);
  const int threads = static_cast<int>(blockDim.x);
  const int block = static_cast<int>(blockIdx.x);
  for (int i = t; i < kStaticElements; i += threads) numbers[i] = block;
  for (int i = t; i < 32 * 33; i += threads) table[i / 33][i % 33] = 2 * block;
  if (t == 0) wide = 3.0 * block;
  __syncthreads();  // the block's own numbers are in place
  int sum = 0;
  for (int i = 0; i < kStaticElements; ++i) sum += numbers[i];
  for (int i = 0; i < 32 * 33; ++i) sum += table[i / 33][i % 33];
  sums[block * threads + t] = sum + static_cast<int>(wide);
}

__global__ void dynamic_shared_kernel(const float* in, float* out, unsigned* offsets) {
  float* tile = dynamic_shared<float>();  // (blockDim.x)
  const unsigned t = threadIdx.x;
  const std::size_t first = std::size_t{blockIdx.x} * blockDim.x;
  tile[t] = in[first + t];
  __syncthreads();  // the tile is complete
  out[first + t] = tile[blockDim.x - 1 - t];
  if (t == 0) {
    offsets[blockIdx.x] = static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(tile) % 1024);
  }
}

__global__ void shared_sizes_kernel(int words, int* changed) {
  __shared__ int beside[64];
  __shared__ int wrong;
  int* tile = dynamic_shared<int>();  // (words)
  const int t = static_cast<int>(threadIdx.x);
  const int threads = static_cast<int>(blockDim.x);
  const int block = static_cast<int>(blockIdx.x);
  if (t == 0) wrong = 0;
  for (int i = t; i < words; i += threads) tile[i] = i + block;
  for (int i = t; i < 64; i += threads) beside[i] = -1 - i - block;
  __syncthreads();  // both patterns are written
  for (int i = threads - 1 - t; i < words; i += threads) {
    if (tile[i] != i + block) atomicAdd(&wrong, 1);
  }
  for (int i = threads - 1 - t; i < 64; i += threads) {
    if (beside[i] != -1 - i - block) atomicAdd(&wrong, 1);
  }
  __syncthreads();  // every word is judged
  if (t == 0) changed[block] = wrong;
}

__global__ void same_name_first_kernel(int* out) {
  __shared__ int tile[32];
  const unsigned t = threadIdx.x;
  tile[t] = static_cast<int>(t);
  __syncthreads();
  out[t] = tile[31 - t];
}

__global__ void same_name_second_kernel(int* out) {
  __shared__ short tile[32];
  const unsigned t = threadIdx.x;
  tile[t] = static_cast<short>(100 + t);
  __syncthreads();
  out[t] = tile[31 - t];
}

__global__ void vector_copy_kernel(const float* in, float* out, int n, int width) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) * width;
  if (i + width > n) return;
  if (width == 4) {
    const float4 value = *reinterpret_cast<const float4*>(in + i);
    *reinterpret_cast<float4*>(out + i) = value;
  } else if (width == 2) {
    const float2 value = *reinterpret_cast<const float2*>(in + i);
    *reinterpret_cast<float2*>(out + i) = value;
  } else {
    out[i] = in[i];
  }
}

__global__ void vector_facts_kernel(int* facts) {
  int* next = facts;
  *next++ = static_cast<int>(sizeof(float2));
  *next++ = static_cast<int>(alignof(float2));
  *next++ = static_cast<int>(sizeof(float3));
  *next++ = static_cast<int>(alignof(float3));
  *next++ = static_cast<int>(sizeof(float4));
  *next++ = static_cast<int>(alignof(float4));
  *next++ = static_cast<int>(sizeof(int4));
  *next++ = static_cast<int>(alignof(int4));
  *next++ = static_cast<int>(sizeof(uint2));
  *next++ = static_cast<int>(alignof(uint2));
  *next++ = static_cast<int>(sizeof(uint4));
  *next++ = static_cast<int>(alignof(uint4));
  const float4 f = make_float4(1.0f, 2.0f, 3.0f, 4.0f);
  *next++ = static_cast<int>(f.x);
  *next++ = static_cast<int>(f.y);
  *next++ = static_cast<int>(f.z);
  *next++ = static_cast<int>(f.w);
  const int2 i = make_int2(5, 6);
  *next++ = i.x;
  *next++ = i.y;
  const uint3 u = make_uint3(7u, 8u, 9u);
  *next++ = static_cast<int>(u.x);
  *next++ = static_cast<int>(u.y);
  *next++ = static_cast<int>(u.z);
  const dim3 size(10, 11);
  *next++ = static_cast<int>(size.x);
  *next++ = static_cast<int>(size.y);
  *next++ = static_cast<int>(size.z);
}

template <typename T>
__device__ T apply_atomic(Atomic op, T* target, T operand) {
  switch (op) {
    case Atomic::kAdd:
      return atomicAdd(target, operand);
    case Atomic::kSub:
      return atomicSub(target, operand);
    case Atomic::kExch:
      return atomicExch(target, operand);
    case Atomic::kMin:
      return atomicMin(target, operand);
    case Atomic::kMax:
      return atomicMax(target, operand);
    case Atomic::kAnd:
      return atomicAnd(target, operand);
    case Atomic::kOr:
      return atomicOr(target, operand);
    case Atomic::kXor:
      return atomicXor(target, operand);
    case Atomic::kCas:
      return atomicCAS(target, T{0}, operand);
    default:
      return T{};
  }
}

template <typename T>
__global__ void atomic_kernel(Atomic op, T* target, const T* operands, T* old_values) {
  const std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  old_values[i] = apply_atomic(op, target, operands[i]);
}

__global__ void atomic_wrap_kernel(Atomic op, unsigned* target, const unsigned* operands,
                                   unsigned* old_values) {
  const std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const unsigned limit = operands[i];
  old_values[i] = op == Atomic::kInc ? atomicInc(target, limit) : atomicDec(target, limit);
}

template <typename T>
__global__ void atomic_add_kernel(T* target, unsigned targets, const T* operands, T* old_values) {
  const std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  old_values[i] = atomicAdd(target + i % targets, operands[i]);
}

__global__ void cas_maximum_kernel(unsigned long long* target, const unsigned long long* operands) {
  const std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const unsigned long long mine = operands[i];
  unsigned long long seen = atomicCAS(target, 0ull, 0ull);
  while (mine > seen) {
    const unsigned long long before = atomicCAS(target, seen, mine);
    if (before == seen) return;
    seen = before;
  }
}

__global__ void histogram_kernel(const int* values, int n, int* bins, int bin_count) {
  int* counts = dynamic_shared<int>();  // (bin_count)
  const int t = static_cast<int>(threadIdx.x);
  const int threads = static_cast<int>(blockDim.x);
  for (int bin = t; bin < bin_count; bin += threads) counts[bin] = 0;
  __syncthreads();  // the counts are zero
  for (int i = static_cast<int>(blockIdx.x) * threads + t; i < n;
       i += static_cast<int>(gridDim.x) * threads) {
    atomicAdd(counts + values[i], 1);
  }
  __syncthreads();  // the block has counted
  for (int bin = t; bin < bin_count; bin += threads) atomicAdd(bins + bin, counts[bin]);
}

}  // namespace

void run_static_shared(unsigned blocks, unsigned threads, int* sums) {
  launch(static_shared_kernel, blocks, threads, 0, nullptr, sums);
}

void run_dynamic_shared(unsigned blocks, unsigned threads, const float* in, float* out,
                        unsigned* offsets) {
  launch(dynamic_shared_kernel, blocks, threads, threads * sizeof(float), nullptr, in, out,
         offsets);
}

void run_shared_sizes(unsigned blocks, unsigned threads, int words, int* changed) {
  launch(shared_sizes_kernel, blocks, threads, static_cast<std::size_t>(words) * sizeof(int),
         nullptr, words, changed);
}

void run_same_name(int* first, int* second) {
  launch(same_name_first_kernel, 1, 32, 0, nullptr, first);
  launch(same_name_second_kernel, 1, 32, 0, nullptr, second);
}

void run_vector_copy(const float* in, float* out, int n, int width) {
  constexpr int kThreads = 64;
  launch(vector_copy_kernel, ceil_div(n, std::int64_t{kThreads} * width), kThreads, 0, nullptr, in,
         out, n, width);
}

void run_vector_facts(int* facts) { launch(vector_facts_kernel, 1, 1, 0, nullptr, facts); }

template <>
void run_atomic(Atomic op, unsigned blocks, unsigned threads, int* target, const int* operands,
                int* old_values) {
  launch(atomic_kernel<int>, blocks, threads, 0, nullptr, op, target, operands, old_values);
}
template <>
void run_atomic(Atomic op, unsigned blocks, unsigned threads, unsigned* target,
                const unsigned* operands, unsigned* old_values) {
  const bool wraps = op == Atomic::kInc || op == Atomic::kDec;
  launch(wraps ? atomic_wrap_kernel : atomic_kernel<unsigned>, blocks, threads, 0, nullptr, op,
         target, operands, old_values);
}

template <typename T>
void run_atomic_add(unsigned blocks, unsigned threads, T* target, unsigned targets,
                    const T* operands, T* old_values) {
  launch(atomic_add_kernel<T>, blocks, threads, 0, nullptr, target, targets, operands, old_values);
}
template void run_atomic_add(unsigned, unsigned, int*, unsigned, const int*, int*);
template void run_atomic_add(unsigned, unsigned, unsigned*, unsigned, const unsigned*, unsigned*);
template void run_atomic_add(unsigned, unsigned, unsigned long long*, unsigned,
                             const unsigned long long*, unsigned long long*);
template void run_atomic_add(unsigned, unsigned, float*, unsigned, const float*, float*);
template void run_atomic_add(unsigned, unsigned, double*, unsigned, const double*, double*);

void run_cas_maximum(unsigned blocks, unsigned threads, unsigned long long* target,
                     const unsigned long long* operands) {
  launch(cas_maximum_kernel, blocks, threads, 0, nullptr, target, operands);
}

void run_histogram(unsigned blocks, unsigned threads, const int* values, int n, int* bins,
                   int bin_count) {
  launch(histogram_kernel, blocks, threads, static_cast<std::size_t>(bin_count) * sizeof(int),
         nullptr, values, n, bins, bin_count);
}

}  // namespace attn::simt_test
