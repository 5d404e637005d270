// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <string>

namespace attn::cli {

/// Tells on standard error how far a long command is: one line that is rewritten on a terminal,
/// otherwise a plain line every ten seconds.
class Progress {
 public:
  Progress();
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

  bool terminal_;
  bool shown_ = false;
  Clock::time_point next_;
};

}  // namespace attn::cli
