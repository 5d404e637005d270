// SPDX-License-Identifier: MIT
//
// What the checker of chapter 03's exercise runs, and the goal it holds the exercise to: besides
// being right, register_softmax_kernel may ask for so many loads and exponentials and no more. The
// CPU machine's tracer counts them in every case.
#include <string>

#include "chapters/03_tiled/tiled.hpp"
#include "common/simt/counters.hpp"
#include "common/simt/options.hpp"

namespace attn::tiled {

void forward_register_softmax(const ForwardArgs& args);  // softmax_in_registers.cu

namespace {

constexpr std::int64_t kFits = 512;  // visible keys of a row that fits into a warp's registers
// A row that fits: loads per visible key; exponentials per register, used or not.
constexpr std::int64_t kLoadsFits = 1;
constexpr std::int64_t kExponentialsFits = 2;  // for silver: 1
// A longer row: loads and exponentials per visible key.
constexpr std::int64_t kLoadsLonger = 3;  // for gold: 2
constexpr std::int64_t kExponentialsLonger = 4;

struct Goal {
  std::int64_t loads = 0;  // of float
  std::int64_t exponentials = 0;
};

Goal goal_of(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  Goal goal;
  for (std::int64_t i = 0; i < Nq; ++i) {
    const std::int64_t visible = visible_keys(i, diagonal(args.mask, Nq, Nk), Nk);
    const bool fits = visible <= kFits;
    goal.loads += B * H * visible * (fits ? kLoadsFits : kLoadsLonger);
    goal.exponentials += B * H * (fits ? kFits * kExponentialsFits : visible * kExponentialsLonger);
  }
  return goal;
}

void hold_to(std::uint64_t count, std::int64_t goal, const char* what) {
  if (count <= static_cast<std::uint64_t>(goal)) return;
  throw Error(ErrorKind::kDeviceFailure, "register_softmax_kernel: " + std::to_string(count) + " " +
                                             what + "; the goal is at most " +
                                             std::to_string(goal) + " (exercises/goal.cpp)");
}

/// Switches the tracer on for as long as it lives.
class Counting {
 public:
  Counting() { simt::options().tracer = true; }
  ~Counting() { simt::options() = before_; }

 private:
  simt::Options before_ = simt::options();
};

void forward_counted(const ForwardArgs& args) {
  simt::take_launches();
  {
    const Counting counting;
    forward_register_softmax(args);
  }
  const Goal goal = goal_of(args);
  for (const simt::LaunchRecord& launch : simt::take_launches()) {
    if (launch.kernel.find("softmax") == std::string::npos) continue;
    hold_to(launch.traffic.global_load_bytes / sizeof(float), goal.loads, "loads");
    hold_to(launch.traffic.special_functions, goal.exponentials, "exponentials");
  }
}

std::size_t register_softmax_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows() * shape.Nk) * sizeof(float);
}

}  // namespace
}  // namespace attn::tiled

namespace attn::chapters {

const Chapter& ch03_exercise() {
  static constexpr Step kSteps[] = {{
      .id = "softmax_in_registers",
      .idea = "each score is read once where its row fits into registers",
      .forward = tiled::forward_counted,
      .forward_workspace_bytes = tiled::register_softmax_workspace_bytes,
  }};
  static constexpr int kTileEdges[] = {tiled::kTile};
  static constexpr Chapter kChapter{
      .id = "03_exercise",
      .title = "Softmax in registers",
      .idea = "each score is read once where its row fits into registers",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
  };
  return kChapter;
}

}  // namespace attn::chapters
