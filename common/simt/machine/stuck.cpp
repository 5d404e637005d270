// SPDX-License-Identifier: MIT
//
// Nobody in a block can run, and nothing is under way: who waits for what, and why in vain.
#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "common/simt/machine/worker.hpp"

namespace attn::simt {

void Worker::report_stuck() {
  report_mismatch();
  warpgroups_.report_stuck(*this);
  report_deadlock();
  throw Error(ErrorKind::kDeviceFailure, "CPU machine: a block made no progress");
}

/// Some lane waits for another of its warp that stands elsewhere: reports the first such pair.
void Worker::report_mismatch() {
  for (int rank = 0; rank < thread_count_; ++rank) {
    const Thread& thread = threads_[static_cast<std::size_t>(rank)];
    if (thread.state != State::kInCollective) continue;
    const int warp = rank / kWarpSize;
    const char* aligned = thread.posted.collective->aligned;
    for (const Thread& other : warp_threads(warp)) {
      const int lane = other.rank % kWarpSize;
      if ((thread.posted.mask >> lane & 1u) == 0 || other.state == State::kDone) continue;
      const bool same =
          other.state == State::kInCollective && other.posted.same_call(thread.posted);
      if (same) continue;
      const std::string there =
          fmt::format("lane {} (thread {}) is at {}:{} instead", lane, to_string(other.index),
                      other.posted.where.file_name(), other.posted.where.line());
      Detection detection =
          detection_at(*grid_, block_, thread.index, "incomplete warp mask", thread.posted.where);
      if (aligned != nullptr) {
        detection.kind = fmt::format("divergent {}", aligned);
        detection.what =
            fmt::format("lane {} waits here for its whole warp; {}", rank % kWarpSize, there);
        detection.advice = fmt::format("All lanes of a warp must come to a {} together.", aligned);
        stop_block(std::move(detection));
      }
      detection.what = fmt::format("lane {} waits here for the lanes in mask {:#010x}; {}{}",
                                   rank % kWarpSize, thread.posted.mask, there,
                                   other.state == State::kInCollective
                                       ? fmt::format(" with mask {:#010x}", other.posted.mask)
                                       : std::string());
      detection.advice =
          "All lanes named in the mask must reach the same call with the same mask: move the call "
          "out of the branch, or name only the lanes that take it.";
      stop_block(std::move(detection));
    }
  }
}

/// Some threads wait for conditions, and the others for those threads.
void Worker::report_deadlock() {
  int alive = 0, at_barrier = 0;
  for (int rank = 0; rank < thread_count_; ++rank) {
    alive += thread(rank).state != State::kDone ? 1 : 0;
    at_barrier += thread(rank).state == State::kAtBarrier ? 1 : 0;
  }
  struct Group {  // of threads that wait for the same
    const Thread* first;
    std::string state;
    int count;
  };
  std::vector<Group> groups;
  for (int rank = 0; rank < thread_count_; ++rank) {
    const Thread& waiting = thread(rank);
    std::string state;
    if (waiting.state == State::kWaiting) state = waiting.waits_for->state();
    if (waiting.state == State::kAtBarrier) {
      state = fmt::format("__syncthreads: {} of {} threads have arrived", at_barrier, alive);
    }
    if (state.empty()) continue;
    const auto same = [&](const Group& group) {
      const std::source_location &a = group.first->posted.where, &b = waiting.posted.where;
      return group.state == state && a.line() == b.line() &&
             std::string_view(a.file_name()) == b.file_name();
    };
    const auto group = std::find_if(groups.begin(), groups.end(), same);
    if (group != groups.end()) {
      ++group->count;
    } else {
      groups.push_back({&waiting, std::move(state), 1});
    }
  }
  const auto waits = [](const Group& group) { return group.first->state == State::kWaiting; };
  const auto first = std::find_if(groups.begin(), groups.end(), waits);
  if (first == groups.end()) return;
  Detection detection =
      detection_at(*grid_, block_, first->first->index, "deadlock", first->first->posted.where);
  for (const Group& group : groups) {
    const std::source_location& where = group.first->posted.where;
    detection.what +=
        fmt::format("{}{} thread{} from {} on wait{} at {}:{} for {}",
                    detection.what.empty() ? "nobody can go on: " : "; ", group.count,
                    group.count == 1 ? "" : "s", to_string(group.first->index),
                    group.count == 1 ? "s" : "", where.file_name(), where.line(), group.state);
  }
  detection.what += mbarriers_.states_beside(detection.what);
  detection.advice =
      "Who should have come, or come once more, and where is it now? Does a count name threads "
      "that never come by?";
  stop_block(std::move(detection));
}

}  // namespace attn::simt
