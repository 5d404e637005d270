// SPDX-License-Identifier: MIT
#include "common/simt/detectors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <string_view>

#include "common/simt/device.hpp"
#include "common/simt/stacks.hpp"

namespace attn::simt {

Histories::Histories(AddressRange range)
    : range_(range),
      words_(static_cast<WordHistory*>(map_memory((range.size() / 4 + 1) * sizeof(WordHistory)))),
      stored_(static_cast<std::uint32_t*>(map_memory((range.size() / 4 + 1) * 4))) {}

void Histories::forget(std::uintptr_t begin, std::size_t bytes) {
  release_pages(&of(begin), bytes / 4 * sizeof(WordHistory));
  release_pages(&stored(begin), bytes / 4 * 4);
}

Histories::~Histories() {
  unmap_memory(words_, (range_.size() / 4 + 1) * sizeof(WordHistory));
  unmap_memory(stored_, (range_.size() / 4 + 1) * 4);
}

namespace {

// Numbers are never used twice, so that no shadow has to be cleared between blocks or launches.
std::uint32_t last_interval = 0;

/// std::has_single_bit counts bits through a library call on plain x86-64.
bool one_lane(unsigned lanes) { return (lanes & (lanes - 1)) == 0; }

bool stores_differ(const Request& request, unsigned lanes) {
  const std::uint32_t value = request.values[std::countr_zero(lanes)];
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    if (request.values[std::countr_zero(rest)] != value) return true;
  }
  return false;
}

/// What mends a race depends on who races: two writers need an owner, a writer and a reader an
/// order, and between blocks of one launch there is no order.
const char* advice_for(Access access, std::string_view other_access, bool other_block,
                       bool same_line) {
  if (access == Access::kAtomic || other_access == "atomic") {
    return other_block
               ? "Make the plain access an atomic too, or move it into a launch of its own."
               : "Make the plain access an atomic too, or put a __syncthreads between the two.";
  }
  if (access == Access::kStore && other_access == "write") {
    return other_block
               ? "One element, two writing blocks: does the grid cover it twice, or does an index "
                 "reach too far? Give it one owner, or use an atomic. No barrier reaches another "
                 "block."
           : same_line
               ? "One element, two writers: does an index reach too far, or is a guard missing? "
                 "Give it one owner, or use an atomic. A barrier would only decide who comes last."
               : "Is one of the two lines meant to come later? Then a __syncthreads goes between "
                 "them. Otherwise give the element one owner.";
  }
  return other_block
             ? "Blocks run in any order, and no barrier reaches another block: let the block read "
               "only what it wrote itself, or split the kernel into two launches."
             : "Put a __syncthreads between the two (within one warp, a __syncwarp), where all "
               "threads come by.";
}

/// Shadows of one OS thread's shared memory, static or dynamic.
struct RangeShadow {
  explicit RangeShadow(AddressRange range)
      : histories(range), initialised(range.begin, range.size()) {}
  Histories histories;
  ByteBits initialised;
};

RangeShadow& shadow_of(AddressRange range) {
  thread_local std::map<std::uintptr_t, std::unique_ptr<RangeShadow>> shadows;
  std::unique_ptr<RangeShadow>& shadow = shadows[range.begin];
  if (!shadow) shadow = std::make_unique<RangeShadow>(range);
  return *shadow;
}

}  // namespace

Detectors::Detectors(const Recorder& recorder)
    : recorder_(recorder), launch_start_(last_interval + 1) {}

Detectors::~Detectors() = default;

Histories& Detectors::histories(Space space, std::uintptr_t address) {
  if (space == Space::kShared) {
    return shadow_of(shared_range(address)).histories;
  }
  static Histories global({Arena::get().begin(), Arena::get().begin() + Arena::kBytes});
  static const bool connected = [] {
    Arena::get().on_release = [](std::uintptr_t begin, std::size_t bytes) {
      global.forget(begin, bytes);
    };
    return true;
  }();
  static_cast<void>(connected);
  return global;
}

