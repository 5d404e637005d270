// SPDX-License-Identifier: MIT
//
// What the exercise's checker runs: step 2 with the exercise's delta, and without O.
#include "chapters/06_recompute_backward/recompute_backward.hpp"

namespace attn::recompute_backward {

static void backward_without_o(const BackwardArgs& args) {
  BackwardArgs without = args;
  without.o = nullptr;  // whoever reads it is stopped
  backward_recompute(without);
}

}  // namespace attn::recompute_backward

namespace attn::chapters {

const Chapter& ch06_exercise() {
  static constexpr Step kSteps[] = {{.id = "delta_without_o",
                                     .idea = "delta from P and dP, without O",
                                     .backward = recompute_backward::backward_without_o,
                                     .backward_workspace_bytes = [](const Shape& shape) {
                                       return static_cast<std::size_t>(shape.rows()) *
                                              sizeof(float);
                                     }}};
  static constexpr int kTileEdges[] = {32};
  static constexpr Chapter kChapter{
      .id = "06_exercise",
      .title = "Delta without O",
      .idea = "delta from P and dP, without O",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
  };
  return kChapter;
}

}  // namespace attn::chapters
