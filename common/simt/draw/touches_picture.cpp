// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>
#include <vector>

#include "common/simt/draw/svg.hpp"
#include "common/simt/draw/touches.hpp"

namespace attn::simt::draw {
namespace {

constexpr double kTop = 84, kBand = 96, kGap = 22;  // of the bands
constexpr double kBetweenPanels = 28, kNarrowest = 170;
constexpr double kLineHeight = 18;

struct Kind {
  Touches::Touch touch;
  const char* style;
  const char* name;
};
constexpr Kind kKinds[] = {{Touches::kLoaded, "load", "load"},
                           {Touches::kCopied, "copy", "load by cp.async"},
                           {Touches::kStored, "store", "store"},
                           {Touches::kAtomic, "atomic", "atomic"}};

/// A panel with its place: time runs from `left` on, `width` wide.
struct Place {
  const TouchesPanel* panel;
  double left, width;

  double x(std::int64_t tick) const {
    const Touches& touches = *panel->touches;
    const std::int64_t end = std::max<std::int64_t>(touches.ticks(), 1);
    return left + width * static_cast<double>(std::min(tick, end)) / static_cast<double>(end);
  }
};

double top(std::size_t band) { return kTop + static_cast<double>(band) * (kBand + kGap); }

std::vector<Place> places(std::span<const TouchesPanel> panels) {
  std::int64_t ticks = 0;
  for (const TouchesPanel& panel : panels) ticks += panel.touches->ticks();
  const double room = kRight - kLeft - kBetweenPanels * static_cast<double>(std::ssize(panels) - 1);
  std::vector<Place> found;
  double left = kLeft;
  for (const TouchesPanel& panel : panels) {
    const double share = static_cast<double>(panel.touches->ticks()) /
                         static_cast<double>(std::max<std::int64_t>(ticks, 1));
    const double widest = room - kNarrowest * static_cast<double>(panels.size() - 1);
    const double width = std::clamp(room * share, kNarrowest, std::max(widest, kNarrowest));
    found.push_back({&panel, left, width});
    left += width + kBetweenPanels;
  }
  return found;
}

/// A part of a band that is touched in one way: columns [first, end), cells [top, bottom).
struct Patch {
  std::int64_t first, end, top, bottom;
  std::uint8_t kinds;
};

/// All that is touched, in as few patches as going right and then down finds.
std::vector<Patch> patches_of(const Touches::Array& array, std::int64_t columns) {
  std::vector<Patch> patches;
  std::vector<bool> taken(static_cast<std::size_t>(columns * Touches::kCells));
  const auto index = [](std::int64_t column, std::int64_t cell) {
    return static_cast<std::size_t>(column * Touches::kCells + cell);
  };
  for (std::int64_t cell = 0; cell < array.cells(); ++cell) {
    for (std::int64_t column = 0; column < columns; ++column) {
      Patch patch{column, column, cell, cell, array.at(column, cell)};
      const auto fits = [&](std::int64_t c, std::int64_t r) {
        return array.at(c, r) == patch.kinds && !taken[index(c, r)];
      };
      if (patch.kinds == 0 || !fits(column, cell)) continue;
      while (patch.end < columns && fits(patch.end, cell)) ++patch.end;
      bool whole = true;
      while (whole && patch.bottom < array.cells()) {
        for (std::int64_t c = patch.first; c < patch.end; ++c) {
          whole = whole && fits(c, patch.bottom);
        }
        if (whole) ++patch.bottom;
      }
      for (std::int64_t r = patch.top; r < patch.bottom; ++r) {
        for (std::int64_t c = patch.first; c < patch.end; ++c) taken[index(c, r)] = true;
      }
      patches.push_back(patch);
    }
  }
  return patches;
}

/// What one array sees of loads and stores. A cell that sees several kinds in one column shows them
/// above each other.
void draw_band(Svg& svg, const Place& place, const Touches::Array& array, double y) {
  const Touches& touches = *place.panel->touches;
  const std::int64_t per_column = touches.ticks_per_column();
  const double height = kBand / static_cast<double>(array.cells());
  std::map<Touches::Touch, Rectangles> rectangles;
  for (const Patch& patch : patches_of(array, (touches.ticks() + per_column - 1) / per_column)) {
    const double x = place.x(patch.first * per_column);
    const double width = place.x(patch.end * per_column) - x;
    const int kinds = std::popcount(patch.kinds);
    const std::int64_t tall = kinds == 1 ? patch.bottom - patch.top : 1;  // in cells
    for (std::int64_t cell = patch.top; cell < patch.bottom; cell += tall) {
      double at = y + static_cast<double>(cell) * height;
      const double slice = static_cast<double>(tall) * height / kinds;
      for (const Kind& kind : kKinds) {
        if ((patch.kinds & kind.touch) == 0) continue;
        rectangles[kind.touch].add(x, at, width, slice);
        at += slice;
      }
    }
  }
  for (const Kind& kind : kKinds) rectangles[kind.touch].put(svg, kind.style);
}

/// Names of kernels where there are several, of blocks where there are few; returns how many lines
/// of text they take.
int draw_marks(Svg& svg, const Place& place, double bottom) {
  const Touches& touches = *place.panel->touches;
  const double right = place.left + place.width;
  if (touches.launches().size() == 1) {
    const Touches::Launch& launch = touches.launches().front();
    const std::size_t blocks = launch.block_begins.size();
    const double needed = text_width("block 0");
    if (blocks < 2 || place.width / static_cast<double>(blocks) < needed) {
      svg.text("", place.left, bottom + kLineHeight,
               launch.blocks == 1
                   ? "one block"
                   : fmt::format("{} blocks, one after the other here", grouped(launch.blocks)));
      return 1;
    }
    for (std::size_t block = 0; block < blocks; ++block) {
      const double begin = place.x(launch.block_begins[block]);
      const double end = block + 1 < blocks ? place.x(launch.block_begins[block + 1]) : right;
      svg.text("", (begin + end) / 2, bottom + kLineHeight, fmt::format("block {}", block),
               Anchor::kMiddle);
      if (block > 0) svg.line("mark", begin, bottom, begin, bottom + 5);
    }
    return 1;
  }
  std::vector<double> filled;  // up to where each line of text is
  for (const Touches::Launch& launch : touches.launches()) {
    const double width = text_width(launch.kernel);
    const double begin = place.x(launch.begin);
    const double x = std::max(place.left, std::min(begin, right - width));
    std::size_t row = 0;
    while (row < filled.size() && filled[row] > x) ++row;
    if (row == 4) continue;  // no room for more
    if (row == filled.size()) filled.push_back(0);
    filled[row] = x + width + 12;
    const double y = bottom + kLineHeight * static_cast<double>(row + 1);
    if (launch.begin > 0) svg.line("mark", begin, kTop, begin, bottom + 4);
    svg.text("", x, y, launch.kernel);
  }
  return static_cast<int>(filled.size());
}

/// The names of the bands, taken from whichever panel has them.
struct Band {
  std::string name;
  const Touches::Array* example;
};

std::vector<Band> bands_of(std::span<const TouchesPanel> panels) {
  std::vector<Band> bands;
  for (const TouchesPanel& panel : panels) {
    for (const Touches::Array* array : panel.touches->arrays()) {
      const auto known = std::find_if(bands.begin(), bands.end(), [array](const Band& band) {
        return band.name == array->name && band.example->rows() == array->rows();
      });
      if (known == bands.end() || panels.size() == 1) bands.push_back({array->name, array});
    }
  }
  return bands;
}

/// The panel's array for this band, or null.
const Touches::Array* array_in(const TouchesPanel& panel, const Band& band, bool alone) {
  if (alone) return band.example;
  for (const Touches::Array* array : panel.touches->arrays()) {
    if (array->name == band.name && array->rows() == band.example->rows()) return array;
  }
  return nullptr;
}

void draw_band_names(Svg& svg, const std::vector<Band>& bands) {
  for (std::size_t band = 0; band < bands.size(); ++band) {
    const Touches::Array& array = *bands[band].example;
    const double y = top(band);
    svg.text("head", 16, y + kBand / 2 + 5, bands[band].name);
    if (array.in_rows) svg.text("small", 16, y + kBand / 2 + 21, "rows");
    svg.text("small", kLeft - 8, y + 11, "0", Anchor::kEnd);
    if (array.rows() > 1) {
      svg.text("small", kLeft - 8, y + kBand, grouped(static_cast<std::uint64_t>(array.rows() - 1)),
               Anchor::kEnd);
    }
  }
}

/// Which kinds of touch there are, so that the legend names no others.
std::uint8_t kinds_in(std::span<const TouchesPanel> panels) {
  std::uint8_t kinds = 0;
  for (const TouchesPanel& panel : panels) {
    for (const Touches::Array* array : panel.touches->arrays()) {
      for (const std::uint8_t touched : array->touched) kinds |= touched;
    }
  }
  return kinds;
}

}  // namespace

std::string draw_touches(std::span<const TouchesPanel> panels, const std::string& note,
                         const std::string& command) {
  std::int64_t widest = 1;
  for (const TouchesPanel& panel : panels) {
    widest = std::max(widest, panel.touches->ticks_per_column());
  }
  for (const TouchesPanel& panel : panels) panel.touches->widen(widest);
  const std::vector<Band> bands = bands_of(panels);
  const double bottom = top(bands.size()) - kGap;
  const std::uint8_t kinds = kinds_in(panels);
  Svg svg((kinds & Touches::kCopied) != 0 ? kTensorStyle : "");
  double legend = kLeft;
  for (const Kind& kind : kKinds) {
    if ((kinds & kind.touch) != 0) {
      legend = svg.legend(kind.style, legend, kTop - 16, kind.name);
    }
  }
  svg.text("small", kRight, kTop - 16, note, Anchor::kEnd);
  draw_band_names(svg, bands);
  int lines = 0;
  std::string titles;
  std::size_t left_out = 0;
  for (const Place& place : places(panels)) {
    const TouchesPanel& panel = *place.panel;
    svg.text("head", place.left, 24, panel.title);
    svg.text("", place.left, 44, panel.subtitle);
    for (std::size_t band = 0; band < bands.size(); ++band) {
      svg.rect("array", place.left, top(band), place.width, kBand);
      const Touches::Array* array = array_in(panel, bands[band], panels.size() == 1);
      if (array != nullptr) draw_band(svg, place, *array, top(band));
    }
    lines = std::max(lines, draw_marks(svg, place, bottom));
    titles += fmt::format("{}{} {}", titles.empty() ? "" : "; ", panel.title, panel.subtitle);
    left_out += panel.touches->arrays_left_out();
  }
  const double y = bottom + kLineHeight * (lines + 1) + 4;
  for (const Place& place : places(panels)) {
    svg.text(
        "small", place.left, y,
        fmt::format("{}{} →", grouped(static_cast<std::uint64_t>(place.panel->touches->ticks())),
                    panels.size() == 1
                        ? " loads and stores of the threads, in the order of the CPU machine"
                        : " loads and stores, in order"));
  }
  if (left_out > 0) {
    svg.text("small", kRight, y, fmt::format("{} more arrays are not drawn", left_out),
             Anchor::kEnd);
  }
  return svg.finish(
      y + 16, "The order of touches",
      fmt::format("Loads and stores of global memory over time, recorded: {}. {}", titles, note),
      command);
}

}  // namespace attn::simt::draw
