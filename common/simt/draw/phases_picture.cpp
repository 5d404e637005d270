// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "common/simt/draw/phases.hpp"
#include "common/simt/draw/svg.hpp"

namespace attn::simt::draw {
namespace {

constexpr double kRow = 22;

struct Look {
  Phases::Kind kind;
  const char* style;
  const char* name;
};
constexpr Look kLooks[] = {{Phases::Kind::kAsk, "copy", "asks for a tile"},
                           {Phases::Kind::kWait, "wait", "has waited"},
                           {Phases::Kind::kProducts, "matrix", "starts products"},
                           {Phases::Kind::kRelease, "shared", "is done with a tile"},
                           {Phases::Kind::kStore, "store", "stores a tile"}};

const Look& look_of(Phases::Kind kind) { return kLooks[static_cast<std::size_t>(kind)]; }

/// The mbarriers, those of an array together, those of a stage beside each other.
std::vector<const Phases::Barrier*> sorted(const Phases::Block& block) {
  std::vector<const Phases::Barrier*> barriers;
  for (const Phases::Barrier& barrier : block.barriers) barriers.push_back(&barrier);
  const auto key = [](const Phases::Barrier* b) {
    return std::tuple(b->array != "Q", b->array, b->stage, !b->full);
  };
  std::stable_sort(barriers.begin(), barriers.end(),
                   [&](const auto* a, const auto* b) { return key(a) < key(b); });
  return barriers;
}

class Panel {
 public:
  Panel(Svg& svg, const Phases::Block& block, double top)
      : svg_(svg),
        block_(block),
        unit_((kRight - kLeft) / static_cast<double>(std::max(block.columns, 1))),
        y_(top) {}

  void warpgroup(int group) {
    label(fmt::format("warp {}", 4 * group));
    svg_.rect("array", kLeft, y_ + 1, kRight - kLeft, kRow - 2);
    for (const Phases::Event& event : block_.events) {
      if (event.warpgroup != group) continue;
      const double x = kLeft + unit_ * event.column;
      svg_.rect(look_of(event.kind).style, x, y_ + 1, unit_ - 1, kRow - 2);
      const bool named =
          event.kind != Phases::Kind::kProducts && event.kind != Phases::Kind::kStore;
      if (!named || unit_ < 10) continue;
      svg_.text(event.kind == Phases::Kind::kWait ? "name" : "name on", x + unit_ / 2 - 0.5,
                y_ + kRow / 2 + 4, block_.barriers[event.barrier].name(), Anchor::kMiddle);
    }
    y_ += kRow;
  }

  /// A phase's number stands where it begins. Between the announcement of bytes and the moment when
  /// somebody sees that all have come, the tile is under way.
  void barrier(const Phases::Barrier& barrier) {
    label(fmt::format("{} {}", barrier.name(), barrier.full ? "full" : "empty"));
    const std::vector<int> ends = barrier.ends();
    double begin = kLeft;
    for (std::size_t phase = 0; begin < kRight; ++phase) {
      const bool over = phase < ends.size();
      const double end = over ? kLeft + unit_ * (ends[phase] + (barrier.full ? 0 : 1)) : kRight;
      svg_.rect(phase % 2 == 0 ? "array" : "unused", begin, y_ + 1, end - begin, kRow - 2);
      if (barrier.full && phase < barrier.asked.size()) {
        const double asked = kLeft + unit_ * barrier.asked[phase];
        svg_.rect("copy", asked, y_ + kRow - 8, end - asked, 6);
      }
      if (over) svg_.line("barrier", end, y_, end, y_ + kRow);
      if (end - begin > 9) svg_.text("small", begin + 3, y_ + 12, std::to_string(phase));
      begin = std::max(end, begin);
      if (!over) break;
    }
    y_ += kRow;
  }

  void gap(double height) { y_ += height; }
  double y() const { return y_; }

 private:
  void label(const std::string& name) {
    svg_.text("small", kLeft - 8, y_ + kRow / 2 + 4, name, Anchor::kEnd);
  }

  Svg& svg_;
  const Phases::Block& block_;
  const double unit_;
  double y_;
};

double draw_panel(Svg& svg, const PhasesPanel& panel, double y) {
  const Phases::Block& block = *panel.block;
  svg.text("head", kLeft, y + 16, panel.title);
  svg.text("", kLeft, y + 35,
           fmt::format("{}, its first block{}: the first warp of each warpgroup", block.kernel,
                       block.cut ? ", as far as there is room" : ""));
  Panel rows(svg, block, y + 46);
  for (int group = 0; group < block.warpgroups; ++group) rows.warpgroup(group);
  svg.text("small", kLeft, rows.y() + 24,
           "The mbarriers: a line ends a phase, whose number stands at its beginning.");
  rows.gap(32);
  for (const Phases::Barrier* barrier : sorted(block)) rows.barrier(*barrier);
  svg.text("small", kRight, rows.y() + 16, fmt::format("{} events →", block.columns), Anchor::kEnd);
  return rows.y() + 24 - y;
}

}  // namespace

std::string draw_phases(std::span<const PhasesPanel> panels, const std::string& note,
                        const std::string& command) {
  Svg svg(std::string(kTensorStyle) + "  .name { font-size: 8px; }\n");
  double legend = kLeft;
  for (const Look& look : kLooks) legend = svg.legend(look.style, legend, 24, look.name);
  svg.text("small", kLeft, 44,
           "A column is an event, in the CPU machine's order. A name: whose tile, and its stage.");
  svg.text("small", kLeft, 62, note);
  double y = 76;
  std::string titles;
  for (const PhasesPanel& panel : panels) {
    titles += fmt::format("{}{}, {}: {} mbarriers", titles.empty() ? "" : "; ", panel.title,
                          panel.block->kernel, panel.block->barriers.size());
    y += draw_panel(svg, panel, y) + 12;
  }
  return svg.finish(y, "Warps of a block and the phases of its mbarriers",
                    fmt::format("Recorded: {}. {}", titles, note), command);
}

}  // namespace attn::simt::draw
