// SPDX-License-Identifier: MIT
//
// What compute-sanitizer's initcheck and racecheck look for on a GPU, and, between blocks, what it
// does not: reads of memory that nobody wrote, and accesses to one address that nothing orders.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "common/simt/machine/arena.hpp"
#include "common/simt/models/warpgroups.hpp"
#include "common/simt/watch/clocks.hpp"
#include "common/simt/watch/histories.hpp"
#include "common/simt/watch/in_flight.hpp"
#include "common/simt/watch/proxy_marks.hpp"
#include "common/simt/watch/recorder.hpp"

namespace attn::simt {

/// Watches the requests of one launch.
class Detectors {
 public:
  explicit Detectors(const Recorder& recorder);
  ~Detectors();

  void begin_block();
  /// The block's barrier has opened.
  void end_interval() { join_all(); }
  /// These lanes of the current warp have passed a __syncwarp together.
  void sync_warp(unsigned lanes);
  /// The current warp hands on what it has done and heard of; another learns of it.
  void release(Knowledge& knowledge) { clocks_.release(warp(), knowledge); }
  void acquire(std::size_t warp, const Knowledge& knowledge) { clocks_.acquire(warp, knowledge); }
  void request(const Request& request);
  /// Lanes of the current warp start asynchronous copies: the request has what they store, `groups`
  /// by lane the numbers of the groups that they belong to.
  void start_copies(Request request, const std::array<std::uint32_t, 32>& groups);
  /// These lanes know that their groups up to so many have arrived.
  void copies_arrived(unsigned lanes, const std::array<std::uint32_t, 32>& groups);
  /// Loads at this code address are each followed by a compare-and-swap of what they have loaded.
  void first_step_of_a_loop(std::uint32_t site) { loop_loads_.insert(site); }
  // async_proxy.cpp: in all of these `lanes` are of the current warp, and `site` is what they do.
  /// They initialise, or use, an mbarrier at this address of shared memory.
  void init_barrier(std::uint32_t site, unsigned lanes, std::uintptr_t address);
  void use_barrier(std::uint32_t site, unsigned lanes, std::uintptr_t address);
  /// They arrive in this phase of the block's mbarrier of this number: who sees the phase end
  /// learns what they have done.
  void arrive(unsigned lanes, std::size_t barrier, std::uint32_t phase);
  /// They have seen that so many of its phases have ended.
  void see_phases(unsigned lanes, std::size_t barrier, std::uint32_t phases);
  /// They order what they did in the generic proxy before what the async proxy will do.
  void fence_async_proxy(unsigned lanes) { clocks_.fence(warp(), lanes); }
  /// One lane starts a copy that reads, or writes, what the pieces have of global memory.
  void touch_global(std::uint32_t site, unsigned lanes, const std::vector<AsyncPiece>& pieces,
                    Access access);
  /// One lane starts a copy to these bytes of dynamic shared memory.
  void start_landing(unsigned lane, const std::vector<AsyncPiece>& pieces,
                     const ProxyMarks::Landing& landing);
  /// They start something that reads these 16-byte chunks of dynamic shared memory in the async
  /// proxy, and goes on until its end.
  ProxyMarks::Read start_async_read(std::uint32_t site, unsigned lanes,
                                    std::vector<std::uint32_t> chunks);
  void end_async_read(ProxyMarks::Read read, unsigned lanes);
  /// The current warp issues its part of its warpgroup's next product.
  void wgmma(const Warpgroups::Product& product, std::uint32_t site);
  /// The current warp knows that so many products of its warpgroup are done.
  void wgmma_done(std::size_t products);
  /// The block has ended.
  void end_block();
  /// The launch is over: reports what had to wait.
  void finish();

 private:
  void check_initialised(const Request& request);
  bool touches_copy(const Request& request);
  // async_proxy.cpp
  bool touches_marks(const Request& request);
  bool unseen(std::uint32_t site, unsigned lanes, std::size_t chunk, const char* does);
  bool read_by_others(std::uint32_t site, unsigned lanes, std::size_t chunk, const char* does);
  void check_fence(std::uint32_t site, unsigned lanes, std::uintptr_t chunk);
  bool knows_fence(const LastAccess& write, unsigned lanes, int& lane) const;
  void touch_chunk(std::uint32_t site, unsigned lanes, std::size_t chunk, Access access);
  bool check_swizzle(std::uint32_t site, std::size_t chunk, Swizzle swizzle, const char* operand);
  // races.cpp
  void check_races(const Request& request);
  void check_rows(const Request& request);
  /// A word, or a half of one, that a request touches.
  struct Place {
    Histories& words;
    std::uintptr_t address;
    std::size_t half;
    unsigned lanes;  // that touch it
    unsigned bytes;  // which of the word
  };
  void check_word(const Request& request, const Place& place);
  void check_halves(const Request& request, const Place& place);
  void check_history(const Request& request, const Place& place);
  bool ordered(const LastAccess& earlier, unsigned lanes) const;
  void renew_write(const InFlight::Copy& copy);
  void check_others(const Request& request, const Place& place, Together kind,
                    const LastAccess& last);
  void remember(const Request& request, const Place& place, Together kind, LastAccess& last);
  bool keep(const Place& place, Together kind, const LastAccess& last);
  LastAccess access_of(const Request& request, unsigned lanes, unsigned bytes) const;
  void report_race(const Request& request, unsigned lanes, const LastAccess& other,
                   const char* other_access, bool other_block, bool same_value = false);
  void join_all();
  std::size_t warp() const { return static_cast<std::size_t>(recorder_.warp()); }
  std::string in_words(const Request& request, int lane) const;
  std::string place_of(const Request& request, int lane) const;
  /// True the first time in this launch.
  bool first_time(const char* kind, std::uint32_t site, std::uint32_t other_site);
  Histories& histories(Space space, std::uintptr_t address);
  ByteBits& initialised(Space space, std::uintptr_t address);

  /// The whole range, static or dynamic, that a shared address lies in.
  AddressRange shared_range(std::uintptr_t address) const;

  const Recorder& recorder_;
  Time launch_start_;  // the first of this launch
  Time block_start_ = 0;
  Clocks clocks_;
  InFlight in_flight_;
  ProxyMarks marks_;
  /// What those know who have arrived in a phase of an mbarrier: in the latest, and in the one
  /// before, for which somebody may still wait.
  struct PhaseKnowledge {
    std::uint32_t phase = 0;
    std::array<Knowledge, 2> of{};
  };
  std::vector<PhaseKnowledge> phase_knowledge_;  // by the mbarrier's number
  // By warp: what the products of its warpgroup read, in their order.
  std::array<std::vector<ProxyMarks::Read>, kClocks> wgmma_reads_;
  std::array<std::size_t, kClocks> wgmmas_done_{};
  // When other warps did what the last one did, at the places in Histories::other_times().
  std::vector<std::array<Time, kClocks>> other_times_;
  std::vector<std::pair<Time, uint3>> block_starts_;  // first time, blockIdx
  std::set<std::tuple<std::string, std::uint32_t, std::uint32_t>> reported_;
  // A load against an atomic is no race if a compare-and-swap follows it, which some lane may show
  // only later: the load's code address, and what to report.
  std::vector<std::pair<std::uint32_t, Detection>> waiting_;
  std::set<std::uint32_t> loop_loads_;
  std::uint32_t unknown_value_ = 0;
};

}  // namespace attn::simt
