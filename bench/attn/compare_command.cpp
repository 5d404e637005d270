// SPDX-License-Identifier: MIT
//
// attn compare: one problem through every chapter and step, each verified against the float64
// oracle, in one table. Times are those of plain C++ on this computer and of a GPU; how long the
// CPU machine takes to run a kernel says nothing about a GPU and is not shown.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bench/attn/arguments.hpp"
#include "bench/attn/commands.hpp"
#include "bench/attn/compare_row.hpp"
#include "bench/attn/progress.hpp"
#include "chapters/chapters.hpp"
#include "common/io/table.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"

namespace attn::cli {
namespace {

struct CompareArguments {
  ProblemOptions problem;
  std::string pass;
  JsonOptions json;
  std::string with;
};

/// Refuses sizes that no chapter computes, before any work.
void check_support(const Shape& shape) {
  const auto supports = [&shape](const Chapter* chapter) {
    return shape.d <= chapter->support.max_d &&
           (shape.Hkv == shape.H || chapter->support.grouped_heads);
  };
  const auto all = chapters::all();
  if (std::none_of(all.begin(), all.end(), supports)) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("--shape {}: no chapter computes it", to_string(shape)));
  }
}

std::string time_text(const std::optional<double>& seconds, const char* otherwise) {
  return seconds ? io::human_seconds(*seconds) : otherwise;
}

void print_table(const std::vector<Row>& rows) {
  using enum io::Table::Align;
  io::Table table({{"chapter"},
                   {"step"},
                   {"result"},
                   {"max error", kRight},
                   {"/ allowed", kRight},
                   {"workspace", kRight},
                   {"requested", kRight},
                   {"H200 bound", kRight},
                   {"CPU time", kRight},
                   {"GPU time", kRight}});
  for (const Row& row : rows) {
    const bool compared = row.problem.empty();
    table.add_row(
        {std::string(row.chapter->id), std::string(row.step->id),
         !row.supported ? "not run"
         : !compared    ? "failed"
         : row.right    ? "right"
                        : "WRONG",
         compared ? fmt::format("{:.1e}", row.max_error) : "",
         compared ? fmt::format("{:.3g}", row.error_over_tolerance) : "",
         io::human_bytes(row.workspace_bytes),
         row.requested_bytes ? io::human_bytes(static_cast<std::size_t>(*row.requested_bytes)) : "",
         time_text(row.bound_seconds, ""), time_text(row.cpu_seconds, ""),
         time_text(row.gpu_seconds, on_host(row) ? "" : "not measured")});
  }
  fmt::print("{}", table.to_string(::isatty(STDOUT_FILENO) != 0));
  for (const Row& row : rows) {
    if (!row.problem.empty()) {
      fmt::print("{} {}: {}\n", row.chapter->id, row.step->id, row.problem);
    }
  }
}

nlohmann::ordered_json to_json(const verify::Problem& problem, const std::string& workload,
                               Pass pass, const std::vector<Row>& rows) {
  using Json = nlohmann::ordered_json;
  const auto or_null = [](const auto& value) { return value ? Json(*value) : Json(nullptr); };
  const Shape& s = problem.shape;
  Json list = Json::array();
  for (const Row& row : rows) {
    const bool compared = row.problem.empty();
    list.push_back(
        {{"chapter", row.chapter->id},
         {"step", row.step->id},
         {"twin", row.step == row.chapter->twin},
         {"ran_on", row.where},
         {"supported", row.supported},
         {"right", row.right},
         {"problem", compared ? Json(nullptr) : Json(row.problem)},
         {"max_error", compared ? Json(row.max_error) : Json(nullptr)},
         {"error_over_tolerance", compared ? Json(row.error_over_tolerance) : Json(nullptr)},
         {"workspace_bytes", row.workspace_bytes},
         {"requested_bytes", or_null(row.requested_bytes)},
         {"bound_seconds", or_null(row.bound_seconds)},
         {"cpu_seconds", or_null(row.cpu_seconds)},
         {"gpu_seconds", or_null(row.gpu_seconds)}});
  }
  return {
      {"pass", to_string(pass)},
      {"shape", {{"B", s.B}, {"H", s.H}, {"Hkv", s.Hkv}, {"Nq", s.Nq}, {"Nk", s.Nk}, {"d", s.d}}},
      {"workload", workload.empty() ? Json(nullptr) : Json(workload)},
      {"mask", to_string(problem.mask)},
      {"scale", problem.scale},
      {"seed", kCompareSeed},
      {"rows", list}};
}

