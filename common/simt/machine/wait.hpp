// SPDX-License-Identifier: MIT
//
// Inside the machine: waiting for something other than one's own warp or __syncthreads, and work
// that is done while threads go on.
#pragma once

#include <functional>
#include <random>
#include <string>
#include <vector>

namespace attn::simt {

/// What a thread waits for. Lives on the waiting thread's stack.
class Condition {
 public:
  /// Whether the thread may go on. Asked after each round of the block's warps.
  virtual bool holds() const = 0;
  /// "named barrier 1: 32 of 64 threads have arrived", for the report of a deadlock.
  virtual std::string state() const = 0;

 protected:
  ~Condition() = default;
};

/// Work that a block has started and that is done some time later: a copy, a product. When, is up
/// to Options::completion; a correct kernel works with all of them.
class AsyncWork {
 public:
  using Operation = std::function<void()>;

  void begin_block();
  void start(Operation operation);
  /// After a round of the block's warps: completes some, if that is random.
  void after_round();
  /// Nobody can run on: completes one. False if there is none.
  bool complete_one();

 private:
  void complete(std::size_t place);

  std::vector<Operation> pending_;  // in the order of their start
  std::mt19937_64 random_;
};

}  // namespace attn::simt
