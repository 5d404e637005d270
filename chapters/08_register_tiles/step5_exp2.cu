// SPDX-License-Identifier: MIT
//
// Step 5: step 4 with 2^x by the special-function unit's one instruction.
#include "chapters/08_register_tiles/forward.cuh"
#include "common/columns.hpp"

namespace attn::register_tiles {

void forward_approximate(const ForwardArgs& args) {
  const bool wide = rows_are_wide(args.shape.d, {args.q, args.k, args.v, args.o});
  with_columns(args.shape.d, [&]<int kD>() {
    if (wide) {
      launch_forward<TilesFor<kD>, PairedLanes, true, true>(args);
    } else {
      launch_forward<TilesFor<kD>, PairedLanes, false, true>(args);
    }
  });
}

}  // namespace attn::register_tiles
