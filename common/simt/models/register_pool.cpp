// SPDX-License-Identifier: MIT
#include "common/simt/models/register_pool.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "common/simt/machine/worker.hpp"
#include "common/simt/models/warpgroups.hpp"
#include "common/simt/watch/recorder.hpp"

namespace attn::simt {
namespace {

constexpr int kFewest = 24, kMost = 256, kStep = 8;  // registers a thread

struct Call {
  int registers;
  bool more;
  std::source_location where;
};

const char* name_of(bool more) { return more ? "setmaxnreg_inc" : "setmaxnreg_dec"; }

/// All lanes of a warp have come to the same setmaxnreg: Warpgroups has seen to that.
void request_together(const Meeting& meeting) {
  const Call& call = *static_cast<Call*>(
      meeting.operands[static_cast<std::size_t>(std::countr_zero(meeting.lanes))]);
  meeting.worker.registers().request(meeting.worker, meeting.warp, call.registers, call.more,
                                     call.where);
}
constexpr Collective kRequest{.run = request_together, .aligned = "setmaxnreg"};

class Granted final : public Condition {
 public:
  Granted(const RegisterPool& pool, int warp) : pool_(pool), warp_(warp) {}
  bool holds() const override { return pool_.granted(warp_); }
  std::string state() const override {
    return fmt::format("setmaxnreg: {} registers a thread; the block has {} left for this warp",
                       pool_.wanted(warp_), pool_.available(warp_));
  }

 private:
  const RegisterPool& pool_;
  int warp_;
};

}  // namespace

void RegisterPool::begin_block(int threads, int registers_per_multiprocessor) {
  const int warps = (threads + kWarpSize - 1) / kWarpSize;
  const int each = registers_per_multiprocessor / (warps * kWarpSize) / kStep * kStep;
  warps_.assign(static_cast<std::size_t>(warps), {std::min(each, kMost), 0});
  free_ = 0;
}

void RegisterPool::request(Worker& worker, int warp, int registers, bool more,
                           std::source_location where) {
  Warp& own = warps_[static_cast<std::size_t>(warp)];
  const auto refuse = [&](const char* kind, std::string what, const char* advice) {
    Detection detection = detection_at(worker.grid(), worker.block(),
                                       worker.thread(warp * kWarpSize).index, kind, where);
    detection.what = std::move(what);
    detection.advice = advice;
    worker.stop_block(std::move(detection));
  };
  if (more ? registers < own.has : registers > own.has) {
    refuse("bad setmaxnreg",
           fmt::format("{}({}) by a warp whose threads have {} registers", name_of(more), registers,
                       own.has),
           "inc is for more registers than the warp has, dec for fewer. A launch begins with the "
           "block's share of the multiprocessor's.");
  }
  int all = free_;
  for (const Warp& other : warps_) all += other.has;
  const int others = static_cast<int>(warps_.size()) - 1;
  if (registers + others * kFewest > all) {
    refuse("too many registers",
           fmt::format("setmaxnreg_inc({}): the block's {} warps have {} registers a thread "
                       "together, of which each needs {}",
                       registers, warps_.size(), all, kFewest),
           "The sum over all warps stays what it was at the launch.");
  }
  if (more) {
    own.wants = registers;
  } else {
    free_ += own.has - registers;
    own.has = registers;
  }
  grant();
}

void RegisterPool::grant() {
  for (Warp& warp : warps_) {
    if (warp.wants == 0 || warp.wants - warp.has > free_) continue;
    free_ -= warp.wants - warp.has;
    warp.has = std::exchange(warp.wants, 0);
  }
}

void set_registers(int registers, bool more, std::source_location where) {
  Recorder* recorder = active_recorder;
  active_recorder = nullptr;  // what comes now is none of the kernel
  if (registers < kFewest || registers > kMost || registers % kStep != 0) {
    stop_thread(
        "bad setmaxnreg",
        fmt::format("registers = {}; allowed: multiples of 8, {} to {}", registers, kFewest, kMost),
        "Registers are given to warps by 8 for each thread.", where);
  }
  Worker& worker = Worker::running();
  worker.warpgroups().step(more ? Warpgroups::Kind::kIncrease : Warpgroups::Kind::kDecrease,
                           registers, where);
  active_recorder = recorder;
  Call call{.registers = registers, .more = more, .where = where};
  meet(kRequest, ~0u, &call, where, __builtin_return_address(0));
  worker.wait_for(Granted(worker.registers(), worker.current().rank / kWarpSize), where);
}

}  // namespace attn::simt
