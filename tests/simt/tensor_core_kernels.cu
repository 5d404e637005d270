// SPDX-License-Identifier: MIT
#include <stdexcept>

#include "common/device/mma.cuh"
#include "tests/simt/tensor_core_kernels.hpp"

namespace attn::simt_test {
namespace {

using device::ldmatrix_x4;
using device::mma_m16n8k16;
using device::shared_address;

__device__ int lane() { return static_cast<int>(threadIdx.x) % 32; }

template <bool kTransposed>
__global__ void load_kernel(const std::uint16_t* in, unsigned* out) {
  auto* sRows = dynamic_shared<std::uint16_t>();
  for (int i = 0; i < 8; ++i) sRows[8 * lane() + i] = in[8 * lane() + i];
  __syncwarp();
  unsigned x[4];
  ldmatrix_x4<kTransposed>(x, sRows + 8 * lane());
  for (int j = 0; j < 4; ++j) out[4 * lane() + j] = x[j];
}

#ifndef __CUDACC__
__global__ void load_few_kernel(int count, const std::uint16_t* in, unsigned* out) {
  auto* sRows = dynamic_shared<std::uint16_t>();
  for (int i = 0; i < 8; ++i) sRows[8 * lane() + i] = in[8 * lane() + i];
  __syncwarp();
  // The lanes behind those that name rows may hold anything.
  const unsigned row = lane() < 8 * count ? 16u * static_cast<unsigned>(lane()) : 0xFFFFFFFFu;
  const simt::FourWords words =
      simt::load_matrices(count, row, false, std::source_location::current());
  for (int j = 0; j < count; ++j) out[4 * lane() + j] = words.x[j];
}
#endif

template <class T>
__global__ void multiply_kernel(const unsigned* a, const unsigned* b, float* c) {
  unsigned x[4];
  float sum[4];
  for (int r = 0; r < 4; ++r) x[r] = a[4 * lane() + r];
  for (int i = 0; i < 4; ++i) sum[i] = c[4 * lane() + i];
  mma_m16n8k16<T>(sum, x, b[2 * lane()], b[2 * lane() + 1]);
  for (int i = 0; i < 4; ++i) c[4 * lane() + i] = sum[i];
}

template <class T>
__global__ void product_kernel(int steps, const std::uint16_t* a, const std::uint16_t* b,
                               float* c) {
  const int columns = 16 * steps;  // of A; rows of B
  const int stride = columns + 8;  // of A in shared memory
  auto* sA = dynamic_shared<std::uint16_t>();
  std::uint16_t* sB = sA + 16 * stride;
  for (int i = lane(); i < 16 * columns; i += 32) {
    sA[i / columns * stride + i % columns] = a[i];
  }
  for (int i = lane(); i < columns * 8; i += 32) sB[i] = b[i];
  __syncwarp();
  float sum[4];
  const int g = lane() / 4, t = lane() % 4;
  for (int i = 0; i < 4; ++i) sum[i] = c[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2];
  for (int s = 0; s < steps; s += 2) {
    unsigned y[4];  // of B, for two steps
    ldmatrix_x4<true>(y, sB + (16 * s + lane()) * 8);
    for (int half = 0; half < 2; ++half) {
      unsigned x[4];
      ldmatrix_x4(x, sA + lane() % 16 * stride + 16 * (s + half) + lane() / 16 * 8);
      mma_m16n8k16<T>(sum, x, y[2 * half], y[2 * half + 1]);
    }
  }
  for (int i = 0; i < 4; ++i) c[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2] = sum[i];
}

template <class T>
__global__ void pack_kernel(const float* values, unsigned* words) {
  words[lane()] = device::pack<T>(values[2 * lane()], values[2 * lane() + 1]);
}

template <Rows kRows>
__global__ void rows_kernel(const std::uint16_t* in, unsigned* out) {
  constexpr int kColumns = 64, kChunk = 8;
  constexpr bool kPadded = kRows == Rows::kPadded || kRows == Rows::kPairs;
  constexpr int kStride = kPadded ? kColumns + kChunk : kColumns;
  auto* sTile = dynamic_shared<std::uint16_t>();
  const auto place = [](int row, int chunk) {
    return row * kStride + (kRows == Rows::kSwizzled ? chunk ^ row % 8 : chunk) * kChunk;
  };
  for (int i = lane(); i < 8 * kColumns; i += 32) {
    const std::uint16_t value = in[i];
    sTile[place(i / kColumns, i % kColumns / kChunk) + i % kChunk] = value;
  }
  __syncwarp();
  const int row = kRows == Rows::kPairs ? lane() % 8 / 2 * 2 : lane() % 8;
  unsigned x[4];
  for (int step = 0; step < 2; ++step) {  // four chunks of each row
    ldmatrix_x4(x, sTile + place(row, 4 * step + lane() / 8));
  }
  for (int j = 0; j < 4; ++j) out[4 * lane() + j] = x[j];
}

constexpr int kMisuseThreads = 64;
constexpr int kMisuseBytes = 1024;  // of shared memory, filled with zeros by who reads them

__device__ unsigned* zeros() {
  auto* sTile = dynamic_shared<unsigned>();
  for (int i = static_cast<int>(threadIdx.x); i < kMisuseBytes / 4; i += blockDim.x) sTile[i] = 0;
  __syncthreads();
  return sTile;
}

__global__ void misaligned_row_kernel(unsigned* out) {
  unsigned x[4];
  ldmatrix_x4(x, zeros() + 2 * lane());  // bug: misaligned_row
  out[threadIdx.x] = x[0];
}

__global__ void row_too_far_kernel(unsigned* out) {
  unsigned x[4];
  ldmatrix_x4(x, zeros() + 4 * (lane() + 33));  // bug: row_too_far
  out[threadIdx.x] = x[0];
}

__global__ void static_rows_kernel(unsigned* out) {
  __shared__ uint4 sRows[32];
  sRows[lane()] = make_uint4(0, 0, 0, 0);
  unsigned x[4];
  ldmatrix_x4(x, sRows + lane());  // bug: static_rows
  out[threadIdx.x] = x[0];
}

__global__ void unwritten_rows_kernel(unsigned* out) {
  auto* sTile = dynamic_shared<unsigned>();
  if (threadIdx.x < 31) {
    for (int i = 0; i < 4; ++i) sTile[4 * threadIdx.x + i] = 0;
  }
  __syncthreads();
  unsigned x[4];
  ldmatrix_x4(x, sTile + 4 * lane());  // bug: unwritten_rows
  out[threadIdx.x] = x[0];
}

// Lanes see what the others of their warp have stored behind a __syncwarp, and not before.
__global__ void early_rows_kernel(unsigned* out) {
  auto* sTile = dynamic_shared<unsigned>();
  for (int i = 0; i < 4; ++i) sTile[4 * threadIdx.x + i] = 0;  // bug: early_rows
  unsigned x[4];
  ldmatrix_x4(x, sTile + 4 * threadIdx.x);  // bug: early_rows
  out[threadIdx.x] = x[0];
}

__global__ void half_loads_kernel(unsigned* out) {
  unsigned* sTile = zeros();
  unsigned x[4] = {};
  if (lane() < 16) {
    ldmatrix_x4(x, sTile + 4 * lane());  // bug: half_loads
  } else {
    __syncwarp(0xFFFF0000u);
    ldmatrix_x4<true>(x, sTile + 4 * lane());  // bug: half_loads
  }
  out[threadIdx.x] = x[0];
}

__global__ void half_multiplies_kernel(unsigned* out) {
  const unsigned a[4] = {};
  float c[4] = {};
  if (lane() < 16) {
    mma_m16n8k16<bfloat16>(c, a, 0, 0);  // bug: half_multiplies
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = static_cast<unsigned>(c[0]);
}

__global__ void lane_has_left_kernel(unsigned* out) {
  const unsigned a[4] = {};
  float c[4] = {};
  if (threadIdx.x == 37) return;
  mma_m16n8k16<float16>(c, a, 0, 0);  // bug: lane_has_left
  out[threadIdx.x] = static_cast<unsigned>(c[0]);
}

struct Misuse {
  const char* name;
  void (*kernel)(unsigned*);
};
constexpr Misuse kMisuses[] = {
    {"misaligned_row", misaligned_row_kernel},   {"row_too_far", row_too_far_kernel},
    {"static_rows", static_rows_kernel},         {"unwritten_rows", unwritten_rows_kernel},
    {"early_rows", early_rows_kernel},           {"half_loads", half_loads_kernel},
    {"half_multiplies", half_multiplies_kernel}, {"lane_has_left", lane_has_left_kernel},
};

}  // namespace

const char* tensor_core_kernels_file() { return __FILE__; }

void run_load_matrices(bool transposed, const std::uint16_t* in, unsigned* out) {
  launch(transposed ? load_kernel<true> : load_kernel<false>, 1, 32, 512, nullptr, in, out);
}

#ifndef __CUDACC__
void run_load_few(int count, const std::uint16_t* in, unsigned* out) {
  launch(load_few_kernel, 1, 32, 512, nullptr, count, in, out);
}
#endif

void run_multiply_add(Element element, const unsigned* a, const unsigned* b, float* c) {
  launch(element == Element::kBfloat16 ? multiply_kernel<bfloat16> : multiply_kernel<float16>, 1,
         32, 0, nullptr, a, b, c);
}

void run_product(Element element, int steps, const std::uint16_t* a, const std::uint16_t* b,
                 float* c) {
  const auto shared = static_cast<std::size_t>(16 * (16 * steps + 8) + 16 * steps * 8) * 2;
  launch(element == Element::kBfloat16 ? product_kernel<bfloat16> : product_kernel<float16>, 1, 32,
         shared, nullptr, steps, a, b, c);
}

void run_pack(Element element, const float* values, unsigned* words) {
  launch(element == Element::kBfloat16 ? pack_kernel<bfloat16> : pack_kernel<float16>, 1, 32, 0,
         nullptr, values, words);
}

void run_rows(Rows rows, const std::uint16_t* in, unsigned* out) {
  const auto run = [&](void (*kernel)(const std::uint16_t*, unsigned*)) {
    launch(kernel, 1, 32, 8 * 72 * 2, nullptr, in, out);
  };
  switch (rows) {
    case Rows::kPlain:
      return run(rows_kernel<Rows::kPlain>);
    case Rows::kPadded:
      return run(rows_kernel<Rows::kPadded>);
    case Rows::kSwizzled:
      return run(rows_kernel<Rows::kSwizzled>);
    case Rows::kPairs:
      return run(rows_kernel<Rows::kPairs>);
  }
}

void run_tensor_misuse(const std::string& name, unsigned* out) {
  for (const Misuse& misuse : kMisuses) {
    if (misuse.name == name) {
      return launch(misuse.kernel, 1, kMisuseThreads, kMisuseBytes, nullptr, out);
    }
  }
  throw std::logic_error("no kernel called " + name);
}

}  // namespace attn::simt_test