ByteBits& Detectors::initialised(Space space, std::uintptr_t address) {
  return space == Space::kGlobal ? Arena::get().initialised()
                                 : shadow_of(shared_range(address)).initialised;
}

AddressRange Detectors::shared_range(std::uintptr_t address) const {
  const AddressRange dynamic = recorder_.dynamic_shared();
  if (!dynamic.contains(address)) return recorder_.static_shared();
  return {dynamic.begin, dynamic.begin + kLargestSharedBytesPerBlock};
}

void Detectors::begin_block() {
  interval_ = block_start_ = ++last_interval;
  block_starts_.emplace_back(block_start_, recorder_.worker().block());
  clocks_ = {};
  // What an earlier block left in shared memory counts as never written.
  for (const AddressRange range : {recorder_.static_shared(), recorder_.dynamic_shared()}) {
    if (range.size() > 0)
      shadow_of(shared_range(range.begin)).initialised.clear(range.begin, range.size());
  }
}

void Detectors::end_interval() {
  interval_ = ++last_interval;
  clocks_ = {};
}

void Detectors::sync_warp(unsigned lanes) {
  WarpClock& clock = clocks_[static_cast<std::size_t>(recorder_.warp())];
  // Everyone in the group learns what anyone in it knew, and what each has done until now.
  std::array<std::uint16_t, kWarpSize> joint{};
  for (std::size_t lane = 0; lane < kWarpSize; ++lane) {
    if ((lanes >> lane & 1u) == 0) continue;
    for (std::size_t other = 0; other < kWarpSize; ++other) {
      joint[other] = std::max(joint[other], clock.known[lane][other]);
    }
    joint[lane] = clock.now;
  }
  for (std::size_t lane = 0; lane < kWarpSize; ++lane) {
    if ((lanes >> lane & 1u) != 0) clock.known[lane] = joint;
  }
  ++clock.now;
}

void Detectors::request(const Request& request) {
  check_initialised(request);
  check_races(request);
}

bool Detectors::first_time(const char* kind, std::uint32_t site, std::uint32_t other_site) {
  return reported_.emplace(kind, site, other_site).second;
}

void Detectors::check_initialised(const Request& request) {
  std::uintptr_t last = 0;
  ByteBits& bits = initialised(request.space, request.addresses[std::countr_zero(request.lanes)]);
  for (unsigned rest = request.lanes; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    const std::uintptr_t address = request.addresses[lane];
    if (address == last) continue;
    last = address;
    if (request.access != Access::kStore && !bits.all_set(address, request.bytes) &&
        first_time("uninitialised", request.site, 0)) {
      Detection found = recorder_.detection("uninitialised read", lane, request.site);
      found.what = fmt::format("{} of {}, which nothing has written", access_name(request.access),
                               place_of(request, lane));
      found.advice =
          request.space == Space::kGlobal
              ? "Which kernel should have written it, and does its loop reach this index?"
              : "Does every element of the tile get a value before the barrier, also at "
                "the ragged edge?";
      report(std::move(found));
    }
    if (request.access != Access::kLoad) bits.set(address, request.bytes);
  }
}

void Detectors::check_races(const Request& request) {
  Histories& words = histories(request.space, request.addresses[std::countr_zero(request.lanes)]);
  for (unsigned rest = request.lanes; rest != 0;) {
    const int lane = std::countr_zero(rest);
    const std::uintptr_t address = request.addresses[lane];
    unsigned group = 1u << lane;
    const unsigned others = rest & ~group;
    if (others != 0 && request.addresses[std::countr_zero(others)] == address) {
      for (unsigned more = others; more != 0; more &= more - 1) {
        const int next = std::countr_zero(more);
        if (request.addresses[next] == address) group |= 1u << next;
      }
    }
    rest &= ~group;
    const std::uintptr_t end = address + request.bytes;
    for (std::uintptr_t word = address / 4 * 4; word < end; word += 4) {
      const std::uintptr_t from = std::max(word, address) - word;
      const std::uintptr_t to = std::min(word + 4, end) - word;
      const auto bytes = static_cast<std::uint8_t>((1u << to) - (1u << from));
      check_word(request, words, word, group, bytes);
    }
  }
}

