// SPDX-License-Identifier: MIT
//
// Inside the machine: the state of one block while it runs, and of its threads. One Worker per OS
// thread; it runs one block at a time and keeps its fibers from block to block.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <span>
#include <string>
#include <vector>

#include "common/attention.hpp"
#include "common/memory.hpp"
#include "common/simt/cuda/launch.hpp"
#include "common/simt/cuda/runtime.hpp"
#include "common/simt/machine/collective.hpp"
#include "common/simt/machine/fiber.hpp"
#include "common/simt/machine/named_barriers.hpp"
#include "common/simt/machine/options.hpp"
#include "common/simt/machine/wait.hpp"
#include "common/simt/machine/warp.hpp"
#include "common/simt/models/copy_groups.hpp"
#include "common/simt/models/mbarrier.hpp"
#include "common/simt/models/register_pool.hpp"
#include "common/simt/models/tensor_copy.hpp"
#include "common/simt/models/warpgroups.hpp"

namespace attn::simt {

inline constexpr int kWarpSize = 32;

class Recorder;

enum class State : std::uint8_t {
  kReady,         // can run
  kAtBarrier,     // waits for the block
  kInCollective,  // waits for lanes of its warp
  kWaiting,       // waits until a condition holds
  kConverging,    // waits until no other lane of its warp can move
  kYielding,      // lets the other lanes of its warp go first
  kLogFull,       // waits until the recorder has read its log
  kDone,
};

/// What a thread brings to a barrier or a warp collective, and what it gets back.
struct Posted {
  std::source_location where;
  std::uintptr_t site = 0;  // code address
  std::uint64_t value = 0;  // in: its contribution; out: its result
  BarrierKind barrier_kind = BarrierKind::kSync;
  unsigned mask = 0;  // the rest: of a collective
  const Collective* collective = nullptr;
  void* operand = nullptr;

  /// Of two lanes in collectives: whether both have come to the same.
  bool same_call(const Posted& other) const {
    return collective == other.collective && mask == other.mask &&
           (collective->aligned == nullptr || site == other.site);
  }
};

/// One CUDA thread.
struct Thread {
  Fiber fiber;
  uint3 index = {};  // threadIdx
  State state = State::kDone;
  int rank = 0;  // position in the block
  Posted posted;
  const Condition* waits_for = nullptr;
};

class Worker;
extern constinit thread_local Worker* running_worker;

/// Steps that the running thread's hooks let pass before they look closer: those its block has
/// left, none where a recorder wants to see every one, and kUncounted outside kernels.
inline constexpr std::int64_t kUncounted = std::int64_t{1} << 62;
extern constinit thread_local std::int64_t steps_left;

/// A grid being run, shared by all workers.
struct GridRun {
  const LaunchConfig& config;
  void (*body)(void*);
  void* data;
  Recorder* recorder = nullptr;               // null: nothing is watched
  std::int64_t steps = kUncounted;            // that one block may take
  mutable std::atomic<bool> stopped = false;  // a detector has stopped one of its blocks
};

class Worker {
 public:
  Worker();
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// The worker of this OS thread, made on first use.
  static Worker& mine();
  /// The same from inside a kernel.
  static Worker& running() { return *running_worker; }

  /// Runs one block to its end. Throws what one of its threads threw, or Error(kDeviceFailure) if
  /// a detector stopped it.
  void run_block(const GridRun& grid, uint3 block);

  // For the running fiber.
  Thread& current() { return *current_; }
  const GridRun& grid() const { return *grid_; }
  uint3 block() const { return block_; }
  void* shared_memory() { return shared_memory_; }
  /// Gives the other lanes of the warp a turn first.
  void yield() { suspend(State::kYielding); }
  /// Waits until the condition holds; with `line_up`, also for the other lanes of the warp that
  /// come to it in this turn.
  void wait_for(const Condition& condition, std::source_location where, bool line_up = false);
  AsyncWork& async_work() { return async_work_; }
  NamedBarriers& named_barriers() { return named_barriers_; }
  CopyGroups& copy_groups() { return copy_groups_; }
  Warpgroups& warpgroups() { return warpgroups_; }
  const Warpgroups& warpgroups() const { return warpgroups_; }
  RegisterPool& registers() { return registers_; }
  Mbarriers& mbarriers() { return mbarriers_; }
  TensorStores& tensor_stores() { return tensor_stores_; }
  /// Back to the scheduler until `state` has been resolved.
  void suspend(State state);
  /// A detector found something that the kernel cannot continue after: records it, stops the
  /// launch, and never returns to the kernel.
  [[noreturn]] void stop(Detection detection);
  /// The same from the scheduler's side, outside of all threads.
  [[noreturn]] void stop_block(Detection detection);
  /// The same where the block has taken all the steps it may, at the code before this address.
  [[noreturn]] void stop_endless(std::uintptr_t return_address);

  int thread_count() const { return thread_count_; }
  const Thread& thread(int rank) const { return threads_[static_cast<std::size_t>(rank)]; }

 private:
  static void fiber_main(void* argument);
  void grow(int threads);
  void start_threads();
  void resume(Thread& thread);
  void run_warp(int warp);
  void count_turn();
  bool resolve_collectives(int warp);
  bool converge(int warp);
  bool complete(const Thread& thread, int warp) const;
  void finish_collective(int warp, unsigned mask);
  void release_barrier();
  bool same_within_warps() const;
  bool wake();
  [[noreturn]] void report_stuck();
  void report_mismatch();
  void report_deadlock();
  std::span<Thread> warp_threads(int warp);
  const std::vector<int>& order(int n, std::uint64_t salt);

  std::vector<Thread> threads_;
  std::vector<void*> stacks_;  // mapped regions
  void* shared_memory_ = nullptr;
  std::vector<int> order_;

  const GridRun* grid_ = nullptr;
  uint3 block_ = {};
  int thread_count_ = 0;
  Thread* current_ = nullptr;
  std::int64_t block_steps_ = 0;  // that an unwatched block has left
  bool stopped_ = false;
  bool fresh_fibers_needed_ = true;  // after a stop, stacks hold abandoned frames
  std::exception_ptr thrown_;
  int waiting_ = 0;  // threads of the block in State::kWaiting
  AsyncWork async_work_;
  NamedBarriers named_barriers_;
  CopyGroups copy_groups_;
  Warpgroups warpgroups_;
  RegisterPool registers_;
  Mbarriers mbarriers_;
  TensorStores tensor_stores_;
};

/// "(17,0,0)"
std::string to_string(uint3 index);
std::string kernel_name(const LaunchConfig& config);

/// A launch that run_grid() did not begin.
struct LaunchRefused : Error {
  LaunchRefused(const std::string& message, cudaError_t reason)
      : Error(ErrorKind::kDeviceFailure, message), error(reason) {}
  cudaError_t error;
};

/// A detection at `thread`, with kernel, block, thread and the source line filled in.
Detection detection_at(const GridRun& grid, uint3 block, uint3 thread, std::string kind,
                       std::source_location where);

/// The running thread does something that the kernel cannot continue after: reports it and stops
/// the launch. The caller's frame is never left: temporaries of the call that own memory are
/// lost, so a text that takes some is made in a function of its own.
[[noreturn]] void stop_thread(std::string kind, std::string what, std::string advice,
                              std::source_location where);

/// Remembers a detection for take_detections().
void report(Detection detection);
/// All detections since the last call.
std::vector<Detection> take_detections();

}  // namespace attn::simt
