// SPDX-License-Identifier: MIT
//
// One request to global memory: the lanes above, the sectors that move below, a wire for each lane.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <set>

#include "common/simt/draw/banks_picture.hpp"
#include "common/simt/draw/svg.hpp"
#include "common/simt/watch/launch_report.hpp"
#include "common/simt/watch/transactions.hpp"

namespace attn::simt::draw {
namespace {

constexpr double kLane = (kRight - kLeft) / kWarpSize;
constexpr double kPanelHeight = 214;
constexpr std::uintptr_t kWordBytes = 4;
constexpr double kWordsPerSector = kSectorBytes / kWordBytes;

const char* style_of(Access access) {
  return access == Access::kLoad ? "load" : access == Access::kStore ? "store" : "atomic";
}

/// "K[3][64]" where the array has rows, otherwise "x[17]".
std::string element_name(const SeenAccess& seen, std::uintptr_t address) {
  if (seen.array.empty()) return "a variable";
  const std::size_t offset = address - seen.base;
  if (seen.row_bytes <= seen.element) {
    return fmt::format("{}[{}]", seen.array, offset / seen.element);
  }
  return fmt::format("{}[{}][{}]", seen.array, offset / seen.row_bytes,
                     offset % seen.row_bytes / seen.element);
}

/// Where each sector stands, left to right.
class Sectors {
 public:
  explicit Sectors(const SeenAccess& seen) {
    std::set<std::uintptr_t> found;
    for (unsigned rest = seen.lanes; rest != 0; rest &= rest - 1) {
      const std::uintptr_t address = seen.addresses[std::countr_zero(rest)];
      found.insert(address / kSectorBytes);
      found.insert((address + seen.bytes - 1) / kSectorBytes);
    }
    sectors_.assign(found.begin(), found.end());
    const auto count = static_cast<double>(sectors_.size());
    double gaps = 0;
    for (std::size_t i = 1; i < sectors_.size(); ++i) gaps += sectors_[i] != sectors_[i - 1] + 1;
    gap_ = gaps == 0 ? 0 : std::min(24.0, 0.25 * (kRight - kLeft) / gaps);
    width_ = std::min((kRight - kLeft - gaps * gap_) / count, kWordsPerSector * kLane);
    double x = kLeft;
    for (std::size_t i = 0; i < sectors_.size(); ++i) {
      if (i > 0) x += width_ + (sectors_[i] != sectors_[i - 1] + 1 ? gap_ : 0);
      left_.push_back(x);
    }
  }

  std::size_t count() const { return sectors_.size(); }
  double width() const { return width_; }
  double left(std::size_t i) const { return left_[i]; }
  std::uintptr_t address(std::size_t i) const { return sectors_[i] * kSectorBytes; }
  double x(std::uintptr_t address) const {
    const auto at = std::lower_bound(sectors_.begin(), sectors_.end(), address / kSectorBytes);
    return left_[static_cast<std::size_t>(at - sectors_.begin())] +
           width_ * static_cast<double>(address % kSectorBytes) / kSectorBytes;
  }

