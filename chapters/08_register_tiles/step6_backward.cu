// SPDX-License-Identifier: MIT
//
// Step 6: chapter 07's step 4, the backward pass with dQ by atomics, in register tiles.
#include "chapters/08_register_tiles/backward.cuh"
#include "common/columns.hpp"

namespace attn::register_tiles {

std::size_t backward_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows()) * sizeof(float);
}

void backward_atomics(const BackwardArgs& args) {
  const auto bytes = static_cast<std::size_t>(args.shape.q_elements()) * sizeof(float);
  CUDA_CHECK(cudaMemsetAsync(args.grad_q, 0, bytes));
  float* gDelta = static_cast<float*>(args.workspace);  // (B*H, Nq)
  with_columns(args.shape.d, [&]<int kD>() {
    using T = BackwardTiles<kD>;
    if (rows_are_wide(args)) {
      launch_delta_and_keys<T, true, true>(args, gDelta);
    } else {
      launch_delta_and_keys<T, false, true>(args, gDelta);
    }
  });
}

}  // namespace attn::register_tiles
