// SPDX-License-Identifier: MIT
#include "common/io/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <span>

namespace attn::io {
namespace {

/// Three significant digits, for 0.995 <= value < 1000.
std::string three_digits(double value) {
  return fmt::format("{:.{}f}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
}

std::string pad(const std::string& text, std::size_t width, Table::Align align) {
  const std::string space(width - display_width(text), ' ');
  return align == Table::Align::kRight ? space + text : text + space;
}

}  // namespace

std::size_t display_width(std::string_view utf8) {
  const auto starts_a_character = [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;  // not 10xxxxxx, which continues one
  };
  return static_cast<std::size_t>(std::count_if(utf8.begin(), utf8.end(), starts_a_character));
}

std::string human_bytes(std::size_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  // 999.5 KiB and more would need four digits.
  for (; value >= 999.5 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return fmt::format("{} {}", three_digits(value), kUnits[unit]);
}

std::string human_seconds(double seconds) {
  static constexpr std::pair<double, const char*> kUnits[] = {
      {1e9, "ns"}, {1e6, "us"}, {1e3, "ms"}, {1, "s"}};
  for (const auto& [factor, unit] : kUnits) {
    if (seconds * factor < 999.5 || factor == 1) {
      return fmt::format("{} {}", three_digits(seconds * factor), unit);
    }
  }
  return {};
}

std::string Table::to_string(bool styled) const {
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    widths.push_back(display_width(columns_[c].title));
    for (const auto& row : rows_) widths[c] = std::max(widths[c], display_width(row[c]));
  }
  const auto line = [&](std::span<const std::string> cells) {
    std::string text;
    for (std::size_t c = 0; c < cells.size(); ++c) {
      text += (c == 0 ? "" : "  ") + pad(cells[c], widths[c], columns_[c].align);
    }
    text.resize(text.find_last_not_of(' ') + 1);
    return text;
  };
  std::vector<std::string> titles;
  std::vector<std::string> rules;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    titles.push_back(columns_[c].title);
    rules.push_back(std::string(widths[c], '-'));
  }
  std::string text = styled ? "\x1b[1m" + line(titles) + "\x1b[0m\n" : line(titles) + "\n";
  text += line(rules) + "\n";
  for (const auto& row : rows_) text += line(row) + "\n";
  return text;
}

}  // namespace attn::io
