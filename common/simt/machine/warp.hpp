// SPDX-License-Identifier: MIT
//
// Barriers, votes and shuffles. All of them are collectives: a thread posts what it brings, waits
// until everyone it names has arrived, and takes its result. A call that can never complete is
// reported with its source line.
#pragma once

#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

namespace attn::simt {

enum class BarrierKind : std::uint8_t { kSync, kCount, kAnd, kOr };
enum class WarpKind : std::uint8_t {
  kSync,
  kAny,
  kAll,
  kBallot,
  kMatchAny,
  kMatchAll,
  kAdd,
  kMin,
  kMax,
  kMinSigned,
  kMaxSigned,
  kAnd,
  kOr,
  kXor,
  kShuffle,
  kShuffleUp,
  kShuffleDown,
  kShuffleXor
};

/// Waits for all threads of the block that have not exited; returns the reduction of `predicate`.
int barrier(BarrierKind kind, int predicate, std::source_location where);

/// All lanes of the warp arrive at a named barrier, and wait for it to open if `waits`.
void named_barrier(int id, int threads, bool waits, std::source_location where);

/// Waits for all lanes in `mask` that have not exited. `value` is what this lane brings; the
/// result is what the operation gives it. `lane` is CUDA's srcLane, delta or laneMask; `width` a
/// power of two up to 32; `words` of 32 bits each hold the value.
std::uint64_t warp_collective(WarpKind kind, unsigned mask, std::uint64_t value, int lane,
                              int width, std::source_location where, int words = 1);

/// The lanes of this warp that have come to this call, once none of the others can run on without
/// them: what a GPU that lets diverged lanes wait for each other calls active.
unsigned active_mask();

template <class T>
[[gnu::always_inline]] inline std::uint64_t bits_of(T value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <class T>
[[gnu::always_inline]] inline T shuffle(WarpKind kind, unsigned mask, T value, int lane, int width,
                                        std::source_location where) {
  constexpr int kWords = sizeof(T) > 4 ? 2 : 1;
  const std::uint64_t bits =
      warp_collective(kind, mask, bits_of(value), lane, width, where, kWords);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace attn::simt

// Each takes the caller's source line as a hidden last argument, for reports.
#define ATTN_HERE std::source_location where = std::source_location::current()

[[gnu::always_inline]] inline void __syncthreads(ATTN_HERE) {
  attn::simt::barrier(attn::simt::BarrierKind::kSync, 0, where);
}
[[gnu::always_inline]] inline int __syncthreads_count(int predicate, ATTN_HERE) {
  return attn::simt::barrier(attn::simt::BarrierKind::kCount, predicate, where);
}
[[gnu::always_inline]] inline int __syncthreads_and(int predicate, ATTN_HERE) {
  return attn::simt::barrier(attn::simt::BarrierKind::kAnd, predicate, where);
}
[[gnu::always_inline]] inline int __syncthreads_or(int predicate, ATTN_HERE) {
  return attn::simt::barrier(attn::simt::BarrierKind::kOr, predicate, where);
}

[[gnu::always_inline]] inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, ATTN_HERE) {
  attn::simt::warp_collective(attn::simt::WarpKind::kSync, mask, 0, 0, 32, where);
}
[[gnu::always_inline]] inline int __any_sync(unsigned mask, int predicate, ATTN_HERE) {
  return static_cast<int>(attn::simt::warp_collective(attn::simt::WarpKind::kAny, mask,
                                                      predicate != 0 ? 1 : 0, 0, 32, where));
}
[[gnu::always_inline]] inline int __all_sync(unsigned mask, int predicate, ATTN_HERE) {
  return static_cast<int>(attn::simt::warp_collective(attn::simt::WarpKind::kAll, mask,
                                                      predicate != 0 ? 1 : 0, 0, 32, where));
}
[[gnu::always_inline]] inline unsigned __ballot_sync(unsigned mask, int predicate, ATTN_HERE) {
  return static_cast<unsigned>(attn::simt::warp_collective(attn::simt::WarpKind::kBallot, mask,
                                                           predicate != 0 ? 1 : 0, 0, 32, where));
}
[[gnu::always_inline]] inline unsigned __activemask() { return attn::simt::active_mask(); }
/// The lanes of the mask that bring the same value as this one.
template <class T>
[[gnu::always_inline]] inline unsigned __match_any_sync(unsigned mask, T value, ATTN_HERE) {
  return static_cast<unsigned>(attn::simt::shuffle(attn::simt::WarpKind::kMatchAny, mask,
                                                   attn::simt::bits_of(value), 0, 32, where));
}
/// The mask if all its lanes bring the same value, else 0; *all says which.
template <class T>
[[gnu::always_inline]] inline unsigned __match_all_sync(unsigned mask, T value, int* all,
                                                        ATTN_HERE) {
  const auto same = static_cast<unsigned>(attn::simt::shuffle(
      attn::simt::WarpKind::kMatchAll, mask, attn::simt::bits_of(value), 0, 32, where));
  *all = same != 0 ? 1 : 0;
  return same;
}

#define ATTN_REDUCE(name, T, kind)                                                     \
  [[gnu::always_inline]] inline T name(unsigned mask, T value, ATTN_HERE) {            \
    return attn::simt::shuffle(attn::simt::WarpKind::kind, mask, value, 0, 32, where); \
  }
ATTN_REDUCE(__reduce_add_sync, unsigned, kAdd)
ATTN_REDUCE(__reduce_add_sync, int, kAdd)
ATTN_REDUCE(__reduce_min_sync, unsigned, kMin)
ATTN_REDUCE(__reduce_min_sync, int, kMinSigned)
ATTN_REDUCE(__reduce_max_sync, unsigned, kMax)
ATTN_REDUCE(__reduce_max_sync, int, kMaxSigned)
ATTN_REDUCE(__reduce_and_sync, unsigned, kAnd)
ATTN_REDUCE(__reduce_or_sync, unsigned, kOr)
ATTN_REDUCE(__reduce_xor_sync, unsigned, kXor)
#undef ATTN_REDUCE

template <class T>
[[gnu::always_inline]] inline T __shfl_sync(unsigned mask, T value, int source_lane, int width = 32,
                                            ATTN_HERE) {
  return attn::simt::shuffle(attn::simt::WarpKind::kShuffle, mask, value, source_lane, width,
                             where);
}
template <class T>
[[gnu::always_inline]] inline T __shfl_up_sync(unsigned mask, T value, unsigned delta,
                                               int width = 32, ATTN_HERE) {
  return attn::simt::shuffle(attn::simt::WarpKind::kShuffleUp, mask, value, static_cast<int>(delta),
                             width, where);
}
template <class T>
[[gnu::always_inline]] inline T __shfl_down_sync(unsigned mask, T value, unsigned delta,
                                                 int width = 32, ATTN_HERE) {
  return attn::simt::shuffle(attn::simt::WarpKind::kShuffleDown, mask, value,
                             static_cast<int>(delta), width, where);
}
template <class T>
[[gnu::always_inline]] inline T __shfl_xor_sync(unsigned mask, T value, int lane_mask,
                                                int width = 32, ATTN_HERE) {
  return attn::simt::shuffle(attn::simt::WarpKind::kShuffleXor, mask, value, lane_mask, width,
                             where);
}

#undef ATTN_HERE
