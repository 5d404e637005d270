// SPDX-License-Identifier: MIT
//
// Named barriers: barriers 1 to 15 of a block, each for as many threads as the calls say. A warp
// counts as 32 threads, and either waits or only arrives. When enough have come, those that wait go
// on, and the next phase begins with nobody.
#pragma once

#include <array>
#include <cstdint>
#include <source_location>

#include "common/simt/watch/clocks.hpp"

namespace attn::simt {

class Worker;

/// The named barriers of the block that runs.
class NamedBarriers {
 public:
  static constexpr int kCount = 16;  // barrier 0 is __syncthreads

  struct Barrier {
    int threads = 0;  // that this phase is for; the rest is of this phase, too
    int arrived = 0;
    unsigned warps = 0;          // that have arrived
    unsigned waiting = 0;        // of them, those that wait
    std::source_location where;  // of the last arrival
    Knowledge knowledge{};       // of those that have arrived
    std::uint64_t phase = 0;     // how many have ended
  };

  void begin_block() { barriers_ = {}; }
  /// All lanes of the warp have come to a call. Returns the phase that it arrives in.
  std::uint64_t arrive(Worker& worker, int warp, int id, int threads, bool waits,
                       std::source_location where);
  const Barrier& barrier(int id) const { return barriers_[static_cast<std::size_t>(id)]; }
  /// Warns of arrivals that nobody has waited for.
  void end_block(const Worker& worker) const;

 private:
  std::array<Barrier, kCount> barriers_{};
};

}  // namespace attn::simt
