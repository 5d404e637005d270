// SPDX-License-Identifier: MIT
#include "bench/attn/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace attn::cli {

Progress::Progress() : terminal_(::isatty(STDERR_FILENO) != 0), next_(Clock::now()) {
  if (!terminal_) next_ += std::chrono::seconds(10);
}

void Progress::show(const std::string& text) {
  const Clock::time_point now = Clock::now();
  if (now < next_) return;
  if (terminal_) {
    fmt::print(stderr, "\r\x1b[K{}", text);
    next_ = now + std::chrono::milliseconds(50);
  } else {
    fmt::print(stderr, "{}\n", text);
    next_ = now + std::chrono::seconds(10);
  }
  std::fflush(stderr);
  shown_ = true;
}

void Progress::stage(const std::string& text) {
  next_ = Clock::now();
  show(text);
}

void Progress::clear() {
  if (terminal_ && shown_) fmt::print(stderr, "\r\x1b[K");
  shown_ = false;
}

}  // namespace attn::cli
