// SPDX-License-Identifier: MIT
#include "chapters/09_tensor_cores/tensor_cores.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch09_tensor_cores() {
  using namespace tensor_cores;
  static constexpr Step kSteps[] = {
      {.id = "step1_fragments",
       .idea = "both products by mma, fragments filled 4 bytes at a time",
       .forward = {forward_fragments<bfloat16>, forward_fragments<float16>},
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step2_ldmatrix",
       .idea = "fragments filled by ldmatrix",
       .forward = {forward_ldmatrix<bfloat16>, forward_ldmatrix<float16>},
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step3_registers",
       .idea = "P stays in the registers from one product to the next",
       .forward = {forward_registers<bfloat16>, forward_registers<float16>},
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step4_rows32",
       .idea = "32 rows a warp: each fragment of K and V feeds two products",
       .forward = {forward_rows32<bfloat16>, forward_rows32<float16>},
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step5_backward",
       .idea = "backward: P and dS stay in the registers too, no atomics",
       .backward = {backward_registers<bfloat16>, backward_registers<float16>},
       .backward_workspace_bytes = backward_workspace_bytes},
  };
  static constexpr int kTileEdges[] = {64};  // 128 queries are two of them
  static constexpr Chapter kChapter{
      .id = "09_tensor_cores",
      .title = "Tensor cores",
      .idea = "both products by mma.sync on 16-bit elements",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
      .support = {.reach = 128},
  };
  return kChapter;
}

}  // namespace attn::chapters
