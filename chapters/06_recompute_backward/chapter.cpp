// SPDX-License-Identifier: MIT
#include "chapters/06_recompute_backward/recompute_backward.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch06_recompute_backward() {
  using namespace recompute_backward;
  static constexpr Step kSteps[] = {{.id = "step1_textbook",
                                     .idea = "the textbook in tiles: P, then dS, in HBM",
                                     .backward = backward_textbook,
                                     .backward_workspace_bytes = textbook_workspace_bytes},
                                    {.id = "step2_recompute",
                                     .idea = "P recomputed from Q, K and LSE; dQ added up in HBM",
                                     .backward = backward_recompute,
                                     .backward_workspace_bytes = recompute_workspace_bytes}};
  static constexpr Step kTextbookTwin[] = {
      {.id = "cpu_textbook",
       .idea = "step 1 as plain C++ loops: P, then dS, in memory",
       .backward = backward_textbook_cpu,
       .backward_workspace_bytes = textbook_workspace_bytes}};
  static constexpr Step kTwin{.id = "cpu",
                              .idea = "step 2 as plain C++ loops: P recomputed",
                              .backward = backward_cpu,
                              .backward_workspace_bytes = recompute_workspace_bytes};
  static constexpr int kTileEdges[] = {16, 32, 64};
  static constexpr Chapter kChapter{
      .id = "06_recompute_backward",
      .title = "Recompute backward",
      .idea = "gradients without storing P: recompute it from LSE",
      .memory = device_memory,
      .steps = kSteps,
      .twin = &kTwin,
      .earlier_twins = kTextbookTwin,
      .forward_of = "05_fused_forward",
      .tile_edges = kTileEdges,
      .support = {.max_n = std::int64_t{65535} * 32},  // step 1: row tiles on the grid's y and z
  };
  return kChapter;
}

}  // namespace attn::chapters
