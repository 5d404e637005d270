// SPDX-License-Identifier: MIT
//
// The race detector: compares each access with what is remembered of its words.
#include <algorithm>
#include <bit>

#include "common/simt/watch/detectors.hpp"

namespace attn::simt {
namespace {

/// std::has_single_bit counts bits through a library call on plain x86-64.
bool one_lane(unsigned lanes) { return (lanes & (lanes - 1)) == 0; }

bool stores_differ(const Request& request, unsigned lanes) {
  const std::uint32_t value = request.values[std::countr_zero(lanes)];
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    if (request.values[std::countr_zero(rest)] != value) return true;
  }
  return false;
}

const char* name_of(Together kind) { return kind == Together::kReads ? "read" : "atomic"; }

constexpr unsigned kWord = 0b1111;  // all its bytes
constexpr unsigned kHalves[] = {0b0011, 0b1100};

}  // namespace

/// Whether each of `lanes`, now, comes after each of the earlier accesses.
bool Detectors::ordered(const LastAccess& earlier, unsigned lanes) const {
  if (earlier.time < clocks_.start()) return true;  // before this block's last barrier
  if (earlier.warp != warp()) {
    return clocks_.knows(warp(), earlier.warp, earlier.time, earlier.lanes);
  }
  if (earlier.lanes == lanes && one_lane(lanes)) return true;  // the same thread
  return clocks_.lanes_know(warp(), lanes, earlier.lanes, earlier.time);
}

/// The warps beside the last one: each access must come before what this warp does now. Its own
/// does, if that of the last one does: that another warp has come between the two, and comes before
/// this one all the same, takes a barrier that orders the lanes of this one, too.
void Detectors::check_others(const Request& request, const Place& place, Together kind,
                             const LastAccess& last) {
  if (last.time < clocks_.start()) return;
  const unsigned warps = place.words.other_warps(kind, place.address, place.half);
  const std::uint32_t times = place.words.other_times(kind, place.address, place.half);
  for (unsigned rest = warps & ~(1u << warp()); rest != 0; rest &= rest - 1) {
    const auto other = static_cast<std::size_t>(std::countr_zero(rest));
    const Time time = last.timed == 0 ? clocks_.start() : other_times_[times][other];
    if (clocks_.knows(warp(), other, time)) continue;
    LastAccess unordered = last;
    unordered.warp = static_cast<std::uint8_t>(other);
    unordered.lanes = 0;  // not known
    report_race(request, place.lanes, unordered, name_of(kind), false);
  }
}

/// One word, or one half of it.
[[gnu::always_inline]] inline void Detectors::check_history(const Request& request,
                                                            const Place& place) {
  const unsigned lanes = place.lanes, bytes = place.bytes;
  History& word = place.words.of(place.address, place.half);
  const auto overlaps = [bytes](const LastAccess& access) { return (access.bytes & bytes) != 0; };
  // Shared memory is another memory in every block.
  const bool global = request.space == Space::kGlobal;
  const auto in_other_block = [this, global](Time time) {
    return global && time >= launch_start_ && time < block_start_;
  };
  const bool store = request.access == Access::kStore;
  const bool load = request.access == Access::kLoad;

  bool mixed = false;
  if (store && !one_lane(lanes)) {
    mixed = stores_differ(request, lanes);
    report_race(request, lanes & ~(lanes - 1), access_of(request, lanes & (lanes - 1), bytes),
                "write", false, !mixed);
  }
  if (overlaps(word.write)) {
    const bool same_value =
        store && !mixed && word.write.mixed == 0 && word.write.bytes == bytes &&
        word.write.width == request.bytes &&
        place.words.stored(place.address, place.half) == request.values[std::countr_zero(lanes)];
    if (in_other_block(word.write.time)) {
      report_race(request, lanes, word.write, "write", true, same_value);
    } else if (!ordered(word.write, lanes)) {
      report_race(request, lanes, word.write, "write", false, same_value);
    }
  }
  // A read races with a write or an atomic, an atomic with a read or a write: of another thread of
  // this block that nothing orders before it, or of another block, the last one or one before it.
  const auto check = [&](Together kind, const LastAccess& last, Time foreign,
                         std::uint32_t foreign_site) {
    if (overlaps(last) && in_other_block(last.time)) {
      report_race(request, lanes, last, name_of(kind), true);
    } else if (in_other_block(foreign)) {
      LastAccess other = {};
      other.time = foreign;
      other.site = foreign_site;
      report_race(request, lanes, other, name_of(kind), true);
    } else if (overlaps(last)) {
      if (!ordered(last, lanes)) {
        report_race(request, lanes, last, name_of(kind), false);
      } else if (last.others != 0) {
        check_others(request, place, kind, last);
      }
    }
  };
  if (!load) check(Together::kReads, word.read, word.foreign_read, word.foreign_read_site);
  if (request.access != Access::kAtomic) {
    check(Together::kAtomics, word.atomic, word.foreign_atomic, word.foreign_atomic_site);
  }

  const auto keep_foreign = [&](const LastAccess& last, Time& foreign, std::uint32_t& site) {
    const unsigned whole = word.write.split == 0 ? kWord : kHalves[place.half];
    if (in_other_block(last.time) && last.bytes == whole) {
      foreign = last.time;
      site = last.site;
    }
  };
  if (load) {
    keep_foreign(word.read, word.foreign_read, word.foreign_read_site);
    remember(request, place, Together::kReads, word.read);
  } else if (store) {
    const std::uint8_t split = word.write.split;
    word.write = access_of(request, lanes, bytes);
    word.write.mixed = mixed;
    word.write.split = split & 1u;
    place.words.stored(place.address, place.half) = request.values[std::countr_zero(lanes)];
  } else {
    keep_foreign(word.atomic, word.foreign_atomic, word.foreign_atomic_site);
    remember(request, place, Together::kAtomics, word.atomic);
  }
}

