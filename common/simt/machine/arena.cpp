// SPDX-License-Identifier: MIT
#include "common/simt/machine/arena.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <fstream>

#include "common/simt/machine/image.hpp"
#include "common/simt/machine/stacks.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) (static_cast<void>(0))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) (static_cast<void>(0))
#endif

namespace attn::simt {
namespace {

constexpr std::size_t kGap = 256;

/// Calls visit(word index, mask) for each 64-bit word that holds a bit of [first, first + count).
template <class Visit>
void for_each_word(std::size_t first, std::size_t count, Visit&& visit) {
  while (count > 0) {
    const std::size_t offset = first % 64;
    const std::size_t here = std::min<std::size_t>(count, 64 - offset);
    const std::uint64_t mask = (here == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << here) - 1)
                               << offset;
    visit(first / 64, mask);
    first += here;
    count -= here;
  }
}

/// The variable that a line of the kind "cudaMalloc(&x, bytes)" fills, or cudaMallocManaged's;
/// empty if it is none.
std::string variable_allocated_at(const std::source_location& where) {
  std::ifstream file(where.file_name());
  std::string line;
  for (unsigned n = 0; n < where.line(); ++n) {
    if (!std::getline(file, line)) return {};
  }
  const std::size_t call = line.find("cudaMalloc");
  const std::size_t sign = call == std::string::npos ? call : line.find('&', call);
  if (sign == std::string::npos) return {};
  std::size_t end = sign + 1;
  while (end < line.size() &&
         (std::isalnum(static_cast<unsigned char>(line[end])) != 0 || line[end] == '_')) {
    ++end;
  }
  return line.substr(sign + 1, end - sign - 1);
}

std::string name_text(const Arena::Allocation& array) {
  if (!array.label.empty()) return array.label;
  const std::string variable = variable_allocated_at(array.where);
  return variable.empty() ? "an array" : variable;
}

/// Where an array without a label was allocated.
std::string place_text(const Arena::Allocation& array) {
  if (!array.label.empty() || array.where.line() == 0) return {};
  return fmt::format(" (allocated at {}:{})", array.where.file_name(), array.where.line());
}

/// Index of the element of `size` bytes that holds this address; negative before the first.
std::int64_t element_at(std::uintptr_t begin, const Arena::Allocation& array,
                        std::uintptr_t address, std::int64_t size) {
  const std::int64_t offset =
      static_cast<std::int64_t>(address) - static_cast<std::int64_t>(begin + array.begin);
  return offset >= 0 ? offset / size : -((size - 1 - offset) / size);
}

/// "o[17]", or "o[16..19]" for a wide access. Where the type is unknown, an element is as wide as
/// the access.
std::string elements_text(std::uintptr_t begin, const Arena::Allocation& array,
                          std::uintptr_t address, std::size_t bytes) {
  const auto size = static_cast<std::int64_t>(array.element > 0 ? array.element : bytes);
  const std::int64_t first = element_at(begin, array, address, size);
  const std::int64_t last = element_at(begin, array, address + bytes - 1, size);
  return first == last ? fmt::format("{}[{}]", name_text(array), first)
                       : fmt::format("{}[{}..{}]", name_text(array), first, last);
}

}  // namespace

ByteBits::ByteBits(std::uintptr_t begin, std::size_t bytes)
    : begin_(begin),
      words_((bytes + 63) / 64),
      bits_(static_cast<std::uint64_t*>(map_memory(words_ * 8))) {}

ByteBits::~ByteBits() { unmap_memory(bits_, words_ * 8); }

void ByteBits::set(std::uintptr_t address, std::size_t bytes) {
  for_each_word(address - begin_, bytes,
                [this](std::size_t word, std::uint64_t mask) { bits_[word] |= mask; });
}

void ByteBits::clear(std::uintptr_t address, std::size_t bytes) {
  for_each_word(address - begin_, bytes, [this](std::size_t word, std::uint64_t mask) {
    if (bits_[word] != 0) bits_[word] &= ~mask;
  });
}

bool ByteBits::all_set(std::uintptr_t address, std::size_t bytes) const {
  const std::size_t first = address - begin_;
  if (first % 64 + bytes <= 64 && bytes < 64) {  // one word, the common case
    return (~bits_[first / 64] >> first % 64 & ((std::uint64_t{1} << bytes) - 1)) == 0;
  }
  bool all = true;
  for_each_word(first, bytes, [&](std::size_t word, std::uint64_t mask) {
    all = all && (bits_[word] & mask) == mask;
  });
  return all;
}

