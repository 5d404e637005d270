// SPDX-License-Identifier: MIT
//
// Turns what single threads do into what a warp does. While a thread runs, the hooks write each of
// its memory accesses, and each piece of straight-line code it enters, into its lane's log. The
// recorder reads the 32 logs of a warp side by side: of the entries at the heads of the logs it
// takes those at the smallest code address, and the lanes that stand there go on together, as
// reconverging lanes of a GPU's warp do. An access of theirs is one request.
//
// Grouping by "the n-th time a lane runs this line" instead would be wrong as soon as lanes run a
// loop a different number of times, or skip a line in some rounds of it; the entries without an
// access are what tells two rounds apart.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "common/simt/machine/image.hpp"
#include "common/simt/machine/worker.hpp"
#include "common/simt/watch/async_events.hpp"
#include "common/simt/watch/clocks.hpp"
#include "common/simt/watch/counters.hpp"
#include "common/simt/watch/proxy_marks.hpp"

namespace attn::simt {

enum class Access : std::uint8_t {
  kLoad,
  kStore,
  kAtomic,
  kCopyStore,  // an asynchronous copy, which stores and
  kCopyLoad,   // loads later
  kCopyWait,
  kAsync,  // one of mbarriers, TMA, fences between proxies
  kBlockOfCode,
  kCollective,  // from here on: lanes that wait for each other
  kShuffle,
  kVote,
  kSyncWarp,
  kMultiplyAdd,
  kMatrixLoad,
  kWgmma,     // a warp's part in a product
  kWgmmaDone  // the warp knows that it is done, and those before it
};
enum class Space : std::uint8_t { kGlobal, kShared };
/// "read", "write" or "atomic".
const char* access_name(Access access);

/// What executes a request.
enum class Unit : std::uint8_t {
  kLoadStore,   // as most do
  kMatrixLoad,  // ldmatrix, a load of shared memory
  kAsyncCopy,   // cp.async: one store of shared memory, one load of global memory
  kTensor       // TMA or wgmma, which reach memory on their own
};

/// One warp executing one access.
struct Request {
  Access access;  // kLoad, kStore or kAtomic
  Space space;
  Unit unit;
  std::uint8_t bytes;               // per lane
  std::uint32_t site;               // code address, relative to the program's
  unsigned lanes;                   // which lanes take part
  unsigned lane_count;              // how many
  const std::uintptr_t* addresses;  // by lane; only those of `lanes` are set
  // Of a kLoadStore's store, by lane: equal where equal values were stored.
  const std::uint32_t* values;
};

inline constexpr std::size_t kLargestBlock = 1024;  // threads

class Arena;
class Detectors;
class Observer;
class Tracer;

class Recorder {
 public:
  explicit Recorder(const GridRun& grid);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  /// Whether the options ask for anything that needs a recorder.
  static bool wanted();

  // The scheduler's side.
  void begin_block(Worker& worker);
  void end_block();
  void abandon_block();
  void end_interval();  // the block's barrier opened
  /// The block's barrier is about to open: reports lanes that have run past it and left; true if
  /// there are any.
  bool barrier_opens();
  /// A kernel goes on although CUDA forbids what it does; said once per launch and place.
  void warn(Detection detection);
  /// Work that counts as so many steps of the block, besides those that its threads take.
  void count(std::int64_t steps) { steps_ += steps; }
  /// The warp that runs has met in a barrier: what its lanes have done goes into `knowledge`.
  void release(Knowledge& knowledge);
  /// The lanes of this warp, all of which wait or have met, learn what is in it.
  void acquire(int warp, const Knowledge& knowledge);
  void begin_warp(std::span<Thread> lanes);
  void end_warp();
  void enter(Thread& thread);
  void leave();
  /// Reads the logs of lanes that wait for room in theirs; true if one may go on.
  bool make_room();
  /// A barrier opens that some threads do not come to, because they have returned.
  void barrier_after_return(const Thread& waiting, const Thread& returned, int returned_count);
  /// Publishes the launch's counters.
  void finish();

  // The running thread's side.
  void access(std::uintptr_t address, std::size_t bytes, Access kind,
              std::uintptr_t return_address);
  /// A struct that is copied whole: as many accesses as a thread needs for it.
  void access_struct(std::uintptr_t address, std::size_t bytes, Access kind,
                     std::uintptr_t return_address);
  /// The atomic that is logged next compares and swaps: a load of the same word just before it is
  /// the first step of a loop that tries until nobody has come between.
  void compare_and_swap(std::uintptr_t address);
  void block_of_code(std::uintptr_t return_address) {
    before_code_[rank_] = last_site_[rank_];
    step(return_address);
    append({0, static_cast<std::uint32_t>(return_address - image_.begin), 0, Access::kBlockOfCode,
            Space::kGlobal});
  }
  void collective(unsigned mask, bool orders_memory, std::uintptr_t return_address,
                  WarpInstructions instructions = {});
  void special_functions(unsigned instructions) { special_functions_ += instructions; }
  /// An asynchronous copy begins, of `bytes` bytes to shared memory, of which `valid` come from
  /// global memory. It belongs to the thread's group of that number.
  void start_copy(std::uintptr_t to, std::uintptr_t from, std::size_t bytes, std::size_t valid,
                  std::uint32_t group, std::uintptr_t return_address);
  /// The thread knows that its groups up to this one have arrived.
  void copies_arrived(std::uint32_t group, std::uintptr_t return_address);
  /// The thread issues the product of this number in its warpgroup.
  void wgmma(std::size_t product, std::uintptr_t return_address);
  /// The thread knows that so many of the warpgroup's products are done.
  void wgmma_done(std::size_t products, std::uintptr_t return_address);
  /// The thread does something to an mbarrier, to the async proxy, or through TMA.
  void async_event(AsyncEvent event, std::uintptr_t return_address);
  /// A kernel may not read or write these bytes of global memory through TMA: stops the launch.
  void check_global(std::uintptr_t address, std::size_t bytes, Access kind,
                    std::uintptr_t return_address);

