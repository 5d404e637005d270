// SPDX-License-Identifier: MIT
#include "tests/simt/tracer_kernels.hpp"

#include "common/device/cuda.cuh"

namespace attn::simt_test {

// The compiler puts an inline function that other files may share behind the file's own kernels:
// its code has larger addresses than the place that it returns to.
[[gnu::noinline]] __device__ inline float called_from_above(float x) {
  return x == 0.0f ? -2.0f : 3.0f + logf(x);
}

namespace {

__device__ bool is_set(unsigned char v) { return v != 0; }
__device__ bool is_set(unsigned short v) { return v != 0; }
__device__ bool is_set(unsigned v) { return v != 0; }
__device__ bool is_set(uint2 v) { return (v.x | v.y) != 0; }
__device__ bool is_set(uint4 v) { return (v.x | v.y | v.z | v.w) != 0; }

template <typename T>
__global__ void pattern_kernel(unsigned char* array, Pattern pattern) {
  unsigned char* tile = dynamic_shared<unsigned char>();  // (kPatternBytes)
  const unsigned lane = threadIdx.x;
  if (pattern.move == Move::kSharedLoad || pattern.move == Move::kSharedAtomic) {
    for (unsigned i = lane * 16; i < kPatternBytes; i += blockDim.x * 16) {
      *reinterpret_cast<uint4*>(tile + i) = make_uint4(0, 0, 0, 0);
    }
    __syncthreads();  // the tile is zero
  }
  if ((pattern.lanes >> lane & 1u) == 0) return;
  const int offset = pattern.offsets[lane];
  const T zero{};
  switch (pattern.move) {
    case Move::kGlobalLoad: {
      const T value = *reinterpret_cast<const T*>(array + offset);
      if (is_set(value)) array[0] = 1;  // never: all is zero
      break;
    }
    case Move::kGlobalStore:
      *reinterpret_cast<T*>(array + offset) = zero;
      break;
    case Move::kGlobalAtomic:
      atomicAdd(reinterpret_cast<int*>(array + offset), 0);
      break;
    case Move::kSharedLoad: {
      const T value = *reinterpret_cast<const T*>(tile + offset);
      if (is_set(value)) array[0] = 1;
      break;
    }
    case Move::kSharedStore:
      *reinterpret_cast<T*>(tile + offset) = zero;
      break;
    case Move::kSharedAtomic:
      atomicAdd(reinterpret_cast<int*>(tile + offset), 0);
      break;
  }
}

constexpr int kNaiveLoadLine = __LINE__ + 8;
/// Grid (n/32, n/8), block (32, 8): a warp is 32 columns of one row.
__global__ void naive_matmul_kernel(const float* gA, const float* gB, float* gC, int n) {
  const int column = static_cast<int>(blockIdx.x * 32 + threadIdx.x);
  const int row = static_cast<int>(blockIdx.y * 8 + threadIdx.y);
  float sum = 0.0f;
  for (int k = 0; k < n; ++k) {
    // Keep the two loads on these two lines: naive_matmul_load_line() counts on it.
    const float a = gA[row * n + k];
    const float b = gB[k * n + column];
    sum += a * b;
  }
  gC[row * n + column] = sum;
}

/// The same with the indices swapped: a warp is 32 rows of one column.
__global__ void swapped_matmul_kernel(const float* gA, const float* gB, float* gC, int n) {
  const int row = static_cast<int>(blockIdx.x * 32 + threadIdx.x);
  const int column = static_cast<int>(blockIdx.y * 8 + threadIdx.y);
  float sum = 0.0f;
  for (int k = 0; k < n; ++k) {
    const float a = gA[row * n + k];
    const float b = gB[k * n + column];
    sum += a * b;
  }
  gC[row * n + column] = sum;
}

/// Grid (n/32, n/32), block (32, 32).
__global__ void tiled_matmul_kernel(const float* gA, const float* gB, float* gC, int n) {
  __shared__ float sA[32][32];
  __shared__ float sB[32][32];
  const int tx = static_cast<int>(threadIdx.x);
  const int ty = static_cast<int>(threadIdx.y);
  const int column = static_cast<int>(blockIdx.x) * 32 + tx;
  const int row = static_cast<int>(blockIdx.y) * 32 + ty;
  float sum = 0.0f;
  for (int tile = 0; tile < n; tile += 32) {
    sA[ty][tx] = gA[row * n + tile + tx];
    sB[ty][tx] = gB[(tile + ty) * n + column];
    __syncthreads();  // both tiles are complete
    for (int k = 0; k < 32; ++k) sum += sA[ty][k] * sB[k][tx];
    __syncthreads();  // every thread has used them
  }
  gC[row * n + column] = sum;
}

/// The bits of `lane` at two positions, as a number.
__device__ __forceinline__ int bits_of(int lane, int low, int high) {
  return (lane >> low & 1) | (lane >> high & 1) << 1;
}

template <bool kPairs>
__global__ void product_kernel(const float* gQ, const float* gK, float* gS) {
  constexpr int kStride = kProductD + 4;  // eight rows side by side: eight times other banks
  __align__(16) __shared__ float sQ[kProductRows * kStride];
  __align__(16) __shared__ float sK[kProductKeys * kStride];
  const int lane = static_cast<int>(threadIdx.x);
  for (int r = 0; r < kProductRows; ++r) sQ[r * kStride + lane] = gQ[r * kProductD + lane];
  for (int r = 0; r < kProductKeys; ++r) sK[r * kStride + lane] = gK[r * kProductD + lane];
  __syncwarp();  // both are complete
  const int row = kPairs ? bits_of(lane, 1, 4) : lane / 8;
  const int key = kPairs ? (lane & 1) | bits_of(lane, 2, 3) << 1 : lane % 8;
  float s[2][2] = {};
  for (int c = 0; c < kProductD; c += 4) {
    float4 q[2], k[2];
    for (int m = 0; m < 2; ++m) {
      q[m] = *reinterpret_cast<const float4*>(sQ + (row + 4 * m) * kStride + c);
      k[m] = *reinterpret_cast<const float4*>(sK + (key + 8 * m) * kStride + c);
    }
    for (int m = 0; m < 2; ++m) {
      for (int n = 0; n < 2; ++n) {
        s[m][n] += q[m].x * k[n].x + q[m].y * k[n].y + q[m].z * k[n].z + q[m].w * k[n].w;
      }
    }
  }
  for (int m = 0; m < 2; ++m) {
    for (int n = 0; n < 2; ++n) gS[(row + 4 * m) * kProductKeys + key + 8 * n] = s[m][n];
  }
}

template <int kColumns>
__global__ void transpose_kernel(const float* in, float* out) {
  __shared__ float tile[32][kColumns];
  const unsigned x = threadIdx.x;
  const unsigned y = threadIdx.y;
  tile[y][x] = in[y * 32 + x];
  __syncthreads();  // the tile is complete
  out[y * 32 + x] = tile[x][y];
}

__global__ void causal_columns_kernel(const float* weights, const float* S, float* out, int rows) {
  const int lane = static_cast<int>(threadIdx.x);
  float sum = 0.0f;
  for (int i = 0; i < rows; ++i) {
    const float weight = weights[i];
    if (i >= lane) sum += weight * S[i * 32 + lane];
  }
  out[lane] = sum;
}

__global__ void late_lanes_kernel(const float* S, float* out, int rows) {
  const int lane = static_cast<int>(threadIdx.x);
  float sum = 0.0f;
  for (int i = 0; i < rows; ++i) {
    if (i >= lane) sum += S[i * 32 + lane];
  }
  out[lane] = sum;
}

__global__ void nested_loops_kernel(const float* x, float* out, int rounds) {
  const int lane = static_cast<int>(threadIdx.x);
  float sum = 0.0f;
  for (int r = 0; r < rounds; ++r) {
    for (int j = 0; j <= (lane + r) % 4; ++j) sum += x[r * 4 + j];
  }
  out[lane] = sum;
}

__global__ void uneven_loop_kernel(const float* x, float* out) {
  const int lane = static_cast<int>(threadIdx.x);
  float sum = 0.0f;
  for (int j = 0; j <= lane; ++j) sum += x[j];
  out[lane] = sum;
}

__global__ void branches_kernel(int n, const float* a, const float* b, float* out) {
  const int t = static_cast<int>(threadIdx.x);
  if (t >= n) return;
  float value;
  if (t % 2 == 0) {
    value = a[t];
  } else {
    value = 2.0f * b[t];
  }
  out[t] = value;
}

__global__ void lone_lane_kernel(const float* x, float* out, int count) {
  const int lane = static_cast<int>(threadIdx.x);
  float sum = 0.0f;
  if (lane == 0) {
    for (int i = 0; i < count; ++i) sum += x[i];
  }
  out[lane] = sum + x[lane];
}

[[gnu::noinline]] __device__ float called_from_below(float x) {
  return x == 0.0f ? -1.0f : 2.0f + logf(x);
}

__global__ void calls_kernel(float* below, float* above) {
  const int lane = static_cast<int>(threadIdx.x);
  const float x = static_cast<float>(lane % 2);
  below[lane] = called_from_below(x);
  above[lane] = called_from_above(x);
}

__global__ void group_shuffles_kernel(const float* x, float* out, int rounds) {
  const int lane = static_cast<int>(threadIdx.x);
  const unsigned group = 0xFFu << (lane & 24);  // 8 lanes
  float sum = 0.0f;
  for (int r = 0; r < rounds; ++r) {
    sum += x[r * 32 + lane];
    sum += __shfl_xor_sync(group, sum, 4, 8);
  }
  if (lane < 16) sum += __shfl_xor_sync(0xFFFFu, sum, 8);
  out[lane] = sum;
}

__global__ void shuffle_rounds_kernel(const float* x, float* out, int rounds) {
  const int lane = static_cast<int>(threadIdx.x);
  float sum = 0.0f;
  for (int r = 0; r < rounds; ++r) {
    sum += x[r * 32 + lane];
    sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 1);
  }
  out[lane] = sum;
}

__global__ void warp_instructions_kernel(const float* x, float* out) {
  const int lane = static_cast<int>(threadIdx.x);
  float sum = x[lane];
  const int positive = sum > 0.0f ? 1 : 0;
  const int votes = __any_sync(0xFFFFFFFFu, positive) + __all_sync(0xFFFFFFFFu, positive) +
                    static_cast<int>(__ballot_sync(0xFFFFFFFFu, positive) & 1u);
  sum += static_cast<float>(votes);
  sum += __shfl_sync(0xFFFFFFFFu, sum, 0);
  sum += static_cast<float>(__shfl_xor_sync(0xFFFFFFFFu, static_cast<double>(sum), 1));
  if (lane < 16) {
    sum += __shfl_xor_sync(0x0000FFFFu, sum, 2);
  } else {
    sum -= __shfl_xor_sync(0xFFFF0000u, sum, 4);
  }
  out[lane] = sum;
}

__global__ void mixed_spaces_kernel(const float* x, float* out) {
  __shared__ float tile[32];
  const int lane = static_cast<int>(threadIdx.x);
  tile[lane] = 1.0f;
  __syncthreads();  // the tile is complete
  const float* from = lane < 16 ? tile : x;
  out[lane] = from[lane];
}

__global__ void in_place_kernel(float* data) { data[blockIdx.x * blockDim.x + threadIdx.x] += 1; }

__global__ void half_sectors_kernel(float* data) {
  data[8 * threadIdx.x + 4] = data[8 * threadIdx.x];
}

__global__ void make_float4_kernel(const float* x, float4* out) {
  const unsigned t = threadIdx.x;
  out[2 * t] = make_float4(0.0f, 1.0f, 2.0f, 3.0f);
  out[2 * t + 1] = make_float4(x[4 * t], x[4 * t + 1], x[4 * t + 2], x[4 * t + 3]);
}

__global__ void rounds_kernel(const float* x, float* out, int rounds) {
  const unsigned t = blockIdx.x * blockDim.x + threadIdx.x;
  float sum = 0.0f;
  for (int r = 0; r < rounds; ++r) sum += x[(t + 32 * static_cast<unsigned>(r)) % 1024];
  out[t] = sum;
}

__global__ void counters_kernel(int* counter) {
  __shared__ int sum;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();  // the sum is zero
  atomicAdd(&sum, 1);
  atomicAdd(counter, 1);
}

__global__ void barriers_kernel(unsigned alive, int rounds, int* out) {
  if (threadIdx.x >= alive) return;
  int seen = 0;
  for (int r = 0; r < rounds; ++r) seen += __syncthreads_count(1);
  out[blockIdx.x * blockDim.x + threadIdx.x] = seen;
}

__global__ void special_functions_kernel(const float* in, float* out) {
  const float x = in[threadIdx.x];
  float sum = expf(x) + exp2f(x) + __expf(x) + __logf(x) + __log2f(x) + rsqrtf(x);
  sum += __fdividef(1.0f, x);
  // These are built from multiply-adds, or have a unit of their own.
  sum += logf(x) + sqrtf(x) + 1.0f / x + fmaxf(x, 0.5f) + fmaf(x, x, x);
  out[threadIdx.x] = sum;
}

__global__ void dynamic_shared_bytes_kernel(unsigned char* out) {
  unsigned char* tile = dynamic_shared<unsigned char>();  // (blockDim.x)
  tile[threadIdx.x] = 1;
  out[threadIdx.x] = tile[threadIdx.x];
}

template <typename T>
void launch_pattern(const Pattern& pattern, unsigned char* array) {
  launch(pattern_kernel<T>, 1, pattern.threads, kPatternBytes, nullptr, array, pattern);
}

}  // namespace

