// SPDX-License-Identifier: MIT
#include "chapters/07_v2_loop_order/v2_loop_order.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch07_v2_loop_order() {
  using namespace v2_loop_order;
  static constexpr Step kSteps[] = {
      {.id = "step1_loop_swap",
       .idea = "Q tiles outside, one per block; O in registers",
       .forward = forward_loop_swap,
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step2_skip",
       .idea = "tiles that the mask hides are skipped",
       .forward = forward_skip,
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step3_exp2",
       .idea = "exp2 in place of expf, the maximum subtracted first",
       .forward = forward_exp2,
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step4_backward",
       .idea = "backward: K/V tiles outside, dQ by atomics",
       .backward = backward_atomics,
       .backward_workspace_bytes = backward_workspace_bytes,
       .deterministic_backward = false},
      {.id = "step5_deterministic",
       .idea = "backward: dQ by a kernel of its own, no atomics",
       .price = "S and dP computed twice",
       .backward = backward_deterministic,
       .backward_workspace_bytes = backward_workspace_bytes},
  };
  static constexpr Step kTwin{.id = "cpu",
                              .idea = "the same loop order as plain C++ loops",
                              .forward = forward_cpu,
                              .forward_workspace_bytes = no_workspace_bytes,
                              .backward = backward_cpu,
                              .backward_workspace_bytes = cpu_backward_workspace_bytes};
  static constexpr int kTileEdges[] = {16, 32, 64};
  static constexpr Chapter kChapter{
      .id = "07_v2_loop_order",
      .title = "FlashAttention-2's loop order",
      .idea = "FlashAttention-2: Q tiles outside, O never leaves the chip",
      .memory = device_memory,
      .steps = kSteps,
      .twin = &kTwin,
      .tile_edges = kTileEdges,
  };
  return kChapter;
}

}  // namespace attn::chapters
