// SPDX-License-Identifier: MIT
//
// Linked into a program with a main() of its own, this file has the program's kernels watched by
// the detectors and counted by the tracer, and prints at the program's end what they saw: the
// launches as `attn trace` prints them, by source line, and every report. Exit status 1 if there is
// one that is not a warning. With ATTN_WATCH=0 in its environment the program only runs. With
// ATTN_DRAW=FILE.svg it draws a picture, too; ATTN_DRAW_WHAT, ATTN_DRAW_LINE and ATTN_DRAW_ARRAYS
// say of what, as the options of `attn draw` do.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "common/io/output_file.hpp"
#include "common/memory.hpp"
#include "common/simt/draw/sheet.hpp"
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

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// The picture that ATTN_DRAW asks for; null if it does not.
std::unique_ptr<draw::Sheet> sheet;

void begin_picture() {
  const std::string file = environment("ATTN_DRAW");
  if (file.empty()) return;
  const std::string line = environment("ATTN_DRAW_LINE");
  const std::string given = environment("ATTN_DRAW_WHAT");
  const std::string what = !given.empty() ? given : line.empty() ? "touches" : "warp";
  try {
    io::check_output(file);
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("ATTN_DRAW {}", error.what()));
  }
  try {
    sheet = std::make_unique<draw::Sheet>(
        draw::parse_what(what),
        draw::OptionNames{.line = "ATTN_DRAW_LINE", .arrays = "ATTN_DRAW_ARRAYS"});
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("ATTN_DRAW_WHAT {}", error.what()));
  }
  std::vector<std::string> arrays;
  std::istringstream names(environment("ATTN_DRAW_ARRAYS"));
  for (std::string name; std::getline(names, name, ',');) arrays.push_back(name);
  sheet->begin(program_invocation_short_name, {}, {}, line, arrays);
}

/// Draws the picture; false if that does not work.
bool finish_picture() {
  sheet->end();
  const std::string path = environment("ATTN_DRAW");
  try {
    const std::string svg = sheet->svg({}, program_invocation_short_name);
    io::OutputFile file(path);
    file.write(svg.data(), svg.size());
    file.commit();
    fmt::print("\n{}: {} KiB; any browser shows it\n", path, (svg.size() + 1023) / 1024);
    return true;
  } catch (const Error& error) {
    std::fflush(stdout);
    fmt::print(stderr, "{}\n", error.what());
    return false;
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
  if (sheet) bad = !finish_picture() || bad;
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
    try {
      begin_picture();
    } catch (const Error& error) {
      fmt::print(stderr, "{}\n", error.what());
      std::_Exit(2);
    }
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