const char* tracer_kernels_file() { return __FILE__; }
int naive_matmul_load_line() { return kNaiveLoadLine; }

void run_pattern(const Pattern& pattern, unsigned char* array) {
  switch (pattern.bytes) {
    case 1:
      return launch_pattern<unsigned char>(pattern, array);
    case 2:
      return launch_pattern<unsigned short>(pattern, array);
    case 4:
      return launch_pattern<unsigned>(pattern, array);
    case 8:
      return launch_pattern<uint2>(pattern, array);
    default:
      return launch_pattern<uint4>(pattern, array);
  }
}

void run_matmul(Matmul kind, const float* A, const float* B, float* C, int n) {
  const auto tiles = static_cast<unsigned>(n / 32);
  if (kind == Matmul::kNaive) {
    launch(naive_matmul_kernel, dim3(tiles, tiles * 4), dim3(32, 8), 0, nullptr, A, B, C, n);
  } else if (kind == Matmul::kSwappedIndices) {
    launch(swapped_matmul_kernel, dim3(tiles, tiles * 4), dim3(32, 8), 0, nullptr, A, B, C, n);
  } else {
    launch(tiled_matmul_kernel, dim3(tiles, tiles), dim3(32, 32), 0, nullptr, A, B, C, n);
  }
}

void run_product(bool pairs, const float* Q, const float* K, float* S) {
  launch(pairs ? product_kernel<true> : product_kernel<false>, 1, 32, 0, nullptr, Q, K, S);
}