/// The thread that has started a copy learns that it has arrived: it is as if it wrote the bytes
/// now.
void Detectors::renew_write(const InFlight::Copy& copy) {
  const std::uintptr_t begin = recorder_.dynamic_shared().begin + copy.offset;
  Histories& words = histories(Space::kShared, begin);
  for (std::uintptr_t word = begin; word < begin + copy.bytes; word += 4) {
    for (const std::size_t half : {0u, 1u}) {
      LastAccess& write = words.of(word, half).write;
      if (write.site == copy.site && write.warp == warp() &&
          write.lanes == 1u << copy.rank % kWarpSize) {
        write.time = clocks_.now(warp());
      }
      if (words.of(word).write.split == 0) break;
    }
  }
}

LastAccess Detectors::access_of(const Request& request, unsigned lanes, unsigned bytes) const {
  return {.time = clocks_.now(warp()),
          .lanes = lanes,
          .site = request.site,
          .warp = static_cast<std::uint8_t>(warp()),
          .bytes = static_cast<std::uint8_t>(bytes & 0xF),
          .mixed = 0,
          .others = 0,
          .timed = 0,
          .split = 0,
          .width = request.bytes};
}

/// Adds a read or an atomic to the record of its kind. Earlier ones stay in it while nothing orders
/// them before this one: a later write must come after all of them.
void Detectors::remember(const Request& request, const Place& place, Together kind,
                         LastAccess& last) {
  LastAccess merged = access_of(request, place.lanes, place.bytes);
  if (last.time >= clocks_.start() && last.bytes == place.bytes) {
    if (last.warp != warp()) {
      merged.timed = keep(place, kind, last) ? 1 : 0;
      merged.others = 1;
    } else {
      merged.others = last.others;
      merged.timed = last.timed;
      if (last.time == merged.time || !ordered(last, place.lanes)) merged.lanes |= last.lanes;
    }
  }
  last = merged;
}

/// Another warp will take the place of `last`: keeps it among the others. Whoever hears of a warp
/// hears at least of what it did before it first released anything, so for that its bit is enough.
/// True if the others' times are kept, too.
bool Detectors::keep(const Place& place, Together kind, const LastAccess& last) {
  std::uint32_t& warps = place.words.other_warps(kind, place.address, place.half);
  if (last.others == 0) warps = 0;
  warps |= 1u << last.warp;
  const bool timed = last.timed != 0;
  if (!timed && last.time <= clocks_.first_release(last.warp)) return false;
  std::uint32_t& times = place.words.other_times(kind, place.address, place.half);
  if (!timed) {
    times = static_cast<std::uint32_t>(other_times_.size());
    other_times_.emplace_back().fill(clocks_.start());
  }
  other_times_[times][last.warp] = last.time;
  return true;
}

/// A row that one lane of an ldmatrix names is read by all lanes: each gets a part of it.
void Detectors::check_rows(const Request& request) {
  std::array<std::uintptr_t, kWarpSize> addresses;
  Request row = request;
  row.addresses = addresses.data();
  for (unsigned rest = request.lanes; rest != 0; rest &= rest - 1) {
    const std::uintptr_t address = request.addresses[std::countr_zero(rest)];
    addresses.fill(address);
    Histories& words = histories(request.space, address);
    for (std::uintptr_t word = address; word < address + request.bytes; word += 4) {
      check_word(row, {words, word, 0, ~0u, kWord});
    }
  }
}

void Detectors::check_races(const Request& request) {
  if (request.unit == Unit::kMatrixLoad) return check_rows(request);
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
      check_word(request, {words, word, 0, group, (1u << to) - (1u << from)});
    }
  }
}

void Detectors::check_word(const Request& request, const Place& place) {
  if (place.bytes == kWord && place.words.of(place.address).write.split == 0) [[likely]] {
    check_history(request, place);
  } else {
    check_halves(request, place);
  }
}

[[gnu::noinline]] void Detectors::check_halves(const Request& request, const Place& place) {
  if (place.words.of(place.address).write.split == 0) place.words.split(place.address);
  for (const std::size_t half : {0u, 1u}) {
    Place part = place;
    part.half = half;
    part.bytes &= kHalves[half];
    if (part.bytes != 0) check_history(request, part);
  }
}

}  // namespace attn::simt
