// SPDX-License-Identifier: MIT
#include "common/simt/draw/banks_picture.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>
#include <set>

#include "common/simt/watch/transactions.hpp"

namespace attn::simt::draw {
namespace {

/// A word of shared memory that somebody asks for.
struct Word {
  bool late = false;  // its bank delivers another one first
  std::vector<int> lanes;
};

/// By address / 4 behind the base. The lanes of a phase are served together; whichever word of a
/// bank is asked for first, by the lowest lane, comes first.
std::map<std::uintptr_t, Word> words_of(const SeenAccess& seen) {
  std::map<std::uintptr_t, Word> words;
  const unsigned together = lanes_per_phase(seen.request());
  std::set<std::pair<unsigned, std::uintptr_t>> busy;   // phase and bank
  std::set<std::pair<unsigned, std::uintptr_t>> asked;  // phase and word
  for (unsigned rest = seen.lanes; rest != 0; rest &= rest - 1) {
    const auto lane = static_cast<unsigned>(std::countr_zero(rest));
    const std::uintptr_t begin = seen.addresses[lane] - seen.base;
    for (auto at = begin / kBankBytes; at <= (begin + seen.bytes - 1) / kBankBytes; ++at) {
      Word& word = words[at];
      word.lanes.push_back(static_cast<int>(lane));
      const unsigned phase = lane / together;
      if (!asked.emplace(phase, at).second) continue;
      word.late = !busy.emplace(phase, at % kBanks).second || word.late;
    }
  }
  return words;
}

/// ", asked for by 8 lanes at a time", if a warp's request takes more than one turn.
std::string together_text(const SeenAccess& seen) {
  const unsigned together = lanes_per_phase(seen.request());
  if (together == kWarpSize) return {};
  return fmt::format(", asked for by {} lanes at a time", together);
}

}  // namespace

double draw_banks(Svg& svg, const RequestPanel& panel, double y, BankPlace place) {
  const SeenAccess& seen = panel.access;
  const bool alone = place == BankPlace::kAlone;
  const double cell = alone ? 24 : 12;
  const double margin = alone ? kLeft : place == BankPlace::kLeftHalf ? 72 : 548;
  const auto words = words_of(seen);
  std::set<std::uintptr_t> lines;  // of 32 words
  for (const auto& [at, word] : words) lines.insert(at / kBanks);
  const double height = lines.size() <= 8 ? 20 : lines.size() <= 32 ? 12 : 6;

  draw_access_head(svg, panel, margin, y, alone ? 110 : 56);
  const double top = y + 98;
  svg.text("small", margin + cell * 16, y + 76, "32 banks", Anchor::kMiddle);
  for (const int bank : {0, 8, 16, 24, 31}) {
    svg.text("small", margin + cell * (bank + 0.5), y + 92, std::to_string(bank), Anchor::kMiddle);
  }
  svg.text("small", margin - 8, top + 11, "128", Anchor::kEnd);
  svg.text("small", margin - 8, top + 25, "bytes", Anchor::kEnd);
  svg.text("small", margin - 8, top + 39, "a line", Anchor::kEnd);

  double at = top;
  std::uintptr_t before = *lines.begin();
  std::map<std::uintptr_t, double> line_top;
  for (const std::uintptr_t line : lines) {
    if (line > before + 1) at += 6;  // lines that nobody asks for lie between
    before = line;
    line_top[line] = at;
    svg.rect("array", margin, at, cell * kBanks, height - 1);
    at += height;
  }
  Rectangles on_time, late;
  for (const auto& [index, word] : words) {
    const double x = margin + cell * static_cast<double>(index % kBanks);
    (word.late ? late : on_time).add(x, line_top[index / kBanks], cell - 1, height - 1);
  }
  on_time.put(svg, "load");
  late.put(svg, "late");
  for (const auto& [index, word] : words) {
    if (!alone || height < 12) break;
    const double x = margin + cell * (static_cast<double>(index % kBanks) + 0.5);
    const std::string who = word.lanes.size() == 1 ? std::to_string(word.lanes.front())
                                                   : fmt::format("x{}", word.lanes.size());
    svg.text("on", x, line_top[index / kBanks] + height / 2 + 4, who, Anchor::kMiddle);
  }
  svg.text("", margin, std::max(at, top + 42) + 20, cost_text(seen));
  svg.text("small", margin, std::max(at, top + 42) + 38,
           fmt::format("{}{}. {}", plural(words.size(), "different word"), together_text(seen),
                       rank_text(seen)));
  return std::max(at, top + 42) + 46 - y;
}

}  // namespace attn::simt::draw
