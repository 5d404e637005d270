// SPDX-License-Identifier: MIT
//
// Warp collectives: what each lane gets once all lanes named in the mask have arrived.
#include "common/simt/warp.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>

#include "common/simt/recorder.hpp"
#include "common/simt/worker.hpp"

namespace attn::simt {
namespace {

/// The lane that `lane` reads in a shuffle, as the PTX ISA defines shfl.sync for a segment of
/// `width` lanes; outside the segment (or below it, for up) a lane keeps its own value.
int shuffle_source(WarpKind kind, int lane, int argument, int width) {
  argument &= kWarpSize - 1;  // the instruction takes five bits
  const int segment = lane & ~(width - 1);
  const int last = segment + width - 1;
  switch (kind) {
    case WarpKind::kShuffle:
      return segment + (argument & (width - 1));
    case WarpKind::kShuffleUp:
      return lane - argument >= segment ? lane - argument : lane;
    case WarpKind::kShuffleDown:
      return lane + argument <= last ? lane + argument : lane;
    case WarpKind::kShuffleXor:
      return (lane ^ argument) <= last ? lane ^ argument : lane;
    default:
      return lane;
  }
}

bool is_shuffle(WarpKind kind) { return kind >= WarpKind::kShuffle; }

WarpInstructions instructions_of(WarpKind kind, int words) {
  if (is_shuffle(kind)) return {.shuffles = static_cast<std::uint8_t>(words), .votes = 0};
  const bool vote = kind == WarpKind::kAny || kind == WarpKind::kAll || kind == WarpKind::kBallot;
  return {.shuffles = 0, .votes = vote ? std::uint8_t{1} : std::uint8_t{0}};
}

/// The reduction of 32-bit values from `lanes`.
std::uint64_t reduce(WarpKind kind, const std::array<std::uint64_t, kWarpSize>& values,
                     unsigned lanes) {
  const auto one = [&](unsigned rest) {
    return static_cast<std::uint32_t>(values[static_cast<std::size_t>(std::countr_zero(rest))]);
  };
  std::uint32_t result = one(lanes);
  for (unsigned rest = lanes & (lanes - 1); rest != 0; rest &= rest - 1) {
    const std::uint32_t next = one(rest);
    const bool less = static_cast<std::int32_t>(next) < static_cast<std::int32_t>(result);
    switch (kind) {
      case WarpKind::kAdd:
        result += next;
        break;
      case WarpKind::kMin:
        result = std::min(result, next);
        break;
      case WarpKind::kMax:
        result = std::max(result, next);
        break;
      case WarpKind::kMinSigned:
        result = less ? next : result;
        break;
      case WarpKind::kMaxSigned:
        result = less ? result : next;
        break;
      case WarpKind::kAnd:
        result &= next;
        break;
      case WarpKind::kOr:
        result |= next;
        break;
      default:
        result ^= next;
        break;
    }
  }
  return result;
}

/// The lanes of `lanes` that bring what `lane` brings.
unsigned matching(const std::array<std::uint64_t, kWarpSize>& values, unsigned lanes,
                  std::size_t lane) {
  unsigned same = 0;
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    const auto other = static_cast<std::size_t>(std::countr_zero(rest));
    if (values[other] == values[lane]) same |= 1u << other;
  }
  return same;
}

}  // namespace

std::uint64_t warp_collective(WarpKind kind, unsigned mask, std::uint64_t value, int lane,
                              int width, std::source_location where, int words) {
  Worker& worker = Worker::running();
  Thread& self = worker.current();
  const int own = self.rank % kWarpSize;
  active_recorder = nullptr;  // what this function calls is none of the kernel; resuming sets it
  const auto stop = [&](std::string kind_of_bug, std::string what, std::string advice) {
    Detection detection =
        detection_at(worker.grid(), worker.block(), self.index, std::move(kind_of_bug), where);
    detection.what = std::move(what);
    detection.advice = std::move(advice);
    worker.stop(std::move(detection));
  };
  if ((mask >> own & 1u) == 0) {
    stop("incomplete warp mask",
         fmt::format("lane {} calls with mask {:#010x}, which does not name "
                     "it",
                     own, mask),
         "A lane must be in the mask that it passes.");
  }
  if (width < 1 || width > kWarpSize || (width & (width - 1)) != 0) {
    stop("bad shuffle width", fmt::format("width = {}", width),
         "The width of a shuffle is 1, 2, 4, 8, 16 or 32.");
  }
  self.posted = {.where = where,
                 .value = value,
                 .mask = mask,
                 .lane = lane,
                 .width = width,
                 .warp_kind = kind};
  if (worker.grid().recorder != nullptr) {
    worker.grid().recorder->collective(
        mask, kind == WarpKind::kSync,
        reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)),
        instructions_of(kind, words));
  }
  worker.suspend(State::kInCollective);
  return self.posted.value;
}

