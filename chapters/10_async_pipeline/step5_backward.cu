// SPDX-License-Identifier: MIT
//
// Step 5: the backward pass in one kernel that owns keys. dQ is added up in float32, by atomics in
// workspace; a last kernel scales it and rounds it once.
#include "chapters/10_async_pipeline/key_kernel.cuh"

namespace attn::async_pipeline {
namespace {

constexpr int kConvertThreads = 256;

/// gDQ = scale * gSum, 8 elements a thread. Grid: ceil(chunks / kConvertThreads).
template <class T>
__global__ void convert_kernel(const float* gSum, T* gDQ, std::int64_t chunks, float scale) {
  const std::int64_t chunk = std::int64_t{blockIdx.x} * kConvertThreads + threadIdx.x;
  if (chunk >= chunks) return;
  const float4 low = reinterpret_cast<const float4*>(gSum)[2 * chunk];
  const float4 high = reinterpret_cast<const float4*>(gSum)[2 * chunk + 1];
  const uint4 eight = make_uint4(device::pack<T>(scale * low.x, scale * low.y),
                                 device::pack<T>(scale * low.z, scale * low.w),
                                 device::pack<T>(scale * high.x, scale * high.y),
                                 device::pack<T>(scale * high.z, scale * high.w));
  reinterpret_cast<uint4*>(gDQ)[chunk] = eight;
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
  const std::int64_t chunks = elements / kChunk;
  launch(convert_kernel<T>, ceil_div(chunks, kConvertThreads), kConvertThreads, 0, nullptr, gSum,
         args.grad_q, chunks, args.scale);
}
template void backward_atomics(const BackwardArgsOf<bfloat16>& args);
template void backward_atomics(const BackwardArgsOf<float16>& args);

}  // namespace attn::async_pipeline
