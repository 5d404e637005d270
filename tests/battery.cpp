// SPDX-License-Identifier: MIT
#include "tests/battery.hpp"

#include <fmt/format.h>

#include "common/verify/check.hpp"
#include "tests/catch.hpp"

#ifdef ATTN_USE_CUDA
#include <cuda_runtime_api.h>
#endif

namespace attn::testing {

bool device_is_missing() {
#ifdef ATTN_USE_CUDA
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  return status == cudaErrorNoDevice || status == cudaErrorInsufficientDriver ||
         (status == cudaSuccess && devices == 0);
#else
  return false;
#endif
}

namespace {

void require_right(const Chapter& chapter, const Step& step, Pass pass) {
  const verify::CheckReport report =
      verify::check(chapter, step, pass, verify::options_from_environment());
  fmt::print("{}", describe(report));  // not through Catch2, which would wrap the lines
  INFO(fmt::format("{} {} {}: {} cases run", chapter.id, step.id, to_string(pass), report.cases));
  CHECK(report.passed());
}

}  // namespace

void require_right(const Chapter& chapter, Pass pass) {
  if (device_is_missing()) {
    fmt::print("skipped: no CUDA device\n");
    return;
  }
  const auto has_pass = [pass](const Step& step) {
    return pass == Pass::kForward ? step.forward != nullptr : step.backward != nullptr;
  };
  int checked = 0;
  for (const Step& step : chapter.steps) {
    if (!has_pass(step)) continue;
    require_right(chapter, step, pass);
    ++checked;
  }
  if (chapter.twin != nullptr && has_pass(*chapter.twin)) {
    require_right(chapter, *chapter.twin, pass);
    ++checked;
  }
  CHECK(checked > 0);
}

}  // namespace attn::testing
