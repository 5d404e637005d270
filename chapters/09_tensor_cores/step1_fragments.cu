// SPDX-License-Identifier: MIT
//
// Step 1: both products by mma, whose registers are filled as they lie in memory, 4 bytes at a
// time.
#include "chapters/09_tensor_cores/forward.cuh"

namespace attn::tensor_cores {

template <class T>
void forward_fragments(const ForwardArgsOf<T>& args) {
  with_columns(args.shape.d,
               [&]<int kD>() { launch_forward<T, Tiles16<kD>, PlainLoads, false>(args); });
}
template void forward_fragments(const ForwardArgsOf<bfloat16>& args);
template void forward_fragments(const ForwardArgsOf<float16>& args);

std::size_t no_workspace_bytes(const Shape& /*shape*/) { return 0; }

}  // namespace attn::tensor_cores
