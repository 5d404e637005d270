// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>

#include "common/simt/draw/svg.hpp"
#include "common/simt/draw/timeline.hpp"

namespace attn::simt::draw {
namespace {

struct Look {
  Timeline::Kind kind;
  const char* style;
  const char* name;
};
constexpr Look kLooks[] = {{Timeline::kGlobalLoad, "load", "global load"},
                           {Timeline::kAsyncCopy, "copy", "cp.async"},
                           {Timeline::kShared, "shared", "shared memory"},
                           {Timeline::kMatrixLoad, "matrix", "ldmatrix"},
                           {Timeline::kGlobalStore, "store", "global store or atomic"}};

/// Whether one of the panels shows any of this kind.
bool some_have(std::span<const TimelinePanel> panels, Timeline::Kind kind) {
  for (const TimelinePanel& panel : panels) {
    for (const Timeline::Stretch& stretch : panel.block->stretches) {
      for (const Timeline::Requests& warp : stretch.warps) {
        if (warp[kind] > 0) return true;
      }
    }
  }
  return false;
}

/// What a picture with that many barriers leaves out.
std::string shown_text(const Timeline::Block& block) {
  if (!block.cut) return {};
  if (block.barriers == block.stretches.size()) return ", shown up to the last one";
  return fmt::format(", of which {} are shown", block.stretches.size());
}

/// One panel from y on; returns its height.
double draw_panel(Svg& svg, const TimelinePanel& panel, double y) {
  const Timeline::Block& block = *panel.block;
  const std::size_t warps = block.stretches.front().warps.size();
  const double row = warps <= 8 ? 20 : 10;
  const double top = y + 66;
  const double bottom = top + row * static_cast<double>(warps);
  std::uint64_t shown = 0;
  for (const Timeline::Stretch& stretch : block.stretches) shown += stretch.longest();
  const double unit = (kRight - kLeft) / static_cast<double>(std::max<std::uint64_t>(shown, 1));

  svg.text("head", kLeft, y + 16, panel.title);
  svg.text("", kLeft, y + 35,
           fmt::format("{}, its first block: {} warp{}, {} barrier{}{}", block.kernel, warps,
                       warps == 1 ? "" : "s", grouped(block.barriers),
                       block.barriers == 1 ? "" : "s", shown_text(block)));
  for (std::size_t warp = 0; warp < warps; ++warp) {
    if (warps > 8 && warp % 4 != 0) continue;
    svg.text("small", kLeft - 8, top + row * (static_cast<double>(warp) + 0.5) + 4,
             fmt::format("warp {}", warp), Anchor::kEnd);
  }
  double x = kLeft;
  double last_label = 0;
  for (const Timeline::Stretch& stretch : block.stretches) {
    const double width = static_cast<double>(stretch.longest()) * unit;
    for (std::size_t warp = 0; width > 0 && warp < warps; ++warp) {
      const double at = top + row * static_cast<double>(warp);
      svg.rect("wait", x, at + 1, width, row - 2);
      double begin = x;
      for (const Look& look : kLooks) {
        const double part = static_cast<double>(stretch.warps[warp][look.kind]) * unit;
        if (part > 0) svg.rect(look.style, begin, at + 1, part, row - 2);
        begin += part;
      }
    }
    x += width;
    if (stretch.barrier_line == 0) continue;
    svg.line("barrier", x, top - 4, x, bottom + 4);
    const std::string label = std::to_string(stretch.barrier_line);
    if (x - text_width(label) < last_label) continue;  // no room
    svg.text("small", x, top - 8, label, Anchor::kEnd);
    last_label = x + 4;
  }
  svg.text("small", 16, top - 8, "line");
  svg.text("small", kLeft, bottom + 20, "0");
  svg.text("small", kRight, bottom + 20, fmt::format("{} accesses of a warp →", grouped(shown)),
           Anchor::kEnd);
  const double idle = 1 - static_cast<double>(block.work) /
                              static_cast<double>(std::max<std::uint64_t>(block.time, 1));
  svg.text("", kLeft + 60, bottom + 20,
           fmt::format("In the whole block, warps wait {:.3g}% of the time.", 100 * idle));
  return bottom + 36 - y;
}

}  // namespace

std::string draw_timelines(std::span<const TimelinePanel> panels, const std::string& note,
                           const std::string& command) {
  const bool copies = some_have(panels, Timeline::kAsyncCopy);
  const bool matrices = some_have(panels, Timeline::kMatrixLoad);
  Svg svg(copies || matrices ? kTensorStyle : "");
  double legend = kLeft;
  for (const Look& look : kLooks) {
    if (look.kind == Timeline::kAsyncCopy && !copies) continue;
    if (look.kind == Timeline::kMatrixLoad && !matrices) continue;
    legend = svg.legend(look.style, legend, 24, look.name);
  }
  legend = svg.legend("wait", legend, 24, "waits");
  svg.line("barrier", legend + 4, 12, legend + 4, 26);
  svg.text("", legend + 12, 24, "barrier");
  svg.text("small", kLeft, 44,
           "Time is counted in accesses of a warp; between two barriers they are sorted by kind.");
  svg.text("small", kLeft, 62, note);
  double y = 76;
  std::string titles;
  for (const TimelinePanel& panel : panels) {
    titles += fmt::format("{}{}, {}: {} barriers", titles.empty() ? "" : "; ", panel.title,
                          panel.block->kernel, panel.block->barriers);
    y += draw_panel(svg, panel, y) + 12;
  }
  return svg.finish(y, "The warps of a block between barriers",
                    fmt::format("Recorded: {}. {}", titles, note), command);
}

}  // namespace attn::simt::draw
