// SPDX-License-Identifier: MIT
#include "chapters/01_naive_cpu/naive_cpu.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch01_naive_cpu() {
  static constexpr Step kSteps[] = {{
      .id = "naive",
      .idea = "three loops; S and P stored",
      .forward = naive_cpu::forward,
      .forward_workspace_bytes = naive_cpu::forward_workspace_bytes,
      .backward = naive_cpu::backward,
      .backward_workspace_bytes = naive_cpu::backward_workspace_bytes,
  }};
  static constexpr Chapter kChapter{
      .id = "01_naive_cpu",
      .title = "Naive CPU",
      .idea = "three loops; S and P stored",
      .memory = host_memory,
      .steps = kSteps,
  };
  return kChapter;
}

}  // namespace attn::chapters
