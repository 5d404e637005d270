// SPDX-License-Identifier: MIT
//
// attn compare: one problem through every chapter and step, each verified against the float64
// oracle, in one table. Times are those of plain C++ on this computer and of a GPU; how long the
// CPU machine takes to run a kernel says nothing about a GPU and is not shown.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "bench/attn/arguments.hpp"
#include "bench/attn/commands.hpp"
#include "bench/attn/compare_row.hpp"
#include "bench/attn/progress.hpp"
#include "chapters/chapters.hpp"
#include "common/io/table.hpp"
#include "common/run/run.hpp"
#include "common/verify/check.hpp"
#include "common/verify/oracle.hpp"

namespace attn::cli {
namespace {

struct CompareArguments {
  ProblemOptions problem;
  std::string pass;
  JsonOptions json;
  std::string with;
};

/// Refuses a request that no chapter takes, before any work.
void check_support(const ProblemSizes& sizes, const Mask& mask, Element element, Pass pass) {
  Extras extras;
  extras.d_v = sizes.d_v;
  const auto takes = [&](const Chapter* chapter) {
    return std::any_of(chapter->steps.begin(), chapter->steps.end(), [&](const Step& step) {
      const bool takes_element =
          pass == Pass::kForward ? step.forward.takes(element) : step.backward.takes(element);
      return takes_element &&
             why_unsupported(element, sizes.shape, mask, extras, support_of(*chapter, step))
                 .empty();
    });
  };
  const auto all = chapters::all();
  if (std::any_of(all.begin(), all.end(), takes)) return;
  throw Error(ErrorKind::kUnsupported,
              fmt::format("--shape {}, mask {}, {}: no chapter computes it", to_string(sizes),
                          to_string(mask), to_string(element)));
}

std::string time_text(const std::optional<double>& seconds) {
  return seconds ? io::human_seconds(*seconds) : "";
}

std::string bytes_text(const std::optional<double>& bytes) {
  return bytes ? io::human_bytes(static_cast<std::size_t>(*bytes)) : "";
}

std::string result_text(const Row& row) {
  if (!row.supported) return "not run";
  if (!row.problem.empty()) return "failed";
  return row.right ? "right" : "WRONG";
}

std::string error_text(const Row& row) {
  return row.problem.empty() ? fmt::format("{:.3g}", row.error_over_tolerance) : "";
}

/// Whether the kernels do not all have the same element.
bool several_elements(const std::vector<Row>& rows) {
  std::set<Element> elements;
  for (const Row& row : rows) {
    if (!on_host(row)) elements.insert(row.element);
  }
  return elements.size() > 1;
}

/// The kernels, or plain C++. What a newcomer compares stands first; no bound, since the order of
/// the bounds is not that of the kernels.
void print_table(const std::vector<Row>& rows, bool plain, bool styled) {
  using enum io::Table::Align;
  std::vector<io::Table::Column> columns{{"chapter"}, {"step"}};
  const bool timed_on_gpu = std::any_of(rows.begin(), rows.end(),
                                        [](const Row& row) { return row.gpu_seconds.has_value(); });
  const bool counted = std::any_of(rows.begin(), rows.end(),
                                   [](const Row& row) { return row.requested_bytes.has_value(); });
  const bool mixed = !plain && several_elements(rows);
  if (mixed) columns.push_back({"element"});
  if (plain) {
    columns.insert(columns.end(), {{"CPU time", kRight}, {"workspace", kRight}});
  } else {
    if (counted) columns.push_back({"requested", kRight});
    columns.push_back({"workspace", kRight});
    if (counted) columns.push_back({"compulsory", kRight});
    if (timed_on_gpu) columns.push_back({"GPU time", kRight});
  }
  columns.insert(columns.end(), {{"result"}, {"error", kRight}, {"what it pays"}});
  io::Table table(columns);
  for (const Row& row : rows) {
    if (on_host(row) != plain) continue;
    std::vector<std::string> cells{std::string(row.chapter->id), std::string(row.step->id)};
    if (mixed) cells.emplace_back(to_string(row.element));
    const std::string workspace = io::human_bytes(row.workspace_bytes);
    if (plain) {
      cells.insert(cells.end(), {time_text(row.cpu_seconds), workspace});
    } else {
      if (counted) cells.push_back(bytes_text(row.requested_bytes));
      cells.push_back(workspace);
      if (counted) cells.push_back(bytes_text(row.compulsory_bytes));
      if (timed_on_gpu) cells.push_back(time_text(row.gpu_seconds));
    }
    cells.insert(cells.end(), {result_text(row), error_text(row), std::string(row.step->price)});
    table.add_row(cells);
  }
  fmt::print("{}", table.to_string(styled));
}

void print_problems(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    if (!row.problem.empty()) {
      fmt::print("{} {}: {}\n", row.chapter->id, row.step->id, row.problem);
    }
  }
}

nlohmann::ordered_json to_json(const Subject& subject, const std::string& workload, Pass pass,
                               const std::vector<Row>& rows) {
  using Json = nlohmann::ordered_json;
  const auto or_null = [](const auto& value) { return value ? Json(*value) : Json(nullptr); };
  const auto sizes = [&](const Shape& shape) {
    return to_json(ProblemSizes{shape, subject.problem.extras.d_v});
  };
  Json list = Json::array();
  for (const Row& row : rows) {
    const bool compared = row.problem.empty();
    list.push_back(
        {{"chapter", row.chapter->id},
         {"step", row.step->id},
         {"twin", is_twin(*row.chapter, *row.step)},
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
         {"gpu_seconds", or_null(row.gpu_seconds)},
         {"compulsory_bytes", or_null(row.compulsory_bytes)},
         {"shape", sizes(row.shape)},
         {"price", row.step->price},
         {"element", to_string(row.element)}});
  }
  return {{"pass", to_string(pass)},
          {"shape", sizes(subject.shape)},
          {"workload", workload.empty() ? Json(nullptr) : Json(workload)},
          {"mask", to_string(subject.problem.mask)},
          {"scale", subject.problem.scale},
          {"seed", kCompareSeed},
          {"rows", list},
          {"shape_run", sizes(subject.problem.shape)}};
}

/// What is compared where no shape is asked for: enough heads for every multiprocessor of a GPU,
/// 16,384 tokens in all, one of bench/gpu.sh's shapes;
constexpr std::int64_t kBatch = 32;
constexpr std::int64_t kHeads = 16;
constexpr std::int64_t kTokens = 512;
/// and for plain C++ one head so long that S is larger than a core's caches.
constexpr std::int64_t kTokensOfPlain = 4096;
constexpr std::int64_t kHeadSize = 64;

/// The kernels' subject, and plain C++'s where that is another one.
struct Subjects {
  Subject kernels;
  std::optional<Subject> plain;
  std::map<Element, Subject> others;  // for steps that do not take the element of `kernels`
  std::string name;                   // of the workload, and how it falls short

