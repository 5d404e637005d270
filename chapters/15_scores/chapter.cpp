// SPDX-License-Identifier: MIT
#include "chapters/15_scores/scores.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch15_scores() {
  using namespace scores;
  static constexpr Step kSteps[] = {
      {.id = "step1_alibi",
       .idea = "ALiBi: a bias made of the distance, nothing is loaded for it",
       .price = "07's tiles, not 08's",
       .forward = forward_alibi,
       .forward_workspace_bytes = no_workspace_bytes,
       .lacks = {Feature::kBias, Feature::kSoftcap, Feature::kSinkLogits, Feature::kDropout}},
      {.id = "step2_bias",
       .idea = "a bias from memory; what a row sees becomes a word as the scores are made",
       .price = "07's tiles, not 08's",
       .forward = forward_bias,
       .forward_workspace_bytes = no_workspace_bytes,
       .lacks = {Feature::kSoftcap, Feature::kSinkLogits, Feature::kDropout}},
      {.id = "step3_softcap_sink",
       .idea = "softcap before the bias; a row starts with its head's sink logit",
       .price = "07's tiles, not 08's",
       .forward = forward_softcap_sink,
       .forward_workspace_bytes = no_workspace_bytes,
       .lacks = {Feature::kDropout}},
      {.id = "step4_dropout",
       .idea = "dropout drawn from a pair's numbers, nothing is stored",
       .price = "07's tiles, not 08's",
       .forward = forward_dropout,
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step5_backward",
       .idea = "backward with all of it: every sum has one owner, that of the bias, too",
       .price = "S and dP computed twice, in 07's tiles",
       .backward = scores::backward,
       .backward_workspace_bytes = backward_workspace_bytes},
  };
  static constexpr Step kTwin{.id = "cpu",
                              .idea = "the same scores as plain C++ loops",
                              .forward = forward_cpu,
                              .forward_workspace_bytes = no_workspace_bytes,
                              .backward = backward_cpu,
                              .backward_workspace_bytes = backward_workspace_bytes};
  static constexpr int kTileEdges[] = {32, 64};
  static constexpr Chapter kChapter{
      .id = "15_scores",
      .title = "Scores",
      .idea = "what is done to a score: ALiBi, bias, softcap, a learned sink, dropout",
      .memory = device_memory,
      .steps = kSteps,
      .twin = &kTwin,
      .tile_edges = kTileEdges,
      .support = {.features = {Feature::kBias, Feature::kAlibi, Feature::kSoftcap,
                               Feature::kSinkLogits, Feature::kDropout, Feature::kWindows}},
  };
  return kChapter;
}

}  // namespace attn::chapters
