// SPDX-License-Identifier: MIT
//
// What the checker of chapter 03's exercise runs, and the goal it holds the exercise to: besides
// being right, register_softmax_kernel may ask for so many loads and exponentials and no more. The
// CPU machine's tracer counts them in every case.
#include <string>

#include "chapters/03_tiled/tiled.hpp"
#include "common/simt/machine/options.hpp"
#include "common/simt/watch/counters.hpp"
#include "common/verify/goals.hpp"

namespace attn::tiled {

void forward_register_softmax(const ForwardArgs& args);  // softmax_in_registers.cu

namespace {

constexpr std::int64_t kFits = 512;  // visible keys of a row that fits into a warp's registers

/// What a row may ask for: one that fits, loads per visible key and exponentials per register, used
/// or not; a longer one, loads and exponentials per visible key.
struct Rates {
  std::int64_t loads_fits, exponentials_fits;
  std::int64_t loads_longer, exponentials_longer;
};
constexpr Rates kBronze{1, 2, 3, 4};
constexpr Rates kSilver{1, 1, 3, 4};
constexpr Rates kGold{1, 1, 2, 4};

struct Goal {
  std::int64_t loads = 0;  // of float
  std::int64_t exponentials = 0;
};

Goal goal_of(const ForwardArgs& args, const Rates& rates) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  Goal goal;
  for (std::int64_t i = 0; i < Nq; ++i) {
    const std::int64_t visible = visible_keys(i, diagonal(args.mask, Nq, Nk), Nk);
    const bool fits = visible <= kFits;
    goal.loads += B * H * visible * (fits ? rates.loads_fits : rates.loads_longer);
    goal.exponentials +=
        B * H * (fits ? kFits * rates.exponentials_fits : visible * rates.exponentials_longer);
  }
  return goal;
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
  // Traced, the case of 70,000 heads would take most of the time, and each head loads the same.
  if (args.shape.heads() > 1000) return forward_register_softmax(args);
  simt::take_launches();
  {
    const Counting counting;
    forward_register_softmax(args);
  }
  using verify::Medal;
  const Goal bronze = goal_of(args, kBronze);
  const Goal silver = goal_of(args, kSilver);
  const Goal gold = goal_of(args, kGold);
  for (const simt::LaunchRecord& launch : simt::take_launches()) {
    if (launch.kernel.find("softmax") == std::string::npos) continue;
    const auto loads = static_cast<std::int64_t>(launch.traffic.global_load_bytes / sizeof(float));
    const auto exponentials = static_cast<std::int64_t>(launch.traffic.special_functions);
    verify::hold_to(Medal::kBronze, "loads", loads, bronze.loads);
    verify::hold_to(Medal::kBronze, "exponentials", exponentials, bronze.exponentials);
    verify::hold_to(Medal::kSilver, "exponentials", exponentials, silver.exponentials);
    verify::hold_to(Medal::kGold, "loads", loads, gold.loads);
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
