// SPDX-License-Identifier: MIT
#include "common/simt/draw/phases.hpp"

#include <algorithm>
#include <bit>
#include <optional>

#include "common/simt/machine/arena.hpp"

namespace attn::simt::draw {
namespace {

constexpr int kWarpsOfGroup = 4;

}  // namespace

std::string Phases::Barrier::name() const {
  return array.empty() ? "?" : array + std::to_string(stage);
}

/// A phase that needs arrivals alone ends with the last of them, one with bytes some time before
/// somebody sees it.
std::vector<int> Phases::Barrier::ends() const {
  if (full) return seen;
  int needed = 0;
  std::vector<int> ends;
  for (const auto& [phase, arrivals] : arrived) needed = std::max(needed, arrivals.first);
  for (const auto& [phase, arrivals] : arrived) {
    if (arrivals.first == needed) ends.push_back(arrivals.second);
  }
  return ends;
}

void Phases::begin_launch(const std::string& kernel, dim3 /*grid*/, dim3 block) {
  open_ = false;
  seen_ = !block_.barriers.empty();
  if (seen_) return;
  block_ = {};
  block_.kernel = kernel;
  block_.warpgroups = static_cast<int>((block.x * block.y * block.z + 127) / 128);
}

void Phases::begin_block(uint3 /*block*/) {
  open_ = !seen_;
  seen_ = true;
}

/// A warpgroup's products that follow each other are one event.
void Phases::add(int warp, Kind kind, std::uint16_t barrier) {
  if (warp % kWarpsOfGroup != 0) return;
  const int group = warp / kWarpsOfGroup;
  const auto last = std::find_if(block_.events.rbegin(), block_.events.rend(),
                                 [group](const Event& e) { return e.warpgroup == group; });
  const bool again = kind == Kind::kProducts && last != block_.events.rend() && last->kind == kind;
  if (again) return;
  if (block_.columns == kColumns) {
    block_.cut = true;
    return;
  }
  block_.events.push_back({block_.columns++, group, kind, barrier});
}

std::string Phases::array_at(std::uintptr_t address) const {
  const std::optional<Arena::Array> found = Arena::get().array_at(address);
  if (!found) return {};
  for (const KnownArray& known : known_) {
    if (known.label == found->name) return known.name;
  }
  return found->name;
}

/// A load says whose tiles its mbarrier is about, and so does the wait in front of it.
void Phases::name_barriers(int warp, const AsyncEvent& load) {
  const std::string array = load.pieces->empty() ? "" : array_at(load.pieces->front().global);
  const auto name = [&](std::uint16_t number) {
    Barrier& barrier = block_.barriers[number];
    if (!barrier.array.empty() || array.empty()) return;
    for (const Barrier& other : block_.barriers) {
      if (other.array == array && other.full == barrier.full) ++barrier.stage;
    }
    barrier.array = array;
  };
  name(load.barrier);
  const auto wait = last_wait_.find(warp);
  if (wait == last_wait_.end()) return;
  if (!block_.barriers[wait->second].full) name(wait->second);
  last_wait_.erase(wait);
}

void Phases::async_event(int warp, unsigned lanes, const AsyncEvent& event) {
  if (!open_) return;
  if (event.kind == AsyncEvent::Kind::kInit) {
    if (block_.barriers.size() <= event.barrier) block_.barriers.resize(event.barrier + 1u);
    return;
  }
  const bool stores = event.kind == AsyncEvent::Kind::kStore;
  if (stores) return add(warp, Kind::kStore, 0);
  if (event.barrier >= block_.barriers.size()) return;
  Barrier& barrier = block_.barriers[event.barrier];
  switch (event.kind) {
    case AsyncEvent::Kind::kArrive:
      if (block_.cut) break;
      if (event.bytes > 0) {
        barrier.full = true;
        add(warp, Kind::kAsk, event.barrier);
        barrier.asked.resize(event.phase + 1u, block_.columns - 1);
      } else {
        add(warp, Kind::kRelease, event.barrier);
        auto& [count, last] = barrier.arrived[event.phase];
        count += std::popcount(lanes);
        last = block_.columns - 1;
      }
      break;
    case AsyncEvent::Kind::kWait:
      last_wait_[warp] = event.barrier;
      if (block_.cut) break;
      add(warp, Kind::kWait, event.barrier);
      barrier.seen.resize(std::max<std::size_t>(barrier.seen.size(), event.phase),
                          block_.columns - 1);
      break;
    case AsyncEvent::Kind::kLoad:
      name_barriers(warp, event);
      break;
    default:
      break;
  }
}

void Phases::wgmma(int warp) {
  if (open_) add(warp, Kind::kProducts, 0);
}

const Phases::Block& Phases::block() { return block_; }

}  // namespace attn::simt::draw