unsigned active_mask() {
  Worker& worker = Worker::running();
  Posted& posted = worker.current().posted;
  posted.site = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  active_recorder = nullptr;  // as above
  worker.suspend(State::kConverging);
  const auto together = static_cast<unsigned>(posted.value);
  if (Recorder* recorder = active_recorder) {
    active_recorder = nullptr;
    recorder->collective(together, /*orders_memory=*/false, posted.site);
    active_recorder = recorder;
  }
  return together;
}

/// Nothing else in the warp can move: of the lanes in active_mask(), those at the first such place
/// in the code go on together. False if there are none.
bool Worker::converge(int warp) {
  std::uintptr_t first = ~std::uintptr_t{0};
  for (const Thread& thread : warp_threads(warp)) {
    if (thread.state == State::kConverging) first = std::min(first, thread.posted.site);
  }
  std::uint64_t together = 0;
  const auto stands_there = [first](const Thread& thread) {
    return thread.state == State::kConverging && thread.posted.site == first;
  };
  for (const Thread& thread : warp_threads(warp)) {
    if (stands_there(thread)) together |= std::uint64_t{1} << (thread.rank % kWarpSize);
  }
  for (Thread& thread : warp_threads(warp)) {
    if (!stands_there(thread)) continue;
    thread.posted.value = together;
    thread.state = State::kReady;
  }
  return together != 0;
}

/// Whether all lanes that `thread` waits for have arrived at the same collective.
bool Worker::complete(const Thread& thread, int warp) const {
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const int rank = warp * kWarpSize + lane;
    if ((thread.posted.mask >> lane & 1u) == 0 || rank >= thread_count_) continue;
    const Thread& other = this->thread(rank);
    if (other.state == State::kDone) continue;
    if (other.state != State::kInCollective || other.posted.mask != thread.posted.mask ||
        other.posted.warp_kind != thread.posted.warp_kind) {
      return false;
    }
  }
  return true;
}

bool Worker::resolve_collectives(int warp) {
  bool any = false;
  for (const Thread& thread : warp_threads(warp)) {
    if (thread.state == State::kInCollective && complete(thread, warp)) {
      finish_collective(warp, thread.posted.mask);
      any = true;
    }
  }
  return any;
}

void Worker::report_absent_lane(const Thread& thread, int source) const {
  Detection detection = detection_at(*grid_, block_, thread.index, "shuffle from an absent lane",
                                     thread.posted.where);
  detection.what = fmt::format(
      "lane {} reads lane {}, which {}; the value is undefined", thread.rank % kWarpSize, source,
      (thread.posted.mask >> source & 1u) == 0 ? "the mask does not name"
                                               : "has exited or does not exist");
  detection.advice = "Read only lanes that are in the mask and take part in the call.";
  report(std::move(detection));
}

void Worker::finish_collective(int warp, unsigned mask) {
  const std::span<Thread> lanes = warp_threads(warp);
  std::array<std::uint64_t, kWarpSize> values{};
  unsigned arrived = 0;
  unsigned ballot = 0;
  for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
    if ((mask >> lane & 1u) == 0 || lanes[lane].state == State::kDone) continue;
    values[lane] = lanes[lane].posted.value;
    arrived |= 1u << lane;
    ballot |= (lanes[lane].posted.value & 1u) != 0 ? 1u << lane : 0u;
  }
  for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
    if ((arrived >> lane & 1u) == 0) continue;
    Thread& thread = lanes[lane];
    Posted& posted = thread.posted;
    if (is_shuffle(posted.warp_kind)) {
      const int source =
          shuffle_source(posted.warp_kind, static_cast<int>(lane), posted.lane, posted.width);
      if ((arrived >> source & 1u) == 0) {
        values[static_cast<std::size_t>(source)] = ~std::uint64_t{0};  // a NaN, as a float
        if (options().detectors) report_absent_lane(thread, source);
      }
      posted.value = values[static_cast<std::size_t>(source)];
    } else if (posted.warp_kind == WarpKind::kAny) {
      posted.value = ballot != 0 ? 1 : 0;
    } else if (posted.warp_kind == WarpKind::kAll) {
      posted.value = ballot == arrived ? 1 : 0;
    } else if (posted.warp_kind == WarpKind::kBallot) {
      posted.value = ballot;
    } else if (posted.warp_kind == WarpKind::kMatchAny) {
      posted.value = matching(values, arrived, lane);
    } else if (posted.warp_kind == WarpKind::kMatchAll) {
      const unsigned same = matching(values, arrived, lane);
      posted.value = same == arrived ? same : 0;
    } else if (posted.warp_kind != WarpKind::kSync) {
      posted.value = reduce(posted.warp_kind, values, arrived);
    }
    thread.state = State::kReady;
  }
}

}  // namespace attn::simt
