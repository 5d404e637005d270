// SPDX-License-Identifier: MIT
//
// Text for people: aligned tables and numbers with units.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace attn::io {

/// Columns that UTF-8 text takes on a terminal: one for each character, as all of ours are.
std::size_t display_width(std::string_view utf8);

/// "512 B", "4.50 KiB", "29.0 MiB": three significant digits, powers of 1024.
std::string human_bytes(std::size_t bytes);

/// "850 ns", "1.23 ms", "12.3 s": three significant digits.
std::string human_seconds(double seconds);

/// A table whose columns are as wide as their widest cell.
class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// One cell for each column.
  void add_row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  /// The whole table with a rule under its titles; with `styled`, titles in bold for a terminal.
  std::string to_string(bool styled = false) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace attn::io
