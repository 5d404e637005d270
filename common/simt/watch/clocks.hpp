// SPDX-License-Identifier: MIT
//
// What comes before what inside a block, as vector clocks. A warp's time goes on whenever others
// may learn of what it has done: at a __syncwarp, at an arrival at a named barrier, at a
// __syncthreads. An access comes before whatever follows in a warp that has heard of its time.
//
// The common cases are one comparison each: an access from before the block's last barrier comes
// before everything, and one from before the warp's last full __syncwarp before everything in that
// warp. Only partial masks need the lanes' own tables.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

namespace attn::simt {

/// Times are never used twice, in no block and no launch: what a shadow remembers from before need
/// not be erased.
using Time = std::uint32_t;
inline constexpr Time kNever = ~Time{0};

/// Up to which time of each warp of a block something is known: what a warp has heard of, or what
/// a barrier hands on. Whoever else may act on memory of its own accord gets an entry behind the
/// warps, as a 33rd clock.
inline constexpr std::size_t kClocks = 32;
using Knowledge = std::array<Time, kClocks>;

class Clocks {
 public:
  Clocks();

  /// The last time that any block has used.
  static Time last() { return last_; }

  /// A block begins, or its barrier opens: all that was done until now comes before all that will
  /// be.
  void join_all();
  /// These lanes of the warp have passed a __syncwarp together.
  void sync_warp(std::size_t warp, unsigned lanes);
  /// What the warp's lanes have done, and what they have heard of, goes into `knowledge`.
  void release(std::size_t warp, Knowledge& knowledge);
  /// All lanes of the warp learn what is in `knowledge`, also of each other.
  void acquire(std::size_t warp, const Knowledge& knowledge);

  /// When the block's last barrier opened, or the block began.
  Time start() const { return start_; }
  Time now(std::size_t warp) const { return now_[warp]; }
  /// The time up to which the warp had done what it released first since start(); kNever if it has
  /// released nothing. Whoever has heard of the warp since start() has heard of all until then.
  Time first_release(std::size_t warp) const { return first_release_[warp]; }
  /// Whether the warp has heard of what `other`, another warp, did at that time.
  bool knows(std::size_t warp, std::size_t other, Time time) const {
    return heard_[warp][other] >= time;
  }
  /// Whether each of `lanes` has heard of what each of `others`, in the same warp, did at that
  /// time. A lane knows what it did itself.
  bool lanes_know(std::size_t warp, unsigned lanes, unsigned others, Time time) const {
    return time <= all_know_[warp] || lanes_know_singly(warp, lanes, others, time);
  }

 private:
  static constexpr std::size_t kLanes = 32;
  // [a][b]: up to which time lane a has heard of lane b.
  using ByLane = std::array<std::array<Time, kLanes>, kLanes>;

  bool lanes_know_singly(std::size_t warp, unsigned lanes, unsigned others, Time time) const;

  static Time last_;
  Time start_ = 0;
  Knowledge now_{}, first_release_{};
  Knowledge all_know_{};  // up to which time all lanes of a warp have heard of all others
  std::array<Knowledge, kClocks> heard_{};
  std::unique_ptr<std::array<ByLane, kClocks>> by_lane_;
};

}  // namespace attn::simt