unsigned ByteBits::set_new(std::uintptr_t address, std::size_t bytes) {
  unsigned fresh = 0;
  for_each_word(address - begin_, bytes, [&](std::size_t word, std::uint64_t mask) {
    if ((mask & ~bits_[word]) == 0) return;  // seen before, the common case
    fresh += static_cast<unsigned>(std::popcount(mask & ~bits_[word]));
    bits_[word] |= mask;
  });
  return fresh;
}

Arena::Arena()
    : begin_(reinterpret_cast<std::uintptr_t>(map_memory(kBytes))),
      allocated_(begin_, kBytes),
      initialised_(begin_, kBytes),
      read_(begin_, kBytes),
      written_(begin_, kBytes),
      next_(begin_ + kGap) {
  // Only what is allocated may be touched.
  ASAN_POISON_MEMORY_REGION(reinterpret_cast<void*>(begin_), std::size_t{1} << 20);
}

Arena& Arena::get() {
  static Arena arena;
  return arena;
}

void* Arena::allocate(std::size_t bytes, std::string_view label, std::size_t element,
                      std::source_location where) {
  if (bytes > kBytes) return nullptr;
  const std::lock_guard lock(mutex_);
  const std::size_t room = (std::max<std::size_t>(bytes, 1) + kGap - 1) / kGap * kGap;
  // First fit from where the last search ended, twice: to the end, then from the beginning.
  std::uintptr_t at = next_;
  for (int round = 0; round < 2; ++round) {
    auto above = live_.lower_bound(at);
    if (above != live_.begin()) {
      const auto below = std::prev(above);
      at = std::max(at, below->first + (below->second.bytes + kGap) / kGap * kGap + kGap);
    }
    while (at + room + kGap <= begin_ + kBytes) {
      above = live_.lower_bound(at);
      if (above == live_.end() || at + room + kGap <= above->first) {
        next_ = at + room + kGap;
        freed_.erase(freed_.lower_bound(at), freed_.lower_bound(next_));
        live_[at] = {.bytes = bytes,
                     .label = std::string(label),
                     .where = where,
                     .element = element,
                     .begin = 0,
                     .size = bytes};
        allocated_bytes_ += bytes;
        allocated_.set(at, bytes);
        ASAN_POISON_MEMORY_REGION(reinterpret_cast<void*>(at + bytes), room - bytes + kGap);
        ASAN_UNPOISON_MEMORY_REGION(reinterpret_cast<void*>(at), bytes);
        return reinterpret_cast<void*>(at);
      }
      at = above->first + (above->second.bytes + kGap) / kGap * kGap + kGap;
    }
    at = begin_ + kGap;
  }
  return nullptr;
}

void Arena::set_contents(void* allocation, std::size_t begin, std::size_t size,
                         std::size_t element) {
  const std::lock_guard lock(mutex_);
  const auto address = reinterpret_cast<std::uintptr_t>(allocation);
  Allocation& entry = live_.at(address);
  entry.element = element;
  entry.begin = begin;
  entry.size = size;
  allocated_.clear(address, entry.bytes);
  allocated_.set(address + begin, size);
}

bool Arena::holds(std::uintptr_t address, std::size_t bytes) const {
  const std::lock_guard lock(mutex_);
  auto entry = live_.upper_bound(address);
  if (entry == live_.begin()) return false;
  --entry;
  return address + bytes <= entry->first + entry->second.bytes;
}

std::uintptr_t Arena::shift_of_variables() {
  const AddressRange range = program_variables();
  const std::uintptr_t offset = range.begin % kGap;  // as far into a sector here as there
  if (variables_ == 0) {
    void* stand_in = allocate(range.size() + offset, "a __device__ variable");
    variables_ = reinterpret_cast<std::uintptr_t>(stand_in);
    allocated_bytes_ -= range.size() + offset;
    initialised_.set(variables_, range.size() + offset);
  }
  return variables_ + offset - range.begin;
}

bool Arena::release(void* pointer) {
  const std::lock_guard lock(mutex_);
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  const auto entry = live_.find(address);
  if (entry == live_.end()) return false;
  const std::size_t bytes = entry->second.bytes;
  allocated_.clear(address, bytes);
  initialised_.clear(address, bytes);
  allocated_bytes_ -= bytes;
  freed_[address] = std::move(entry->second);
  live_.erase(entry);
  ASAN_POISON_MEMORY_REGION(pointer, bytes);
  release_pages(pointer, bytes);  // the addresses stay reserved
  if (on_release) on_release(address, bytes);
  return true;
}

