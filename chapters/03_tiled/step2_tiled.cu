// SPDX-License-Identifier: MIT
//
// Step 2: tiles in shared memory (tiles.cuh), and the bank conflicts that come with them.
#include "chapters/03_tiled/tiles.cuh"
#include "common/device/naive.cuh"

namespace attn::tiled {

std::size_t workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows() * shape.Nk) * sizeof(float);
}

void forward_tiled(const ForwardArgs& args) {
  const Shape& shape = args.shape;
  constexpr int kPad = 0;  // a column of sK lies in one bank
  forward_in_tiles<kPad>(args, [&](float* gS, std::int64_t diagonal) {
    constexpr int kThreads = 128;
    launch(device::naive_softmax_kernel, ceil_div(shape.rows(), kThreads), kThreads, 0, nullptr, gS,
           args.lse, shape.rows(), shape.Nq, shape.Nk, diagonal);
  });
}

}  // namespace attn::tiled