 private:
  std::vector<std::uintptr_t> sectors_;
  std::vector<double> left_;
  double gap_ = 0, width_ = 0;
};

/// "neighbouring lanes are 256 bytes apart", if they are so all along.
std::string stride_text(const SeenAccess& seen) {
  if (seen.lanes != ~0u) return {};
  const std::uintptr_t stride = seen.addresses[1] - seen.addresses[0];
  for (std::size_t lane = 2; lane < kWarpSize; ++lane) {
    if (seen.addresses[lane] - seen.addresses[lane - 1] != stride) return {};
  }
  if (stride == 0) return "All lanes ask for the same bytes. ";
  if (stride > std::uintptr_t{1} << 62) return {};  // downwards
  return fmt::format("Neighbouring lanes are {} bytes apart. ", stride);
}

void draw_words(Svg& svg, const SeenAccess& seen, const Sectors& sectors, double y) {
  for (std::size_t i = 0; i < sectors.count(); ++i) {
    svg.rect("unused", sectors.left(i), y, sectors.width(), 26);
  }
  Rectangles asked;
  std::set<std::uintptr_t> done;
  for (unsigned rest = seen.lanes; rest != 0; rest &= rest - 1) {
    const std::uintptr_t address = seen.addresses[std::countr_zero(rest)];
    if (!done.insert(address).second) continue;
    const std::uintptr_t boundary = (address / kSectorBytes + 1) * kSectorBytes;
    const std::uintptr_t here = std::min<std::uintptr_t>(seen.bytes, boundary - address);
    asked.add(sectors.x(address), y, sectors.width() * static_cast<double>(here) / kSectorBytes,
              26);
    if (here < seen.bytes) {  // an access across two sectors
      asked.add(sectors.x(boundary), y,
                sectors.width() * static_cast<double>(seen.bytes - here) / kSectorBytes, 26);
    }
  }
  asked.put(svg, style_of(seen.access));
  for (std::size_t i = 0; i < sectors.count(); ++i) {
    for (int word = 0; word <= kWordsPerSector; ++word) {
      const double x = sectors.left(i) + sectors.width() * word / kWordsPerSector;
      if (sectors.width() >= 48 || word % 8 == 0) svg.line("grid", x, y, x, y + 26);
    }
  }
}

void draw_global(Svg& svg, const RequestPanel& panel, double y) {
  const SeenAccess& seen = panel.access;
  const double lanes = y + 66, words = y + 124;
  const Sectors sectors(seen);
  svg.text("small", 16, lanes + 16, "lane");
  svg.text("small", 16, words + 11, "sectors of");
  svg.text("small", 16, words + 25, "32 bytes");
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const double x = kLeft + lane * kLane;
    const bool active = (seen.lanes >> lane & 1u) != 0;
    svg.rect(active ? style_of(seen.access) : "wait", x + 1, lanes, kLane - 2, 22);
    svg.text("on", x + kLane / 2, lanes + 16, std::to_string(lane), Anchor::kMiddle);
    if (!active) continue;
    const double width = sectors.width() * seen.bytes / kSectorBytes;
    svg.line("wire", x + kLane / 2, lanes + 22,
             sectors.x(seen.addresses[static_cast<std::size_t>(lane)]) + width / 2, words);
  }
  draw_words(svg, seen, sectors, words);
  const std::size_t last = sectors.count() - 1;
  const auto label = [&](std::size_t i, double x, Anchor anchor) {
    svg.text("small", x, words + 42, element_name(seen, std::max(sectors.address(i), seen.base)),
             anchor);
  };
  label(0, sectors.left(0), Anchor::kStart);
  if (sectors.width() >= 100) {
    for (std::size_t i = 1; i < last + 1; ++i) label(i, sectors.left(i), Anchor::kStart);
  } else if (last > 0) {
    label(last, sectors.left(last) + sectors.width(), Anchor::kEnd);
  }
  svg.text("", kLeft, words + 66, cost_text(seen));
  svg.text("small", kLeft, words + 84, stride_text(seen) + rank_text(seen));
}

}  // namespace

std::string plural(std::uint64_t n, std::string_view noun) {
  return fmt::format("{} {}{}", grouped(n), noun, n == 1 ? "" : "s");
}

std::string place_of(const SeenAccess& seen) {
  if (seen.file.empty()) return "unknown";
  return fmt::format("{}:{}", std::filesystem::path(seen.file).filename().string(), seen.line);
}

std::string access_text(const SeenAccess& seen) {
  const char* const does = seen.unit == Unit::kMatrixLoad  ? "matrix load"
                           : seen.unit == Unit::kAsyncCopy ? "async copy"
                                                           : style_of(seen.access);
  return fmt::format("{}, {} {} {}", place_of(seen), does,
                     seen.access == Access::kLoad    ? "from"
                     : seen.access == Access::kStore ? "to"
                                                     : "on",
                     seen.space == Space::kShared ? "shared memory"
                     : seen.array.empty()         ? "a variable"
                                                  : seen.array);
}

