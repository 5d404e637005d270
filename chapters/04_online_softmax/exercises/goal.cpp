// SPDX-License-Identifier: MIT
//
// What the checker of chapter 04's exercise runs, and the goal it holds the exercise to: the same
// split_forward with two warps a row (bronze), and with five (gold). It gets no workspace.
#include "common/attention.hpp"

namespace attn::online_softmax {

void split_forward(const ForwardArgs& args, int warps);  // split_row.cu

static std::size_t no_workspace(const Shape&) { return 0; }

}  // namespace attn::online_softmax

namespace attn::chapters {

const Chapter& ch04_exercise() {
  using online_softmax::split_forward;
  static constexpr Step kSteps[] = {
      {.id = "two_warps",
       .idea = "two warps share a row",
       .forward = [](const ForwardArgs& args) { split_forward(args, 2); },
       .forward_workspace_bytes = online_softmax::no_workspace},
      {.id = "five_warps",
       .idea = "five warps share a row",
       .forward = [](const ForwardArgs& args) { split_forward(args, 5); },
       .forward_workspace_bytes = online_softmax::no_workspace},
  };
  static constexpr int kTileEdges[] = {32};
  static constexpr Chapter kChapter{
      .id = "04_exercise",
      .title = "Split row",
      .idea = "several warps share a row",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
  };
  return kChapter;
}

}  // namespace attn::chapters
