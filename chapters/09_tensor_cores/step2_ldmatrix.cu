// SPDX-License-Identifier: MIT
//
// Step 2: step 1 with ldmatrix in place of loads of 4 and 2 bytes.
#include "chapters/09_tensor_cores/forward.cuh"

namespace attn::tensor_cores {

template <class T>
void forward_ldmatrix(const ForwardArgsOf<T>& args) {
  with_columns(args.shape.d,
               [&]<int kD>() { launch_forward<T, Tiles16<kD>, MatrixLoads, false>(args); });
}
template void forward_ldmatrix(const ForwardArgsOf<bfloat16>& args);
template void forward_ldmatrix(const ForwardArgsOf<float16>& args);

}  // namespace attn::tensor_cores
