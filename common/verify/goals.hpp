// SPDX-License-Identifier: MIT
//
// What an exercise asks beyond a right result: numbers that each run must not exceed, by medal.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace attn::verify {

enum class Medal { kBronze, kSilver, kGold };
std::string_view to_string(Medal medal);

/// One number of one run.
struct Use {
  Medal medal;
  std::string what;  // "loads of float"
  std::int64_t used;
  std::int64_t allowed;
};

/// Called by an exercise's goal.cpp within a run: the run used so many, and the medal allows no
/// more than `allowed`.
void hold_to(Medal medal, std::string_view what, std::int64_t used, std::int64_t allowed);

/// What was reported since the last call.
std::vector<Use> take_uses();

/// One goal over all cases that were right.
struct Goal {
  Medal medal = Medal::kBronze;
  std::string what;
  int cases = 0;
  int missed = 0;  // in so many of them
  // The case that missed it by the largest factor.
  std::string where;
  std::int64_t used = 0;
  std::int64_t allowed = 0;
};

/// Adds a case's uses to the goals.
void add(std::vector<Goal>& goals, const std::vector<Use>& uses, const std::string& where);

/// Whether the first medal that has goals is reached; true without any.
bool reached(const std::vector<Goal>& goals);

/// The best medal whose goals, and those of all medals before it, are met; none without goals. A
/// medal before the first that has goals is for being right.
std::optional<Medal> best(const std::vector<Goal>& goals);

/// Which goals are not met, with what was used and what is allowed, and the best medal. Empty
/// without goals.
std::string describe(const std::vector<Goal>& goals);

}  // namespace attn::verify
