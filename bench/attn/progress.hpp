// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

namespace attn::cli {

/// Tells on standard error how far a long command is: one line that is rewritten on a terminal,
/// otherwise a plain line every ten seconds.
class Progress {
 public:
  /// every: between lines where standard error is no terminal.
  explicit Progress(std::chrono::milliseconds every = std::chrono::seconds(10));
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(const std::string& text);
  /// Like show(), for something new: never left out.
  void stage(const std::string& text);
  /// Removes the live line, so that a result can be printed in its place.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;

  std::chrono::milliseconds every_;
  bool terminal_;
  bool shown_ = false;
  Clock::time_point next_;
};

/// Shows how far a long run is, for as long as it lives: on the CPU machine by the blocks of the
/// running kernel, elsewhere by the seconds since it began.
class ShowRun {
 public:
  explicit ShowRun(std::string name);
  ~ShowRun();
  ShowRun(const ShowRun&) = delete;
  ShowRun& operator=(const ShowRun&) = delete;

 private:
  void show();

  std::string name_;
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

}  // namespace attn::cli
