// SPDX-License-Identifier: MIT
#include "bench/attn/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#if !defined(ATTN_USE_CUDA) && ATTN_HAS_DEVICE
#include "common/simt/cuda/launch.hpp"
#endif

namespace attn::cli {

Progress::Progress(std::chrono::milliseconds every)
    : every_(every), terminal_(::isatty(STDERR_FILENO) != 0), next_(Clock::now()) {
  if (!terminal_) next_ += every_;
}

void Progress::show(const std::string& text) {
  const Clock::time_point now = Clock::now();
  if (now < next_) return;
  if (terminal_) {
    fmt::print(stderr, "\r\x1b[K{}", text);
    next_ = now + std::chrono::milliseconds(50);
  } else {
    fmt::print(stderr, "{}\n", text);
    next_ = now + every_;
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

ShowRun::ShowRun(std::string name) : name_(std::move(name)), thread_([this] { show(); }) {}

ShowRun::~ShowRun() {
  done_ = true;
  thread_.join();
}

void ShowRun::show() {
  const auto start = std::chrono::steady_clock::now();
  Progress progress;
  while (!done_) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    std::string text = fmt::format("{}: {:.0f} s", name_, passed.count());
#if !defined(ATTN_USE_CUDA) && ATTN_HAS_DEVICE
    const simt::LaunchProgress launch = simt::launch_progress();
    if (launch.blocks > 0) text += fmt::format(", block {} of {}", launch.started, launch.blocks);
#endif
    if (passed.count() > 0.5) progress.show(text);
  }
}

}  // namespace attn::cli