/// Whether each of `lanes`, now, comes after each of the earlier accesses.
bool Detectors::ordered(const LastAccess& earlier, unsigned lanes) const {
  if (earlier.interval != interval_) return true;  // an earlier barrier interval of this block
  if (earlier.warps != 0 || earlier.warp != recorder_.warp()) return false;
  if (earlier.lanes == lanes && one_lane(lanes)) return true;  // the same thread
  const WarpClock& clock = clocks_[earlier.warp];
  for (unsigned now = lanes; now != 0; now &= now - 1) {
    const auto a = static_cast<std::size_t>(std::countr_zero(now));
    for (unsigned then = earlier.lanes; then != 0; then &= then - 1) {
      const auto b = static_cast<std::size_t>(std::countr_zero(then));
      if (a != b && clock.known[a][b] < earlier.clock) return false;
    }
  }
  return true;
}

void Detectors::check_word(const Request& request, Histories& words, std::uintptr_t address,
                           unsigned lanes, std::uint8_t bytes) {
  WordHistory& word = words.of(address);
  const auto overlaps = [bytes](const LastAccess& access) { return (access.bytes & bytes) != 0; };
  // Shared memory is another memory in every block.
  const bool global = request.space == Space::kGlobal;
  const auto in_other_block = [this, global](std::uint32_t interval) {
    return global && interval >= launch_start_ && interval < block_start_;
  };
  const bool store = request.access == Access::kStore;
  const bool load = request.access == Access::kLoad;

  bool mixed = false;
  if (store && !one_lane(lanes)) {
    mixed = stores_differ(request, lanes);
    LastAccess same = {};
    remember(same, request, lanes & (lanes - 1), bytes);
    report_race(request, lanes & ~(lanes - 1), same, "write", false, !mixed);
  }
  if (overlaps(word.write)) {
    const bool same_value = store && !mixed && !word.write.mixed && word.write.bytes == bytes &&
                            words.stored(address) == request.values[std::countr_zero(lanes)];
    if (in_other_block(word.write.interval)) {
      report_race(request, lanes, word.write, "write", true, same_value);
    } else if (!ordered(word.write, lanes)) {
      report_race(request, lanes, word.write, "write", false, same_value);
    }
  }
  // A read races with a write or an atomic, an atomic with a read or a write: of another thread in
  // this barrier interval, or of another block, the last one or one before it.
  const auto check = [&](const LastAccess& last, std::uint32_t foreign, std::uint32_t foreign_site,
                         const char* name) {
    if (overlaps(last) && in_other_block(last.interval)) {
      report_race(request, lanes, last, name, true);
    } else if (in_other_block(foreign)) {
      LastAccess other = {};
      other.interval = foreign;
      other.site = foreign_site;
      report_race(request, lanes, other, name, true);
    } else if (overlaps(last) && !ordered(last, lanes)) {
      report_race(request, lanes, last, name, false);
    }
  };
  if (!load) check(word.read, word.foreign_read, word.foreign_read_site, "read");
  if (request.access != Access::kAtomic) {
    check(word.atomic, word.foreign_atomic, word.foreign_atomic_site, "atomic");
  }

  const auto keep_foreign = [&](const LastAccess& last, std::uint32_t& foreign,
                                std::uint32_t& site) {
    if (in_other_block(last.interval) && last.bytes == 0xF) {
      foreign = last.interval;
      site = last.site;
    }
  };
  if (load) {
    keep_foreign(word.read, word.foreign_read, word.foreign_read_site);
    remember(word.read, request, lanes, bytes);
  } else if (store) {
    remember(word.write, request, lanes, bytes);
    word.write.mixed = mixed;
    words.stored(address) = request.values[std::countr_zero(lanes)];
  } else {
    keep_foreign(word.atomic, word.foreign_atomic, word.foreign_atomic_site);
    remember(word.atomic, request, lanes, bytes);
  }
}

