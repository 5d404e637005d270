// SPDX-License-Identifier: MIT
//
// How the CPU machine runs: what it watches, in which order, on how many cores. Process-wide; set
// it while no kernel runs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace attn::simt {

/// The order in which threads of a warp, warps of a block and blocks of a grid get their turn. A
/// correct kernel gives the same result, and the same counters, under every order.
enum class Order { kForward, kReversed, kShuffled };

/// When work is done that a block has started and goes on without it (wait.hpp): when nobody can
/// run any more, in the order of its start; at once; or at random.
enum class Completion { kLate, kEager, kRandom };
inline constexpr std::array kAllCompletions = {Completion::kLate, Completion::kEager,
                                               Completion::kRandom};
constexpr std::string_view to_string(Completion completion) {
  constexpr std::array<std::string_view, kAllCompletions.size()> kNames = {"late", "eager",
                                                                           "random"};
  return kNames[static_cast<std::size_t>(completion)];
}

/// How an mma adds up its 16 products and what was there before: in float32, one product after the
/// other in the order of k; or as measurements show that tensor cores do it (models/product.hpp).
enum class Accumulation { kInOrder, kA100, kH100 };
inline constexpr std::array kAllAccumulations = {Accumulation::kInOrder, Accumulation::kA100,
                                                 Accumulation::kH100};
constexpr std::string_view to_string(Accumulation accumulation) {
  constexpr std::array<std::string_view, kAllAccumulations.size()> kNames = {"in-order", "A100",
                                                                             "H100"};
  return kNames[static_cast<std::size_t>(accumulation)];
}

class Observer;

struct Options {
  bool detectors = false;  // find out-of-bounds, uninitialised, racing accesses
  bool tracer = false;     // count memory traffic; fetch it with take_launches()
  Order order = Order::kForward;
  std::uint64_t shuffle_seed = 1;  // for all that is random
  Completion completion = Completion::kLate;
  Accumulation accumulation = Accumulation::kInOrder;
  /// OS threads that run blocks; 0 means one per core, or ATTN_SIMT_THREADS where that is set. With
  /// tracer, detectors or an observer, blocks run one after the other on the calling thread.
  unsigned workers = 0;
  /// Steps that one block may take, memory accesses and pieces of straight-line code of all its
  /// threads (and turns of its warps, each worth some), before it counts as one that never ends; 0
  /// means ATTN_SIMT_STEPS where that is set, otherwise kSteps, or expected_steps if that is more.
  std::int64_t steps = 0;
  std::int64_t expected_steps = 0;  // plenty for the problem at hand
  /// So many blocks at either end of a grid run, and those between them do not; 0: all run. For
  /// grids of which only the size is of interest.
  std::int64_t end_blocks = 0;
  Observer* observer = nullptr;  // is told of every access (watch/observer.hpp)
};

/// Watched, a core takes some 30 to 60 million steps a second; unwatched, ten times as many.
inline constexpr std::int64_t kSteps = 200'000'000;

Options& options();

}  // namespace attn::simt
