// SPDX-License-Identifier: MIT
#include "common/simt/watch/clocks.hpp"

#include <algorithm>
#include <bit>

namespace attn::simt {

Time Clocks::last_ = 0;

Clocks::Clocks() : by_lane_(std::make_unique<std::array<ByLane, kClocks>>()) {}

void Clocks::join_all() {
  start_ = ++last_;
  // What is older than start() counts as known; so the other tables may keep what they hold.
  now_.fill(start_);
  first_release_.fill(kNever);
}

void Clocks::sync_warp(std::size_t warp, unsigned lanes) {
  Time& now = now_[warp];
  if (lanes == ~0u) {
    all_know_[warp] = now;
  } else {
    // Everyone in the group learns what anyone in it knew, and what each has done until now.
    ByLane& known = (*by_lane_)[warp];
    std::array<Time, kLanes> joint{};
    for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
      const auto lane = static_cast<std::size_t>(std::countr_zero(rest));
      for (std::size_t other = 0; other < kLanes; ++other) {
        joint[other] = std::max(joint[other], known[lane][other]);
      }
      joint[lane] = now;
    }
    for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
      known[static_cast<std::size_t>(std::countr_zero(rest))] = joint;
    }
  }
  now = ++last_;
}

void Clocks::release(std::size_t warp, Knowledge& knowledge) {
  for (std::size_t other = 0; other < kClocks; ++other) {
    knowledge[other] = std::max(knowledge[other], heard_[warp][other]);
  }
  knowledge[warp] = now_[warp];
  first_release_[warp] = std::min(first_release_[warp], now_[warp]);
  now_[warp] = ++last_;  // what the warp does from here on has not been released
}

void Clocks::acquire(std::size_t warp, const Knowledge& knowledge) {
  for (std::size_t other = 0; other < kClocks; ++other) {
    heard_[warp][other] = std::max(heard_[warp][other], knowledge[other]);
  }
  all_know_[warp] = std::max(all_know_[warp], knowledge[warp]);
}

bool Clocks::lanes_know_singly(std::size_t warp, unsigned lanes, unsigned others, Time time) const {
  const ByLane& known = (*by_lane_)[warp];
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    const auto lane = static_cast<std::size_t>(std::countr_zero(rest));
    for (unsigned then = others & ~(1u << lane); then != 0; then &= then - 1) {
      if (known[lane][static_cast<std::size_t>(std::countr_zero(then))] < time) return false;
    }
  }
  return true;
}

}  // namespace attn::simt
