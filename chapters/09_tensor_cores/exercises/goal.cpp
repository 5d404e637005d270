// SPDX-License-Identifier: MIT
//
// What the checker of chapter 09's exercise runs, and the goal it holds the exercise to: how many
// sectors its stores may touch, and how many wavefronts of shared memory they may cost.
#include "chapters/09_tensor_cores/tensor_cores.hpp"
#include "common/device/cuda.cuh"
#include "common/simt/machine/options.hpp"
#include "common/simt/watch/counters.hpp"
#include "common/verify/goals.hpp"

namespace attn::tensor_cores {

template <class T>
void whole_sectors_forward(const ForwardArgsOf<T>& args);  // whole_sectors.cu

/// Traced, the case of 70,000 heads would take most of the time, and each head stores the same.
constexpr std::int64_t kCountedHeads = 100;

template <class T>
static void counted_forward(const ForwardArgsOf<T>& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  bool wide = d % 16 == 0 && reinterpret_cast<std::uintptr_t>(args.o) % 32 == 0;
  for (const T* array : {args.q, args.k, args.v}) {
    wide = wide && reinterpret_cast<std::uintptr_t>(array) % 16 == 0;
  }
  // Rows of whole sectors; others share some, which depends on who stores them together.
  if (B * H > kCountedHeads || !wide) return whole_sectors_forward(args);
  simt::options().tracer = true;
  whole_sectors_forward(args);
  simt::options().tracer = false;
  for (const simt::LaunchRecord& launch : simt::take_launches()) {
    const simt::Traffic& traffic = launch.traffic;
    // LSE: 8 rows a store, whose 32 bytes may lie in two sectors.
    const std::int64_t lse = 2 * B * H * (Nq + 7) / 8 + 2 * B * H;
    const std::int64_t o = args.shape.rows() * d / 16;
    const auto turns =
        static_cast<std::int64_t>(traffic.shared_store_wavefronts + traffic.shared_load_wavefronts);
    const auto least = static_cast<std::int64_t>(traffic.shared_store_wavefronts_ideal +
                                                 traffic.shared_load_wavefronts_ideal);
    using verify::Medal;
    verify::hold_to(Medal::kSilver, "sectors stored to",
                    static_cast<std::int64_t>(traffic.global_store_sectors), o + lse);
    verify::hold_to(Medal::kGold, "wavefronts of shared memory", turns, least);
    verify::hold_to(
        Medal::kGold, "bytes of shared memory", static_cast<std::int64_t>(launch.shared_bytes),
        static_cast<std::int64_t>(d <= 64 ? Tiles16<64>::kBytes : Tiles16<128>::kBytes));
  }
}

}  // namespace attn::tensor_cores

namespace attn::chapters {

const Chapter& ch09_exercise() {
  static constexpr Step kSteps[] = {{
      .id = "whole_sectors",
      .idea = "O stored 16 bytes at a time, in whole sectors",
      .forward = {tensor_cores::counted_forward<bfloat16>, tensor_cores::counted_forward<float16>},
      .forward_workspace_bytes = [](const Shape& /*shape*/) { return std::size_t{0}; },
  }};
  static constexpr int kTileEdges[] = {64};
  static constexpr Chapter kChapter{
      .id = "09_exercise",
      .title = "Whole sectors",
      .idea = "O stored 16 bytes at a time, in whole sectors",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
      .support = {.reach = 64},
  };
  return kChapter;
}

}  // namespace attn::chapters
