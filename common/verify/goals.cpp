// SPDX-License-Identifier: MIT
#include "common/verify/goals.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace attn::verify {
namespace {

constexpr Medal kMedals[] = {Medal::kBronze, Medal::kSilver, Medal::kGold};

std::vector<Use>& uses() {
  static std::vector<Use> list;
  return list;
}

bool has_goals(const std::vector<Goal>& goals, Medal medal) {
  return std::any_of(goals.begin(), goals.end(),
                     [medal](const Goal& goal) { return goal.medal == medal; });
}

/// Whether a use exceeds what is allowed by a larger factor than the goal's so far.
bool further_off(const Use& use, const Goal& goal) {
  return static_cast<double>(use.used) * static_cast<double>(goal.allowed) >
         static_cast<double>(goal.used) * static_cast<double>(use.allowed);
}

bool met(const std::vector<Goal>& goals, Medal medal) {
  return std::none_of(goals.begin(), goals.end(),
                      [medal](const Goal& goal) { return goal.medal == medal && goal.missed > 0; });
}

}  // namespace

std::string_view to_string(Medal medal) {
  return medal == Medal::kBronze ? "bronze" : medal == Medal::kSilver ? "silver" : "gold";
}

void hold_to(Medal medal, std::string_view what, std::int64_t used, std::int64_t allowed) {
  uses().push_back({medal, std::string(what), used, allowed});
}

std::vector<Use> take_uses() { return std::exchange(uses(), {}); }

void add(std::vector<Goal>& goals, const std::vector<Use>& uses, const std::string& where) {
  for (const Use& use : uses) {
    auto goal = std::find_if(goals.begin(), goals.end(), [&use](const Goal& g) {
      return g.medal == use.medal && g.what == use.what;
    });
    if (goal == goals.end()) {
      goals.push_back({.medal = use.medal, .what = use.what, .where = {}});
      goal = std::prev(goals.end());
    }
    ++goal->cases;
    if (use.used <= use.allowed) continue;
    if (++goal->missed > 1 && !further_off(use, *goal)) continue;
    goal->where = where;
    goal->used = use.used;
    goal->allowed = use.allowed;
  }
}

bool reached(const std::vector<Goal>& goals) {
  for (const Medal medal : kMedals) {
    if (has_goals(goals, medal)) return met(goals, medal);
  }
  return true;
}

std::optional<Medal> best(const std::vector<Goal>& goals) {
  if (goals.empty()) return std::nullopt;
  const Medal first = *std::find_if(std::begin(kMedals), std::end(kMedals),
                                    [&goals](Medal medal) { return has_goals(goals, medal); });
  std::optional<Medal> highest;
  for (const Medal medal : kMedals) {
    if (!met(goals, medal)) break;
    if (has_goals(goals, medal) || medal < first) highest = medal;
  }
  return highest;
}

std::string describe(const std::vector<Goal>& goals) {
  if (goals.empty()) return {};
  std::string text;
  for (const Medal medal : kMedals) {
    for (const Goal& goal : goals) {
      if (goal.medal != medal || goal.missed == 0) continue;
      text += fmt::format("  goal not met, {}: {} {}; the goal is at most {}\n    in {}{}\n",
                          to_string(medal), goal.used, goal.what, goal.allowed, goal.where,
                          goal.missed == 1 ? ""
                                           : fmt::format(", and in {} more of {} runs",
                                                         goal.missed - 1, goal.cases));
    }
  }
  const std::optional<Medal> medal = best(goals);
  return text + (medal ? fmt::format("  medal: {}\n", to_string(*medal)) : "  no medal yet\n");
}

}  // namespace attn::verify
