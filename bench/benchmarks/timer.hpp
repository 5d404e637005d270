// SPDX-License-Identifier: MIT
//
// How one call is timed: by the clock on the CPU, by events on a GPU.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace attn::bench {

/// True in programs that run kernels on a GPU.
bool on_gpu();

/// Empty if there is something to run on, else why not.
std::string missing_device();

/// What a result means nothing without: processor or GPU, clocks, compiler, versions.
std::vector<std::pair<std::string, std::string>> context();

/// How often the GPU must write its flush buffer before a call, so that it is still writing when
/// the host has queued all of the call: otherwise the host's part of a short call would be timed.
/// `queueing`: what the host took to queue the last one; `flush`: what one write takes; both in
/// seconds.
int flushes_before(double queueing, double flush);

/// Whether a case is not worth beginning with: eight of its calls, the fewest that it needs to be
/// warm and timed, do not fit into what is left; in seconds.
bool is_too_long(double call, double left);

/// Times single calls. On a GPU: two CUDA events around the call, its caches flushed before by
/// writing a buffer of twice the L2 cache, as often as flushes_before() says; the call only
/// launches, and the events wait.
class Timer {
 public:
  Timer();
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  /// Seconds of one call.
  double seconds(const std::function<void()>& call);

 private:
  struct Device;
  std::unique_ptr<Device> device_;
};

}  // namespace attn::bench
