// SPDX-License-Identifier: MIT
#include "chapters/11_hopper/hopper.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch11_hopper() {
  using namespace hopper;
  static constexpr Step kSteps[] = {
      {.id = "step1_wgmma",
       .idea = "products of four warps, which read their operands from shared memory themselves",
       .forward = {forward_wgmma<bfloat16>, forward_wgmma<float16>},
       .forward_workspace_bytes = no_workspace_bytes},
  };
  static constexpr int kTileEdges[] = {128};
  static constexpr std::int64_t kD[] = {64, 128};
  static constexpr Chapter kChapter{
      .id = "11_hopper",
      .title = "Hopper",
      .idea = "copies and products go on by themselves, and warps only direct them",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
      .support = {.max_n = std::int64_t{1} << 30,  // rows of a head are counted in 31 bits
                  .only_d = kD,
                  .alignment = 16,
                  .min_compute = 90,
                  .reach = 128},
  };
  return kChapter;
}

}  // namespace attn::chapters
