// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <unordered_map>

#include "common/simt/watch/counters.hpp"
#include "common/simt/watch/recorder.hpp"

namespace attn::simt {

/// Counts the requests of one launch.
class Tracer {
 public:
  explicit Tracer(std::uintptr_t image_base);

  void request(const Request& request);
  /// So many lanes of a warp do this together.
  void async_event(const AsyncEvent& event, unsigned lanes, std::uint32_t site);
  /// The counts, with every access in the source resolved to its line.
  LaunchRecord finish();

 private:
  struct Site {
    Access access;
    Space space;
    Unit unit;
    SiteTraffic traffic;
  };
  Site& site_of(const Request& request);
  void global(const Request& request, SiteTraffic& site);
  void shared(const Request& request, SiteTraffic& site);
  void tensor_copy(const AsyncEvent& event, std::uint32_t site);

  std::uintptr_t image_base_;
  Arena& arena_;
  Traffic total_;
  std::unordered_map<std::uint64_t, Site> sites_;  // by code address and memory space
  std::uint64_t last_key_ = 0;
  Site* last_site_ = nullptr;
};

/// Makes a launch's record available to take_launches().
void publish(LaunchRecord record);

}  // namespace attn::simt
