// SPDX-License-Identifier: MIT
#include "common/simt/machine/named_barriers.hpp"

#include <fmt/format.h>

#include <bit>
#include <utility>

#include "common/simt/machine/worker.hpp"
#include "common/simt/watch/recorder.hpp"

namespace attn::simt {
namespace {

const char* const kCountAdvice =
    "The count is that of all threads which come to the barrier in one phase, those that only "
    "arrive included: 32 for each warp.";

struct Call {
  int id;
  int threads;
  bool waits;
  std::source_location where;
  std::uint64_t phase = 0;  // that the warp has arrived in
};

Detection misuse(const Worker& worker, const Thread& thread, std::source_location where,
                 std::string kind, std::string what, std::string advice) {
  Detection detection =
      detection_at(worker.grid(), worker.block(), thread.index, std::move(kind), where);
  detection.what = std::move(what);
  detection.advice = std::move(advice);
  return detection;
}

std::string to_string(const Call& call) {
  return fmt::format("{}({}, {}) at line {}", call.waits ? "named_sync" : "named_arrive", call.id,
                     call.threads, call.where.line());
}

/// All lanes of a warp have come to a named barrier: they must have come to the same.
void arrive_together(const Meeting& meeting) {
  const int first = std::countr_zero(meeting.lanes);
  const auto call_of = [&meeting](int lane) -> Call& {
    return *static_cast<Call*>(meeting.operands[static_cast<std::size_t>(lane)]);
  };
  const Call& call = call_of(first);
  Worker& worker = meeting.worker;
  const Thread& thread = worker.thread(meeting.warp * kWarpSize + first);
  for (unsigned rest = meeting.lanes; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    const Call& other = call_of(lane);
    if (other.id == call.id && other.threads == call.threads && other.waits == call.waits) continue;
    worker.stop_block(misuse(
        worker, thread, call.where, "divergent named barrier",
        fmt::format("lane {} calls {}, lane {} {}", first, to_string(call), lane, to_string(other)),
        "All lanes of a warp must come to a named barrier together."));
  }
  const std::uint64_t phase = worker.named_barriers().arrive(worker, meeting.warp, call.id,
                                                             call.threads, call.waits, call.where);
  for (unsigned rest = meeting.lanes; rest != 0; rest &= rest - 1) {
    call_of(std::countr_zero(rest)).phase = phase;
  }
}

constexpr Collective kArrival{.run = arrive_together, .aligned = "named barrier"};

/// The phase that a warp has arrived in has ended.
class PhaseEnded final : public Condition {
 public:
  PhaseEnded(const NamedBarriers& barriers, const Call& call)
      : barrier_(barriers.barrier(call.id)), call_(call) {}
  bool holds() const override { return barrier_.phase > call_.phase; }
  std::string state() const override {
    return fmt::format("named barrier {}: {} of {} threads have arrived", call_.id,
                       barrier_.arrived, barrier_.threads);
  }

 private:
  const NamedBarriers::Barrier& barrier_;
  const Call& call_;
};

}  // namespace

std::uint64_t NamedBarriers::arrive(Worker& worker, int warp, int id, int threads, bool waits,
                                    std::source_location where) {
  Barrier& barrier = barriers_[static_cast<std::size_t>(id)];
  const unsigned bit = 1u << warp;
  const Thread& thread = worker.thread(warp * kWarpSize);
  const auto before = [&barrier] {
    return fmt::format("{}:{}", barrier.where.file_name(), barrier.where.line());
  };
  if (barrier.arrived > 0 && barrier.threads != threads) {
    worker.stop_block(misuse(worker, thread, where, "unequal counts",
                             fmt::format("named barrier {} is for {} threads here, for {} at {}",
                                         id, threads, barrier.threads, before()),
                             kCountAdvice));
  }
  if ((barrier.warps & bit) != 0) {
    worker.stop_block(misuse(
        worker, thread, where, "too many arrivals",
        fmt::format("warp {} comes to named barrier {} a second time before it has opened: {} of "
                    "{} threads have arrived, the last at {}",
                    warp, id, barrier.arrived, threads, before()),
        "A warp arrives once in each phase. Let it wait for another barrier in between, which "
        "tells that this one has opened."));
  }
  Recorder* recorder = worker.grid().recorder;
  if (recorder != nullptr) recorder->release(barrier.knowledge);
  barrier.threads = threads;
  barrier.arrived += kWarpSize;
  barrier.warps |= bit;
  if (waits) barrier.waiting |= bit;
  barrier.where = where;
  const std::uint64_t phase = barrier.phase;
  if (barrier.arrived < threads) return phase;
  if (recorder != nullptr) {
    for (unsigned rest = barrier.waiting; rest != 0; rest &= rest - 1) {
      recorder->acquire(std::countr_zero(rest), barrier.knowledge);
    }
  }
  barrier = {};
  barrier.phase = phase + 1;
  return phase;
}

void NamedBarriers::end_block(const Worker& worker) const {
  Recorder* recorder = worker.grid().recorder;
  if (recorder == nullptr) return;
  for (int id = 1; id < kCount; ++id) {
    const Barrier& left = barrier(id);
    if (left.arrived == 0) continue;
    const int warp = std::countr_zero(left.warps);
    Detection found = misuse(
        worker, worker.thread(warp * kWarpSize), left.where, "too many arrivals",
        fmt::format("the block has ended, and {} of {} threads have arrived at named barrier {} "
                    "since it opened last; nobody has waited for them",
                    left.arrived, left.threads, id),
        "Harmless at the end. But is it the arrival of the last round that is one too many, or has "
        "a wait been left out?");
    found.warning = true;
    recorder->warn(std::move(found));
  }
}

void named_barrier(int id, int threads, bool waits, std::source_location where) {
  Worker& worker = Worker::running();
  const int block = (worker.thread_count() + kWarpSize - 1) / kWarpSize * kWarpSize;
  const bool legal_id = id >= 1 && id < NamedBarriers::kCount;
  if (!legal_id || threads < kWarpSize || threads > block || threads % kWarpSize != 0) {
    active_recorder = nullptr;  // what comes now is none of the kernel
    std::string what =
        legal_id ? fmt::format("threads = {}; allowed: multiples of 32 up to the block's {}",
                               threads, block)
                 : fmt::format("id = {}; allowed: 1 to 15, since 0 is __syncthreads", id);
    worker.stop(misuse(worker, worker.current(), where, "bad named barrier", std::move(what),
                       kCountAdvice));
  }
  Call call{.id = id, .threads = threads, .waits = waits, .where = where};
  meet(kArrival, ~0u, &call, where, __builtin_return_address(0));
  if (waits) worker.wait_for(PhaseEnded(worker.named_barriers(), call), where);
}

}  // namespace attn::simt
