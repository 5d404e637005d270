// SPDX-License-Identifier: MIT
#include "chapters/02_naive_gpu/naive_gpu.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch02_naive_gpu() {
  static constexpr Step kSteps[] = {{
      .id = "naive",
      .idea = "three kernels: one thread per score, per row, per output",
      .forward = naive_gpu::forward,
      .forward_workspace_bytes = naive_gpu::forward_workspace_bytes,
  }};
  static constexpr int kTileEdges[] = {naive_gpu::kBlockRows, naive_gpu::kBlockColumns};
  static constexpr Chapter kChapter{
      .id = "02_naive_gpu",
      .title = "Naive GPU",
      .idea = "three kernels: one thread per score, per row, per output",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
      .support = {.max_n = std::int64_t{65535} * naive_gpu::kBlockRows},
  };
  return kChapter;
}

}  // namespace attn::chapters
