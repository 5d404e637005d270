// SPDX-License-Identifier: MIT
//
// Step 3: step 2 with the lanes dealt out anew: neighbours share a row of Q, or a row of K.
#include "chapters/08_register_tiles/forward.cuh"
#include "common/columns.hpp"

namespace attn::register_tiles {

void forward_paired(const ForwardArgs& args) {
  with_columns(args.shape.d,
               [&]<int kD>() { launch_forward<TilesFor<kD>, PairedLanes, false, false>(args); });
}

}  // namespace attn::register_tiles
