// SPDX-License-Identifier: MIT
#include "chapters/16_heads/heads.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {
namespace {

constexpr Features all_but(const Features& taken) {
  Features others = Features::of_arrays();
  others.remove(taken);
  return others;
}

}  // namespace

const Chapter& ch16_heads() {
  using namespace heads;
  static constexpr Features kGroups = {Feature::kGroupedHeads, Feature::kWindows};
  static constexpr Features kLayouts = {Feature::kGroupedHeads, Feature::kWindows,
                                        Feature::kValueWidth, Feature::kStrides};
  static constexpr Step kSteps[] = {
      {.id = "step1_groups",
       .idea = "a group of query heads reads one head of K and V",
       .price = "07's tiles, not 08's",
       .forward = forward_groups,
       .forward_workspace_bytes = no_workspace_bytes,
       .lacks = all_but(kGroups)},
      {.id = "step2_pack",
       .idea = "the group's queries are the rows of one tile: K and V come once for all",
       .price = "07's tiles, not 08's",
       .forward = forward_pack,
       .forward_workspace_bytes = no_workspace_bytes,
       .lacks = all_but(kGroups)},
      {.id = "step3_layout",
       .idea = "arrays in any order; V as wide as it likes",
       .price = "07's tiles, not 08's",
       .forward = forward_layout,
       .forward_workspace_bytes = no_workspace_bytes,
       .lacks = all_but(kLayouts)},
      {.id = "step4_all",
       .idea = "all features together: a word per row, two functors",
       .price = "07's tiles, not 08's",
       .forward = forward_all,
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step5_backward",
       .idea = "backward: dK and dV are sums over the group, in registers",
       .price = "S and dP computed twice, in 07's tiles",
       .backward = heads::backward,
       .backward_workspace_bytes = backward_workspace_bytes},
  };
  static constexpr Step kTwin{.id = "cpu",
                              .idea = "all features together as plain C++ loops",
                              .forward = forward_cpu,
                              .forward_workspace_bytes = no_workspace_bytes,
                              .backward = backward_cpu,
                              .backward_workspace_bytes = backward_workspace_bytes};
  static constexpr int kTileEdges[] = {32, 64};
  static constexpr Chapter kChapter{
      .id = "16_heads",
      .title = "Heads",
      .idea = "grouped heads, layouts, widths, and every feature in one kernel",
      .memory = device_memory,
      .steps = kSteps,
      .twin = &kTwin,
      .tile_edges = kTileEdges,
      .support = {.max_d = kMaxColumns, .features = Features::of_arrays()},
  };
  return kChapter;
}

}  // namespace attn::chapters
