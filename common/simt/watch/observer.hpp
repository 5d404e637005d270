// SPDX-License-Identifier: MIT
//
// For whoever wants to see what a launch does, access by access and in its order: pictures, tests.
// Put an Observer into options().observer, launch, take it out again. While it is there, blocks run
// one after the other on the calling thread, as they do for the tracer.
//
// The order is the CPU machine's: between two barriers of the block the first warp goes first, then
// the second, and so on. A GPU may mix the warps, and runs blocks side by side.
#pragma once

#include <source_location>
#include <string>

#include "common/simt/watch/recorder.hpp"

namespace attn::simt {

class Observer {
 public:
  virtual ~Observer() = default;

  virtual void begin_launch(const std::string& /*kernel*/, dim3 /*grid*/, dim3 /*block*/) {}
  virtual void begin_block(uint3 /*block*/) {}
  /// One access of a warp of the block: which lanes touch which addresses. Arena::array_at() says
  /// which array a global address belongs to.
  virtual void request(int /*warp*/, const Request& /*request*/) {}
  /// These lanes of a warp of the block do something to an mbarrier, to the async proxy, or through
  /// TMA. A wait is told when it returns, a copy when it starts.
  virtual void async_event(int /*warp*/, unsigned /*lanes*/, const AsyncEvent& /*event*/) {}
  /// A warp issues its part of a product of its warpgroup.
  virtual void wgmma(int /*warp*/) {}
  /// All threads of the block have come to a barrier, and go on.
  virtual void barrier(const std::source_location& /*where*/) {}
};

}  // namespace attn::simt
