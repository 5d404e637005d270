// SPDX-License-Identifier: MIT
//
// attn compare: one problem through every chapter and step, each verified against the float64
// oracle, in one table. Times are those of plain C++ on this computer and of a GPU; how long the
// CPU machine takes to run a kernel says nothing about a GPU and is not shown.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bench/attn/arguments.hpp"
#include "bench/attn/commands.hpp"
#include "bench/attn/progress.hpp"
#include "chapters/chapters.hpp"
#include "common/io/output_file.hpp"
#include "common/io/table.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"
#include "common/verify/run.hpp"

namespace attn::cli {
namespace {

constexpr std::uint64_t kSeed = 20260101;

struct CompareArguments {
  ProblemOptions problem;
  std::string pass;
  std::string json;
};

/// One line of the table.
struct Row {
  const Chapter* chapter = nullptr;
  const Step* step = nullptr;
  std::string where;
  std::string problem;  // why there are no numbers; empty if there are
  bool supported = true;
  bool right = false;
  double max_error = 0;
  double error_over_tolerance = 0;
  std::size_t workspace_bytes = 0;
  std::optional<double> cpu_seconds;  // plain C++ only
  std::optional<double> gpu_seconds;
};

/// Wall-clock seconds of `launches` runs, one after the other, and the wait for the last.
double seconds_of(const verify::Run& run, const Row& row, Pass pass, int launches) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < launches; ++i) {
    if (pass == Pass::kForward) {
      forward(*row.chapter, *row.step, run.forward_args());
    } else {
      backward(*row.chapter, *row.step, run.backward_args());
    }
  }
  verify::memory_of(*row.chapter, *row.step).synchronize();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The best of at least three runs and half a second of them.
double best_time(const std::function<double(int)>& seconds) {
  double best = seconds(1);
  double total = best;
  for (int done = 1; done < 3 || total < 0.5; ++done) {
    const double once = seconds(1);
    best = std::min(best, once);
    total += once;
  }
  return best;
}

/// The median of ten groups of launches, each group long enough (10 ms) to hide the host's part.
double median_time(const std::function<double(int)>& seconds) {
  seconds(1);  // the first launch loads the kernel
  const int launches = std::clamp(static_cast<int>(0.01 / std::max(seconds(1), 1e-7)), 1, 1000);
  std::vector<double> times;
  for (int group = 0; group < 10; ++group) times.push_back(seconds(launches) / launches);
  std::nth_element(times.begin(), times.begin() + 5, times.end());
  return times[5];
}

bool on_host(const Row& row) {
  return &verify::memory_of(*row.chapter, *row.step) == &host_memory();
}

void measure(Row& row, Pass pass, const verify::Problem& problem, const verify::Truth& truth) {
  const bool on_gpu = runs_on_gpu(*row.chapter, *row.step);
  if (!on_host(row) && !on_gpu) return;
  const verify::Run run(*row.chapter, *row.step, pass, problem, truth.o, truth.lse, {});
  const auto seconds = [&](int launches) { return seconds_of(run, row, pass, launches); };
  (on_gpu ? row.gpu_seconds : row.cpu_seconds) = on_gpu ? median_time(seconds) : best_time(seconds);
}

/// The largest difference from the oracle and the largest one measured in its tolerance, over all
/// elements; NaN if any element is not a number.
void measure_errors(Row& row, const verify::Truth& truth, const verify::Outputs& outputs) {
  const auto raise = [](double& largest, double value) {
    if (!(value <= largest) && !std::isnan(largest)) largest = value;
  };
  for (const verify::Expected& expected : truth.arrays) {
    const std::vector<float>& got = verify::array_of(outputs, expected.name);
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (expected.values[i] == static_cast<double>(got[i])) continue;  // -inf in LSE, too
      const double error = std::abs(static_cast<double>(got[i]) - expected.values[i]);
      raise(row.max_error, error);
      raise(row.error_over_tolerance, error / expected.tolerance[i]);
    }
  }
}

double physical_memory() {
  return static_cast<double>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<double>(::sysconf(_SC_PAGE_SIZE));
}

/// Refuses sizes whose arrays and float64 oracle would not fit into memory, at about 64 bytes for
/// each element of Q, K, V and O together.
void check_size(const Shape& shape) {
  const auto product = [](auto... sizes) { return (static_cast<double>(sizes) * ...); };
  const double elements = 2 * product(shape.B, shape.H, shape.Nq, shape.d) +
                          2 * product(shape.B, shape.Hkv, shape.Nk, shape.d);
  if (64 * elements > physical_memory()) {
    throw Error(ErrorKind::kBadArgument,
                fmt::format("--shape {}: its arrays need about {:.0f} GiB; allowed: what fits into "
                            "{:.0f} GiB of memory",
                            to_string(shape), 64 * elements / 0x1p30, physical_memory() / 0x1p30));
  }
}

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