std::string Arena::describe(std::uintptr_t address, std::size_t bytes) const {
  const std::lock_guard lock(mutex_);
  const auto inside = [address](const auto& map) {
    auto entry = map.upper_bound(address);
    return entry != map.begin() && (--entry, address < entry->first + entry->second.bytes)
               ? entry
               : map.end();
  };
  if (const auto entry = inside(freed_); entry != freed_.end()) {
    return elements_text(entry->first, entry->second, address, bytes) + ", which has been freed";
  }
  // The array that it misses by least, if that is not too far to be meant.
  constexpr std::int64_t kNear = std::int64_t{1} << 20;
  std::int64_t nearest = kNear;
  const std::pair<const std::uintptr_t, Allocation>* missed = nullptr;
  for (const auto& entry : live_) {
    if (entry.first == variables_) continue;  // no array of the program's
    const auto first = static_cast<std::int64_t>(entry.first + entry.second.begin);
    const auto end = first + static_cast<std::int64_t>(entry.second.size);
    const auto from = static_cast<std::int64_t>(address);
    const std::int64_t distance =
        from < first ? first - from : std::max<std::int64_t>(0, from - end);
    if (distance < nearest) {
      nearest = distance;
      missed = &entry;
    }
  }
  if (missed == nullptr) return "an address far from every array";
  const auto& [begin, array] = *missed;
  const std::string name = name_text(array);
  const auto size = static_cast<std::int64_t>(array.element > 0 ? array.element : bytes);
  const auto count = static_cast<std::int64_t>(array.size) / size;
  const std::int64_t first = element_at(begin, array, address, size);
  const std::int64_t last = element_at(begin, array, address + bytes - 1, size);
  const std::int64_t off = first < 0 ? -first : last - count + 1;
  return fmt::format("{}, {} {}: {}", elements_text(begin, array, address, bytes), off,
                     first < 0 ? "before the first" : "past the last",
                     count == 0   ? fmt::format("{} has no elements", name)
                     : count == 1 ? fmt::format("{0} has one element, {0}[0]", name)
                                  : fmt::format("{0} has {1} elements, {0}[0] to {0}[{2}]", name,
                                                count, count - 1)) +
         place_text(array);
}

std::string Arena::name_of(std::uintptr_t address, std::size_t bytes) const {
  const std::lock_guard lock(mutex_);
  auto entry = live_.upper_bound(address);
  if (entry == live_.begin()) return "global memory";
  --entry;
  if (entry->first == variables_) {
    const AddressRange range = program_variables();
    const std::uintptr_t variable = address - variables_ - range.begin % kGap + range.begin;
    const Symbol symbol = symbol_at(variable);
    return fmt::format("__device__ variable {} at byte {}", symbol.name, variable - symbol.begin);
  }
  return elements_text(entry->first, entry->second, address, bytes) + place_text(entry->second);
}

std::optional<Arena::Array> Arena::array_at(std::uintptr_t address) const {
  const std::lock_guard lock(mutex_);
  auto entry = live_.upper_bound(address);
  if (entry == live_.begin()) return std::nullopt;
  const auto& [begin, array] = *--entry;
  if (begin == variables_ || address - (begin + array.begin) >= array.size) return std::nullopt;
  return Array{name_text(array), begin + array.begin, array.size, array.element};
}

std::size_t Arena::allocated_bytes() const {
  const std::lock_guard lock(mutex_);
  return allocated_bytes_;
}

void Arena::clear_touched() {
  const std::lock_guard lock(mutex_);
  for (const auto& [begin, allocation] : live_) {
    read_.clear(begin, allocation.bytes);
    written_.clear(begin, allocation.bytes);
  }
}

std::uint64_t Arena::touched_sectors() const {
  const std::lock_guard lock(mutex_);
  std::uint64_t sectors = 0;
  // Allocations are 256-byte aligned, so a word of 64 bits belongs to one, and is two sectors.
  for (const auto& [begin, allocation] : live_) {
    for (std::uintptr_t at = begin; at < begin + allocation.bytes; at += 64) {
      const std::uint64_t touched = read_.word(at) | written_.word(at);
      sectors += (touched & 0xFFFFFFFFu) != 0 ? 1 : 0;
      sectors += touched >> 32 != 0 ? 1 : 0;
    }
  }
  return sectors;
}

}  // namespace attn::simt