void run_transpose(bool padded, const float* in, float* out) {
  launch(padded ? transpose_kernel<33> : transpose_kernel<32>, 1, dim3(32, 32), 0, nullptr, in,
         out);
}

void run_causal_columns(const float* weights, const float* S, float* out, int rows) {
  launch(causal_columns_kernel, 1, 32, 0, nullptr, weights, S, out, rows);
}

void run_late_lanes(const float* S, float* out, int rows) {
  launch(late_lanes_kernel, 1, 32, 0, nullptr, S, out, rows);
}

void run_nested_loops(const float* x, float* out, int rounds) {
  launch(nested_loops_kernel, 1, 32, 0, nullptr, x, out, rounds);
}

void run_uneven_loop(const float* x, float* out) {
  launch(uneven_loop_kernel, 1, 32, 0, nullptr, x, out);
}

void run_branches(unsigned threads, int n, const float* a, const float* b, float* out) {
  launch(branches_kernel, 1, threads, 0, nullptr, n, a, b, out);
}

void run_lone_lane(const float* x, float* out, int count) {
  launch(lone_lane_kernel, 1, 32, 0, nullptr, x, out, count);
}

void run_calls(float* below, float* above) {
  launch(calls_kernel, 1, 32, 0, nullptr, below, above);
}

