// SPDX-License-Identifier: MIT
#include "common/simt/draw/touches.hpp"

#include <algorithm>
#include <bit>
#include <cctype>

#include "common/simt/machine/arena.hpp"

namespace attn::simt::draw {
namespace {

constexpr std::size_t kLaunches = 64;       // whose beginnings are remembered
constexpr std::uint64_t kMarkedBlocks = 8;  // of a launch

}  // namespace

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

Touches::Touches(std::vector<KnownArray> known, std::vector<std::string> only)
    : known_(std::move(known)), only_(std::move(only)) {
  arrays_.reserve(kArrays);
}

void Touches::begin_launch(const std::string& kernel, dim3 grid, dim3 /*block*/) {
  if (launches_.size() == kLaunches) return;
  launches_.push_back({.kernel = kernel,
                       .begin = ticks_,
                       .blocks = std::uint64_t{grid.x} * grid.y * grid.z,
                       .block_begins = {}});
}

void Touches::begin_block(uint3 /*block*/) {
  Launch& launch = launches_.back();
  if (launch.blocks <= kMarkedBlocks && launches_.size() < kLaunches) {
    launch.block_begins.push_back(ticks_);
  }
}

/// The array with this address; null where it is not to be drawn.
Touches::Array* Touches::array_of(std::uintptr_t address) {
  for (Array& array : arrays_) {
    if (address - array.begin < array.bytes) return &array;
  }
  for (const AddressRange& other : others_) {
    if (other.contains(address)) return nullptr;
  }
  const std::optional<Arena::Array> found = Arena::get().array_at(address);
  if (!found) return nullptr;  // a variable of the program
  Array array;
  array.name = found->name;
  array.begin = found->begin;
  array.bytes = found->bytes;
  array.row_bytes = found->element > 0 ? found->element : sizeof(float);
  array.order = known_.size();
  for (std::size_t i = 0; i < known_.size(); ++i) {
    if (known_[i].label != found->name) continue;
    array.name = known_[i].name;
    array.in_rows = known_[i].row_bytes > 0;
    if (array.in_rows) array.row_bytes = known_[i].row_bytes;
    array.order = i;
  }
  if (array.row_bytes > array.bytes) array.row_bytes = 1;
  names_.push_back(array.name);
  const auto wanted = std::find_if(only_.begin(), only_.end(), [&array](const std::string& name) {
    return same_name(name, array.name);
  });
  if (!only_.empty()) array.order = static_cast<std::size_t>(wanted - only_.begin());
  if (arrays_.size() == kArrays || (!only_.empty() && wanted == only_.end())) {
    if (only_.empty()) ++left_out_;
    others_.push_back({array.begin, array.begin + array.bytes});
    return nullptr;
  }
  return &arrays_.emplace_back(std::move(array));
}

void Touches::request(int /*warp*/, const Request& request) {
  if (request.space != Space::kGlobal) return;
  const std::uint8_t touch = request.unit == Unit::kAsyncCopy   ? kCopied
                             : request.access == Access::kLoad  ? kLoaded
                             : request.access == Access::kStore ? kStored
                                                                : kAtomic;
  for (unsigned rest = request.lanes; rest != 0; rest &= rest - 1) {
    add(request.addresses[std::countr_zero(rest)], request.bytes, touch);
  }
}

/// TMA moves a box as pieces of 16 bytes, as many lanes with cp.async would.
void Touches::async_event(int /*warp*/, unsigned /*lanes*/, const AsyncEvent& event) {
  if (event.pieces == nullptr) return;
  const Touch touch = event.kind == AsyncEvent::Kind::kStore ? kStored : kCopied;
  for (const AsyncPiece& piece : *event.pieces) {
    if (piece.valid > 0) add(piece.global, piece.valid, touch);
  }
}

void Touches::add(std::uintptr_t address, std::size_t bytes, std::uint8_t touch) {
  std::int64_t column = ticks_++ / ticks_per_column_;
  if (column == kColumns) {
    halve();
    column /= 2;
  }
  Array* const array = array_of(address);
  if (array == nullptr) return;
  const std::size_t offset = address - array->begin;
  const auto cell_of = [array](std::size_t byte) {
    return std::min(static_cast<std::int64_t>(byte / array->row_bytes) / array->rows_per_cell(),
                    array->cells() - 1);
  };
  for (auto cell = cell_of(offset); cell <= cell_of(offset + bytes - 1); ++cell) {
    array->touched[static_cast<std::size_t>(column * kCells + cell)] |= touch;
  }
}

/// Columns twice as wide.
void Touches::halve() {
  constexpr std::size_t kHalf = kColumns / 2 * kCells;
  for (Array& array : arrays_) {
    auto& t = array.touched;
    for (std::size_t to = 0; to < kHalf; ++to) {
      const std::size_t from = to / kCells * 2 * kCells + to % kCells;
      t[to] = static_cast<std::uint8_t>(t[from] | t[from + kCells]);
    }
    std::fill(t.begin() + kHalf, t.end(), std::uint8_t{0});
  }
  ticks_per_column_ *= 2;
}

void Touches::widen(std::int64_t ticks) {
  while (ticks_per_column_ < ticks) halve();
}

std::vector<const Touches::Array*> Touches::arrays() const {
  std::vector<const Array*> sorted;
  for (const Array& array : arrays_) sorted.push_back(&array);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Array* a, const Array* b) { return a->order < b->order; });
  return sorted;
}

}  // namespace attn::simt::draw
