// SPDX-License-Identifier: MIT
//
// Step 5: the backward pass in one kernel that owns keys. dQ is added up in float32, by atomics in
// workspace; a last kernel scales it and rounds it once.
#include "chapters/10_async_pipeline/key_kernel.cuh"

namespace attn::async_pipeline {
namespace {

constexpr int kConvertThreads = 256;

/// gDQ = scale * gSum, 4 elements a thread. Grid: ceil(fours / kConvertThreads).
template <class T>
__global__ void convert_kernel(const float* gSum, T* gDQ, std::int64_t fours, float scale) {
  const std::int64_t at = std::int64_t{blockIdx.x} * kConvertThreads + threadIdx.x;
  if (at >= fours) return;
  const float4 sum = reinterpret_cast<const float4*>(gSum)[at];
  const uint2 four = make_uint2(device::pack<T>(scale * sum.x, scale * sum.y),
                                device::pack<T>(scale * sum.z, scale * sum.w));
  reinterpret_cast<uint2*>(gDQ)[at] = four;
}

}  // namespace

std::size_t atomics_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.q_elements() + shape.rows()) * sizeof(float);
}

template <class T>
void backward_atomics(const BackwardArgsOf<T>& args) {
  const std::int64_t elements = args.shape.q_elements();
  float* gSum = static_cast<float*>(args.workspace);  // (B*H, Nq, d)
  float* gDelta = gSum + elements;                    // (B*H, Nq)
  CUDA_CHECK(cudaMemsetAsync(gSum, 0, static_cast<std::size_t>(elements) * sizeof(float)));
  with_columns(args.shape.d,
               [&]<int kD>() { launch_delta_and_keys<T, KeyTiles<kD>, true>(args, gDelta, gSum); });
  launch(convert_kernel<T>, ceil_div(elements / 4, kConvertThreads), kConvertThreads, 0, nullptr,
         gSum, args.grad_q, elements / 4, args.scale);
}
template void backward_atomics(const BackwardArgsOf<bfloat16>& args);
template void backward_atomics(const BackwardArgsOf<float16>& args);

}  // namespace attn::async_pipeline
