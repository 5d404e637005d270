// SPDX-License-Identifier: MIT
//
// What comes before what inside a block, as vector clocks. A warp's time goes on whenever others
// may learn of what it has done: at a __syncwarp, at an arrival at a barrier, at a fence between
// proxies, at a __syncthreads. An access comes before whatever follows in a warp that has heard of
// its time.
//
// The common cases are one comparison each: an access from before the block's last barrier comes
// before everything, and one from before the warp's last full __syncwarp before everything in that
// warp. Only partial masks need the lanes' own tables.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace attn::simt {

/// Times are never used twice, in no block and no launch: what a shadow remembers from before need
/// not be erased.
using Time = std::uint32_t;
inline constexpr Time kNever = ~Time{0};

inline constexpr std::size_t kClocks = 32;  // one for each warp of a block
/// What the async proxy does on its own account (a copy that arrives) has no time of any warp; it
/// comes before whatever follows in a warp that knows of the end of the phase of an mbarrier. So
/// each mbarrier of a block has a count of its own, of the phases that have ended.
inline constexpr std::size_t kPhaseCounts = 64;

/// What a warp has heard of, or what a barrier hands on.
struct Knowledge {
  /// Of each warp: up to which time all that it did is known.
  std::array<Time, kClocks> all{};
  /// Where single lanes have arrived: up to which time what these lanes did is known. It counts
  /// only where it is later.
  std::array<Time, kClocks> some{};
  std::array<std::uint32_t, kClocks> lanes{};
  std::array<std::uint32_t, kPhaseCounts> phases{};

  /// Adds what is in `other`.
  void learn(const Knowledge& other);
};

class Clocks {
 public:
  Clocks();

  /// The last time that any block has used.
  static Time last() { return last_; }

  /// A block begins: nobody knows of any phase, and nothing has been fenced.
  void begin_block();
  /// A block begins, or its barrier opens: all that was done until now comes before all that will
  /// be.
  void join_all();
  /// These lanes of the warp have passed a __syncwarp together.
  void sync_warp(std::size_t warp, unsigned lanes);
  /// What these lanes have done and heard of goes into `knowledge`; so does what the warp's other
  /// `alive` lanes have done as far as these lanes know.
  void release(std::size_t warp, Knowledge& knowledge, unsigned lanes = ~0u, unsigned alive = ~0u);
  /// All lanes of the warp learn what is in `knowledge`, also of each other.
  void acquire(std::size_t warp, const Knowledge& knowledge);
  /// These lanes have seen that so many phases of an mbarrier have ended.
  void see_phases(std::size_t warp, unsigned lanes, std::size_t count, std::uint32_t phases);
  /// What these lanes have done in the generic proxy comes before what the async proxy does for
  /// whoever hears of the fence.
  void fence(std::size_t warp, unsigned lanes);

  /// When the block's last barrier opened, or the block began.
  Time start() const { return start_; }
  Time now(std::size_t warp) const { return now_[warp]; }
  /// The time up to which the warp had done what it released first since start(); kNever if it has
  /// released nothing. Whoever has heard of the warp since start() has heard of all until then.
  Time first_release(std::size_t warp) const { return first_release_[warp]; }
  /// Whether the warp has heard of what these lanes of `other`, another warp, did at that time.
  bool knows(std::size_t warp, std::size_t other, Time time, unsigned lanes = 0) const {
    const Knowledge& heard = heard_[warp];
    return heard.all[other] >= time ||
           (heard.some[other] >= time && (lanes & ~heard.lanes[other]) == 0);
  }
  /// Whether each of `lanes` has heard of what each of `others`, in the same warp, did at that
  /// time. A lane knows what it did itself.
  bool lanes_know(std::size_t warp, unsigned lanes, unsigned others, Time time) const {
    return time <= all_know_[warp] || lanes_know_singly(warp, lanes, others, time);
  }
  /// Whether these lanes know that so many phases of an mbarrier have ended.
  bool know_phases(std::size_t warp, unsigned lanes, std::size_t count,
                   std::uint32_t phases) const {
    const std::uint32_t known = heard_[warp].phases[count];
    return known > phases || (known == phases && (lanes & ~seen_by_[warp][count]) == 0);
  }
  /// Whether some warp knows of so many.
  bool anyone_knows_phases(std::size_t count, std::uint32_t phases) const;
  /// The first fence of this lane since `time`, kNever if there is none.
  Time fence_since(std::size_t warp, std::size_t lane, Time time) const;

 private:
  static constexpr std::size_t kLanes = 32;
  // [a][b]: up to which time lane a has heard of lane b.
  using ByLane = std::array<std::array<Time, kLanes>, kLanes>;
  using ByWarp = std::array<Time, kClocks>;

  bool lanes_know_singly(std::size_t warp, unsigned lanes, unsigned others, Time time) const;
  Time all_heard_by(std::size_t warp, unsigned lanes, unsigned others) const;

  static Time last_;
  Time start_ = 0;
  ByWarp now_{}, first_release_{};
  ByWarp all_know_{};  // up to which time all lanes of a warp have heard of all others
  std::array<Knowledge, kClocks> heard_{};
  // Which lanes know of the last phase that the warp has heard of.
  std::array<std::array<std::uint32_t, kPhaseCounts>, kClocks> seen_by_{};
  bool any_phases_ = false;  // since the block began
  std::unique_ptr<std::array<ByLane, kClocks>> by_lane_;
  std::vector<std::vector<Time>> fences_;  // by thread, ascending
};

}  // namespace attn::simt
