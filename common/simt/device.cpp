// SPDX-License-Identifier: MIT
#include "common/simt/device.hpp"

namespace attn::simt {

const DeviceDescription& current_device() {
  // Limits of compute capability 9.0: CUDA C++ Programming Guide, table "Technical Specifications
  // per Compute Capability". Multiprocessors and L2: NVIDIA H200 datasheet and H100 white paper.
  static constexpr DeviceDescription kH200{.name = "H200",
                                           .max_threads_per_block = 1024,
                                           .shared_bytes_per_block = 227 * 1024,
                                           .multiprocessors = 132,
                                           .l2_bytes = 50u << 20,
                                           .major = 9,
                                           .minor = 0};
  return kH200;
}

}  // namespace attn::simt