std::string cost_text(const SeenAccess& seen) {
  const auto lanes = static_cast<std::uint64_t>(std::popcount(seen.lanes));
  const std::string asked =
      fmt::format("{} {} for {}", plural(lanes, "lane"), lanes == 1 ? "asks" : "ask",
                  plural(lanes * seen.bytes, "byte"));
  const std::string best = seen.worst > seen.ideal ? fmt::format("{} would do", seen.ideal)
                                                   : std::string("the least that will do");
  if (seen.space == Space::kGlobal) {
    return fmt::format("{}. Moved: {} of 32 bytes, {}; {}.", asked, plural(seen.worst, "sector"),
                       plural(seen.worst * kSectorBytes, "byte"), best);
  }
  return fmt::format("{} for {}: {}.", plural(seen.worst, "wavefront"), plural(lanes, "lane"),
                     best);
}

std::string rank_text(const SeenAccess& seen) {
  const std::string unit = seen.space == Space::kGlobal ? "sector" : "wavefront";
  if (seen.requests == 1) return "The only request of this access.";
  if (seen.cost == seen.worst * seen.requests) {
    return fmt::format("One of {} requests, each of {}.", grouped(seen.requests),
                       plural(seen.worst, unit));
  }
  return fmt::format("The worst of {} requests; their mean: {:.3g} {}s.", grouped(seen.requests),
                     static_cast<double>(seen.cost) / static_cast<double>(seen.requests), unit);
}

void draw_access_head(Svg& svg, const RequestPanel& panel, double x, double y,
                      std::size_t characters) {
  const SeenAccess& seen = panel.access;
  svg.text("head", x, y + 16, panel.title);
  svg.text("", x, y + 35, fmt::format("{}: {}", seen.kernel, access_text(seen)));
  std::string source = source_text(seen.file, seen.line);
  if (source.size() > characters) source = source.substr(0, characters - 3) + "...";
  svg.text("code", x, y + 54, source);
}

std::string draw_requests(std::span<const RequestPanel> panels, const std::string& note,
                          const std::string& command) {
  Svg svg;
  const auto is_shared = [](const RequestPanel& panel) {
    return panel.access.space == Space::kShared;
  };
  double legend = 16;
  if (std::any_of(panels.begin(), panels.end(), is_shared)) {
    legend = svg.legend("load", legend, 24, "first wavefront");
    legend = svg.legend("late", legend, 24, "waits for a later one");
  }
  const auto global = std::find_if_not(panels.begin(), panels.end(), is_shared);
  if (global != panels.end()) {
    legend = svg.legend(style_of(global->access.access), legend, 24, "asked for");
    legend = svg.legend("unused", legend, 24, "moves along");
  }
  const bool beside = legend + text_width(note) <= kRight;
  svg.text("small", kRight, beside ? 24 : 44, note, Anchor::kEnd);
  double y = beside ? 40 : 60;
  std::string titles;
  for (std::size_t i = 0; i < panels.size(); ++i) {
    titles += fmt::format("{}{}, {}. {}", i == 0 ? "" : " ", panels[i].title,
                          access_text(panels[i].access), cost_text(panels[i].access));
    if (!is_shared(panels[i])) {
      draw_access_head(svg, panels[i], kLeft, y, 110);
      draw_global(svg, panels[i], y);
      y += kPanelHeight + 20;
    } else if (i + 1 < panels.size() && is_shared(panels[i + 1])) {
      const double left = draw_banks(svg, panels[i], y, BankPlace::kLeftHalf);
      const double right = draw_banks(svg, panels[i + 1], y, BankPlace::kRightHalf);
      ++i;
      titles += fmt::format(" {}, {}. {}", panels[i].title, access_text(panels[i].access),
                            cost_text(panels[i].access));
      y += std::max(left, right) + 20;
    } else {
      y += draw_banks(svg, panels[i], y, BankPlace::kAlone) + 20;
    }
  }
  return svg.finish(y, "What the lanes of a warp ask for",
                    fmt::format("Recorded: {} {}", titles, note), command);
}

}  // namespace attn::simt::draw
