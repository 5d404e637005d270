// SPDX-License-Identifier: MIT
//
// What the checker of chapter 02's exercise runs, and the goal it holds the exercise to: the
// workspace it hands out is exactly as large as stated here and lies between guard bands, so a
// solution that needs more is caught writing past the end.
#include "chapters/02_naive_gpu/naive_gpu.hpp"
#include "common/verify/goals.hpp"

namespace attn::naive_gpu {

void deferred_forward(const ForwardArgs& args);  // deferred_division.cu

/// The weights of all heads, then one row_sum per row. For gold: shape.rows() * shape.Nk floats.
static std::size_t deferred_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows() * (shape.Nk + 1)) * sizeof(float);
}

static void counted_forward(const ForwardArgs& args) {
  deferred_forward(args);
  constexpr const char* kWhat = "floats of workspace";
  const auto used = static_cast<std::int64_t>(args.workspace_bytes / sizeof(float));
  const std::int64_t rows = args.shape.rows();
  verify::hold_to(verify::Medal::kBronze, kWhat, used, rows * (args.shape.Nk + 1));
  verify::hold_to(verify::Medal::kGold, kWhat, used, rows * args.shape.Nk);
}

}  // namespace attn::naive_gpu

namespace attn::chapters {

const Chapter& ch02_exercise() {
  static constexpr Step kSteps[] = {{
      .id = "deferred_division",
      .idea = "one exponential per score, one division per output",
      .forward = naive_gpu::counted_forward,
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
