// SPDX-License-Identifier: MIT
//
// The lanes of a warp wait for each other: in a collective, or to see who is here.
#include "common/simt/machine/collective.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "common/simt/machine/worker.hpp"
#include "common/simt/watch/recorder.hpp"

namespace attn::simt {

void meet(const Collective& collective, unsigned mask, void* operand, std::source_location where,
          const void* site, WarpInstructions instructions) {
  Worker& worker = Worker::running();
  Thread& self = worker.current();
  const int own = self.rank % kWarpSize;
  active_recorder = nullptr;  // what this function calls is none of the kernel; resuming sets it
  if ((mask >> own & 1u) == 0) {
    Detection detection =
        detection_at(worker.grid(), worker.block(), self.index, "incomplete warp mask", where);
    detection.what =
        fmt::format("lane {} calls with mask {:#010x}, which does not name it", own, mask);
    detection.advice = "A lane must be in the mask that it passes.";
    worker.stop(std::move(detection));
  }
  self.posted = {.where = where,
                 .site = reinterpret_cast<std::uintptr_t>(site),
                 .mask = mask,
                 .collective = &collective,
                 .operand = operand};
  if (worker.grid().recorder != nullptr) {
    worker.grid().recorder->collective(mask, collective.orders_memory,
                                       reinterpret_cast<std::uintptr_t>(site), instructions);
  }
  worker.suspend(State::kInCollective);
}

unsigned active_mask() {
  Worker& worker = Worker::running();
  Posted& posted = worker.current().posted;
  posted.site = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  active_recorder = nullptr;  // as above
  worker.suspend(State::kConverging);
  const auto together = static_cast<unsigned>(posted.value);
  if (Recorder* recorder = active_recorder) {
    active_recorder = nullptr;
    recorder->collective(together, /*orders_memory=*/false, posted.site);
    active_recorder = recorder;
  }
  return together;
}

/// Nothing else in the warp can move: of the lanes in active_mask(), those at the first such place
/// in the code go on together. False if there are none.
bool Worker::converge(int warp) {
  std::uintptr_t first = ~std::uintptr_t{0};
  for (const Thread& thread : warp_threads(warp)) {
    if (thread.state == State::kConverging) first = std::min(first, thread.posted.site);
  }
  std::uint64_t together = 0;
  const auto stands_there = [first](const Thread& thread) {
    return thread.state == State::kConverging && thread.posted.site == first;
  };
  for (const Thread& thread : warp_threads(warp)) {
    if (stands_there(thread)) together |= std::uint64_t{1} << (thread.rank % kWarpSize);
  }
  for (Thread& thread : warp_threads(warp)) {
    if (!stands_there(thread)) continue;
    thread.posted.value = together;
    thread.state = State::kReady;
  }
  return together != 0;
}

/// Whether all lanes that `thread` waits for have arrived at the same collective.
bool Worker::complete(const Thread& thread, int warp) const {
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const int rank = warp * kWarpSize + lane;
    if ((thread.posted.mask >> lane & 1u) == 0 || rank >= thread_count_) continue;
    const Thread& other = this->thread(rank);
    if (other.state == State::kDone) continue;
    if (other.state != State::kInCollective || !other.posted.same_call(thread.posted)) return false;
  }
  return true;
}

bool Worker::resolve_collectives(int warp) {
  bool any = false;
  for (const Thread& thread : warp_threads(warp)) {
    if (thread.state == State::kInCollective && complete(thread, warp)) {
      finish_collective(warp, thread.posted.mask);
      any = true;
    }
  }
  return any;
}

void Worker::finish_collective(int warp, unsigned mask) {
  const std::span<Thread> lanes = warp_threads(warp);
  const Collective* collective = nullptr;
  Meeting meeting{.worker = *this, .warp = warp, .lanes = 0, .operands = {}};
  for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
    if ((mask >> lane & 1u) == 0 || lanes[lane].state == State::kDone) continue;
    meeting.lanes |= 1u << lane;
    meeting.operands[lane] = lanes[lane].posted.operand;
    collective = lanes[lane].posted.collective;
  }
  collective->run(meeting);
  for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
    if ((meeting.lanes >> lane & 1u) != 0) lanes[lane].state = State::kReady;
  }
}

}  // namespace attn::simt
