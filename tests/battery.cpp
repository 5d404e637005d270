// SPDX-License-Identifier: MIT
#include "tests/battery.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/verify/check.hpp"
#include "tests/catch.hpp"

#ifdef ATTN_USE_CUDA
#include <cuda_runtime_api.h>
#endif

namespace attn::testing {
namespace {

/// With sanitizers a chapter's last step stands for those on the way to it, which share its helpers
/// and are watched by the detectors without.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

}  // namespace

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

void print(const verify::CheckReport& report) {
  fmt::print("{}", describe(report));  // not through Catch2, which would wrap the lines
  std::fflush(stdout);                 // the other steps take a minute
}

void require_right(const Chapter& chapter, const Step& step, Pass pass) {
  verify::CheckOptions options = verify::options_from_environment();
  options.extent = verify::extent_of_step(chapter, step, pass, options.extent);
  options.crowded = !is_twin(chapter, step);  // which has no grid
  const verify::CheckReport report = verify::check(chapter, step, pass, options);
  print(report);
  INFO(fmt::format("{} {} {}: {} cases run", chapter.id, step.id, to_string(pass), report.cases));
  CHECK(report.passed());
}

/// Fails if a kernel of the chapter never ends, before anything that takes long; looks once.
void require_an_end(const Chapter& chapter) {
  static std::map<std::string_view, std::string> endless;  // the step, by chapter; or nothing
  const auto [found, first] = endless.try_emplace(chapter.id);
  if (first) {
    std::vector<const Step*> steps;
    for (const Step& step : chapter.steps) steps.push_back(&step);
    if (const auto report = verify::find_endless(chapter, steps)) {
      print(report->report);
      found->second = report->step->id;
    }
  }
  if (!found->second.empty()) {
    FAIL(chapter.id << " " << found->second << ": a kernel never ends; nothing else was checked");
  }
}

}  // namespace

void require_right(const Chapter& chapter, Pass pass) {
  if (device_is_missing()) {
    fmt::print("skipped: no CUDA device\n");
    return;
  }
  require_an_end(chapter);
  const auto has_pass = [pass](const Step& step) {
    return pass == Pass::kForward ? step.forward != nullptr : step.backward != nullptr;
  };
  int checked = 0;
  for (const Step& step : chapter.steps) {
    if (!has_pass(step)) continue;
    if (kSanitized && &step != default_step(chapter, pass)) continue;
    require_right(chapter, step, pass);
    ++checked;
  }
  for (const Step* twin : twins_of(chapter)) {
    if (!has_pass(*twin)) continue;
    require_right(chapter, *twin, pass);
    ++checked;
  }
  CHECK(checked > 0);
}

}  // namespace attn::testing
