// SPDX-License-Identifier: MIT
#include "common/simt/program/chevrons.hpp"

#include <cstdio>

#include "common/attention.hpp"

namespace attn::simt {

void run_program_grid(const LaunchConfig& config, void (*body)(void*), void* data) {
  try {
    run_grid(config, body, data);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    remember_launch_failure();
  }
}

}  // namespace attn::simt
