// SPDX-License-Identifier: MIT
//
// What the checker of chapter 02's exercise runs, and the goal it holds the exercise to: the
// workspace it hands out is exactly as large as stated here and lies between guard bands, so a
// solution that needs more is caught writing past the end.
#include "chapters/02_naive_gpu/naive_gpu.hpp"

namespace attn::naive_gpu {

void deferred_forward(const ForwardArgs& args);  // deferred_division.cu

/// The weights of all heads, then one row_sum per row. For gold: shape.rows() * shape.Nk floats.
static std::size_t deferred_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows() * (shape.Nk + 1)) * sizeof(float);
}

}  // namespace attn::naive_gpu

namespace attn::chapters {

const Chapter& ch02_exercise() {
  static constexpr Step kSteps[] = {{
      .id = "deferred_division",
      .idea = "one exponential per score, one division per output",
      .forward = naive_gpu::deferred_forward,
      .forward_workspace_bytes = naive_gpu::deferred_workspace_bytes,
  }};
  static constexpr int kTileEdges[] = {naive_gpu::kBlockRows, naive_gpu::kBlockColumns};
  static constexpr Chapter kChapter{
      .id = "02_exercise",
      .title = "Deferred division",
      .idea = "one exponential per score, one division per output",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
  };
  return kChapter;
}

}  // namespace attn::chapters
