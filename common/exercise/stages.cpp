// SPDX-License-Identifier: MIT
#include "common/exercise/stages.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <exception>

#include "common/verify/check.hpp"

namespace attn::exercise {
namespace {

void show(std::size_t number, const Stage& stage, std::string_view state) {
  fmt::print("  stage {}  {:<28} {}\n", number, stage.title, state);
  std::fflush(stdout);
}

/// The stages from the first on, until one fails; how many are right.
std::size_t go_through(const Exercise& exercise) {
  const std::span<const Stage> stages = exercise.stages;
  std::string text;
  std::size_t right = 0;
  bool failed = false;
  for (const Stage& stage : stages) {
    const std::size_t number = static_cast<std::size_t>(&stage - stages.data()) + 1;
    if (failed) {
      show(number, stage, "not checked yet");
      continue;
    }
    const Verdict verdict = stage.check();
    failed = !verdict.passed;
    text = verdict.text;
    right += failed ? 0 : 1;
    show(number, stage, failed ? "WRONG" : "right");
  }
  if (!text.empty()) fmt::print("\n{}", text);
  fmt::print("\n{}: {} of {} stages reached\n", exercise.program, right, stages.size());
  if (failed) {
    fmt::print("Stuck? build/{} --hint. This stage alone: build/{} {}\n", exercise.program,
               exercise.program, right + 1);
  }
  return right;
}

/// The first stage that fails; the last one is not tried, since it takes long.
const Stage& first_open(std::span<const Stage> stages) {
  for (const Stage& stage : stages.first(stages.size() - 1)) {
    if (!stage.check().passed) return stage;
  }
  return stages.back();
}

int run_unguarded(const Exercise& exercise, int argc, char** argv) {
  const std::span<const Stage> stages = exercise.stages;
  fmt::print("{}: {}\n\n", exercise.program, exercise.title);
  if (argc < 2) return go_through(exercise) == stages.size() ? 0 : 1;
  const std::string_view argument = argv[1];
  if (argc == 2 && argument == "--hint") {
    const Stage& stage = first_open(stages);
    fmt::print("Hint for stage {}, {}:\n{}\n", &stage - stages.data() + 1, stage.title, stage.hint);
    return 0;
  }
  std::size_t number = 0;
  const char* end = argument.data() + argument.size();
  const auto parsed = std::from_chars(argument.data(), end, number);
  if (argc > 2 || parsed.ptr != end || number < 1 || number > stages.size()) {
    fmt::print(stderr, "{}: {}: allowed are a stage from 1 to {}, --hint, or nothing\n",
               exercise.program, argc > 2 ? argv[2] : argv[1], stages.size());
    return 2;
  }
  const Stage& stage = stages[number - 1];
  const Verdict verdict = stage.check();
  show(number, stage, verdict.passed ? "right" : "WRONG");
  if (!verdict.text.empty()) fmt::print("\n{}", verdict.text);
  return verdict.passed ? 0 : 1;
}

}  // namespace

int run(const Exercise& exercise, int argc, char** argv) {
  try {
    return run_unguarded(exercise, argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}

Verdict check_battery(const Chapter& record) {
  verify::CheckOptions options = verify::options_from_environment();
  if (isatty(STDERR_FILENO) != 0) {
    options.progress = [](int done, int total) {
      fmt::print(stderr, "\r  case {} of {}{}", done, total, done == total ? "\r\033[K" : "");
    };
  }
  const Step& step = record.steps.front();
  const Pass pass = step.forward != nullptr ? Pass::kForward : Pass::kBackward;
  const verify::CheckReport report = verify::check(record, step, pass, options);
  if (options.progress && !report.right()) fmt::print(stderr, "\r\033[K");
  if (!report.right()) {
    return {false, fmt::format("All small cases are right, but {} of the {} cases of the whole "
                               "table that ran are not.\n{}",
                               report.failed, report.cases, describe(report))};
  }
  return {true, fmt::format("Right in all {} cases.\n{}", report.cases, describe(report))};
}

}  // namespace attn::exercise
