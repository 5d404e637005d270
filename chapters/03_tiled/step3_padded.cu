// SPDX-License-Identifier: MIT
//
// Step 3: one unused float at the end of each row of sK, and the bank conflicts are gone.
#include "chapters/03_tiled/tiles.cuh"
#include "common/device/naive.cuh"

namespace attn::tiled {

void forward_padded(const ForwardArgs& args) {
  const Shape& shape = args.shape;
  constexpr int kPad = 1;  // a column of sK lies in 32 banks
  forward_in_tiles<kPad>(args, [&](float* gS, std::int64_t diagonal) {
    constexpr int kThreads = 128;
    launch(device::naive_softmax_kernel, ceil_div(shape.rows(), kThreads), kThreads, 0, nullptr, gS,
           args.lse, shape.rows(), shape.Nq, shape.Nk, diagonal);
  });
}

}  // namespace attn::tiled