  // For detectors.
  const Worker& worker() const { return *worker_; }
  int warp() const { return warp_; }
  std::uintptr_t image_base() const { return image_.begin; }
  AddressRange static_shared() const { return static_shared_; }
  AddressRange dynamic_shared() const { return dynamic_shared_; }
  Detection detection(std::string kind, int lane, std::uint32_t site) const;
  /// Lanes of the warp that runs which have not left the kernel.
  unsigned alive_lanes() const;

 private:
  struct Entry {
    // Of most collectives: the mask. Of wgmma: the product. Of a copy's store: the byte in dynamic
    // shared memory, and in the upper half the group; of a wait for copies: the group. Of kAsync:
    // its place in events_.
    std::uintptr_t address;
    std::uint32_t site;
    std::uint8_t bytes;  // of collectives: the warp's instructions
    Access access;
    Space space;
  };
  /// Where a lane was when it left, and in which barrier interval.
  struct Departure {
    std::uint64_t interval = 0;
    std::uintptr_t site = 0;
  };
  /// Steps that a request counts as, besides those of its lanes: with one lane it takes nearly as
  /// long as with 32.
  static constexpr std::int64_t kRequest = 4;
  static constexpr int kLogEntries = 64;  // 32 logs of 1 KiB stay in the first-level cache
  struct Log {
    std::array<Entry, kLogEntries> entries;
    int head = 0;
    int size = 0;
    bool empty() const { return head == size; }
    const Entry& front() const { return entries[static_cast<std::size_t>(head)]; }
  };

  /// Counts a step of the block, which may not take more than so many.
  void step(std::uintptr_t return_address) {
    last_site_[rank_] = static_cast<std::uint32_t>(return_address - image_.begin);
    if (++steps_ > grid_.steps) [[unlikely]]
      worker_->stop_endless(return_address);
  }
  void append(Entry entry);
  [[gnu::cold]] std::uintptr_t variable(std::uintptr_t address, std::size_t bytes, Access kind,
                                        std::uintptr_t return_address);
  [[gnu::noinline]] void note_stored_value();
  /// Reads as far as the order of requests is certain; all of it if `to_the_end`.
  void drain(bool to_the_end);
  void serve(unsigned lanes);
  void serve_copies(unsigned lanes);
  // recorder_async.cpp
  void serve_async(unsigned lanes);
  void serve_async(unsigned lanes, const AsyncEvent& event, std::uint32_t site);
  void end_stores(int lane, std::size_t pending);
  void serve_matrix_load(unsigned lanes);
  void serve_wgmma(std::size_t product, std::uint32_t site);
  void check_registers(std::uintptr_t address, std::size_t bytes, Access kind,
                       std::uintptr_t return_address);
  void show(const Request& request);
  unsigned pop_collective(unsigned from, unsigned at_collective, bool force);
  Log& log(std::size_t lane) { return (*logs_)[lane]; }
  const Log& log(std::size_t lane) const { return (*logs_)[lane]; }
  [[noreturn]] void stop_at(std::string kind, std::uintptr_t site, std::string what,
                            std::string advice);

  const GridRun& grid_;
  const Arena& arena_;
  Worker* worker_ = nullptr;
  std::unique_ptr<Detectors> detectors_;  // null if not wanted
  std::unique_ptr<Tracer> tracer_;        // null if not wanted
  AddressRange image_, static_shared_, dynamic_shared_;
  AddressRange static_touched_{~std::uintptr_t{0}, 0};  // the static shared memory in use
  std::unique_ptr<std::array<Log, kWarpSize>> logs_;
  const void* unseen_store_ = nullptr;  // the address of the store that the log's end announces
  int current_lane_ = 0;
  // What each store of the logs has stored; in use while the detectors are on.
  std::unique_ptr<std::array<std::array<std::uint32_t, kLogEntries>, kWarpSize>> stored_;
  std::uint32_t unknown_value_ = 0;
  std::vector<Departure> departures_;  // by rank
  std::uint64_t intervals_ = 0;
  std::vector<AsyncEvent> events_;                     // that the logs of the running warp speak of
  std::vector<std::vector<ProxyMarks::Read>> stores_;  // TMA's, by rank, that read shared memory
  std::set<std::string> warnings_;
  std::span<Thread> lanes_;
  int warp_ = 0;
  std::uint64_t special_functions_ = 0;
  std::uint64_t barriers_ = 0;
  std::uint64_t shuffles_ = 0;
  std::uint64_t votes_ = 0;
  std::uint64_t multiply_adds_ = 0;
  std::array<std::size_t, kClocks> wgmmas_issued_{};  // by warp, in this block
  std::uint64_t wgmmas_ = 0;
  std::uint64_t wgmma_flops_ = 0;
  std::int64_t steps_ = 0;  // of the block that runs
  // Each thread's last code address, and the one before it entered the last piece of code: where it
  // decided to return, once it has returned.
  std::array<std::uint32_t, kLargestBlock> last_site_{}, before_code_{};
  std::size_t rank_ = 0;       // of the thread that runs
  std::set<unsigned> warned_;  // lines of barriers that somebody did not come to
  Observer* observer_;         // null if there is none
};

/// The recorder of the thread that runs now; null while none is recorded. Read by the hooks.
extern constinit thread_local Recorder* active_recorder;

/// An atomic that the running thread is about to do.
void record_atomic(const void* address, std::size_t bytes, const void* return_address);

}  // namespace attn::simt
