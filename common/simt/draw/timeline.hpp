// SPDX-License-Identifier: MIT
//
// A block between its barriers: how many accesses each warp makes, and who waits for whom. The unit
// of time is an access of a warp, a request; a GPU needs more clocks for some than for others.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/simt/watch/observer.hpp"

namespace attn::simt::draw {

class Timeline : public Observer {
 public:
  static constexpr std::size_t kStretches = 12;  // that are kept; the others are only counted

  enum Kind : std::size_t { kGlobalLoad, kShared, kGlobalStore, kMatrixLoad, kAsyncCopy, kKinds };
  using Requests = std::array<std::uint64_t, kKinds>;

  /// What the warps do from one barrier to the next.
  struct Stretch {
    std::vector<Requests> warps;
    int barrier_line = 0;  // of the barrier at its end; 0: the end of the kernel

    std::uint64_t longest() const;
  };
  /// The first block of a launch.
  struct Block {
    std::string kernel;
    std::vector<Stretch> stretches;
    bool cut = false;  // there are more stretches
    std::uint64_t barriers = 0;
    std::uint64_t work = 0;  // requests of all warps
    std::uint64_t time = 0;  // the longest warp of each stretch, times the number of warps
  };

  void begin_launch(const std::string& kernel, dim3 grid, dim3 block) override;
  void begin_block(uint3 block) override;
  void request(int warp, const Request& request) override;
  void barrier(const std::source_location& where) override;

  /// Of the launches, the first with the most barriers. Its `barriers` is 0 if none has any.
  const Block& block();

 private:
  void end_stretch(int barrier_line);
  void end_block();

  Block best_;
  Block block_;  // the running launch's first
  Stretch stretch_;
  std::size_t warps_ = 0;
  bool open_ = false;  // block_ is running
  bool seen_ = false;  // block_ has begun
};

struct TimelinePanel {
  std::string title;
  const Timeline::Block* block;
};
/// The panels below each other.
std::string draw_timelines(std::span<const TimelinePanel> panels, const std::string& note,
                           const std::string& command);

}  // namespace attn::simt::draw