Row compare_one(const Chapter& chapter, const Step& step, Pass pass, const verify::Problem& problem,
                const verify::Truth& truth) {
  Row row;
  row.chapter = &chapter;
  row.step = &step;
  row.where = runs_on_gpu(chapter, step) ? "GPU" : "CPU";
  try {
    row.workspace_bytes = verify::workspace_bytes(step, pass, problem.shape);
    row.where = verify::memory_of(chapter, step).name();
    if (!runs_on_gpu(chapter, step) &&
        static_cast<double>(row.workspace_bytes) > physical_memory()) {
      row.supported = false;
      row.problem = "workspace larger than this computer's memory";
      return row;
    }
    const verify::Outputs outputs =
        verify::run(chapter, step, pass, problem, truth.o, truth.lse, {});
    const verify::Verdict verdict = judge(truth, outputs);
    row.right = verdict.passed;
    measure_errors(row, truth, outputs);
    if (!row.right) {
      fmt::print("{} {} is wrong (seed {}):\n{}\n", chapter.id, step.id, kSeed, verdict.text);
    } else {
      measure(row, pass, problem, truth);
    }
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kBadArgument) throw;
    row.supported = error.kind() != ErrorKind::kUnsupported;
    row.problem = error.what();
  }
  return row;
}

std::string time_text(const std::optional<double>& seconds, const char* otherwise) {
  return seconds ? io::human_seconds(*seconds) : otherwise;
}

void print_table(const std::vector<Row>& rows) {
  using enum io::Table::Align;
  io::Table table({{"chapter"},
                   {"step"},
                   {"ran on"},
                   {"result"},
                   {"max error", kRight},
                   {"error / tolerance", kRight},
                   {"workspace", kRight},
                   {"CPU time", kRight},
                   {"GPU time", kRight}});
  for (const Row& row : rows) {
    const bool compared = row.problem.empty();
    table.add_row({std::string(row.chapter->id), std::string(row.step->id), row.where,
                   !row.supported ? "not run"
                   : !compared    ? "failed"
                   : row.right    ? "right"
                                  : "WRONG",
                   compared ? fmt::format("{:.1e}", row.max_error) : "",
                   compared ? fmt::format("{:.3g}", row.error_over_tolerance) : "",
                   io::human_bytes(row.workspace_bytes), time_text(row.cpu_seconds, ""),
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
         {"cpu_seconds", or_null(row.cpu_seconds)},
         {"gpu_seconds", or_null(row.gpu_seconds)}});
  }
  return {
      {"pass", to_string(pass)},
      {"shape", {{"B", s.B}, {"H", s.H}, {"Hkv", s.Hkv}, {"Nq", s.Nq}, {"Nk", s.Nk}, {"d", s.d}}},
      {"workload", workload.empty() ? Json(nullptr) : Json(workload)},
      {"mask", to_string(problem.mask)},
      {"scale", problem.scale},
      {"seed", kSeed},
      {"rows", list}};
}

ExitStatus compare(const CompareArguments& arguments) {
  const Pass pass = parse_pass(arguments.pass).value_or(Pass::kForward);
  const Mask mask = mask_of(arguments.problem);
  bool any_gpu = false;
  for (const Chapter* chapter : chapters::all()) {
    any_gpu = any_gpu || runs_on_gpu(*chapter, chapter->steps.back());
  }
  const Shape shape = shape_of(arguments.problem, any_gpu, make_shape(1, 2, 256, 256, 64));
  check_size(shape);
  check_support(shape);
  if (!arguments.json.empty()) {
    naming("--json", [&] { io::check_output(arguments.json); });
  }

  Progress progress;
  progress.stage("the oracle, in float64");
  const verify::Problem problem = verify::make_problem(
      {.shape = shape, .mask = mask, .scale = default_scale(shape.d), .seed = kSeed}, pass);
  const verify::Truth truth = truth_of(problem, pass);
  std::vector<Row> rows;
  for (const Chapter* chapter : chapters::all()) {
    for (const Step* step : select_steps(*chapter, "")) {
      if (pass == Pass::kForward ? step->forward == nullptr : step->backward == nullptr) continue;
      progress.stage(fmt::format("{} {}", chapter->id, step->id));
      rows.push_back(compare_one(*chapter, *step, pass, problem, truth));
    }
  }
  progress.clear();

  const std::string& workload = arguments.problem.workload;
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
      "\nerror: against a float64 evaluation, over {}. CPU time: plain C++ on this computer, best "
      "of\nseveral. The CPU machine's own speed is no measure of a GPU, so it is not shown.\n",
      pass == Pass::kForward ? "O and LSE" : "dQ, dK and dV");
  if (!arguments.json.empty()) {
    const std::string text = to_json(problem, workload, pass, rows).dump(2) + "\n";
    naming("--json", [&] {
      io::OutputFile file(arguments.json);
      file.write(text.data(), text.size());
      file.commit();
    });
  }

  const auto wrong = [](const Row& row) { return row.supported && !row.right; };
  return std::any_of(rows.begin(), rows.end(), wrong) ? kFailedVerification : kSuccess;
}

}  // namespace

void add_compare_command(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("compare", "All chapters side by side, each verified");
  const auto arguments = std::make_shared<CompareArguments>();
  add_shape_options(*command, arguments->problem);
  add_mask_options(*command, arguments->problem);
  command->add_option("--pass", arguments->pass, "forward (default) or backward");
  command->add_option("--json", arguments->json, "writes the table as JSON, too");
  command->callback([arguments, &chosen] { chosen = [arguments] { return compare(*arguments); }; });
}

}  // namespace attn::cli
