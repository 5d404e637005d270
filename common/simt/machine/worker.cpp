// SPDX-License-Identifier: MIT
//
// One block: every thread is a fiber with a state; the scheduler below resumes those that are
// ready, completes the collectives whose lanes have all arrived, and opens the barrier when every
// thread that has not exited waits at it.
#include "common/simt/machine/worker.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "common/attention.hpp"
#include "common/simt/machine/device.hpp"
#include "common/simt/machine/image.hpp"
#include "common/simt/machine/stacks.hpp"
#include "common/simt/watch/recorder.hpp"

namespace attn::simt {
namespace {

constexpr std::size_t kPage = 4096;

/// Thrown through the scheduler, never through a kernel, when a detector has stopped the launch.
[[noreturn]] void throw_stopped(const Detection& detection) {
  throw Error(ErrorKind::kDeviceFailure,
              fmt::format("{}:{}: kernel {} was stopped: {}: {}", detection.file, detection.line,
                          detection.kernel, detection.kind, detection.what));
}

bool same_line(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

}  // namespace

// Large enough for every device, since the one in force may change.
constexpr std::size_t kSharedMapping = kLargestSharedBytesPerBlock + kPage;

Worker::Worker() : shared_memory_(map_memory(kSharedMapping)) {}

Worker::~Worker() {
  for (void* stack : stacks_) unmap_memory(stack, kStackBytes);
  unmap_memory(shared_memory_, kSharedMapping);
}

constinit thread_local Worker* running_worker = nullptr;

Worker& Worker::mine() {
  thread_local Worker worker;
  running_worker = &worker;
  return worker;
}

void Worker::grow(int threads) {
  while (std::ssize(stacks_) < threads) {
    char* stack = static_cast<char*>(map_memory(kStackBytes));
    forbid_access(stack, kPage);
    // Staggered tops: equal offsets in many stacks would share a few cache sets.
    const std::size_t stagger = stacks_.size() * 320 % 8192;
    stacks_.push_back(stack);
    threads_.emplace_back().fiber.set_stack(stack + kStackBytes - stagger,
                                            kStackBytes - kPage - stagger);
    fresh_fibers_needed_ = true;
  }
}

void Worker::fiber_main(void* argument) {
  Worker& worker = *static_cast<Worker*>(argument);
  for (;;) {  // once per block that this fiber takes part in
    try {
      worker.grid_->body(worker.grid_->data);
    } catch (...) {
      if (!worker.thrown_) worker.thrown_ = std::current_exception();
      worker.stopped_ = true;
    }
    worker.suspend(State::kDone);
  }
}

void Worker::start_threads() {
  const dim3 size = grid_->config.block;
  thread_count_ = static_cast<int>(size.x * size.y * size.z);
  grow(thread_count_);
  uint3 index = {0, 0, 0};
  for (int rank = 0; rank < std::ssize(threads_); ++rank) {
    Thread& thread = threads_[static_cast<std::size_t>(rank)];
    if (fresh_fibers_needed_) thread.fiber.start(&Worker::fiber_main, this);
    thread.state = rank < thread_count_ ? State::kReady : State::kDone;
    thread.rank = rank;
    thread.index = index;
    if (++index.x == size.x) {
      index.x = 0;
      if (++index.y == size.y) {
        index.y = 0;
        ++index.z;
      }
    }
  }
  fresh_fibers_needed_ = false;
}

void Worker::run_block(const GridRun& grid, uint3 block) {
  grid_ = &grid;
  block_ = block;
  stopped_ = false;
  thrown_ = nullptr;
  block_steps_ = grid.steps;
  start_threads();
  waiting_ = 0;
  async_work_.begin_block();
  named_barriers_.begin_block();
  copy_groups_.begin_block(thread_count_);
  warpgroups_.begin_block(thread_count_);
  registers_.begin_block(thread_count_, current_device().registers_per_multiprocessor);
  mbarriers_.begin_block();
  tensor_stores_.begin_block(thread_count_);
  if (grid.recorder != nullptr) grid.recorder->begin_block(*this);

  const int warps = (thread_count_ + kWarpSize - 1) / kWarpSize;
  const auto threads = std::span(threads_).first(static_cast<std::size_t>(thread_count_));
  const auto all = [&](State state) {
    return std::all_of(threads.begin(), threads.end(), [state](const Thread& thread) {
      return thread.state == State::kDone || thread.state == state;
    });
  };
  try {
    for (;;) {
      const std::vector<int> turn = order(warps, 0);
      for (const int warp : turn) run_warp(warp);
      async_work_.after_round();
      if (wake()) continue;
      if (all(State::kDone)) break;
      if (all(State::kAtBarrier)) {
        release_barrier();
        if (grid.recorder != nullptr) grid.recorder->end_interval();
      } else if (!async_work_.complete_one()) {
        report_stuck();
      }
    }
    while (async_work_.complete_one()) {  // what the block has left behind
    }
    named_barriers_.end_block(*this);
    warpgroups_.end_block(*this);
  } catch (...) {
    fresh_fibers_needed_ = true;  // the other threads stand in the middle of the kernel
    if (grid.recorder != nullptr) grid.recorder->abandon_block();
    if (thrown_) std::rethrow_exception(thrown_);
    throw;
  }
  if (grid.recorder != nullptr) grid.recorder->end_block();
}

void Worker::suspend(State state) {
  Thread& self = *current_;
  self.state = state;
  self.fiber.suspend();
}

void Worker::stop(Detection detection) {
  steps_left = kUncounted;  // what follows is no step of the kernel
  thrown_ = nullptr;
  try {
    throw_stopped(detection);
  } catch (...) {
    thrown_ = std::current_exception();
  }
  // Blocks on other cores may stop for the same reason: one of them says so.
  if (!grid_->stopped.exchange(true)) report(std::move(detection));
  detection = {};  // this frame is never left, so nothing in it is released later
  stopped_ = true;
  suspend(State::kDone);
  std::abort();  // the scheduler never resumes a stopped launch
}

void stop_thread(std::string kind, std::string what, std::string advice,
                 std::source_location where) {
  active_recorder = nullptr;  // what comes now is none of the kernel
  Worker& worker = Worker::running();
  Detection detection =
      detection_at(worker.grid(), worker.block(), worker.current().index, std::move(kind), where);
  detection.what = std::move(what);
  detection.advice = std::move(advice);
  worker.stop(std::move(detection));
}

void Worker::stop_block(Detection detection) {
  report(detection);
  throw_stopped(detection);
}

void Worker::stop_endless(std::uintptr_t return_address) {
  Detection detection =
      detection_at(*grid_, block_, current_->index, std::string(kEndlessKernel), {});
  {  // gone before stop(), which never returns
    SourceLine here = source_line(return_address);
    detection.file = std::move(here.file);
    detection.line = here.line;
  }
  detection.what = fmt::format(
      "the block has taken {} steps (memory accesses, and pieces of straight-line code) and is not "
      "done; this thread is here",
      grid_->steps);
  detection.advice =
      "Can the condition of the loop around this line become false? Waiting for another block or "
      "warp never ends here. If the kernel is only long: ATTN_SIMT_STEPS=<more> in the "
      "environment.";
  stop(std::move(detection));
}

void Worker::resume(Thread& thread) {
  current_ = &thread;
  if (grid_->recorder != nullptr) {
    steps_left = 0;
    grid_->recorder->enter(thread);
    thread.fiber.resume();
    grid_->recorder->leave();
  } else {
    steps_left = block_steps_;
    thread.fiber.resume();
    block_steps_ = steps_left;
  }
  steps_left = kUncounted;
  if (stopped_) std::rethrow_exception(thrown_);
}

std::span<Thread> Worker::warp_threads(int warp) {
  const int first = warp * kWarpSize;
  return std::span(threads_).subspan(
      static_cast<std::size_t>(first),
      static_cast<std::size_t>(std::min(kWarpSize, thread_count_ - first)));
}

/// 0..n-1 in the order that the options ask for.
const std::vector<int>& Worker::order(int n, std::uint64_t salt) {
  order_.resize(static_cast<std::size_t>(n));
  std::iota(order_.begin(), order_.end(), 0);
  if (options().order == Order::kReversed) std::reverse(order_.begin(), order_.end());
  if (options().order == Order::kShuffled) {
    std::mt19937_64 random(options().shuffle_seed * 1000003 + salt);
    std::shuffle(order_.begin(), order_.end(), random);
  }
  return order_;
}

/// A warp's turn is work, however little of the kernel its lanes run in it: it counts as steps, so
/// that a lone thread at a barrier is stopped as soon as a full block.
void Worker::count_turn() {
  constexpr std::int64_t kTurn = 2 * kWarpSize;
  if (grid_->recorder != nullptr) {
    grid_->recorder->count(kTurn);
  } else {
    block_steps_ -= kTurn;
  }
}

/// Runs the warp until each of its threads is done, at the block's barrier, or stuck.
void Worker::run_warp(int warp) {
  const std::span<Thread> lanes = warp_threads(warp);
  if (grid_->recorder != nullptr) grid_->recorder->begin_warp(lanes);
  const std::vector<int> turn =
      order(static_cast<int>(lanes.size()), static_cast<std::uint64_t>(warp) + 1);
  bool again = true;
  while (again) {
    count_turn();
    for (const int lane : turn) {
      Thread& thread = lanes[static_cast<std::size_t>(lane)];
      if (thread.state == State::kReady) resume(thread);
    }
    again = grid_->recorder != nullptr && grid_->recorder->make_room();
    again = resolve_collectives(warp) || again;
    for (Thread& thread : lanes) {
      if (thread.state != State::kYielding) continue;
      thread.state = State::kReady;
      again = true;
    }
    again = again || converge(warp);
  }
  if (grid_->recorder != nullptr) grid_->recorder->end_warp();
}

/// Whether the threads that wait at the barrier do so in one kind of call, and the lanes of each
/// warp at one line.
bool Worker::same_within_warps() const {
  const Thread* any = nullptr;
  const Thread* of_warp = nullptr;
  for (int rank = 0; rank < thread_count_; ++rank) {
    const Thread& thread = this->thread(rank);
    if (rank % kWarpSize == 0) of_warp = nullptr;
    if (thread.state != State::kAtBarrier) continue;
    if (any == nullptr) any = &thread;
    if (of_warp == nullptr) of_warp = &thread;
    if (thread.posted.barrier_kind != any->posted.barrier_kind ||
        !same_line(thread.posted.where, of_warp->posted.where)) {
      return false;
    }
  }
  return true;
}

/// The barrier opens: everyone who waited gets the reduction over those who waited.
void Worker::release_barrier() {
  const bool skipped = grid_->recorder != nullptr && grid_->recorder->barrier_opens();
  const Thread* first = nullptr;
  const Thread* returned = nullptr;
  int returned_count = 0;
  std::uint64_t count = 0;
  std::uint64_t waiting = 0;
  for (int rank = 0; rank < thread_count_; ++rank) {
    const Thread& thread = threads_[static_cast<std::size_t>(rank)];
    if (thread.state == State::kDone && ++returned_count == 1) returned = &thread;
    if (thread.state != State::kAtBarrier) continue;
    if (first == nullptr) first = &thread;
    const Posted& here = thread.posted;
    const Posted& there = first->posted;
    if (here.barrier_kind != there.barrier_kind || !same_line(here.where, there.where)) {
      Detection detection =
          detection_at(*grid_, block_, thread.index, "divergent barrier", here.where);
      detection.what =
          fmt::format("this thread waits here, thread {} at {}:{}", to_string(first->index),
                      there.where.file_name(), there.where.line());
      detection.advice =
          "Every thread of a block must reach the same __syncthreads: move it out of the branch.";
      if (!same_within_warps()) {
        stop_block(std::move(detection));
      }
      if (grid_->recorder != nullptr) {
        detection.kind = "barriers on two lines";
        detection.warning = true;
        detection.what += ": whole warps each, which GPUs since Volta let pass";
        detection.advice = "CUDA's guide forbids it: move the __syncthreads out of the branch.";
        grid_->recorder->warn(std::move(detection));
      }
    }
    ++waiting;
    count += here.value;
  }
  if (returned != nullptr && !skipped && grid_->recorder != nullptr) {
    grid_->recorder->barrier_after_return(*first, *returned, returned_count);
  }
  for (int rank = 0; rank < thread_count_; ++rank) {
    Thread& thread = threads_[static_cast<std::size_t>(rank)];
    if (thread.state != State::kAtBarrier) continue;
    switch (thread.posted.barrier_kind) {
      case BarrierKind::kSync:
      case BarrierKind::kCount:
        thread.posted.value = count;
        break;
      case BarrierKind::kAnd:
        thread.posted.value = count == waiting ? 1 : 0;
        break;
      case BarrierKind::kOr:
        thread.posted.value = count > 0 ? 1 : 0;
        break;
    }
    thread.state = State::kReady;
  }
}

}  // namespace attn::simt
