// SPDX-License-Identifier: MIT
#include "common/exercise/stages.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <exception>
#include <utility>

#include "common/verify/check.hpp"

namespace attn::exercise {
namespace {

/// Cases that run after the first failures, to see what fails and what not.
constexpr int kSurvey = 20;

bool whole_table = false;  // --full: the last stage runs all of it

void show(std::size_t number, const Stage& stage, std::string_view state) {
  fmt::print("  stage {}  {:<28} {}\n", number, stage.title, state);
  std::fflush(stdout);
}

Later behind(std::span<const Stage> stages, const Stage& stage) {
  return stages.subspan(static_cast<std::size_t>(&stage - stages.data()) + 1);
}

/// The verdict's text; where a detector has spoken, whose code it may be about.
std::string with_origin(const Verdict& verdict, std::span<const Stage> stages, const Stage& stage) {
  const auto name = [&](const Stage& one) {
    return fmt::format("stage {}, {}", &one - stages.data() + 1, one.title);
  };
  if (verdict.code_of != nullptr) {
    return fmt::format(
        "The kernel was stopped in the code of {}; what is checked here is\n{}.\n\n{}",
        name(*verdict.code_of), name(stage), verdict.text);
  }
  if (verdict.hint.empty() || &stage == &stages.back()) return verdict.text;
  return fmt::format(
      "Found while checking {}. The whole kernel runs:\nthe line may also belong to a later "
      "stage.\n\n{}",
      name(stage), verdict.text);
}

/// The stages from the first on, until one fails; how many are right.
std::size_t go_through(const Exercise& exercise) {
  const std::span<const Stage> stages = exercise.stages;
  std::string text;
  std::size_t right = 0;
  bool failed = false, falls_short = false;
  for (const Stage& stage : stages) {
    const std::size_t number = static_cast<std::size_t>(&stage - stages.data()) + 1;
    if (failed) {
      show(number, stage, "not checked yet");
      continue;
    }
    const Verdict verdict = stage.check(behind(stages, stage));
    failed = !verdict.passed;
    falls_short = verdict.falls_short;
    text = with_origin(verdict, stages, stage);
    right += failed ? 0 : 1;
    show(number, stage, failed ? "WRONG" : "right");
  }
  if (!text.empty()) fmt::print("\n{}", text);
  fmt::print("\n{}: {} of {} stages reached\n", exercise.program, right, stages.size());
  if (failed) {
    fmt::print("Stuck? build/{} --hint. This stage alone: build/{} {}\n", exercise.program,
               exercise.program, right + 1);
  } else if (falls_short) {
    fmt::print("What costs the medal? build/{} --hint\n", exercise.program);
  }
  return right;
}

/// The first stage that fails, and how; the last one is not tried, since it takes long.
std::pair<const Stage*, Verdict> first_open(std::span<const Stage> stages) {
  for (const Stage& stage : stages.first(stages.size() - 1)) {
    Verdict verdict = stage.check(behind(stages, stage));
    if (!verdict.passed) return {&stage, std::move(verdict)};
  }
  return {&stages.back(), {}};
}

void show_hint(std::span<const Stage> stages, const Stage& stage) {
  fmt::print("Hint for stage {}, {}:\n{}\n", &stage - stages.data() + 1, stage.title, stage.hint);
}

void show_hint(const Exercise& exercise) {
  const auto [open, verdict] = first_open(exercise.stages);
  if (!verdict.hint.empty()) {
    fmt::print("Hint for what the detector has found:\n{}\n", verdict.hint);
  }
  show_hint(exercise.stages, verdict.code_of != nullptr ? *verdict.code_of : *open);
  if (!verdict.hint.empty() && verdict.code_of == nullptr) {
    fmt::print(
        "Does the line belong to another stage? Its hint, for stage {}: build/{} {} --hint\n",
        exercise.stages.size(), exercise.program, exercise.stages.size());
  }
}

int run_unguarded(const Exercise& exercise, int argc, char** argv) {
  const std::span<const Stage> stages = exercise.stages;
  fmt::print("{}: {}\n\n", exercise.program, exercise.title);
  whole_table = argc > 1 && std::string_view(argv[argc - 1]) == "--full";
  if (whole_table) --argc;
  if (argc < 2) return go_through(exercise) == stages.size() ? 0 : 1;
  const std::string_view argument = argv[1];
  if (argc == 2 && !whole_table && argument == "--hint") {
    show_hint(exercise);
    return 0;
  }
  std::size_t number = 0;
  const char* end = argument.data() + argument.size();
  const auto parsed = std::from_chars(argument.data(), end, number);
  const bool asks = argc == 3 && !whole_table && std::string_view(argv[2]) == "--hint";
  if (asks) --argc;
  if (argc > 2 || parsed.ptr != end || number < 1 || number > stages.size()) {
    fmt::print(stderr,
               "{}: {}: allowed are a stage from 1 to {}, --full, --hint, a stage "
               "and one of these, or nothing\n",
               exercise.program, argc > 2 ? argv[2] : argv[1], stages.size());
    return 2;
  }
  const Stage& stage = stages[number - 1];
  if (asks) {
    show_hint(stages, stage);
    return 0;
  }
  const Verdict verdict = stage.check(behind(stages, stage));
  show(number, stage, verdict.passed ? "right" : "WRONG");
  const std::string text = with_origin(verdict, stages, stage);
  if (!text.empty()) fmt::print("\n{}", text);
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
  if (options.extent == verify::Extent::kCovering && !whole_table) {
    options.extent = verify::Extent::kThin;
  }
  options.survey = kSurvey;
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
    return {.passed = false,
            .text = fmt::format("All small cases are right, but {} of the {} cases of the table "
                                "that ran are not.\n{}",
                                report.failed, report.cases, describe(report))};
  }
  std::string text = fmt::format("Right in all {} cases", report.cases);
  text += options.extent == verify::Extent::kThin
              ? " of a thin part of the case table; --full runs the whole.\n"
              : ".\n";
  if (std::ranges::any_of(report.goals, [](const auto& goal) { return goal.missed > 1; })) {
    text +=
        "Below, a run is a launch that was counted: a case may have several, large ones none.\n";
  }
  const auto missed =
      std::ranges::count_if(report.goals, [](const auto& goal) { return goal.missed > 0; });
  text += describe(report);
  if (missed > 1) text += "One cause may miss several goals.\n";
  return {.text = text, .falls_short = missed > 0};
}

}  // namespace attn::exercise
