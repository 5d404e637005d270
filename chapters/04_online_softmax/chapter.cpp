// SPDX-License-Identifier: MIT
#include "chapters/04_online_softmax/online_softmax.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch04_online_softmax() {
  using namespace online_softmax;
  static constexpr Step kSteps[] = {{.id = "forward",
                                     .idea = "one warp streams one row; S is never stored",
                                     .price = "every row loads all K and V anew",
                                     .forward = forward,
                                     .forward_workspace_bytes = workspace_bytes}};
  static constexpr Step kTwin{.id = "cpu",
                              .idea = "the same stream as plain C++ loops",
                              .price = "every row loads all K and V anew",
                              .forward = forward_cpu,
                              .forward_workspace_bytes = workspace_bytes};
  static constexpr int kTileEdges[] = {32};  // lanes: one key at a time, 32 columns at a time
  static constexpr Chapter kChapter{
      .id = "04_online_softmax",
      .title = "Online softmax",
      .idea = "one pass: maximum, sum and output rescaled as keys arrive",
      .memory = device_memory,
      .steps = kSteps,
      .twin = &kTwin,
      .tile_edges = kTileEdges,
  };
  return kChapter;
}

}  // namespace attn::chapters
