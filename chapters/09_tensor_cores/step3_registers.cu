// SPDX-License-Identifier: MIT
//
// Step 3: step 2 without P in shared memory.
#include "chapters/09_tensor_cores/forward.cuh"

namespace attn::tensor_cores {

template <class T>
void forward_registers(const ForwardArgsOf<T>& args) {
  with_columns(args.shape.d,
               [&]<int kD>() { launch_forward<T, Tiles16<kD>, MatrixLoads, true>(args); });
}
template void forward_registers(const ForwardArgsOf<bfloat16>& args);
template void forward_registers(const ForwardArgsOf<float16>& args);

}  // namespace attn::tensor_cores
