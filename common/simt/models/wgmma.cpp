// SPDX-License-Identifier: MIT
#include "common/simt/models/wgmma.hpp"

#include "common/simt/machine/worker.hpp"
#include "common/simt/models/warpgroups.hpp"
#include "common/simt/watch/recorder.hpp"

namespace attn::simt {
namespace {

/// What the machine does meanwhile is none of the kernel.
class Unrecorded {
 public:
  Unrecorded() { active_recorder = nullptr; }
  ~Unrecorded() { active_recorder = recorder_; }
  Unrecorded(const Unrecorded&) = delete;
  Unrecorded& operator=(const Unrecorded&) = delete;
  Recorder* recorder() const { return recorder_; }

 private:
  Recorder* recorder_ = active_recorder;
};

Warpgroups& warpgroups() { return Worker::running().warpgroups(); }

}  // namespace

void wgmma(const Wgmma& product, std::source_location where) {
  const Unrecorded unrecorded;
  const std::size_t number = warpgroups().issue(product, where);
  if (unrecorded.recorder() != nullptr) {
    unrecorded.recorder()->wgmma(number,
                                 reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)));
  }
}

void wgmma_fence(std::source_location where) {
  const Unrecorded unrecorded;
  warpgroups().step(Warpgroups::Kind::kFence, 0, where);
  warpgroups().fence();
}

void wgmma_commit(std::source_location where) {
  const Unrecorded unrecorded;
  warpgroups().step(Warpgroups::Kind::kCommit, 0, where);
  warpgroups().commit();
}

void wgmma_wait(int pending, std::source_location where) {
  const Unrecorded unrecorded;
  warpgroups().step(Warpgroups::Kind::kWait, pending, where);
  const std::size_t products = warpgroups().wait(pending, where);
  active_recorder = nullptr;  // resuming has set it
  if (unrecorded.recorder() != nullptr) {
    unrecorded.recorder()->wgmma_done(
        products, reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)));
  }
}

void wgmma_results(const float* accumulator, int tiles, std::source_location where) {
  const Unrecorded unrecorded;
  warpgroups().require_delivered(accumulator, tiles, where);
}

}  // namespace attn::simt
