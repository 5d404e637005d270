// SPDX-License-Identifier: MIT
#include "common/simt/cuda/program/chevrons.hpp"

#include <cstdio>

#include "common/simt/machine/worker.hpp"

namespace attn::simt {

void run_program_grid(const LaunchConfig& config, void (*body)(void*), void* data) {
  try {
    run_grid(config, body, data);
  } catch (const LaunchRefused& refused) {
    std::fprintf(stderr, "%s\n", refused.what());
    remember_failed_launch(refused.error, /*began=*/false);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    remember_failed_launch(cudaErrorLaunchFailure, /*began=*/true);
  }
}

}  // namespace attn::simt
