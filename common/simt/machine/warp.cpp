// SPDX-License-Identifier: MIT
//
// Shuffles, votes, matches and reductions: what each lane gets once all lanes named in the mask
// have arrived.
#include "common/simt/machine/warp.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "common/simt/machine/collective.hpp"
#include "common/simt/machine/options.hpp"
#include "common/simt/machine/worker.hpp"
#include "common/simt/watch/recorder.hpp"

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

constexpr bool is_shuffle(WarpKind kind) { return kind >= WarpKind::kShuffle; }

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

/// What a lane posts, and where it finds its result.
struct Operand {
  std::uint64_t value;
  int lane;
  int width;
};

void report_absent_lane(const Meeting& meeting, std::size_t lane, int source) {
  const Worker& worker = meeting.worker;
  const Thread& thread = worker.thread(meeting.warp * kWarpSize + static_cast<int>(lane));
  Detection detection = detection_at(worker.grid(), worker.block(), thread.index,
                                     "shuffle from an absent lane", thread.posted.where);
  detection.what =
      fmt::format("lane {} reads lane {}, which {}; the value is undefined", lane, source,
                  (thread.posted.mask >> source & 1u) == 0 ? "the mask does not name"
                                                           : "has exited or does not exist");
  detection.advice = "Read only lanes that are in the mask and take part in the call.";
  report(std::move(detection));
}

template <WarpKind kKind>
void run(const Meeting& meeting) {
  const unsigned arrived = meeting.lanes;
  std::array<std::uint64_t, kWarpSize> values{};
  unsigned ballot = 0;
  const auto operand = [&meeting](std::size_t lane) -> Operand& {
    return *static_cast<Operand*>(meeting.operands[lane]);
  };
  for (unsigned rest = arrived; rest != 0; rest &= rest - 1) {
    const auto lane = static_cast<std::size_t>(std::countr_zero(rest));
    values[lane] = operand(lane).value;
    ballot |= (values[lane] & 1u) != 0 ? 1u << lane : 0u;
  }
  for (unsigned rest = arrived; rest != 0; rest &= rest - 1) {
    const auto lane = static_cast<std::size_t>(std::countr_zero(rest));
    Operand& own = operand(lane);
    if constexpr (is_shuffle(kKind)) {
      const int source = shuffle_source(kKind, static_cast<int>(lane), own.lane, own.width);
      if ((arrived >> source & 1u) == 0) {
        values[static_cast<std::size_t>(source)] = ~std::uint64_t{0};  // a NaN, as a float
        if (options().detectors) report_absent_lane(meeting, lane, source);
      }
      own.value = values[static_cast<std::size_t>(source)];
    } else if constexpr (kKind == WarpKind::kAny) {
      own.value = ballot != 0 ? 1 : 0;
    } else if constexpr (kKind == WarpKind::kAll) {
      own.value = ballot == arrived ? 1 : 0;
    } else if constexpr (kKind == WarpKind::kBallot) {
      own.value = ballot;
    } else if constexpr (kKind == WarpKind::kMatchAny) {
      own.value = matching(values, arrived, lane);
    } else if constexpr (kKind == WarpKind::kMatchAll) {
      const unsigned same = matching(values, arrived, lane);
      own.value = same == arrived ? same : 0;
    } else if constexpr (kKind != WarpKind::kSync) {
      own.value = reduce(kKind, values, arrived);
    }
  }
}

constexpr std::size_t kKinds = static_cast<std::size_t>(WarpKind::kShuffleXor) + 1;

template <std::size_t... I>
constexpr std::array<Collective, kKinds> collectives(std::index_sequence<I...>) {
  return {Collective{.run = run<static_cast<WarpKind>(I)>,
                     .orders_memory = static_cast<WarpKind>(I) == WarpKind::kSync}...};
}
constexpr std::array<Collective, kKinds> kCollectives =
    collectives(std::make_index_sequence<kKinds>());

}  // namespace

std::uint64_t warp_collective(WarpKind kind, unsigned mask, std::uint64_t value, int lane,
                              int width, std::source_location where, int words) {
  if (width < 1 || width > kWarpSize || (width & (width - 1)) != 0) {
    active_recorder = nullptr;  // what comes now is none of the kernel
    Worker& worker = Worker::running();
    Detection detection = detection_at(worker.grid(), worker.block(), worker.current().index,
                                       "bad shuffle width", where);
    detection.what = fmt::format("width = {}", width);
    detection.advice = "The width of a shuffle is 1, 2, 4, 8, 16 or 32.";
    worker.stop(std::move(detection));
  }
  Operand operand{.value = value, .lane = lane, .width = width};
  meet(kCollectives[static_cast<std::size_t>(kind)], mask, &operand, where,
       __builtin_return_address(0), instructions_of(kind, words));
  return operand.value;
}

}  // namespace attn::simt
