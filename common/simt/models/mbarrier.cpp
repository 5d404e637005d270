// SPDX-License-Identifier: MIT
#include "common/simt/models/mbarrier.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/simt/machine/image.hpp"
#include "common/simt/machine/worker.hpp"
#include "common/simt/watch/recorder.hpp"

namespace attn::simt {
namespace {

constexpr std::size_t kBytes = 8;  // of an mbarrier
constexpr std::size_t kMostBarriers = kPhaseCounts;

std::uintptr_t site_of(const void* return_address) {
  return reinterpret_cast<std::uintptr_t>(return_address);
}

/// "the mbarrier at byte 8 of dynamic shared memory", "the mbarrier sFull (byte 8)".
std::string name_of(std::uintptr_t address) {
  const auto dynamic = reinterpret_cast<std::uintptr_t>(Worker::mine().shared_memory());
  const AddressRange statics = thread_locals();
  if (!statics.contains(address)) {
    return fmt::format("the mbarrier at byte {} of dynamic shared memory", address - dynamic);
  }
  const Symbol symbol = thread_local_at(address - statics.begin);
  if (symbol.name.empty()) return "an mbarrier in a __shared__ variable";
  return fmt::format("the mbarrier {} (byte {})", symbol.name,
                     address - statics.begin - symbol.begin);
}

std::string place(const std::source_location& where) {
  return fmt::format("{}:{}", where.file_name(), where.line());
}

void log(AsyncEvent event, Recorder* recorder, const void* return_address) {
  if (recorder != nullptr) recorder->async_event(std::move(event), site_of(return_address));
}

/// The phase of this parity has ended.
class ParityEnded final : public Condition {
 public:
  ParityEnded(Mbarriers& barriers, std::uint16_t number, unsigned parity)
      : barriers_(barriers), number_(number), parity_(parity) {}
  bool holds() const override { return (barriers_[number_].phase & 1u) != parity_; }
  std::string state() const override {
    return fmt::format("parity {} of {}", parity_, barriers_.state(barriers_[number_]));
  }

