// SPDX-License-Identifier: MIT
//
// Of every access in the source the worst request: which lane of the warp asks for which address.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "common/simt/draw/touches.hpp"
#include "common/simt/watch/observer.hpp"

namespace attn::simt::draw {

/// One access in the source to one array, over a launch or several, and its worst request.
struct SeenAccess {
  std::string kernel;
  std::string file;
  int line = 0;
  std::string array;  // as the picture calls it; empty for shared memory
  Access access = Access::kLoad;
  Space space = Space::kGlobal;
  Unit unit = Unit::kLoadStore;
  std::uint8_t bytes = 0;  // per lane
  std::uint64_t requests = 0;
  std::uint64_t cost = 0;  // of all requests: sectors of global memory, wavefronts of shared memory
  std::uint64_t worst = 0;  // of the request below
  std::uint64_t ideal = 0;  // the least that its bytes could cost
  unsigned lanes = 0;
  std::uintptr_t base = 0;    // where the array, or the block's shared memory, begins
  std::size_t element = 0;    // bytes
  std::size_t row_bytes = 0;  // 0 where the array has no rows
  std::array<std::uintptr_t, kWarpSize> addresses{};

  Request request() const {
    return {access,
            space,
            unit,
            bytes,
            /*site=*/0,
            lanes,
            static_cast<unsigned>(std::popcount(lanes)),
            addresses.data(),
            /*values=*/nullptr};
  }
};

class WorstRequests : public Observer {
 public:
  explicit WorstRequests(std::vector<KnownArray> known = {}) : known_(std::move(known)) {}

  void begin_launch(const std::string& kernel, dim3 grid, dim3 block) override;
  void request(int warp, const Request& request) override;

  /// In source order; accesses that the compiler has made several of, as in an unrolled loop, are
  /// one where they are of one kind and to one array.
  std::vector<SeenAccess> accesses() const;

 private:
  struct Key {
    std::string kernel;
    std::uint32_t site;
    Space space;
    std::uintptr_t array;
    auto operator<=>(const Key&) const = default;
  };
  SeenAccess& entry_of(const Request& request);

  std::vector<KnownArray> known_;
  std::string kernel_;
  AddressRange statics_;  // where __shared__ variables lie
  std::uintptr_t image_begin_ = 0;
  std::map<Key, SeenAccess> seen_;
  std::uintptr_t array_begin_ = 0;  // of the array that the last request went to
  std::size_t array_bytes_ = 0;
  std::map<std::string, std::uintptr_t> static_base_;  // by kernel: its lowest static __shared__
};

struct RequestPanel {
  std::string title;
  SeenAccess access;
};
/// The panels below each other; those of shared memory side by side, two in a row.
std::string draw_requests(std::span<const RequestPanel> panels, const std::string& note,
                          const std::string& command);

}  // namespace attn::simt::draw
