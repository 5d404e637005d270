// SPDX-License-Identifier: MIT
#include "common/simt/draw/swizzle.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "common/attention.hpp"
#include "common/simt/draw/requests.hpp"
#include "common/simt/draw/svg.hpp"
#include "common/simt/watch/transactions.hpp"

namespace attn::simt::draw {
namespace {

constexpr int kExample = 2;  // the chunk that is read
constexpr int kChunkBanks = kChunkBytes / static_cast<int>(kBankBytes);
constexpr int kPlaces = static_cast<int>(kBanks) / kChunkBanks;  // for chunks beside each other
constexpr int kMostRows = 64;                                    // of a tile

const char* name_of(TileLayout::Kind kind) {
  switch (kind) {
    case TileLayout::kPlain:
      return "as it is";
    case TileLayout::kPadded:
      return "padded by 16 bytes";
    default:
      return "swizzled";
  }
}

std::string formula(const TileLayout& layout) {
  const int row_bytes = layout.elements * 2;
  switch (layout.kind) {
    case TileLayout::kPlain:
      return fmt::format("{} row + 16 chunk", row_bytes);
    case TileLayout::kPadded:
      return fmt::format("{} row + 16 chunk", row_bytes + kChunkBytes);
    default:
      return fmt::format("{} row + 16 (chunk ^ (row & 7))", row_bytes);
  }
}

/// The eighth of the banks that a chunk lies in.
int place(const TileLayout& layout, int row, int chunk) {
  return static_cast<int>(layout.offset(row, chunk) / kChunkBytes) % kPlaces;
}

std::string banks_of(int place) {
  return fmt::format("{}-{}", place * kChunkBanks, place * kChunkBanks + kChunkBanks - 1);
}

std::string plural_wavefronts(std::uint64_t n) {
  return fmt::format("{} wavefront{}", n, n == 1 ? "" : "s");
}

/// "all from banks 8-11: 8 wavefronts", of the example's matrix.
std::string verdict(const TileLayout& layout) {
  std::set<int> places;
  for (int row = 0; row < kMatrixRows; ++row) places.insert(place(layout, row, kExample));
  const std::string count = plural_wavefronts(layout.wavefronts(0, kExample));
  if (places.size() == 1)
    return fmt::format("all from banks {}: {}", banks_of(*places.begin()), count);
  if (places.size() == kPlaces) return fmt::format("from all 32 banks: {}", count);
  return fmt::format("from {} of the 32 banks: {}", places.size() * kChunkBanks, count);
}

/// What holds for the other matrices of a tile.
std::string elsewhere(const TileLayout& layout) {
  const std::uint64_t worst = worst_wavefronts(layout);
  if (worst == layout.wavefronts(0, kExample)) return "the same for any chunk";
  return fmt::format("up to {} for other chunks", plural_wavefronts(worst));
}

std::array<TileLayout, 3> layouts(int elements) {
  return {{{TileLayout::kPlain, elements},
           {TileLayout::kPadded, elements},
           {TileLayout::kSwizzled, elements}}};
}

std::string question(int elements) {
  return fmt::format(
      "ldmatrix reads 8 rows at a time, here chunk {} of the rows 0 to 7; a row has {} elements of "
      "16 bits",
      kExample, elements);
}

/// The 8 rows, the banks from left to right: a line for every 128 bytes of a row. Returns the
/// height.
double draw_layout(Svg& svg, const TileLayout& layout, double x, double y) {
  constexpr double kBank = 8, kHeight = 20;
  const double top = y + 70;
  const int lines = layout.chunks() / kPlaces;
  svg.text("head", x, y, name_of(layout.kind));
  svg.text("code", x, y + 20, "byte " + formula(layout));
  for (const int bank : {0, 8, 16, 24, 31}) {
    svg.text("small", x + kBank * (bank + 0.5), top - 7, std::to_string(bank), Anchor::kMiddle);
  }
  svg.text("small", x + kBank * 16, top - 23, "32 banks", Anchor::kMiddle);
  double at = top;
  std::set<int> busy;
  for (int row = 0; row < kMatrixRows; ++row) {
    svg.text("small", x - 8, at + kHeight / 2 + 4, std::to_string(row), Anchor::kEnd);
    for (int chunk = 0; chunk < layout.chunks(); ++chunk) {
      const int where = place(layout, row, chunk);
      const double left = x + kBank * kChunkBanks * where;
      const double upper = at + kHeight * (chunk / kPlaces);
      const bool asked = chunk == kExample;
      const char* const kind = !asked ? "array" : busy.insert(where).second ? "load" : "late";
      svg.rect(kind, left, upper, kBank * kChunkBanks - 1, kHeight - 1);
      svg.text(asked ? "on" : "small", left + kBank * kChunkBanks / 2, upper + kHeight / 2 + 4,
               std::to_string(chunk), Anchor::kMiddle);
    }
    at += kHeight * lines + (lines > 1 ? 6 : 0);
  }
  svg.text("", x, at + 20, verdict(layout));
  svg.text("small", x, at + 38, elsewhere(layout));
  return at + 38 - y;
}

std::string svg_of(int elements, const std::string& command) {
  Svg svg;
  double legend = svg.legend("load", 48, 24, "asked for, first wavefront");
  legend = svg.legend("late", legend, 24, "waits for a later one");
  svg.legend("array", legend, 24, "a chunk of 16 bytes that is not asked for");
  svg.text("small", 48, 52, question(elements) + ".");
  svg.text("small", 48, 70,
           "The number in a box is the chunk; a row of boxes is a row of the tile, its place the "
           "banks where the chunk lies.");
  double x = 48, height = 0;
  std::string summary;
  for (const TileLayout& layout : layouts(elements)) {
    height = std::max(height, draw_layout(svg, layout, x, 106));
    summary += fmt::format(" {}: {}.", name_of(layout.kind), verdict(layout));
    x += 306;
  }
  return svg.finish(106 + height + 20, "The banks that ldmatrix reads",
                    fmt::format("{}.{}", question(elements), summary), command);
}

std::string text_of(const TileLayout& layout) {
  std::string text = fmt::format("{}: byte {}\n  bank", name_of(layout.kind), formula(layout));
  const int chunks_in_place = layout.chunks() / kPlaces;
  const int width = std::max(6, 5 * chunks_in_place);
  for (int where = 0; where < kPlaces; ++where)
    text += fmt::format("{:>{}}", banks_of(where), width);
  for (int row = 0; row < kMatrixRows; ++row) {
    text += fmt::format("\n{:>6}", fmt::format("row {}", row));
    for (int where = 0; where < kPlaces; ++where) {
      std::string cell;
      for (int chunk = 0; chunk < layout.chunks(); ++chunk) {
        if (place(layout, row, chunk) != where) continue;
        cell += chunk == kExample ? fmt::format(" [{}]", chunk) : fmt::format("{:>3} ", chunk);
      }
      text += fmt::format("{:>{}}", cell, width);
    }
    while (text.back() == ' ') text.pop_back();
  }
  return text + fmt::format("\n  {}; {}\n", verdict(layout), elsewhere(layout));
}

}  // namespace

std::uintptr_t TileLayout::offset(int row, int chunk) const {
  const int row_bytes = elements * 2 + (kind == kPadded ? kChunkBytes : 0);
  const int at = kind == kSwizzled ? chunk ^ (row & 7) : chunk;
  return static_cast<std::uintptr_t>(row * row_bytes + at * kChunkBytes);
}

std::uint64_t TileLayout::wavefronts(int row, int chunk) const {
  SeenAccess seen;
  seen.space = Space::kShared;
  seen.unit = Unit::kMatrixLoad;
  seen.bytes = kChunkBytes;
  seen.lanes = (1u << kMatrixRows) - 1;
  for (int r = 0; r < kMatrixRows; ++r) {
    seen.addresses[static_cast<std::size_t>(r)] = offset(row + r, chunk);
  }
  return wavefronts_of(seen.request()).needed;
}

std::uint64_t worst_wavefronts(const TileLayout& layout) {
  std::uint64_t worst = 0;
  for (int row = 0; row < kMostRows; row += kMatrixRows) {
    for (int chunk = 0; chunk < layout.chunks(); ++chunk) {
      worst = std::max(worst, layout.wavefronts(row, chunk));
    }
  }
  return worst;
}

int parse_row_elements(std::string_view text) {
  if (text == "64") return 64;
  if (text == "128") return 128;
  throw Error(ErrorKind::kBadArgument, fmt::format("{}: allowed: 64, 128", text));
}

Diagram draw_swizzle(int elements, const std::string& command) {
  std::string text = fmt::format("{}.\nA number is a chunk of 16 bytes; [{}] is read.\n",
                                 question(elements), kExample);
  for (const TileLayout& layout : layouts(elements)) text += '\n' + text_of(layout);
  return {svg_of(elements, command), text};
}

}  // namespace attn::simt::draw
