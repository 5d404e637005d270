// SPDX-License-Identifier: MIT
//
// What the checker of chapter 11's exercise runs, and the goal it holds the exercise to: how many
// tiles its ring has under way or in use at a time, and how often a block comes together.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <map>
#include <utility>

#include "chapters/11_hopper/hopper.hpp"
#include "common/device/cuda.cuh"
#include "common/simt/machine/options.hpp"
#include "common/simt/watch/counters.hpp"
#include "common/simt/watch/observer.hpp"
#include "common/verify/goals.hpp"

namespace attn::hopper {

template <class T>
void third_stage_forward(const ForwardArgsOf<T>& args);  // third_stage.cu

namespace {

/// How many tiles of K and V are under way or in use at a time: one more where one is asked for,
/// one less when all warps that multiply have arrived in one phase of an mbarrier, and none when
/// the block has come together.
class HeldTiles : public simt::Observer {
 public:
  /// first: bytes in front of the ring in the block's shared memory.
  HeldTiles(std::int64_t first, int warps) : first_(first), warps_(warps) {}

  void begin_block(uint3 /*block*/) override {
    held_ = 0;
    arrivals_.clear();
  }
  void barrier(const std::source_location& /*where*/) override { held_ = 0; }
  void async_event(int /*warp*/, unsigned lanes, const simt::AsyncEvent& event) override {
    using Kind = simt::AsyncEvent::Kind;
    if (event.kind == Kind::kLoad && 16 * std::int64_t{event.pieces->front().chunk} >= first_) {
      most_ = std::max(most_, ++held_);
    }
    if (event.kind != Kind::kArrive || event.bytes > 0) return;
    int& arrivals = arrivals_[{event.barrier, event.phase}];
    arrivals += std::popcount(lanes);
    if (arrivals == warps_) --held_;
  }
  int most() const { return most_; }

 private:
  const std::int64_t first_;
  const int warps_;
  std::map<std::pair<std::uint16_t, std::uint32_t>, int> arrivals_;  // by barrier and phase
  int held_ = 0, most_ = 0;
};

/// Observed, blocks run one by one, and the case of 70,000 heads would take most of the time.
constexpr std::int64_t kCountedHeads = 100;

template <class T>
void counted_forward(const ForwardArgsOf<T>& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t tiles = (visible_keys(Nq - 1, diagonal(args.mask, Nq, Nk), Nk) + 127) / 128;
  if (args.shape.heads() > kCountedHeads || tiles == 0) return third_stage_forward(args);
  const int consumers = d == 64 ? 3 : 2;
  HeldTiles held(64 * consumers * d * static_cast<std::int64_t>(sizeof(T)), 4 * consumers);
  simt::options().tracer = true;
  simt::options().observer = &held;
  third_stage_forward(args);
  simt::options().observer = nullptr;
  simt::options().tracer = false;
  for (const simt::LaunchRecord& launch : simt::take_launches()) {
    const auto blocks = std::int64_t{launch.grid.x};
    const auto barriers = static_cast<std::int64_t>(launch.traffic.barriers);
    using verify::Medal;
    verify::hold_to(Medal::kSilver, "times that blocks come together, once at the start aside",
                    barriers - blocks, 0);
    for (const auto& [medal, stages] : {std::pair(Medal::kSilver, 2), {Medal::kGold, 3}}) {
      const std::int64_t needed = 2 * std::min<std::int64_t>(tiles, stages);
      verify::hold_to(medal, "tiles that could be under way and never are",
                      std::max<std::int64_t>(needed - held.most(), 0), 0);
    }
  }
}

}  // namespace

}  // namespace attn::hopper

namespace attn::chapters {

const Chapter& ch11_exercise() {
  static constexpr Step kSteps[] = {{
      .id = "third_stage",
      .idea = "a ring of three stages",
      .forward = {hopper::counted_forward<bfloat16>, hopper::counted_forward<float16>},
      .forward_workspace_bytes = [](const Shape&) { return std::size_t{0}; },
  }};
  static constexpr int kTileEdges[] = {128};
  static constexpr std::int64_t kD[] = {64, 128};
  static constexpr Chapter kChapter{
      .id = "11_exercise",
      .title = "A third stage",
      .idea = "a ring of three stages",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
      .support = {.max_n = std::int64_t{1} << 30,
                  .only_d = kD,
                  .alignment = 16,
                  .min_compute = 90,
                  .reach = 320},
  };
  return kChapter;
}

}  // namespace attn::chapters