  const Subject& of(const Chapter& chapter, const Step& step, Pass pass) const {
    if (on_host(chapter, step)) return plain ? *plain : kernels;
    const std::vector<Element> taken = verify::elements_of(step, pass);
    if (others.empty() || std::count(taken.begin(), taken.end(), kernels.problem.element)) {
      return kernels;
    }
    return others.at(taken.front());
  }
};

/// The elements that must stand in for `element` in steps that do not take it: their first ones.
std::set<Element> stand_ins(std::span<const Chapter* const> chosen, Element element, Pass pass) {
  std::set<Element> elements;
  for (const Chapter* chapter : chosen) {
    for (const Step& step : chapter->steps) {
      const std::vector<Element> taken = verify::elements_of(step, pass);
      if (!taken.empty() && !std::count(taken.begin(), taken.end(), element)) {
        elements.insert(taken.front());
      }
    }
  }
  return elements;
}

Subjects subjects_of(const ProblemOptions& options, std::span<const Chapter* const> chosen,
                     Pass pass, bool on_gpu, Progress& progress) {
  refuse_extras(options);
  const Mask mask = mask_of(options, on_gpu);
  const std::optional<Element> wanted = element_of(options);
  const Element element = wanted.value_or(Element::kFloat32);
  const bool by_default = options.shape.empty() && options.workload.empty();
  const ProblemSizes sizes = by_default
                                 ? ProblemSizes{make_shape(1, 1, kTokens, kTokens, kHeadSize)}
                                 : problem_sizes(options, on_gpu, {});
  check_memory(sizes);
  check_support(sizes, mask, element, pass);
  progress.stage("the oracle, in float64");
  const auto with_element = [&](Element of_arrays) {
    Subject subject = subject_of(sizes, mask, of_arrays, pass);
    if (by_default) {
      subject.shape = make_shape(kBatch, kHeads, kTokens, kTokens, kHeadSize);
      if (on_gpu) repeat_heads(subject);
    }
    return subject;
  };
  Subjects subjects{.kernels = with_element(element), .plain = {}, .others = {}, .name = {}};
  if (!wanted) {
    for (const Element other : stand_ins(chosen, element, pass)) {
      subjects.others.emplace(other, with_element(other));
    }
  }
  if (by_default) {
    // Backward, the oracle would take a minute, and the textbook loops seconds.
    const std::int64_t N = pass == Pass::kForward ? kTokensOfPlain : kTokens;
    subjects.plain = subject_of({make_shape(1, 1, N, N, kHeadSize)}, mask, element, pass);
  }
  if (!options.workload.empty()) {
    const io::Workload& known = io::find_workload(options.workload);
    subjects.name = options.workload;
    if (!on_gpu && known.has_twin()) {
      subjects.name += fmt::format(" scaled down for the CPU machine ({})", known.scaled);
    }
    subjects.name += ": ";
  }
  return subjects;
}

/// Without a mask the steps of a chapter about masks do the same: its default step stands for them.
bool stands_for_others(const Row& row, Pass pass, const Mask& mask) {
  return mask != Mask::kFull || row.chapter->support.features.empty() || !row.right ||
         !chapters::heads_are_alike(*row.chapter) || is_twin(*row.chapter, *row.step) ||
         row.step == default_step(*row.chapter, pass);
}

void print(const Subjects& subjects, Pass pass, const std::vector<Row>& all) {
  const Subject& kernels = subjects.kernels;
  const Subject& plain = subjects.plain ? *subjects.plain : kernels;
  const bool styled = ::isatty(STDOUT_FILENO) != 0;
  std::vector<Row> rows;
  std::copy_if(all.begin(), all.end(), std::back_inserter(rows),
               [&](const Row& row) { return stands_for_others(row, pass, kernels.problem.mask); });
  const auto title = [&](const char* what, const Subject& subject) {
    fmt::print("\n{}{}{}, {} pass, mask {}\n\n", what, subjects.name,
               to_string(subject.shape, subject.problem.extras.d_v), to_string(pass),
               to_string(subject.problem.mask));
  };
  title("Kernels. ", kernels);
  print_table(rows, false, styled);
  if (kernels.shape != kernels.problem.shape) {
    fmt::print(
        "Run and counted: one of the {} heads. They share no byte, so counts are {} times "
        "its own.\n",
        kernels.shape.heads(), kernels.shape.heads());
    for (const Chapter* chapter : chapters::all()) {
      if (chapters::heads_are_alike(*chapter)) continue;
      fmt::print("Not here: {}, whose heads are not alike; `attn compare --shape` has it.\n",
                 chapter->id);
    }
  }
  if (several_elements(rows)) {
    fmt::print(
        "element: float32 where a step takes it. What has 16 bits in place of 32 moves half the "
        "bytes.\n");
  }
  if (rows.size() < all.size()) {
    fmt::print("Chapters about masks: the default step; without a mask the others do the same.\n");
  }
  title("Plain C++ on this computer. ", plain);
  print_table(rows, true, styled);
  print_problems(rows);
  const bool timed = std::any_of(rows.begin(), rows.end(),
                                 [](const Row& row) { return row.gpu_seconds.has_value(); });
  fmt::print(
      R"(
requested: what the threads ask of global memory, counted. workspace: what a step needs beside
inputs and outputs. compulsory: each distinct byte once per launch. error: the largest over
{}, in parts of what is allowed, against float64. CPU time: best of several.
GPU time: {}.
Bounds and predictions for GPUs: README.md and `attn trace`. Pictures: bench/results/figures.
)",
      pass == Pass::kForward ? "O and LSE" : "dQ, dK and dV",
      timed ? "median, with warm caches; bench/gpu.sh flushes L2 before every call"
            : "not measured, no GPU here; how long the CPU machine takes says nothing about one");
}