void run_group_shuffles(const float* x, float* out, int rounds) {
  launch(group_shuffles_kernel, 1, 32, 0, nullptr, x, out, rounds);
}

void run_shuffle_rounds(const float* x, float* out, int rounds) {
  launch(shuffle_rounds_kernel, 1, 32, 0, nullptr, x, out, rounds);
}

void run_warp_instructions(const float* x, float* out) {
  launch(warp_instructions_kernel, 1, 32, 0, nullptr, x, out);
}

void run_mixed_spaces(const float* x, float* out) {
  launch(mixed_spaces_kernel, 1, 32, 0, nullptr, x, out);
}

void run_in_place(float* data, unsigned blocks, unsigned threads) {
  launch(in_place_kernel, blocks, threads, 0, nullptr, data);
}

void run_half_sectors(float* data, unsigned threads) {
  launch(half_sectors_kernel, 1, threads, 0, nullptr, data);
}

void run_make_float4(const float* x, float* out, unsigned threads) {
  launch(make_float4_kernel, 1, threads, 0, nullptr, x, reinterpret_cast<float4*>(out));
}

void run_rounds(const float* x, float* out, unsigned blocks, unsigned threads, int rounds) {
  launch(rounds_kernel, blocks, threads, 0, nullptr, x, out, rounds);
}

void run_counters(int* counter, unsigned blocks, unsigned threads) {
  launch(counters_kernel, blocks, threads, 0, nullptr, counter);
}

void run_barriers(unsigned blocks, unsigned threads, unsigned alive, int rounds, int* out) {
  launch(barriers_kernel, blocks, threads, 0, nullptr, alive, rounds, out);
}

void run_special_functions(unsigned threads, const float* in, float* out) {
  launch(special_functions_kernel, 1, threads, 0, nullptr, in, out);
}

void run_dynamic_shared_bytes(unsigned threads, unsigned shared_bytes, unsigned char* out) {
  launch(dynamic_shared_bytes_kernel, 1, threads, shared_bytes, nullptr, out);
}

}  // namespace attn::simt_test
