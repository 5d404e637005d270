// SPDX-License-Identifier: MIT
//
// The machine's global memory: one large reserved range of addresses. That makes "is this global
// memory?" one comparison, and lets every byte have shadow bits at a fixed place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>

namespace attn::simt {

/// One bit per byte of a range of addresses, in untouched pages until set.
class ByteBits {
 public:
  ByteBits(std::uintptr_t begin, std::size_t bytes);
  ~ByteBits();
  ByteBits(const ByteBits&) = delete;
  ByteBits& operator=(const ByteBits&) = delete;

  void set(std::uintptr_t address, std::size_t bytes);
  void clear(std::uintptr_t address, std::size_t bytes);
  bool all_set(std::uintptr_t address, std::size_t bytes) const;
  /// Sets the bits of at most 64 bytes and returns how many of them were new.
  unsigned set_new(std::uintptr_t address, std::size_t bytes);
  /// The bits of the 64 bytes that start at a multiple of 64.
  std::uint64_t word(std::uintptr_t address) const { return bits_[(address - begin_) / 64]; }

 private:
  std::uintptr_t begin_;
  std::size_t words_;
  std::uint64_t* bits_;
};

class Arena {
 public:
  struct Allocation {
    std::size_t bytes = 0;
    std::string label;  // empty: the name is looked up where it was allocated
    std::source_location where;
    std::size_t element = 0;  // bytes of one element; 0 if unknown
    // The part that kernels may use: [begin, begin + size) from the allocation's first byte.
    std::size_t begin = 0;
    std::size_t size = 0;
  };

  static Arena& get();

  /// 256-byte aligned, with at least 256 unused bytes before and after; null when full. Addresses
  /// are not used again until the arena has been gone through once, so that a use after free is
  /// seen.
  void* allocate(std::size_t bytes, std::string_view label, std::size_t element = 0,
                 std::source_location where = {});
  /// Leaves kernels `size` bytes from byte `begin` of an allocation; what lies around them is a
  /// guard band, which only the host may touch. `element`: bytes of one element, for reports.
  void set_contents(void* allocation, std::size_t begin, std::size_t size, std::size_t element);
  /// What to add to the address of a program's variable (image.hpp) to get the arena's address that
  /// stands for it. Its bytes there are never used, only what the machine notes about them.
  std::uintptr_t shift_of_variables();
  /// False if the pointer is not the start of a live allocation.
  bool release(void* pointer);

  bool contains(std::uintptr_t address) const { return address - begin_ < kBytes; }
  /// Whether a kernel may use these bytes.
  bool is_allocated(std::uintptr_t address, std::size_t bytes) const {
    return allocated_.all_set(address, bytes);
  }
  /// Whether they lie in one allocation: the host may use guard bands, too.
  bool holds(std::uintptr_t address, std::size_t bytes) const;
  /// "s[1024], 1 past the end: s has 1024 elements, s[0] to s[1023]", for bytes that a kernel may
  /// not use.
  std::string describe(std::uintptr_t address, std::size_t bytes) const;
  /// "s[32]", or "s[32..35]", for bytes that it may.
  std::string name_of(std::uintptr_t address, std::size_t bytes) const;
  /// The array that a kernel's access to this address goes to.
  struct Array {
    std::string name;
    std::uintptr_t begin = 0;  // of what kernels may use
    std::size_t bytes = 0;
    std::size_t element = 0;  // bytes of one element; 0 if unknown
  };
  /// Nothing for an address in no live array, and for the program's own variables.
  std::optional<Array> array_at(std::uintptr_t address) const;
  /// Called with each range that is released.
  std::function<void(std::uintptr_t begin, std::size_t bytes)> on_release;

  std::size_t allocated_bytes() const;
  std::uintptr_t begin() const { return begin_; }

  /// A byte that was written, by a kernel or by a copy, since it was allocated.
  ByteBits& initialised() { return initialised_; }
  /// Bytes that the running launch has read, and written.
  ByteBits& touched_by_reads() { return read_; }
  ByteBits& touched_by_writes() { return written_; }
  /// Forgets which bytes a launch has touched.
  void clear_touched();
  /// 32-byte sectors of which the launch has read or written a byte.
  std::uint64_t touched_sectors() const;

  static constexpr std::size_t kBytes = std::size_t{16} << 30;

 private:
  Arena();
  mutable std::mutex mutex_;
  std::uintptr_t begin_;
  ByteBits allocated_, initialised_, read_, written_;
  std::map<std::uintptr_t, Allocation> live_;
  std::map<std::uintptr_t, Allocation> freed_;  // until their addresses are used again
  std::uintptr_t next_;
  std::size_t allocated_bytes_ = 0;
  std::uintptr_t variables_ = 0;  // the allocation that stands for the program's variables
};

}  // namespace attn::simt
