// SPDX-License-Identifier: MIT
//
// Which Br and Bc? Step 5's kernel with other tiles, for `attn tune 08`. Only the kernel for wide
// rows: d % 4 = 0, all arrays 16-byte aligned.
//
// Not here, since they spill: 128 x 64 with 4 warps at d = 128, where S and O alone are 192
// registers of a lane; 128 x 32 with 4 warps there; and what asks for more blocks per SM than the
// registers suffice for, at d = 64 128 x 64 with 8 warps and 2 blocks (128 registers a thread), or
// 128 x 32 with 4 warps and 3 blocks (168).
#include <type_traits>

#include "chapters/08_register_tiles/candidates.hpp"
#include "chapters/08_register_tiles/forward.cuh"

namespace attn::register_tiles {
namespace {

template <class T>
void forward_tiles(const ForwardArgs& args) {
  launch_forward<T, PairedLanes, true, true>(args);
}

template <class T>
const void* kernel_of() {
  return reinterpret_cast<const void*>(forward_kernel<T, PairedLanes, true, true>);
}

/// T: its Tiles. id: Br x Bc and warps.
template <class T>
constexpr Candidate candidate(std::string_view id) {
  return {.step = {.id = id,
                   .idea = "step 5 with this tile",
                   .forward = forward_tiles<T>,
                   .forward_workspace_bytes = no_workspace_bytes},
          .support = {.max_d = T::kD, .alignment = sizeof(float4)},
          .threads = T::kThreads,
          .shared_bytes = T::kFloats * sizeof(float),
          .kernel = kernel_of<T>,
          .used = std::is_same_v<T, TilesFor<T::kD>>};
}

}  // namespace

std::span<const Candidate> candidates() {
  static constexpr Candidate kCandidates[] = {
      candidate<Tiles<64, 128, 64, 4, 2>>("128x64, 4 warps"),
      candidate<Tiles<64, 128, 64, 8, 1>>("128x64, 8 warps"),
      candidate<Tiles<64, 128, 32, 4, 2>>("128x32, 4 warps"),
      candidate<Tiles<64, 64, 64, 4, 3>>("64x64, 4 warps"),
      candidate<Tiles<64, 64, 64, 2, 3>>("64x64, 2 warps"),
      candidate<Tiles<128, 128, 64, 8, 1>>("128x64, 8 warps"),
      candidate<Tiles<128, 128, 32, 8, 1>>("128x32, 8 warps"),
      candidate<Tiles<128, 64, 64, 4, 1>>("64x64, 4 warps"),
      candidate<Tiles<128, 64, 32, 4, 2>>("64x32, 4 warps"),
  };
  return kCandidates;
}

}  // namespace attn::register_tiles
