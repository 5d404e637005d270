// SPDX-License-Identifier: MIT
//
// What compute-sanitizer's initcheck and racecheck look for on a GPU, and, between blocks, what it
// does not: reads of memory that nobody wrote, and accesses to one address that nothing orders.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "common/simt/arena.hpp"
#include "common/simt/recorder.hpp"

namespace attn::simt {

/// The last accesses of one kind to one 4-byte word: by which lanes of which warp, and when.
struct LastAccess {
  std::uint32_t interval = 0;  // barrier intervals are numbered through all blocks and launches
  std::uint32_t lanes = 0;
  std::uint32_t site = 0;
  std::uint16_t clock = 0;  // the warp's __syncwarp count at that time
  std::uint8_t warp = 0;
  std::uint8_t bytes : 4 = 0;  // which bytes of the word
  std::uint8_t warps : 1 = 0;  // set if lanes of another warp did the same in this interval
  std::uint8_t mixed : 1 = 0;  // of a write: set if lanes stored different values
};

/// What the race detector remembers of a word.
struct WordHistory {
  LastAccess write, read, atomic;
  // A barrier interval of another block of this launch that read the word, or used an atomic on it.
  std::uint32_t foreign_read = 0;
  std::uint32_t foreign_read_site = 0;
  std::uint32_t foreign_atomic = 0;
  std::uint32_t foreign_atomic_site = 0;
};

/// A WordHistory for every 4 bytes of a range of addresses, in untouched pages until used.
class Histories {
 public:
  explicit Histories(AddressRange range);
  ~Histories();
  Histories(const Histories&) = delete;
  Histories& operator=(const Histories&) = delete;
  WordHistory& of(std::uintptr_t address) { return words_[(address - range_.begin) / 4]; }
  /// What the last write has stored (Request::values). Apart from the rest, of which one word's
  /// fills a cache line.
  std::uint32_t& stored(std::uintptr_t address) { return stored_[(address - range_.begin) / 4]; }
  /// Gives the histories of freed memory back to the system.
  void forget(std::uintptr_t begin, std::size_t bytes);

 private:
  AddressRange range_;
  WordHistory* words_;
  std::uint32_t* stored_;
};

/// Watches the requests of one launch.
class Detectors {
 public:
  explicit Detectors(const Recorder& recorder);
  ~Detectors();

  void begin_block();
  void end_interval();
  /// These lanes of the current warp have passed a __syncwarp together.
  void sync_warp(unsigned lanes);
  void request(const Request& request);
  /// Loads at this code address are each followed by a compare-and-swap of what they have loaded.
  void first_step_of_a_loop(std::uint32_t site) { loop_loads_.insert(site); }
  /// The launch is over: reports what had to wait.
  void finish();

 private:
  void check_initialised(const Request& request);
  void check_races(const Request& request);
  void check_word(const Request& request, Histories& words, std::uintptr_t address, unsigned lanes,
                  std::uint8_t bytes);
  bool ordered(const LastAccess& earlier, unsigned lanes) const;
  void remember(LastAccess& last, const Request& request, unsigned lanes, std::uint8_t bytes) const;
  void report_race(const Request& request, unsigned lanes, const LastAccess& other,
                   const char* other_access, bool other_block, bool same_value = false);
  std::string place_of(const Request& request, int lane) const;
  /// True the first time in this launch.
  bool first_time(const char* kind, std::uint32_t site, std::uint32_t other_site);
  Histories& histories(Space space, std::uintptr_t address);
  ByteBits& initialised(Space space, std::uintptr_t address);

  /// The whole range, static or dynamic, that a shared address lies in.
  AddressRange shared_range(std::uintptr_t address) const;

  const Recorder& recorder_;
  std::uint32_t launch_start_;  // first barrier interval of this launch
  std::uint32_t block_start_ = 0;
  std::uint32_t interval_ = 0;
  // clocks_[warp].known[a][b]: up to which clock lane a has seen what lane b did.
  struct WarpClock {
    std::uint16_t now = 1;
    std::array<std::array<std::uint16_t, kWarpSize>, kWarpSize> known{};
  };
  std::array<WarpClock, 32> clocks_;
  std::vector<std::pair<std::uint32_t, uint3>> block_starts_;  // first interval, blockIdx
  std::set<std::tuple<std::string, std::uint32_t, std::uint32_t>> reported_;
  // A load against an atomic is no race if a compare-and-swap follows it, which some lane may show
  // only later: the load's code address, and what to report.
  std::vector<std::pair<std::uint32_t, Detection>> waiting_;
  std::set<std::uint32_t> loop_loads_;
};

}  // namespace attn::simt
