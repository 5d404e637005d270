// SPDX-License-Identifier: MIT
#include "chapters/10_async_pipeline/async_pipeline.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch10_async_pipeline() {
  using namespace async_pipeline;
  static constexpr Step kSteps[] = {
      {.id = "step1_swizzle",
       .idea = "chapter 09's tiles with 16-byte chunks exchanged, not rows padded",
       .forward = {forward_swizzled<bfloat16>, forward_swizzled<float16>},
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step2_cp_async",
       .idea = "K and V arrive under the product before their own",
       .forward = {forward_async<bfloat16>, forward_async<float16>},
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step3_hoisted",
       .idea = "addresses made once: less than half of the integer instructions",
       .forward = {forward_hoisted<bfloat16>, forward_hoisted<float16>},
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step4_tiles",
       .idea = "room for two tiles of K, and Q in registers where they suffice",
       .forward = {forward_tiles<bfloat16>, forward_tiles<float16>},
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step5_backward",
       .idea = "backward: Q and dO arrive under five products, dQ by atomics",
       .price = "dQ in float32 beside, by atomics",
       .backward = {backward_atomics<bfloat16>, backward_atomics<float16>},
       .backward_workspace_bytes = atomics_workspace_bytes,
       .deterministic_backward = false},
      {.id = "step6_deterministic",
       .idea = "backward: dQ by a kernel of its own, no atomics",
       .price = "S and dP computed twice",
       .backward = {backward_deterministic<bfloat16>, backward_deterministic<float16>},
       .backward_workspace_bytes = deterministic_workspace_bytes},
  };
  static constexpr int kTileEdges[] = {64};  // 128 queries are two of them
  static constexpr std::int64_t kD[] = {8,  16, 24, 32, 40,  48,  56,  64,
                                        72, 80, 88, 96, 104, 112, 120, 128};
  static constexpr Chapter kChapter{
      .id = "10_async_pipeline",
      .title = "Asynchronous pipeline",
      .idea = "K and V arrive while the tensor cores multiply",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
      .support = {.max_n = std::int64_t{1} << 30,  // rows of a head are counted in 31 bits
                  .only_d = kD,
                  .alignment = 16,
                  .reach = 128},
  };
  return kChapter;
}

}  // namespace attn::chapters
