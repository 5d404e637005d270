// SPDX-License-Identifier: MIT
//
// attn list: the chapters and steps of this build. attn workloads: the named problem sizes.
#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "bench/attn/arguments.hpp"
#include "bench/attn/commands.hpp"
#include "chapters/chapters.hpp"
#include "common/io/table.hpp"
#include "common/run/run.hpp"

namespace attn::cli {
namespace {

std::string passes(const Step& step) {
  std::string text = step.forward != nullptr ? "forward" : "";
  if (step.backward != nullptr) text += text.empty() ? "backward" : ", backward";
  return text;
}

/// Where a step runs; attn-cuda lists its chapters on a computer without a GPU, too.
std::string where(const Chapter& chapter, const Step& step) {
  try {
    return memory_of(chapter, step).name();
  } catch (const Error&) {
    return "no CUDA device";
  }
}

/// Names of the elements that a pass takes.
template <class Pass>
nlohmann::ordered_json elements(const Pass& pass) {
  nlohmann::ordered_json names = nlohmann::ordered_json::array();
  for (const Element element : kAllElements) {
    if (pass.takes(element)) names.push_back(to_string(element));
  }
  return names;
}

nlohmann::ordered_json features(const Support& support) {
  nlohmann::ordered_json names = nlohmann::ordered_json::array();
  for (int number = 0; number < kFeatures; ++number) {
    const auto feature = static_cast<Feature>(number);
    if (support.features.has(feature)) names.push_back(to_string(feature));
  }
  return names;
}

ExitStatus list(const JsonOptions& json) {
  check_json(json);
  io::Table table({{"chapter"}, {"step"}, {"runs on"}, {"passes"}, {"idea"}});
  nlohmann::ordered_json chapters = nlohmann::ordered_json::array();
  for (const Chapter* chapter : chapters::all()) {
    nlohmann::ordered_json steps = nlohmann::ordered_json::array();
    for (const Step* step : all_steps(*chapter)) {
      const bool twin = is_twin(*chapter, *step);
      const std::string runs_on = where(*chapter, *step);
      table.add_row({std::string(chapter->id), std::string(step->id) + (twin ? " (plain C++)" : ""),
                     runs_on, passes(*step), std::string(step->idea)});
      steps.push_back({{"id", step->id},
                       {"idea", step->idea},
                       {"price", step->price},
                       {"runs_on", runs_on},
                       {"twin", twin},
                       {"forward", bool(step->forward)},
                       {"backward", bool(step->backward)},
                       {"forward_elements", elements(step->forward)},
                       {"backward_elements", elements(step->backward)},
                       {"deterministic_backward", step->deterministic_backward}});
    }
    const auto id_or_null = [&](Pass pass) {
      const Step* step = default_step(*chapter, pass);
      return step == nullptr ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(step->id);
    };
    chapters.push_back(
        {{"id", chapter->id},
         {"title", chapter->title},
         {"idea", chapter->idea},
         {"default_forward_step", id_or_null(Pass::kForward)},
         {"default_backward_step", id_or_null(Pass::kBackward)},
         {"forward_of", chapter->forward_of},
         {"max_d", chapter->support.max_d},
         {"only_d", chapter->support.only_d},
         {"features", features(chapter->support)},
         {"appends", chapter->append != nullptr},
         {"candidates", chapter->candidates == nullptr ? 0 : chapter->candidates().size()},
         {"steps", steps}});
  }
  write_json(json, nlohmann::ordered_json{{"chapters", chapters}}.dump(2));
  if (!json.on_stdout()) fmt::print("{}", table.to_string(::isatty(STDOUT_FILENO) != 0));
  return kSuccess;
}

std::string mask_text(const io::Workload& workload) {
  const std::string_view extra = workload.extra();
  return fmt::format("{}{}{}", to_string(workload.mask), extra.empty() ? "" : ", ", extra);
}

std::string twin_text(const io::Workload& workload) {
  const bool other_mask = workload.mask_on_cpu != workload.mask;
  return fmt::format("{}{} ({})", to_string(workload.on_cpu),
                     other_mask ? ", " + to_string(workload.mask_on_cpu) : "", workload.scaled);
}

ExitStatus list_workloads() {
  io::Table table({{"workload"}, {"what it is"}, {"sizes"}, {"mask"}, {"on the CPU machine"}});
  for (const io::Workload& workload : io::workloads()) {
    table.add_row({std::string(workload.name), std::string(workload.what),
                   to_string(workload.shape), mask_text(workload),
                   workload.has_twin() ? twin_text(workload) : "the same"});
  }
  fmt::print("{}", table.to_string(::isatty(STDOUT_FILENO) != 0));
  return kSuccess;
}

}  // namespace

void add_list_commands(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("list", "The chapters and their steps");
  const auto json = std::make_shared<JsonOptions>();
  add_json_option(*command, *json);
  command->callback([json, &chosen] { chosen = [json] { return list(*json); }; });

  CLI::App* workloads = app.add_subcommand("workloads", "Problem sizes by name");
  workloads->callback([&chosen] { chosen = list_workloads; });
}

}  // namespace attn::cli
