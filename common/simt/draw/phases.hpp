// SPDX-License-Identifier: MIT
//
// A block whose warps hand tiles to each other through mbarriers: what the first warp of each
// warpgroup does, in the machine's order, and the phases of each mbarrier below. A column is an
// event; a GPU needs more clocks for some than for others, and lets warps overlap.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/simt/draw/touches.hpp"
#include "common/simt/watch/observer.hpp"

namespace attn::simt::draw {

class Phases : public Observer {
 public:
  static constexpr int kColumns = 72;  // that are kept

  enum class Kind : std::uint8_t { kAsk, kWait, kProducts, kRelease, kStore };
  struct Event {
    int column;
    int warpgroup;
    Kind kind;
    std::uint16_t barrier;  // of kAsk, kWait, kRelease
  };
  struct Barrier {
    std::string array;  // whose tiles it is about
    int stage = 0;      // the how manieth of the array's barriers of its sort
    bool full = false;  // it counts bytes; else only arrivals
    // By phase: where bytes were announced, and where somebody first saw the phase ended.
    std::vector<int> asked, seen;
    // By phase: arrivals without bytes, and where the latest of them was.
    std::map<std::uint32_t, std::pair<int, int>> arrived;

    std::string name() const;       // "K0"
    std::vector<int> ends() const;  // by phase: the column that it ends in
  };
  /// The first block of a launch.
  struct Block {
    std::string kernel;
    int warpgroups = 0;
    int columns = 0;
    bool cut = false;  // there are more
    std::vector<Event> events;
    std::vector<Barrier> barriers;  // in the order of their init
  };

  explicit Phases(std::vector<KnownArray> known) : known_(std::move(known)) {}

  void begin_launch(const std::string& kernel, dim3 grid, dim3 block) override;
  void begin_block(uint3 block) override;
  void async_event(int warp, unsigned lanes, const AsyncEvent& event) override;
  void wgmma(int warp) override;

  /// Of the first launch that has mbarriers; none in `barriers` if no launch has.
  const Block& block();

 private:
  void add(int warp, Kind kind, std::uint16_t barrier);
  std::string array_at(std::uintptr_t address) const;
  void name_barriers(int warp, const AsyncEvent& load);

  std::vector<KnownArray> known_;
  Block block_;
  std::map<int, std::uint16_t> last_wait_;  // by warp, since its last load
  bool open_ = false, seen_ = false;
};

struct PhasesPanel {
  std::string title;
  const Phases::Block* block;
};
/// The panels below each other.
std::string draw_phases(std::span<const PhasesPanel> panels, const std::string& note,
                        const std::string& command);

}  // namespace attn::simt::draw
