// SPDX-License-Identifier: MIT
#include "common/simt/machine/wait.hpp"

#include <utility>

#include "common/simt/machine/options.hpp"
#include "common/simt/machine/worker.hpp"

namespace attn::simt {

void AsyncWork::begin_block() {
  pending_.clear();
  random_.seed(options().shuffle_seed);
}

void AsyncWork::start(Operation operation) {
  pending_.push_back(std::move(operation));
  if (options().completion == Completion::kEager) complete(pending_.size() - 1);
}

void AsyncWork::after_round() {
  if (options().completion != Completion::kRandom) return;
  while (!pending_.empty() && random_() % 2 == 0) complete(random_() % pending_.size());
}

bool AsyncWork::complete_one() {
  if (pending_.empty()) return false;
  complete(options().completion == Completion::kRandom ? random_() % pending_.size() : 0);
  return true;
}

void AsyncWork::complete(std::size_t place) {
  const Operation operation = std::move(pending_[place]);
  pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(place));
  operation();
}

void Worker::wait_for(const Condition& condition, std::source_location where, bool line_up) {
  if (!line_up && condition.holds()) return;
  current_->waits_for = &condition;
  current_->posted.where = where;
  ++waiting_;
  suspend(State::kWaiting);
}

/// Lets those go on whose conditions hold. False if there are none.
bool Worker::wake() {
  const int before = waiting_;
  for (int rank = 0; waiting_ > 0 && rank < thread_count_; ++rank) {
    Thread& thread = threads_[static_cast<std::size_t>(rank)];
    if (thread.state != State::kWaiting || !thread.waits_for->holds()) continue;
    thread.state = State::kReady;
    --waiting_;
  }
  return waiting_ < before;
}

}  // namespace attn::simt
