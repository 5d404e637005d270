// SPDX-License-Identifier: MIT
//
// The CPU machine's mbarriers, and the fences between the proxies: what common/device/mbarrier.cuh
// and async_proxy.cuh name. An mbarrier is known by its address; the 8 bytes there stay unused.
#pragma once

#include <cstdint>
#include <source_location>
#include <string>
#include <vector>

namespace attn::simt {

/// A phase of `barrier` ends when `count` threads have arrived and all announced bytes have come.
void mbarrier_init(void* barrier, int count, std::source_location where);
/// One arrival, which announces `bytes` bytes for the phase before it counts.
void mbarrier_arrive(void* barrier, unsigned bytes, std::source_location where);
/// Waits until the phase of this parity has ended, the latest or the one before it.
void mbarrier_wait(void* barrier, unsigned parity, std::source_location where);
/// What the running thread has initialised so far, the async proxy sees.
void fence_mbarrier_init();
/// What the running thread has written so far, the async proxy sees.
void fence_async_proxy();

/// The mbarriers of the block that runs.
class Mbarriers {
 public:
  static constexpr int kMostArrivals = (1 << 20) - 1;
  static constexpr std::int64_t kMostBytes = (1 << 20) - 1;

  struct Mbarrier {
    std::uintptr_t address;
    std::uint16_t number;  // in the block, in the order of their init
    int count;             // arrivals that a phase needs
    int pending;           // that it still needs
    std::int64_t tx;       // bytes announced and not yet here; below 0: here, not announced
    std::int64_t announced, landed;  // in this phase
    std::uint32_t phase;             // how many have ended
    bool seen;                       // somebody has seen the last one end
    bool fenced;                     // the async proxy sees it
    int owner;                       // rank of the thread that has initialised it
    std::source_location init, last_arrival;
    std::vector<std::uint32_t> seen_by;  // by rank: phases that had ended when it waited last, + 1
  };

  void begin_block() { barriers_.clear(); }
  /// Null if there is none at this address.
  Mbarrier* find(std::uintptr_t address);
  Mbarrier& operator[](std::uint16_t number) { return barriers_[number]; }
  void add(Mbarrier barrier) { barriers_.push_back(std::move(barrier)); }
  std::uint16_t size() const { return static_cast<std::uint16_t>(barriers_.size()); }
  /// The async proxy sees those that this thread has initialised.
  void fence(int rank);
  /// So many bytes have come.
  void complete(std::uint16_t number, std::size_t bytes);
  /// Ends the phase if nothing is missing.
  static void settle(Mbarrier& barrier);
  /// "the mbarrier at byte 8 of dynamic shared memory, which is in phase 2 with ..."
  std::string state(const Mbarrier& barrier) const;
  /// "; " and the state of each that `text` does not have already.
  std::string states_beside(const std::string& text) const;

 private:
  std::vector<Mbarrier> barriers_;
};

/// The mbarrier at this address; stops the launch if there is none.
Mbarriers::Mbarrier& ready_barrier(const void* barrier, std::source_location where);

}  // namespace attn::simt
