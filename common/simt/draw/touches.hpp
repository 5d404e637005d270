// SPDX-License-Identifier: MIT
//
// The order of touches: which rows of which array of global memory a kernel loads and stores, over
// time. Memory is bounded: time and rows are cut into so many columns and cells, and the columns
// grow wider while the kernel runs.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/simt/watch/observer.hpp"

namespace attn::simt::draw {

/// An array that the picture knows more of than the machine does.
struct KnownArray {
  std::string label;          // as reports name it: "q"
  std::string name;           // in the picture: "Q"
  std::size_t row_bytes = 0;  // 0: elements instead of rows
};

/// Whether two names of arrays differ in upper and lower case at most.
bool same_name(std::string_view a, std::string_view b);

class Touches : public Observer {
 public:
  static constexpr std::int64_t kColumns = 208;  // at most: four units of the picture for each
  static constexpr std::int64_t kCells = 16;     // of an array, at most
  static constexpr std::size_t kArrays = 16;     // whoever comes later is only counted

  /// What was done to a cell in a column: any of these.
  enum Touch : std::uint8_t { kLoaded = 1, kStored = 2, kAtomic = 4, kCopied = 8 };

  struct Array {
    std::string name;
    std::uintptr_t begin = 0;
    std::size_t bytes = 0;
    std::size_t row_bytes = 0;
    bool in_rows = false;   // not in elements
    std::size_t order = 0;  // among known arrays
    std::array<std::uint8_t, kColumns * kCells> touched{};

    std::int64_t rows() const { return static_cast<std::int64_t>(bytes / row_bytes); }
    std::int64_t rows_per_cell() const { return (rows() + kCells - 1) / kCells; }
    std::int64_t cells() const { return (rows() + rows_per_cell() - 1) / rows_per_cell(); }
    std::uint8_t at(std::int64_t column, std::int64_t cell) const {
      return touched[static_cast<std::size_t>(column * kCells + cell)];
    }
  };
  struct Launch {
    std::string kernel;
    std::int64_t begin = 0;  // loads and stores before it
    std::uint64_t blocks = 0;
    std::vector<std::int64_t> block_begins;  // of few blocks
  };

  /// `only`: the arrays to keep, in the order to draw them; all of them if it is empty.
  explicit Touches(std::vector<KnownArray> known = {}, std::vector<std::string> only = {});

  void begin_launch(const std::string& kernel, dim3 grid, dim3 block) override;
  void begin_block(uint3 block) override;
  void request(int warp, const Request& request) override;
  void async_event(int warp, unsigned lanes, const AsyncEvent& event) override;

  /// Makes columns at least so wide: `ticks` is another recording's ticks_per_column().
  void widen(std::int64_t ticks);

  /// Loads, stores and atomics of global memory so far, each lane's on its own, and 16 bytes of a
  /// copy by TMA as a lane's. Time is this.
  std::int64_t ticks() const { return ticks_; }
  std::int64_t ticks_per_column() const { return ticks_per_column_; }
  /// In the order to draw them.
  std::vector<const Array*> arrays() const;
  std::size_t arrays_left_out() const { return left_out_; }
  /// Of all arrays, drawn or not, as the picture calls them.
  const std::vector<std::string>& names() const { return names_; }
  const std::vector<Launch>& launches() const { return launches_; }

 private:
  void add(std::uintptr_t address, std::size_t bytes, std::uint8_t touch);
  Array* array_of(std::uintptr_t address);
  void halve();

  std::vector<KnownArray> known_;
  std::vector<std::string> only_;
  std::vector<Array> arrays_;
  std::vector<std::string> names_;
  std::vector<AddressRange> others_;  // arrays that are not drawn
  std::size_t left_out_ = 0;
  std::vector<Launch> launches_;
  std::int64_t ticks_ = 0;
  std::int64_t ticks_per_column_ = 1;
};

struct TouchesPanel {
  std::string title, subtitle;
  Touches* touches;
};
/// The panels side by side, time on the same scale; `note` says what they have in common.
std::string draw_touches(std::span<const TouchesPanel> panels, const std::string& note,
                         const std::string& command);

}  // namespace attn::simt::draw
