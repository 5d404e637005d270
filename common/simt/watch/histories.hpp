// SPDX-License-Identifier: MIT
//
// What the race detector remembers of memory: the last accesses to each word, or, where some have
// touched less than four bytes of it, to each of its halves.
#pragma once

#include <array>
#include <cstdint>

#include "common/simt/machine/arena.hpp"
#include "common/simt/machine/image.hpp"
#include "common/simt/watch/clocks.hpp"

namespace attn::simt {

/// The last access of one kind: by which lanes of which warp, and when.
struct LastAccess {
  Time time = 0;
  std::uint32_t lanes = 0;
  std::uint32_t site = 0;
  std::uint8_t warp = 0;
  std::uint8_t bytes : 4 = 0;   // which bytes of the word
  std::uint8_t mixed : 1 = 0;   // of a write: set if lanes stored different values
  std::uint8_t others : 1 = 0;  // set if other warps did the same since the block's last barrier
  std::uint8_t timed : 1 = 0;   // set if it matters when they did
  std::uint8_t split : 1 = 0;   // of a word's write: each half has a history of its own
  std::uint8_t width = 0;       // bytes of the whole access
};

/// The last accesses to one word, or to one half of it. Fills a cache line.
struct History {
  LastAccess write, read, atomic;
  // A time in another block of this launch that read the word, or used an atomic on it.
  Time foreign_read = 0;
  std::uint32_t foreign_read_site = 0;
  Time foreign_atomic = 0;
  std::uint32_t foreign_atomic_site = 0;
};
static_assert(sizeof(History) == 64);

/// The kinds of access of which several may be the last, since nothing has to order them.
enum class Together : std::uint8_t { kReads, kAtomics };

/// Histories of a range of addresses, in untouched pages until used: 64 bytes for each word, 4
/// where it is written, 4 where several warps read it between two barriers, and likewise for
/// atomics; twice all that for a word that is split.
class Histories {
 public:
  explicit Histories(AddressRange range);
  ~Histories();
  Histories(const Histories&) = delete;
  Histories& operator=(const Histories&) = delete;

  /// Of a word, or of its lower half (0) or upper half (1) once it is split.
  History& of(std::uintptr_t address, std::size_t half = 0) {
    return halves_[half].words[place(address)];
  }
  /// What the last write has stored (Request::values).
  std::uint32_t& stored(std::uintptr_t address, std::size_t half) {
    return halves_[half].stored[place(address)];
  }
  /// The warps, beside the one of the LastAccess, that have done the same since the block's last
  /// barrier; valid if its `others` is set.
  std::uint32_t& other_warps(Together kind, std::uintptr_t address, std::size_t half) {
    return halves_[half].other_warps[static_cast<std::size_t>(kind)][place(address)];
  }
  /// Where the race detector keeps when they did; valid if the LastAccess is `timed`.
  std::uint32_t& other_times(Together kind, std::uintptr_t address, std::size_t half) {
    return halves_[half].other_times[static_cast<std::size_t>(kind)][place(address)];
  }
  /// From now on each half of the word has a history of its own; both begin with the word's.
  void split(std::uintptr_t address);
  /// Gives the histories of freed memory back to the system.
  void forget(std::uintptr_t begin, std::size_t bytes);

 private:
  struct Arrays {
    History* words;
    std::uint32_t* stored;
    std::array<std::uint32_t*, 2> other_warps, other_times;
    /// All but the words.
    std::array<std::uint32_t*, 5> rest() const {
      return {stored, other_warps[0], other_warps[1], other_times[0], other_times[1]};
    }
  };
  std::size_t place(std::uintptr_t address) const { return (address - range_.begin) / 4; }

  AddressRange range_;
  std::array<Arrays, 2> halves_;
};

}  // namespace attn::simt
