// SPDX-License-Identifier: MIT
#include "common/simt/watch/clocks.hpp"

#include <algorithm>
#include <bit>

namespace attn::simt {

Time Clocks::last_ = 0;

void Knowledge::learn(const Knowledge& other) {
  for (std::size_t warp = 0; warp < kClocks; ++warp) {
    all[warp] = std::max(all[warp], other.all[warp]);
    if (other.some[warp] > all[warp]) {
      lanes[warp] = other.lanes[warp] | (some[warp] > all[warp] ? lanes[warp] : 0);
      some[warp] = std::max(some[warp], other.some[warp]);
    }
  }
  for (std::size_t count = 0; count < kPhaseCounts; ++count) {
    phases[count] = std::max(phases[count], other.phases[count]);
  }
}

Clocks::Clocks() : by_lane_(std::make_unique<std::array<ByLane, kClocks>>()) {}

void Clocks::begin_block() {
  if (any_phases_) {
    for (Knowledge& heard : heard_) heard.phases.fill(0);
  }
  any_phases_ = false;
  fences_.clear();
  join_all();
}

void Clocks::join_all() {
  start_ = ++last_;
  // What is older than start() counts as known; so the other tables may keep what they hold.
  now_.fill(start_);
  first_release_.fill(kNever);
  if (!any_phases_) return;
  std::array<std::uint32_t, kPhaseCounts> phases{};
  for (const Knowledge& heard : heard_) {
    for (std::size_t count = 0; count < kPhaseCounts; ++count) {
      phases[count] = std::max(phases[count], heard.phases[count]);
    }
  }
  for (Knowledge& heard : heard_) heard.phases = phases;
  for (auto& lanes : seen_by_) lanes.fill(~0u);
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
  if (any_phases_) {
    for (std::uint32_t& seen_by : seen_by_[warp]) {
      if ((seen_by & lanes) != 0) seen_by |= lanes;
    }
  }
  now = ++last_;
}

/// Up to which time each of `lanes` has heard of each of `others`, in the same warp.
Time Clocks::all_heard_by(std::size_t warp, unsigned lanes, unsigned others) const {
  Time least = kNever;
  for (; lanes != 0; lanes &= lanes - 1) {
    const auto& known = (*by_lane_)[warp][static_cast<std::size_t>(std::countr_zero(lanes))];
    for (unsigned rest = others; rest != 0; rest &= rest - 1) {
      least = std::min(least, known[static_cast<std::size_t>(std::countr_zero(rest))]);
    }
  }
  return std::max(all_know_[warp], least);
}

void Clocks::release(std::size_t warp, Knowledge& knowledge, unsigned lanes, unsigned alive) {
  Time& now = now_[warp];
  knowledge.learn(heard_[warp]);
  const unsigned others = alive & ~lanes;
  if (others == 0) {
    knowledge.all[warp] = now;
  } else {
    Knowledge own;
    own.all[warp] = std::min(now, all_heard_by(warp, lanes, others));
    own.some[warp] = now;
    own.lanes[warp] = lanes;
    knowledge.learn(own);
  }
  first_release_[warp] = std::min(first_release_[warp], now);
  now = ++last_;  // what the warp does from here on has not been released
}

void Clocks::acquire(std::size_t warp, const Knowledge& knowledge) {
  Knowledge& heard = heard_[warp];
  for (std::size_t count = 0; count < kPhaseCounts; ++count) {
    if (knowledge.phases[count] > heard.phases[count]) seen_by_[warp][count] = ~0u;
  }
  heard.learn(knowledge);
  all_know_[warp] = std::max(all_know_[warp], knowledge.all[warp]);
}

void Clocks::see_phases(std::size_t warp, unsigned lanes, std::size_t count, std::uint32_t phases) {
  std::uint32_t& known = heard_[warp].phases[count];
  std::uint32_t& seen_by = seen_by_[warp][count];
  any_phases_ = true;
  if (phases < known) return;
  seen_by = phases > known ? lanes : seen_by | lanes;
  known = phases;
}

void Clocks::fence(std::size_t warp, unsigned lanes) {
  if (fences_.empty()) fences_.resize(kClocks * kLanes);
  for (; lanes != 0; lanes &= lanes - 1) {
    const auto lane = static_cast<std::size_t>(std::countr_zero(lanes));
    fences_[warp * kLanes + lane].push_back(now_[warp]);
  }
  now_[warp] = ++last_;  // what the warp does from here on has not been fenced
}

bool Clocks::anyone_knows_phases(std::size_t count, std::uint32_t phases) const {
  return std::any_of(heard_.begin(), heard_.end(),
                     [&](const Knowledge& heard) { return heard.phases[count] >= phases; });
}

Time Clocks::fence_since(std::size_t warp, std::size_t lane, Time time) const {
  if (fences_.empty()) return kNever;
  const std::vector<Time>& fences = fences_[warp * kLanes + lane];
  const auto first = std::lower_bound(fences.begin(), fences.end(), time);
  return first == fences.end() ? kNever : *first;
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
