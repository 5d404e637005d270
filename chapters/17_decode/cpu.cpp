// SPDX-License-Identifier: MIT
//
// Step 4 as plain C++: the loops of common/cpu_decode.hpp over a cache in which the keys of a head
// lie one behind the other.
#include "chapters/17_decode/decode.hpp"
#include "common/cpu_decode.hpp"

namespace attn::decoding {

void forward_cpu(const ForwardArgs& args) {
  cpu::forward(args, [&](std::int64_t kv_head, const Range& valid, auto width) {
    const std::int64_t first = (kv_head * args.shape.Nk + valid.begin) * width();
    return [first, width](std::int64_t j0) {
      return [first, j0, width](std::int64_t j) { return first + (j0 + j) * width(); };
    };
  });
}

}  // namespace attn::decoding
