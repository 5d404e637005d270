// SPDX-License-Identifier: MIT
//
// Step 4: all K/V tiles at once (Dao 2023, algorithm 2). Every block adds to dQ, whose rows it
// shares with all other blocks of its head, by atomics: nothing is lost, but the order of the
// additions is that of the blocks, and float addition is not associative. The last bits of dQ
// differ from run to run.
#include "chapters/07_v2_loop_order/backward.cuh"
#include "common/columns.hpp"

namespace attn::v2_loop_order {
namespace {

template <int kD>
void run(const BackwardArgs& args) {
  const auto bytes = static_cast<std::size_t>(args.shape.q_elements()) * sizeof(float);
  CUDA_CHECK(cudaMemsetAsync(args.grad_q, 0, bytes));
  run_delta_and_keys<kD, true>(args, static_cast<float*>(args.workspace));
}

}  // namespace

std::size_t backward_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows()) * sizeof(float);
}

void backward_atomics(const BackwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::v2_loop_order
