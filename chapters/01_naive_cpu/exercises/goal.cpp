// SPDX-License-Identifier: MIT
//
// What the checker of chapter 01's exercise runs, and the goal it holds the exercise to: the
// workspace it hands out is exactly as large as stated here and lies between guard bands, so a
// solution that needs more is caught writing past the end.
#include "common/attention.hpp"
#include "common/verify/goals.hpp"

namespace attn::row_at_a_time {

void forward(const ForwardArgs& args);  // row_at_a_time.cpp

/// One row of scores. For gold: 0.
static std::size_t forward_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.Nk) * sizeof(float);
}

static void counted_forward(const ForwardArgs& args) {
  forward(args);
  constexpr const char* kWhat = "bytes of workspace";
  const auto used = static_cast<std::int64_t>(args.workspace_bytes);
  const auto row = args.shape.Nk * static_cast<std::int64_t>(sizeof(float));
  verify::hold_to(verify::Medal::kBronze, kWhat, used, row);
  verify::hold_to(verify::Medal::kGold, kWhat, used, 0);
}

}  // namespace attn::row_at_a_time

namespace attn::chapters {

const Chapter& ch01_exercise() {
  static constexpr Step kSteps[] = {{
      .id = "row_at_a_time",
      .idea = "one row of scores at a time",
      .forward = row_at_a_time::counted_forward,
      .forward_workspace_bytes = row_at_a_time::forward_workspace_bytes,
  }};
  static constexpr Chapter kChapter{
      .id = "01_exercise",
      .title = "Row at a time",
      .idea = "one row of scores at a time",
      .memory = host_memory,
      .steps = kSteps,
  };
  return kChapter;
}

}  // namespace attn::chapters