 private:
  Mbarriers& barriers_;
  std::uint16_t number_;
  unsigned parity_;
};

}  // namespace

Mbarriers::Mbarrier& ready_barrier(const void* barrier, std::source_location where) {
  const auto address = reinterpret_cast<std::uintptr_t>(barrier);
  Mbarriers::Mbarrier* found = Worker::running().mbarriers().find(address);
  if (found == nullptr) {
    const auto what = [&] {
      return fmt::format("nobody has initialised {} yet", name_of(address));
    };
    stop_thread("barrier not ready", what(),
                "One thread calls init() on each mbarrier, and a __syncthreads follows before "
                "anyone arrives or waits.",
                where);
  }
  return *found;
}

Mbarriers::Mbarrier* Mbarriers::find(std::uintptr_t address) {
  const auto found =
      std::find_if(barriers_.begin(), barriers_.end(),
                   [address](const Mbarrier& barrier) { return barrier.address == address; });
  return found == barriers_.end() ? nullptr : &*found;
}

void Mbarriers::fence(int rank) {
  for (Mbarrier& barrier : barriers_) barrier.fenced = barrier.fenced || barrier.owner == rank;
}

void Mbarriers::settle(Mbarrier& barrier) {
  if (barrier.pending > 0 || barrier.tx != 0) return;
  ++barrier.phase;
  barrier.pending = barrier.count;
  barrier.announced = barrier.landed = 0;
  barrier.seen = false;
}

void Mbarriers::complete(std::uint16_t number, std::size_t bytes) {
  Mbarrier& barrier = barriers_[number];
  barrier.tx -= static_cast<std::int64_t>(bytes);
  barrier.landed += static_cast<std::int64_t>(bytes);
  settle(barrier);
}

std::string Mbarriers::state(const Mbarrier& barrier) const {
  return fmt::format(
      "{}, which is in phase {} with {} of {} arrivals, {} bytes announced, {} landed",
      name_of(barrier.address), barrier.phase, barrier.count - barrier.pending, barrier.count,
      barrier.announced, barrier.landed);
}

std::string Mbarriers::states_beside(const std::string& text) const {
  std::string others;
  for (const Mbarrier& barrier : barriers_) {
    std::string own = state(barrier);
    if (text.find(own) == std::string::npos) others += "; " + std::move(own);
  }
  return others;
}

void mbarrier_init(void* barrier, int count, std::source_location where) {
  Recorder* recorder = std::exchange(active_recorder, nullptr);
  Worker& worker = Worker::running();
  const auto address = reinterpret_cast<std::uintptr_t>(barrier);
  const auto shared = reinterpret_cast<std::uintptr_t>(worker.shared_memory());
  const bool is_shared = address - shared + kBytes <= worker.grid().config.shared_bytes ||
                         thread_locals().contains(address);
  if (!is_shared || address % kBytes != 0) {
    stop_thread("bad mbarrier",
                is_shared ? fmt::format("its address is {} modulo 8", address % kBytes)
                          : "it does not lie in the block's shared memory",
                "An mbarrier is 8 bytes of shared memory at a multiple of 8.", where);
  }
  if (count < 1 || count > Mbarriers::kMostArrivals) {
    stop_thread("bad mbarrier",
                fmt::format("count = {}; allowed: 1 to {}", count, Mbarriers::kMostArrivals),
                "The count is that of the arrivals which a phase needs.", where);
  }
  Mbarriers& barriers = worker.mbarriers();
  if (const Mbarriers::Mbarrier* before = barriers.find(address)) {
    const auto what = [&] {
      return fmt::format("{} is in use since {}", name_of(address), place(before->init));
    };
    stop_thread("bad mbarrier", what(),
                "One thread of the block initialises each mbarrier once: is init() inside a loop, "
                "or outside the condition that picks the thread?",
                where);
  }
  if (barriers.size() == kMostBarriers) {
    stop_thread(
        "bad mbarrier",
        fmt::format("the block has {} already, as many as the CPU machine follows", kMostBarriers),
        "Let one mbarrier serve a whole stage.", where);
  }
  const std::uint16_t number = barriers.size();
  barriers.add({.address = address,
                .number = number,
                .count = count,
                .pending = count,
                .tx = 0,
                .announced = 0,
                .landed = 0,
                .phase = 0,
                .seen = true,
                .fenced = false,
                .owner = worker.current().rank,
                .init = where,
                .last_arrival = {},
                .seen_by = {}});
  log({.kind = AsyncEvent::Kind::kInit, .barrier = number, .address = address}, recorder,
      __builtin_return_address(0));
  active_recorder = recorder;
}

void mbarrier_arrive(void* at, unsigned bytes, std::source_location where) {
  Recorder* recorder = std::exchange(active_recorder, nullptr);
  Mbarriers::Mbarrier& barrier = ready_barrier(at, where);
  if (!barrier.seen) {
    const auto what = [&] {
      return fmt::format(
          "this arrival is of phase {} of {}, and no thread has seen the end of "
          "phase {} (its last arrival was at {})",
          barrier.phase, name_of(barrier.address), barrier.phase - 1, place(barrier.last_arrival));
    };
    stop_thread("phase nobody waited for", what(),
                "Is a wait missing before this stage is used again? Or do more threads arrive than "
                "init() was told?",
                where);
  }
  if (barrier.pending == 0) {
    const auto what = [&] {
      return fmt::format(
          "all {} arrivals of phase {} of {} are here, the last from {}; it waits "
          "for {} bytes that have been announced",
          barrier.count, barrier.phase, name_of(barrier.address), place(barrier.last_arrival),
          barrier.tx);
    };
    stop_thread("too many arrivals", what(), "Do more threads arrive than init() was told?", where);
  }
  barrier.tx += bytes;
  barrier.announced += bytes;
  if (barrier.tx > Mbarriers::kMostBytes) {
    const auto what = [&] {
      return fmt::format("{} bytes are announced at {} and not here yet; allowed: {}", barrier.tx,
                         name_of(barrier.address), Mbarriers::kMostBytes);
    };
    stop_thread("too many bytes", what(), "Split the tile over several phases or barriers.", where);
  }
  const AsyncEvent event{.kind = AsyncEvent::Kind::kArrive,
                         .barrier = barrier.number,
                         .address = barrier.address,
                         .phase = barrier.phase,
                         .bytes = bytes};
  barrier.last_arrival = where;
  --barrier.pending;
  Mbarriers::settle(barrier);
  log(event, recorder, __builtin_return_address(0));
  active_recorder = recorder;
}

void mbarrier_wait(void* at, unsigned parity, std::source_location where) {
  Recorder* recorder = std::exchange(active_recorder, nullptr);
  Worker& worker = Worker::running();
  if (parity > 1) {
    stop_thread("bad mbarrier", fmt::format("parity = {}; allowed: 0, 1", parity),
                "Phase n has parity n % 2.", where);
  }
  Mbarriers& barriers = worker.mbarriers();
  const std::uint16_t number = ready_barrier(at, where).number;
  // The lanes of a warp that wait together go on together.
  worker.wait_for(ParityEnded(barriers, number, parity), where, /*line_up=*/true);
  active_recorder = nullptr;  // resuming has set it
  Mbarriers::Mbarrier& barrier = barriers[number];
  barrier.seen = true;
  const auto rank = static_cast<std::size_t>(worker.current().rank);
  if (rank >= barrier.seen_by.size()) barrier.seen_by.resize(rank + 1);
  std::uint32_t& seen = barrier.seen_by[rank];
  if (seen == barrier.phase + 1) {
    const auto what = [&] {
      return fmt::format(
          "{} phases of {} have ended, as when this thread waited for it last: "
          "parity {} lets it pass at once",
          barrier.phase, name_of(barrier.address), parity);
    };
    stop_thread("waited for an old phase", what(),
                "The parity flips each time the thread has gone once around the stages.", where);
  }
  seen = barrier.phase + 1;
  log({.kind = AsyncEvent::Kind::kWait,
       .barrier = number,
       .address = barrier.address,
       .phase = barrier.phase},
      recorder, __builtin_return_address(0));
  active_recorder = recorder;
}

void fence_mbarrier_init() {
  Recorder* recorder = std::exchange(active_recorder, nullptr);
  Worker& worker = Worker::running();
  worker.mbarriers().fence(worker.current().rank);
  active_recorder = recorder;
}

void fence_async_proxy() {
  Recorder* recorder = std::exchange(active_recorder, nullptr);
  Worker& worker = Worker::running();
  worker.mbarriers().fence(worker.current().rank);
  log({.kind = AsyncEvent::Kind::kFence}, recorder, __builtin_return_address(0));
  active_recorder = recorder;
}

}  // namespace attn::simt
