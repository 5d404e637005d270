// SPDX-License-Identifier: MIT
#include "common/simt/watch/detectors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>
#include <memory>
#include <string_view>
#include <utility>

#include "common/simt/machine/device.hpp"

namespace attn::simt {
namespace {

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

/// A lane of each set; of one warp, where there are two lanes, two: none races with itself.
std::pair<int, int> two_lanes(unsigned lanes, unsigned others, bool of_one_warp) {
  if ((others & ~lanes) != 0) return {std::countr_zero(lanes), std::countr_zero(others & ~lanes)};
  const unsigned other = others & (~others + 1);  // the lowest
  const unsigned apart = of_one_warp ? lanes & ~other : lanes;
  return {std::countr_zero(apart != 0 ? apart : lanes), std::countr_zero(other)};
}

[[gnu::noinline]] std::string in_flight_advice() {
  return "Is what it brings meant? Then the thread that has started it waits first (is a "
         "cp_async_commit missing, or does the wait leave one group too many?), and a "
         "__syncthreads tells the others. Is what was there before? Then a __syncthreads goes in "
         "front of the copy.";
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

}  // namespace

Detectors::Detectors(const Recorder& recorder)
    : recorder_(recorder), launch_start_(Clocks::last() + 1) {}

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
  clocks_.begin_block();
  other_times_.clear();
  block_start_ = clocks_.start();
  block_starts_.emplace_back(block_start_, recorder_.worker().block());
  in_flight_.begin_block();
  marks_.begin_block();
  phase_knowledge_.clear();
  for (std::vector<ProxyMarks::Read>& reads : wgmma_reads_) reads.clear();
  wgmmas_done_ = {};
  // What an earlier block left in shared memory counts as never written.
  for (const AddressRange range : {recorder_.static_shared(), recorder_.dynamic_shared()}) {
    if (range.size() > 0)
      shadow_of(shared_range(range.begin)).initialised.clear(range.begin, range.size());
  }
}

void Detectors::join_all() {
  clocks_.join_all();
  other_times_.clear();
}

void Detectors::sync_warp(unsigned lanes) { clocks_.sync_warp(warp(), lanes); }

void Detectors::request(const Request& request) {
  // A race, too, but these say it better.
  if (touches_copy(request) || touches_marks(request)) return;
  check_initialised(request);
  check_races(request);
}

void Detectors::start_copies(Request request, const std::array<std::uint32_t, 32>& groups) {
  std::array<std::uint32_t, kWarpSize> values;  // not known yet: each one of its own
  for (std::uint32_t& value : values) value = unknown_value_ += 0x9E3779B9u;
  request.values = values.data();
  this->request(request);
  for (unsigned rest = request.lanes; rest != 0; rest &= rest - 1) {
    const auto lane = static_cast<unsigned>(std::countr_zero(rest));
    in_flight_.start({.site = request.site,
                      .rank = static_cast<std::uint16_t>(warp() * kWarpSize + lane),
                      .bytes = request.bytes,
                      .offset = static_cast<std::uint32_t>(request.addresses[lane] -
                                                           recorder_.dynamic_shared().begin),
                      .group = groups[lane]});
  }
}

void Detectors::copies_arrived(unsigned lanes, const std::array<std::uint32_t, 32>& groups) {
  for (; lanes != 0; lanes &= lanes - 1) {
    const auto lane = static_cast<unsigned>(std::countr_zero(lanes));
    in_flight_.arrive(warp() * kWarpSize + lane, groups[lane],
                      [this](const InFlight::Copy& copy) { renew_write(copy); });
  }
}

/// Whether some lane touches bytes that an asynchronous copy may write any time.
bool Detectors::touches_copy(const Request& request) {
  if (in_flight_.empty() || request.space != Space::kShared) return false;
  const AddressRange dynamic = recorder_.dynamic_shared();
  for (unsigned rest = request.lanes; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    const std::uintptr_t address = request.addresses[lane];
    if (!dynamic.contains(address)) return false;
    const InFlight::Copy* copy = in_flight_.find(address - dynamic.begin, request.bytes);
    if (copy == nullptr) continue;
    if (!first_time("in flight", request.site, copy->site)) return true;
    Detection found = recorder_.detection("in flight", lane, request.site);
    const SourceLine there = source_line(recorder_.image_base() + copy->site);
    found.what =
        fmt::format("{}; the copy to it that thread {} has started at {}:{} is under way",
                    in_words(request, lane), to_string(recorder_.worker().thread(copy->rank).index),
                    there.file, there.line);
    found.advice = in_flight_advice();
    report(std::move(found));
    return true;
  }
  return false;
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

void Detectors::report_race(const Request& request, unsigned lanes, const LastAccess& other,
                            const char* other_access, bool other_block, bool same_value) {
  const char* kind = same_value ? "same value" : other_block ? "race between blocks" : "race";
  if (!first_time(kind, request.site, other.site)) return;
  const auto [lane, other_lane] = two_lanes(lanes, other.lanes, other.warp == warp());
  Detection found = recorder_.detection(kind, lane, request.site);
  const SourceLine there = source_line(recorder_.image_base() + other.site);
  std::string party;
  if (other_block) {
    const auto after =
        std::upper_bound(block_starts_.begin(), block_starts_.end(), other.time,
                         [](Time time, const auto& entry) { return time < entry.first; });
    party = "block " + to_string(std::prev(after)->second);
  } else if (other.lanes == 0) {
    party = fmt::format("a thread of warp {}", other.warp);
  } else {
    party =
        "thread " + to_string(recorder_.worker().thread(other.warp * kWarpSize + other_lane).index);
  }
  found.what = fmt::format("{} of {}; {} has a {} of it at {}:{}, and nothing orders the two",
                           access_name(request.access), place_of(request, lane), party,
                           other_access, there.file, there.line);
  found.advice = advice_for(request.access, other_access, other_block,
                            found.file == there.file && found.line == there.line);
  if (request.unit == Unit::kTensor && !other_block) {
    found.advice =
        "TMA and wgmma go on while threads do: who starts them waits until all others are done "
        "with the bytes, which an empty barrier tells.";
  }
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

/// "write of o[17]", "copy to sQ (float 33)"
std::string Detectors::in_words(const Request& request, int lane) const {
  const bool copy = request.unit == Unit::kAsyncCopy && request.space == Space::kShared;
  return (copy ? "copy to " : access_name(request.access) + std::string(" of ")) +
         place_of(request, lane);
}

/// "o[17]", "dynamic shared memory at byte 132 (float 33)", "sQ (float 33)", or without symbols
/// "a __shared__ variable".
std::string Detectors::place_of(const Request& request, int lane) const {
  const std::uintptr_t address = request.addresses[lane];
  if (request.space == Space::kGlobal) return Arena::get().name_of(address, request.bytes);
  const AddressRange dynamic = recorder_.dynamic_shared();
  if (!dynamic.contains(address)) {
    const std::size_t offset = address - recorder_.static_shared().begin;
    const Symbol symbol = thread_local_at(offset);
    if (symbol.name.empty()) return "a __shared__ variable";
    return fmt::format("{} (float {})", symbol.name, (offset - symbol.begin) / sizeof(float));
  }
  const std::uintptr_t byte = address - dynamic.begin;
  return fmt::format("dynamic shared memory at byte {} (float {})", byte, byte / sizeof(float));
}

}  // namespace attn::simt
