// SPDX-License-Identifier: MIT
//
// Step 4: step 3 with 32 rows a warp: each fragment of K and V that is loaded feeds two products.
#include "chapters/09_tensor_cores/forward.cuh"

namespace attn::tensor_cores {

template <class T>
void forward_rows32(const ForwardArgsOf<T>& args) {
  with_columns(args.shape.d,
               [&]<int kD>() { launch_forward<T, Tiles32<kD>, MatrixLoads, true>(args); });
}
template void forward_rows32(const ForwardArgsOf<bfloat16>& args);
template void forward_rows32(const ForwardArgsOf<float16>& args);

}  // namespace attn::tensor_cores
