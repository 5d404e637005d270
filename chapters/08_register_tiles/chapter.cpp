// SPDX-License-Identifier: MIT
#include "chapters/08_register_tiles/candidates.hpp"
#include "chapters/08_register_tiles/register_tiles.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch08_register_tiles() {
  using namespace register_tiles;
  static constexpr Step kSteps[] = {
      {.id = "step1_unfused",
       .idea = "chapter 03's kernels, both products with their results in registers",
       .price = "S in HBM again, to see what fusion brings",
       .forward = forward_unfused,
       .forward_workspace_bytes = scores_bytes},
      {.id = "step2_fused",
       .idea = "the same products in chapter 07's forward pass",
       .forward = forward_fused,
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step3_paired_lanes",
       .idea = "lanes dealt out so that a 16-byte load takes two turns, not four",
       .forward = forward_paired,
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step4_wide_loads",
       .idea = "global memory 16 bytes at a time, where rows allow it",
       .forward = forward_wide,
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step5_exp2",
       .idea = "2^x by one instruction",
       .forward = forward_approximate,
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step6_backward",
       .idea = "backward: all five products in registers, dQ by atomics",
       .backward = backward_atomics,
       .backward_workspace_bytes = backward_workspace_bytes,
       .deterministic_backward = false},
      {.id = "step7_deterministic",
       .idea = "backward: dQ by a kernel of its own, no atomics",
       .price = "S and dP computed twice",
       .backward = backward_deterministic,
       .backward_workspace_bytes = backward_workspace_bytes},
  };
  static constexpr Step kTwin{.id = "cpu",
                              .idea = "the same register tiles, on a core",
                              .forward = forward_cpu,
                              .forward_workspace_bytes = no_workspace_bytes,
                              .backward = backward_cpu,
                              .backward_workspace_bytes = cpu_backward_workspace_bytes};
  static constexpr int kTileEdges[] = {64};  // 128 queries are two of them
  static constexpr Chapter kChapter{
      .id = "08_register_tiles",
      .title = "Register tiles",
      .idea = "S and O in registers: eight times fewer loads from shared memory",
      .memory = device_memory,
      .steps = kSteps,
      .twin = &kTwin,
      .tile_edges = kTileEdges,
      .candidates = candidates,
  };
  return kChapter;
}

}  // namespace attn::chapters
