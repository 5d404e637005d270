// SPDX-License-Identifier: MIT
//
// Step 4: step 3 with global loads and stores of 16 bytes, where the rows allow them.
#include "chapters/08_register_tiles/forward.cuh"
#include "common/columns.hpp"

namespace attn::register_tiles {

void forward_wide(const ForwardArgs& args) {
  const bool wide = rows_are_wide(args.shape.d, {args.q, args.k, args.v, args.o});
  with_columns(args.shape.d, [&]<int kD>() {
    if (wide) {
      launch_forward<TilesFor<kD>, PairedLanes, true, false>(args);
    } else {
      launch_forward<TilesFor<kD>, PairedLanes, false, false>(args);
    }
  });
}

}  // namespace attn::register_tiles