ExitStatus compare(const CompareArguments& arguments) {
  const Pass pass = parse_pass(arguments.pass).value_or(Pass::kForward);
  const auto all = chapters::all();
  std::vector<const Chapter*> chosen(all.begin(), all.end());
  if (!arguments.with.empty()) {
    if (arguments.with != "mine") {
      throw Error(ErrorKind::kBadArgument,
                  fmt::format("--with {}: allowed: mine, chapters/00_playground/my_attention.cu",
                              arguments.with));
    }
    chosen.push_back(&chapters::find(arguments.with));
  }
  const Mask mask = mask_of(arguments.problem);
  bool any_gpu = false;
  for (const Chapter* chapter : chapters::all()) {
    any_gpu = any_gpu || runs_on_gpu(*chapter, chapter->steps.back());
  }
  const Shape shape = shape_of(arguments.problem, any_gpu, make_shape(1, 2, 256, 256, 64));
  check_memory(shape);
  check_support(shape);
  check_json(arguments.json);

  Progress progress;
  progress.stage("the oracle, in float64");
  const verify::Problem problem = verify::make_problem(
      {.shape = shape, .mask = mask, .scale = default_scale(shape.d), .seed = kCompareSeed}, pass);
  const verify::Truth truth = truth_of(problem, pass);
  std::vector<Row> rows;
  for (const Chapter* chapter : chosen) {
    for (const Step* step : all_steps(*chapter)) {
      if (pass == Pass::kForward ? step->forward == nullptr : step->backward == nullptr) continue;
      progress.stage(fmt::format("{} {}", chapter->id, step->id));
      rows.push_back(compare_one(*chapter, *step, pass, problem, truth));
    }
  }
  progress.clear();

  const std::string& workload = arguments.problem.workload;
  const auto wrong = [](const Row& row) { return row.supported && !row.right; };
  const ExitStatus status =
      std::any_of(rows.begin(), rows.end(), wrong) ? kFailedVerification : kSuccess;
  write_json(arguments.json, to_json(problem, workload, pass, rows).dump(2));
  if (arguments.json.on_stdout()) return status;
  std::string name = workload;
  if (!workload.empty()) {
    const io::Workload& known = io::find_workload(workload);
    if (!any_gpu && known.has_twin()) {
      name += fmt::format(" scaled down for the CPU machine ({})", known.scaled);
    }
  }
  fmt::print("\n{}{}{}, {} pass, mask {}\n\n", name, name.empty() ? "" : ": ", to_string(shape),
             to_string(pass), to_string(mask));
  print_table(rows);
  fmt::print(
      "\nerror: against a float64 evaluation, over {}. Requested: what the threads ask of global\n"
      "memory, counted on the CPU machine. Bound: no such GPU is faster. CPU time: plain C++ on "
      "this\n"
      "computer, best of several; the CPU machine's own speed says nothing, so it is not shown.\n"
      "GPU time: warm caches, launch after launch; bench/gpu.sh flushes L2 before every call.\n"
      "Against N, as pictures: bench/results/figures/time.svg, traffic.svg, workspace.svg and\n"
      "roofline.svg. The tables of the lessons: bench/results, by bench/report.py.\n",
      pass == Pass::kForward ? "O and LSE" : "dQ, dK and dV");
  return status;
}

}  // namespace

void add_compare_command(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("compare", "All chapters side by side, each verified");
  const auto arguments = std::make_shared<CompareArguments>();
  add_shape_options(*command, arguments->problem);
  add_mask_options(*command, arguments->problem);
  command->add_option("--pass", arguments->pass, "forward (default) or backward");
  command->add_option("--with", arguments->with,
                      "mine: your own kernel too, chapters/00_playground/my_attention.cu");
  add_json_option(*command, arguments->json);
  command->callback([arguments, &chosen] { chosen = [arguments] { return compare(*arguments); }; });
}

}  // namespace attn::cli
