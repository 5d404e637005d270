// SPDX-License-Identifier: MIT
//
// Step 2: the products of step 1 in chapter 07's forward pass: S never leaves the registers.
// The lanes stand in reading order.
#include "chapters/08_register_tiles/forward.cuh"
#include "common/columns.hpp"

namespace attn::register_tiles {

void forward_fused(const ForwardArgs& args) {
  with_columns(args.shape.d,
               [&]<int kD>() { launch_forward<TilesFor<kD>, PlainLanes, false, false>(args); });
}

std::size_t no_workspace_bytes(const Shape& /*shape*/) { return 0; }

}  // namespace attn::register_tiles
