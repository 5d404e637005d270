// SPDX-License-Identifier: MIT
#include "chapters/11_hopper/hopper.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch11_hopper() {
  using namespace hopper;
  static constexpr Step kSteps[] = {
      {.id = "step1_wgmma",
       .idea = "products of warpgroups, which read shared memory themselves",
       .forward = {forward_wgmma<bfloat16>, forward_wgmma<float16>},
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step2_tma",
       .idea = "whole tiles by the copy engine, into a ring of two stages",
       .forward = {forward_tma<bfloat16>, forward_tma<float16>},
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step3_producer",
       .idea = "a warp that only asks for tiles, and its registers to those that multiply",
       .forward = {forward_producer<bfloat16>, forward_producer<float16>},
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step4_ping_pong",
       .idea = "warpgroups take turns: one multiplies, another is at its softmax",
       .forward = {forward_ping_pong<bfloat16>, forward_ping_pong<float16>},
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step5_overlap",
       .idea = "P V of a tile under the softmax of the next",
       .forward = {forward_overlap<bfloat16>, forward_overlap<float16>},
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step6_persistent",
       .idea = "blocks that take one tile after the other, the heavy ones first",
       .forward = {forward_persistent<bfloat16>, forward_persistent<float16>},
       .forward_workspace_bytes = no_workspace_bytes},
  };
  static constexpr int kTileEdges[] = {128};  // keys; queries, too, where d is 128
  static constexpr std::int64_t kD[] = {64, 128};
  static constexpr Chapter kChapter{
      .id = "11_hopper",
      .title = "Hopper",
      .idea = "copies and products that run by themselves, warps that wait for them",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
      .support = {.max_n = std::int64_t{1} << 30,  // TMA counts rows in 31 bits
                  .only_d = kD,
                  .alignment = 16,
                  .min_compute = 90,
                  .reach = 320},  // a tile of queries and one of keys
  };
  return kChapter;
}

}  // namespace attn::chapters
