// SPDX-License-Identifier: MIT
//
// What the checker of chapter 10's exercise runs, and the goal it holds the exercise to: how many
// wavefronts of shared memory its accesses may cost, and how many bytes may come by loads.
#include "chapters/10_async_pipeline/async_pipeline.hpp"
#include "common/device/cuda.cuh"
#include "common/simt/machine/options.hpp"
#include "common/simt/watch/counters.hpp"
#include "common/verify/goals.hpp"

namespace attn::async_pipeline {

template <class T>
void narrow_rows_forward(const ForwardArgsOf<T>& args);  // narrow_rows.cu

/// Traced, the case of 70,000 heads would take most of the time, and each head reads the same.
constexpr std::int64_t kCountedHeads = 100;

template <class T>
static void counted_forward(const ForwardArgsOf<T>& args) {
  if (args.shape.heads() > kCountedHeads) return narrow_rows_forward(args);
  simt::options().tracer = true;
  narrow_rows_forward(args);
  simt::options().tracer = false;
  for (const simt::LaunchRecord& launch : simt::take_launches()) {
    const simt::Traffic& t = launch.traffic;
    const auto count = [](std::uint64_t number) { return static_cast<std::int64_t>(number); };
    using verify::Medal;
    verify::hold_to(Medal::kSilver, "wavefronts of ldmatrix", count(t.matrix_load_wavefronts),
                    count(t.matrix_load_wavefronts_ideal));
    verify::hold_to(Medal::kSilver, "wavefronts of what fills the tiles",
                    count(t.shared_store_wavefronts + t.shared_async_wavefronts),
                    count(t.shared_store_wavefronts_ideal + t.shared_async_wavefronts_ideal));
    verify::hold_to(Medal::kGold, "bytes loaded from global memory, not copied",
                    count(t.global_load_bytes), 0);
  }
}

}  // namespace attn::async_pipeline

namespace attn::chapters {

const Chapter& ch10_exercise() {
  static constexpr Step kSteps[] = {{
      .id = "narrow_rows",
      .idea = "rows of 32 columns without bank conflicts",
      .forward = {async_pipeline::counted_forward<bfloat16>,
                  async_pipeline::counted_forward<float16>},
      .forward_workspace_bytes = [](const Shape&) { return std::size_t{0}; },
  }};
  static constexpr int kTileEdges[] = {64};
  static constexpr std::int64_t kD[] = {8, 16, 24, 32};
  static constexpr Chapter kChapter{
      .id = "10_exercise",
      .title = "Narrow rows",
      .idea = "rows of 32 columns without bank conflicts",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
      .support = {.max_d = 32, .only_d = kD, .alignment = 16, .reach = 128},
  };
  return kChapter;
}

}  // namespace attn::chapters
