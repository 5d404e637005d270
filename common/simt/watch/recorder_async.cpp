// SPDX-License-Identifier: MIT
//
// The recorder's part for mbarriers, TMA and wgmma.
#include <fmt/format.h>

#include <bit>
#include <utility>

#include "common/simt/machine/arena.hpp"
#include "common/simt/watch/detectors.hpp"
#include "common/simt/watch/observer.hpp"
#include "common/simt/watch/recorder.hpp"
#include "common/simt/watch/tracer.hpp"

namespace attn::simt {

void Recorder::check_global(std::uintptr_t address, std::size_t bytes, Access kind,
                            std::uintptr_t return_address) {
  if (arena_.contains(address) && (!detectors_ || arena_.is_allocated(address, bytes))) return;
  stop_at("out of bounds", return_address,
          fmt::format("tensor copy: {} of {} bytes: {}", access_name(kind), bytes,
                      arena_.contains(address) ? arena_.describe(address, bytes)
                                               : "at an address that is not in global memory"),
          "Do the tensor map's address, sizes and strides describe the array that they stand for?");
}

void Recorder::async_event(AsyncEvent event, std::uintptr_t return_address) {
  step(return_address);
  events_.push_back(std::move(event));
  append({events_.size() - 1, static_cast<std::uint32_t>(return_address - image_.begin), 0,
          Access::kAsync, Space::kShared});
}

void Recorder::wgmma(std::size_t product, std::uintptr_t return_address) {
  append({product, static_cast<std::uint32_t>(return_address - image_.begin), 0, Access::kWgmma,
          Space::kShared});
}

void Recorder::wgmma_done(std::size_t products, std::uintptr_t return_address) {
  append({products, static_cast<std::uint32_t>(return_address - image_.begin), 0,
          Access::kWgmmaDone, Space::kShared});
}

/// An array of the thread's own is in registers on a GPU, and may be part of a wgmma.
void Recorder::check_registers(std::uintptr_t address, std::size_t bytes, Access kind,
                               std::uintptr_t return_address) {
  Warpgroups& warpgroups = worker_->warpgroups();
  const int rank = static_cast<int>(rank_);
  const Warpgroups::InUse* in_use = warpgroups.find_in_use(rank, address, bytes);
  if (in_use == nullptr) return warpgroups.touch(rank, address, bytes);
  const std::source_location& there = warpgroups.product(warp_, in_use->product).where;
  stop_at("registers in flight", return_address,
          fmt::format("{} of {} of the wgmma at {}:{}, which the thread has not waited for",
                      access_name(kind), in_use->is_accumulator ? "accumulators" : "A registers",
                      there.file_name(), there.line()),
          "Until wgmma_wait returns, nobody touches what a wgmma uses. Is a wgmma_commit missing, "
          "or does the wait leave one group too many?");
}

unsigned Recorder::alive_lanes() const {
  unsigned alive = 0;
  for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
    const bool left = lanes_[lane].state == State::kDone && log(lane).empty();
    alive |= (left ? 0u : 1u) << lane;
  }
  return alive;
}

/// The events at the heads of these lanes' logs: those that are alike together, as one instruction
/// of the warp.
void Recorder::serve_async(unsigned lanes) {
  while (lanes != 0) {
    const auto first = static_cast<std::size_t>(std::countr_zero(lanes));
    const std::uint32_t site = log(first).front().site;
    const AsyncEvent event = events_[log(first).front().address];
    unsigned together = 0;
    for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
      const auto lane = static_cast<std::size_t>(std::countr_zero(rest));
      const Entry& entry = log(lane).front();
      if (entry.access != Access::kAsync) continue;
      const AsyncEvent& other = events_[entry.address];
      const bool copies = event.pieces != nullptr || other.pieces != nullptr;
      const bool alike =
          other.kind == event.kind && other.address == event.address && other.phase == event.phase;
      if (lane != first && (copies || !alike)) continue;
      together |= 1u << lane;
      ++log(lane).head;
    }
    lanes &= ~together;
    count(kRequest);
    serve_async(together, event, site);
  }
}

void Recorder::serve_async(unsigned lanes, const AsyncEvent& event, std::uint32_t site) {
  const auto lane = static_cast<unsigned>(std::countr_zero(lanes));
  const auto rank = static_cast<std::size_t>(warp_ * kWarpSize) + lane;
  if (tracer_) tracer_->async_event(event, static_cast<unsigned>(std::popcount(lanes)), site);
  if (observer_ != nullptr) observer_->async_event(warp_, lanes, event);
  if (!detectors_) return;
  switch (event.kind) {
    case AsyncEvent::Kind::kInit:
      detectors_->init_barrier(site, lanes, event.address);
      break;
    case AsyncEvent::Kind::kArrive:
      detectors_->use_barrier(site, lanes, event.address);
      detectors_->arrive(lanes, event.barrier, event.phase);
      break;
    case AsyncEvent::Kind::kWait:
      detectors_->use_barrier(site, lanes, event.address);
      detectors_->see_phases(lanes, event.barrier, event.phase);
      break;
    case AsyncEvent::Kind::kFence:
      detectors_->fence_async_proxy(lanes);
      break;
    case AsyncEvent::Kind::kLoad:
      detectors_->use_barrier(site, lanes, event.address);
      detectors_->touch_global(site, lanes, *event.pieces, Access::kLoad);
      detectors_->start_landing(lane, *event.pieces,
                                {.site = site,
                                 .rank = static_cast<std::uint16_t>(rank),
                                 .barrier = event.barrier,
                                 .phases = event.phase,
                                 .swizzle = event.swizzle});
      break;
    case AsyncEvent::Kind::kStore: {
      std::vector<std::uint32_t> chunks;
      for (const AsyncPiece& piece : *event.pieces) chunks.push_back(piece.chunk);
      detectors_->touch_global(site, lanes, *event.pieces, Access::kStore);
      if (rank >= stores_.size()) stores_.resize(rank + 1);
      stores_[rank].push_back(detectors_->start_async_read(site, lanes, std::move(chunks)));
      break;
    }
    case AsyncEvent::Kind::kStoresRead:
      for (; lanes != 0; lanes &= lanes - 1) end_stores(std::countr_zero(lanes), event.bytes);
      break;
  }
}

/// The lane knows that all of its stores but the `pending` latest have read shared memory.
void Recorder::end_stores(int lane, std::size_t pending) {
  const auto rank = static_cast<std::size_t>(warp_ * kWarpSize + lane);
  if (rank >= stores_.size()) return;
  std::vector<ProxyMarks::Read>& own = stores_[rank];
  while (own.size() > pending) {
    detectors_->end_async_read(own.front(), 1u << lane);
    own.erase(own.begin());
  }
}

/// The warp has issued its part of a product.
void Recorder::serve_wgmma(std::size_t number, std::uint32_t site) {
  std::size_t& issued = wgmmas_issued_[static_cast<std::size_t>(warp_)];
  if (number < issued) return;  // by lanes that have waited for nobody
  issued = number + 1;
  const Warpgroups::Product& product = worker_->warpgroups().product(warp_, number);
  ++wgmmas_;
  constexpr std::uint64_t kFlopsOfTile = 2 * 16 * 8 * 16;  // of 16 rows and 8 columns
  wgmma_flops_ += kFlopsOfTile * static_cast<std::uint64_t>(product.call.tiles);
  count(kRequest);
  if (observer_ != nullptr) observer_->wgmma(warp_);
  if (detectors_) detectors_->wgmma(product, site);
}

}  // namespace attn::simt
