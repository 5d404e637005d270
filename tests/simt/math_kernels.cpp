// SPDX-License-Identifier: MIT
#include "common/device/cuda.cuh"
#include "tests/simt/kernels.hpp"

namespace attn::simt_test {
namespace {

constexpr int kThreads = 64;

__device__ int global_thread() { return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); }

__device__ float unary(Unary op, float x) {
  switch (op) {
    case Unary::kExpf:
      return expf(x);
    case Unary::kFastExp:
      return __expf(x);
    case Unary::kExp2f:
      return exp2f(x);
    case Unary::kLogf:
      return logf(x);
    case Unary::kFastLog:
      return __logf(x);
    case Unary::kLog2f:
      return log2f(x);
    case Unary::kFastLog2:
      return __log2f(x);
    case Unary::kRsqrtf:
      return rsqrtf(x);
    case Unary::kSqrtf:
      return sqrtf(x);
    case Unary::kReciprocal:
      return __frcp_rn(x);
    case Unary::kFabsf:
      return fabsf(x);
  }
  return 0.0f;
}

__global__ void unary_kernel(Unary op, const float* in, float* out, int n) {
  const int i = global_thread();
  if (i < n) out[i] = unary(op, in[i]);
}

__global__ void binary_kernel(Binary op, const float* a, const float* b, float* out, int n) {
  const int i = global_thread();
  if (i >= n) return;
  const float x = a[i];
  const float y = b[i];
  float result = 0.0f;
  switch (op) {
    case Binary::kFastDivide:
      result = __fdividef(x, y);
      break;
    case Binary::kMax:
      result = fmaxf(x, y);
      break;
    case Binary::kMin:
      result = fminf(x, y);
      break;
  }
  out[i] = result;
}

__global__ void fma_kernel(const float* triples, float* out, int n) {
  const int i = global_thread();
  if (i < n) out[i] = fmaf(triples[3 * i], triples[3 * i + 1], triples[3 * i + 2]);
}

__global__ void bits_kernel(const unsigned* in, unsigned* out, int n) {
  const int i = global_thread();
  if (i >= n) return;
  const unsigned x = in[i];
  out[4 * i] = static_cast<unsigned>(__popc(x));
  out[4 * i + 1] = static_cast<unsigned>(__ffs(static_cast<int>(x)));
  out[4 * i + 2] = static_cast<unsigned>(__clz(static_cast<int>(x)));
  out[4 * i + 3] = __brev(x);
}

__global__ void ldg_kernel(const float* in, float* out, int n) {
  const int i = global_thread();
  if (i < n) out[i] = __ldg(in + i);
}

}  // namespace

void run_unary(Unary op, const float* in, float* out, int n) {
  launch(unary_kernel, ceil_div(n, kThreads), kThreads, 0, nullptr, op, in, out, n);
}

void run_binary(Binary op, const float* a, const float* b, float* out, int n) {
  launch(binary_kernel, ceil_div(n, kThreads), kThreads, 0, nullptr, op, a, b, out, n);
}

void run_fma(const float* triples, float* out, int n) {
  launch(fma_kernel, ceil_div(n, kThreads), kThreads, 0, nullptr, triples, out, n);
}

void run_bits(const unsigned* in, unsigned* out, int n) {
  launch(bits_kernel, ceil_div(n, kThreads), kThreads, 0, nullptr, in, out, n);
}

void run_ldg(const float* in, float* out, int n) {
  launch(ldg_kernel, ceil_div(n, kThreads), kThreads, 0, nullptr, in, out, n);
}

}  // namespace attn::simt_test
