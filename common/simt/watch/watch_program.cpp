// SPDX-License-Identifier: MIT
//
// Linked into a program with a main() of its own, this file has the program's kernels watched by
// the detectors and counted by the tracer, and prints at the program's end what they saw: the
// launches as `attn trace` prints them, by source line, and every report. Exit status 1 if there is
// one that is not a warning. With ATTN_WATCH=0 in its environment the program only runs.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/memory.hpp"
#include "common/simt/machine/options.hpp"
#include "common/simt/machine/worker.hpp"
#include "common/simt/watch/bound.hpp"
#include "common/simt/watch/launch_report.hpp"

namespace attn::simt {
namespace {

constexpr std::size_t kShown = 20;  // launches; a program may make thousands

void print_launches(const std::vector<LaunchRecord>& launches) {
  const bool styled = ::isatty(STDOUT_FILENO) != 0;
  const auto shown = std::span(launches).first(std::min(launches.size(), kShown));
  print_counts(shown, styled);
  print_bound_by_launch(bound_of(shown, {}, current_device()), styled);
  std::set<std::string> kernels;
  for (const LaunchRecord& launch : shown) {
    if (kernels.insert(launch.kernel).second) print_lines(launch, styled);
  }
  fmt::print("\n{}", kCountsLegend);
  if (shown.size() < launches.size()) {
    fmt::print("Only the first {} of {} launches are shown.\n", shown.size(), launches.size());
  }
}

/// Prints all there is to say; true if a detector has something to complain about.
bool print_report() {
  const std::vector<LaunchRecord> launches = take_launches();
  const std::vector<Detection> detections = take_detections();
  fmt::print("\n");
#if defined(__SANITIZE_ADDRESS__)
  fmt::print("This build checks addresses (ATTN_SANITIZE) and counts no accesses.\n");
#else
  if (launches.empty()) fmt::print("No launch was completed, so there is nothing to count.\n");
#endif
  if (!launches.empty()) print_launches(launches);
  bool bad = false;
  for (const Detection& detection : detections) {
    fmt::print("\n{}\n", to_string(detection));
    bad = bad || !detection.warning;
  }
  std::fflush(nullptr);
  return bad;
}

/// What would end the program without its last words: an exception that main() does not catch,
/// above all that of a launch which a detector has stopped.
[[noreturn]] void report_uncaught() {
  try {
    if (const std::exception_ptr error = std::current_exception()) std::rethrow_exception(error);
  } catch (const std::exception& error) {
    std::fflush(stdout);
    fmt::print(stderr, "{}\n", error.what());
  } catch (...) {
  }
  print_report();
  std::_Exit(1);
}

class Watched {
 public:
  Watched() {
    const char* setting = std::getenv("ATTN_WATCH");
    if (setting != nullptr && std::string_view(setting) == "0") return;
    on_ = true;
    options().detectors = true;
    options().tracer = true;
    take_launches();  // both are made now, so that they are there until the end
    take_detections();
    std::set_terminate(report_uncaught);
  }
  ~Watched() {
    if (on_ && print_report()) std::_Exit(1);
  }

 private:
  bool on_ = false;
};

const Watched watched;

}  // namespace
}  // namespace attn::simt