ExitStatus compare(const CompareArguments& arguments) {
  const Pass pass = parse_pass(arguments.pass).value_or(Pass::kForward);
  std::vector<const Chapter*> chosen;
  const bool counts_one_head =
      arguments.problem.shape.empty() && arguments.problem.workload.empty();
  for (const Chapter* chapter : chapters::all()) {
    if (chapters::heads_are_alike(*chapter) || !counts_one_head) chosen.push_back(chapter);
  }
  if (!arguments.with.empty()) {
    if (arguments.with != "mine") {
      throw Error(ErrorKind::kBadArgument,
                  fmt::format("--with {}: allowed: mine, chapters/00_playground/my_attention.cu",
                              arguments.with));
    }
    chosen.push_back(&chapters::find(arguments.with));
  }
  bool any_gpu = false;
  for (const Chapter* chapter : chapters::all()) {
    any_gpu = any_gpu || runs_on_gpu(*chapter, chapter->steps.back());
  }
  check_json(arguments.json);

  Progress progress;
  const Subjects subjects = subjects_of(arguments.problem, chosen, pass, any_gpu, progress);
  std::vector<Row> rows;
  for (const Chapter* chapter : chosen) {
    for (const Step* step : all_steps(*chapter)) {
      if (pass == Pass::kForward ? step->forward == nullptr : step->backward == nullptr) continue;
      progress.stage(fmt::format("{} {}", chapter->id, step->id));
      rows.push_back(compare_one(*chapter, *step, pass, subjects.of(*chapter, *step, pass)));
    }
  }
  progress.clear();
  const auto wrong = [](const Row& row) { return row.supported && !row.right; };
  const ExitStatus status =
      std::any_of(rows.begin(), rows.end(), wrong) ? kFailedVerification : kSuccess;
  write_json(arguments.json,
             to_json(subjects.kernels, arguments.problem.workload, pass, rows).dump(2));
  if (!arguments.json.on_stdout()) print(subjects, pass, rows);
  return status;
}

}  // namespace

void add_compare_command(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("compare", "All chapters side by side, each verified");
  const auto arguments = std::make_shared<CompareArguments>();
  add_shape_options(*command, arguments->problem);
  add_mask_options(*command, arguments->problem);
  add_dtype_option(*command, arguments->problem);
  command->add_option("--pass", arguments->pass, "forward (default) or backward");
  command->add_option("--with", arguments->with,
                      "mine: your own kernel too, chapters/00_playground/my_attention.cu");
  add_json_option(*command, arguments->json);
  command->callback([arguments, &chosen] { chosen = [arguments] { return compare(*arguments); }; });
}

}  // namespace attn::cli
