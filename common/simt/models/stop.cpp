// SPDX-License-Identifier: MIT
#include "common/simt/models/stop.hpp"

#include <utility>

#include "common/simt/machine/worker.hpp"
#include "common/simt/watch/recorder.hpp"

namespace attn::simt {

void stop(std::string kind, std::string what, std::string advice, std::source_location where) {
  active_recorder = nullptr;  // what comes now is none of the kernel
  Worker& worker = Worker::running();
  Detection detection =
      detection_at(worker.grid(), worker.block(), worker.current().index, std::move(kind), where);
  detection.what = std::move(what);
  detection.advice = std::move(advice);
  worker.stop(std::move(detection));
}

}  // namespace attn::simt