/// Adds an access to the record of the same kind. Earlier accesses stay in it while nothing orders
/// them before this one: a later write must come after all of them.
void Detectors::remember(LastAccess& last, const Request& request, unsigned lanes,
                         std::uint8_t bytes) const {
  const auto warp = static_cast<std::uint8_t>(recorder_.warp());
  const std::uint16_t now = clocks_[warp].now;
  LastAccess merged{.interval = interval_,
                    .lanes = lanes,
                    .site = request.site,
                    .clock = now,
                    .warp = warp,
                    .bytes = static_cast<std::uint8_t>(bytes & 0xF),
                    .warps = 0,
                    .mixed = 0};
  if (request.access != Access::kStore && last.interval == interval_ && last.bytes == bytes) {
    if (last.warp != warp) {
      merged.warps = 1;
    } else {
      merged.warps = last.warps;
      if (last.clock == now || !ordered(last, lanes)) merged.lanes |= last.lanes;
    }
  }
  last = merged;
}

void Detectors::report_race(const Request& request, unsigned lanes, const LastAccess& other,
                            const char* other_access, bool other_block, bool same_value) {
  const char* kind = same_value ? "same value" : other_block ? "race between blocks" : "race";
  if (!first_time(kind, request.site, other.site)) return;
  const int lane = std::countr_zero(lanes);
  Detection found = recorder_.detection(kind, lane, request.site);
  const SourceLine there = source_line(recorder_.image_base() + other.site);
  std::string party;
  if (other_block) {
    const auto after = std::upper_bound(
        block_starts_.begin(), block_starts_.end(), other.interval,
        [](std::uint32_t interval, const auto& entry) { return interval < entry.first; });
    party = "block " + to_string(std::prev(after)->second);
  } else {
    const unsigned apart = other.lanes & ~lanes;
    const int other_lane = std::countr_zero(apart != 0 ? apart : other.lanes);
    party =
        "thread " + to_string(recorder_.worker().thread(other.warp * kWarpSize + other_lane).index);
  }
  found.what = fmt::format("{} of {}; {} has a {} of it at {}:{}, and nothing orders the two",
                           access_name(request.access), place_of(request, lane), party,
                           other_access, there.file, there.line);
  found.advice = advice_for(request.access, other_access, other_block,
                            found.file == there.file && found.line == there.line);
  if (same_value) {
    found.warning = true;
    found.what = fmt::format("write of {}; {} writes the same value to it at {}:{}",
                             place_of(request, lane), party, there.file, there.line);
    found.advice =
        "No race: whoever is last, the result is the same. One thread would do, for less traffic.";
  }
  const bool with_atomic = request.access == Access::kAtomic || other_access[0] == 'a';
  const bool with_load = request.access == Access::kLoad || other_access[0] == 'r';
  if (with_atomic && with_load) {
    waiting_.emplace_back(request.access == Access::kLoad ? request.site : other.site,
                          std::move(found));
  } else {
    report(std::move(found));
  }
}

void Detectors::finish() {
  for (auto& [load, found] : waiting_) {
    if (!loop_loads_.contains(load)) report(std::move(found));
  }
  waiting_.clear();
}

/// "o[17]", "dynamic shared memory at byte 132 (float 33)", "shared memory".
std::string Detectors::place_of(const Request& request, int lane) const {
  const std::uintptr_t address = request.addresses[lane];
  if (request.space == Space::kGlobal) return Arena::get().name_of(address, request.bytes);
  const AddressRange dynamic = recorder_.dynamic_shared();
  if (!dynamic.contains(address)) return "a __shared__ variable";
  const std::uintptr_t byte = address - dynamic.begin;
  return fmt::format("dynamic shared memory at byte {} (float {})", byte, byte / sizeof(float));
}

}  // namespace attn::simt
