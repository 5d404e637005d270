// SPDX-License-Identifier: MIT
//
// attn tune: which tile? A chapter's candidates side by side, each verified: what they take of a
// multiprocessor, what they ask of its memories and, on a GPU, how long they take.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/attn/arguments.hpp"
#include "bench/attn/commands.hpp"
#include "bench/attn/compare_row.hpp"
#include "bench/attn/progress.hpp"
#include "bench/attn/trace_report.hpp"
#include "chapters/chapters.hpp"
#include "common/io/table.hpp"
#if ATTN_CAN_TRACE
#include "common/simt/machine/image.hpp"
#endif

namespace attn::cli {
namespace {

struct TuneArguments {
  std::string chapter, d, device;
  ProblemOptions problem;
  JsonOptions json;
};

#if defined(ATTN_USE_CUDA) || ATTN_CAN_TRACE

/// The candidates of one head size, and the problem they are compared on.
struct Round {
  std::vector<const Candidate*> candidates;
  ProblemSizes sizes;
};

/// Rounds of all head sizes that the chapter has candidates for, each with `shape` and that d.
std::vector<Round> rounds_of(const Chapter& chapter, const Shape& shape) {
  std::vector<Round> rounds;
  for (const Candidate& candidate : chapter.candidates()) {
    const std::int64_t d = candidate.support.max_d;
    if (rounds.empty() || rounds.back().sizes.shape.d != d) {
      rounds.push_back({.candidates = {}, .sizes = {shape}});
      rounds.back().sizes.shape.d = d;
    }
    rounds.back().candidates.push_back(&candidate);
  }
  return rounds;
}

/// The rounds that are asked for: all, that of --d, or that of the shape's d.
std::vector<Round> chosen_rounds(const TuneArguments& arguments, const Chapter& chapter,
                                 bool on_gpu, const Shape& usual) {
  const ProblemOptions& problem = arguments.problem;
  std::vector<Round> rounds = rounds_of(chapter, usual);
  const bool has_shape = !problem.shape.empty() || !problem.workload.empty();
  if (!arguments.d.empty()) {
    if (has_shape) {
      bad(fmt::format("--d {}: given together with a shape, which has a d; allowed: one of the two",
                      arguments.d));
    }
    std::string known;
    for (Round& round : rounds) {
      const std::string d = std::to_string(round.sizes.shape.d);
      if (d == arguments.d) return {std::move(round)};
      known += (known.empty() ? "" : ", ") + d;
    }
    bad(fmt::format("--d {}: allowed in {}: {}", arguments.d, chapter.id, known));
  }
  if (!has_shape) return rounds;
  const ProblemSizes sizes = problem_sizes(problem, on_gpu, {});
  const auto wide_enough = [&](const Round& round) { return sizes.shape.d <= round.sizes.shape.d; };
  const auto found = std::find_if(rounds.begin(), rounds.end(), wide_enough);
  Round& round = found == rounds.end() ? rounds.back() : *found;
  round.sizes = sizes;
  name_sources(sources_of(problem), [&] {
    Extras extras;
    extras.d_v = sizes.d_v;
    const Support& support = round.candidates.front()->support;
    const std::string why =
        why_unsupported(Element::kFloat32, sizes.shape, mask_of(problem, on_gpu), extras, support);
    if (!why.empty()) throw Error(ErrorKind::kUnsupported, why);
  });
  const Shape& shape = sizes.shape;
  if (shape.heads() == 0 || shape.Nq == 0 || shape.Nk == 0) {
    bad(fmt::format("--shape {}: nothing to compute; allowed: sizes of 1 or more",
                    to_string(sizes)));
  }
  check_memory(sizes);
  return {std::move(round)};
}

/// What a candidate takes of a multiprocessor.
struct Footprint {
  std::optional<int> registers = {};
  std::optional<int> blocks_per_multiprocessor = {};  // needs the registers
  bool fits = true;                                   // a block may have that much shared memory
};

/// One line of the table.
struct Tuned {
  const Candidate* candidate;
  Footprint footprint;
  Row row;  // its step is the candidate's; of nothing if it does not fit
};

/// All candidates of one head size.
struct Results {
  ProblemSizes sizes;
  std::vector<Tuned> rows;
};

int warps_of(const Candidate& candidate) { return (candidate.threads + 31) / 32; }

#ifdef ATTN_USE_CUDA

constexpr bool kOnGpu = true;

/// The kernel's name, as in ptxas.json; a GPU does not tell.
std::string name_of(const Candidate&) { return ""; }

std::string device_name(const Chapter& chapter) { return chapter.memory().name(); }

Footprint footprint_of(const Chapter& chapter, const Candidate& candidate) {
  const KernelUse use =
      *chapter.memory().kernel_use(candidate.kernel(), candidate.threads, candidate.shared_bytes);
  const int blocks = use.blocks_per_multiprocessor;
  Footprint footprint{.registers = use.registers};
  footprint.fits = blocks > 0;
  if (footprint.fits) footprint.blocks_per_multiprocessor = blocks;
  return footprint;
}

std::string compiled_by() { return "as compiled"; }

void set_device(const std::string& name) {
  if (name.empty()) return;
  throw Error(ErrorKind::kUnsupported,
              fmt::format("--device {}: this program asks the GPU itself; `attn tune`, on the CPU "
                          "machine, knows others",
                          name));
}

#else

constexpr bool kOnGpu = false;

void set_device(const std::string& name) {
  if (name.empty()) return;
  naming("--device", [&] { simt::set_current_device(simt::find_device(name)); });
}

std::string name_of(const Candidate& candidate) { return simt::function_name(candidate.kernel()); }

std::string device_name(const Chapter&) { return std::string(simt::current_device().name); }

/// What bench/report.py collect wrote down of nvcc's numbers; null where there is no such file.
const nlohmann::json& ptxas() {
  static const nlohmann::json json = [] {
    std::ifstream file(ATTN_RESULTS "/ptxas.json");
    return nlohmann::json::parse(file, nullptr, false);
  }();
  return json;
}

/// The architecture that a kernel is compiled for to run on the device, as in ptxas.json.
std::string architecture() {
  const simt::DeviceDescription& device = simt::current_device();
  return device.major == 9 ? "sm_90a" : fmt::format("sm_{}0", device.major);
}

std::optional<int> registers_of(const Chapter& chapter, const std::string& kernel) {
  if (!ptxas().is_object() || !ptxas().contains("candidates")) return {};
  for (const nlohmann::json& its : ptxas()["candidates"]) {
    if (its.at("chapter") == chapter.id && its.at("kernel") == kernel &&
        its.at("architecture") == architecture()) {
      return its.at("registers").get<int>();
    }
  }
  return {};
}

Footprint footprint_of(const Chapter& chapter, const Candidate& candidate) {
  const simt::DeviceDescription& device = simt::current_device();
  if (candidate.shared_bytes > device.shared_bytes_per_block) return {.fits = false};
  Footprint footprint;
  footprint.registers = registers_of(chapter, name_of(candidate));
  if (footprint.registers) {
    simt::LaunchRecord launch;
    launch.block = dim3(static_cast<unsigned>(candidate.threads));
    launch.shared_bytes = candidate.shared_bytes;
    footprint.blocks_per_multiprocessor =
        occupancy_of(launch, device, *footprint.registers).blocks_per_multiprocessor;
  }
  return footprint;
}

std::string compiled_by() {
  return ptxas().is_object()
             ? fmt::format("by nvcc {} for {}", ptxas().value("nvcc", "?"), architecture())
             : "unknown, there is no bench/results/ptxas.json";
}

#endif

/// Enough heads for every multiprocessor; on a GPU bench/gpu.sh's 16,384 tokens, so long that a
/// launch takes milliseconds.
Shape usual_shape(bool on_gpu) {
  return on_gpu ? make_shape(4, 16, 4096, 4096, 64) : make_shape(32, 16, 512, 512, 64);
}

void check_counted(const ProblemSizes& sizes) {
  const Shape& shape = sizes.shape;
  if (kOnGpu || static_cast<double>(shape.Nq) * static_cast<double>(shape.Nk) *
                        static_cast<double>(shape.d) <=
                    static_cast<double>(kCountedWork)) {
    return;
  }
  bad(
      fmt::format("--shape {}: too large to be counted on the CPU machine; allowed: Nq * Nk * d up "
                  "to {}, for example --shape B={},H={},N=512,d={}",
                  to_string(sizes), kCountedWork, shape.B, shape.H, shape.d));
}

Results tune_one(const Chapter& chapter, const Round& round, Progress& progress) {
  ProblemSizes one_head = round.sizes;
  one_head.shape.B = one_head.shape.H = one_head.shape.Hkv = 1;
  progress.stage("the oracle, in float64");
  Subject subject = subject_of(one_head, Mask::kFull, Element::kFloat32, Pass::kForward);
  subject.shape = round.sizes.shape;
  if (kOnGpu) repeat_heads(subject);
  Results results{.sizes = round.sizes, .rows = {}};
  for (const Candidate* candidate : round.candidates) {
    progress.stage(fmt::format("{} {}", chapter.id, candidate->step.id));
    Tuned& tuned = results.rows.emplace_back();
    tuned.candidate = candidate;
    tuned.footprint = footprint_of(chapter, *candidate);
    if (!tuned.footprint.fits) continue;
    const Chapter alone = with_candidate(chapter, *candidate);
    tuned.row = compare_one(alone, candidate->step, Pass::kForward, subject);
    tuned.row.chapter = &chapter;
  }
  return results;
}

void print_table(const Results& results, bool styled) {
  using enum io::Table::Align;
  std::vector<io::Table::Column> columns{{"tile"},
                                         {"registers", kRight},
                                         {"shared", kRight},
                                         {"blocks/SM", kRight},
                                         {"warps/SM", kRight}};
  if (kOnGpu) {
    columns.insert(columns.end(), {{"GPU time", kRight}, {"TFLOP/s", kRight}});
  } else {
    columns.insert(columns.end(), {{"loads/FFMA", kRight},
                                   {"stores/FFMA", kRight},
                                   {"requested", kRight},
                                   {"bound", kRight},
                                   {"set by"}});
  }
  columns.push_back({"result"});
  io::Table table(columns);
  const Shape& shape = results.sizes.shape;
  for (const Tuned& tuned : results.rows) {
    const Candidate& candidate = *tuned.candidate;
    const Row& row = tuned.row;
    const std::optional<int>& registers = tuned.footprint.registers;
    const std::optional<int>& blocks = tuned.footprint.blocks_per_multiprocessor;
    std::vector<std::string> cells{
        fmt::format("{}{}", candidate.step.id, candidate.used ? " *" : ""),
        registers   ? std::to_string(*registers)
        : row.right ? "not compiled"
                    : "",
        io::human_bytes(candidate.shared_bytes), blocks ? std::to_string(*blocks) : "",
        blocks ? std::to_string(*blocks * warps_of(candidate)) : ""};
    if (kOnGpu) {
      const double flops = 4.0 * static_cast<double>(shape.heads() * shape.Nq) *
                           static_cast<double>(shape.Nk * shape.d);
      cells.push_back(row.gpu_seconds ? io::human_seconds(*row.gpu_seconds) : "");
      cells.push_back(row.gpu_seconds ? fmt::format("{:.1f}", flops / *row.gpu_seconds / 1e12)
                                      : "");
    } else if (row.multiply_adds) {
      const double of_warps = *row.multiply_adds / 32;
      cells.insert(cells.end(),
                   {fmt::format("{:.3f}", *row.shared_load_wavefronts / of_warps),
                    fmt::format("{:.3f}", *row.shared_store_wavefronts / of_warps),
                    io::human_bytes(static_cast<std::size_t>(*row.requested_bytes)),
                    io::human_seconds(*row.bound_seconds), std::string(row.bound_limit)});
    } else {
      cells.insert(cells.end(), 5, "");
    }
    cells.push_back(!tuned.footprint.fits ? "does not fit" : row.right ? "right" : "WRONG");
    table.add_row(cells);
  }
  fmt::print("{}", table.to_string(styled));
}

void print(const Chapter& chapter, const std::vector<Results>& all) {
  const bool styled = ::isatty(STDOUT_FILENO) != 0;
  const std::string device = device_name(chapter);
  for (const Results& results : all) {
    fmt::print("\n{}, forward pass, {}, {}\n\n", chapter.id, to_string(results.sizes), device);
    print_table(results, styled);
    for (const Tuned& tuned : results.rows) {
      if (!tuned.row.problem.empty()) {
        fmt::print("{}: {}\n", tuned.candidate->step.id, tuned.row.problem);
      }
    }
  }
  fmt::print(R"(
tile: Br x Bc; * is the one that the chapter takes. registers: of a thread, {}.
shared: of a block. blocks/SM, warps/SM: what fits on a multiprocessor at a time.
)",
             compiled_by());
#ifdef ATTN_USE_CUDA
  fmt::print("GPU time: median, with warm caches. Wavefronts and bytes: `attn tune`.\n");
#else
  const simt::DeviceDescription& limits = simt::current_device();
  const double ffmas = limits.flops_per_clock / (2.0 * 32 * limits.wavefronts_per_clock);
  fmt::print(
      R"(loads/FFMA, stores/FFMA: wavefronts of shared memory for each multiply-add of a warp.
While an SM serves one, it starts {} multiply-adds: beyond {} in all they take longer.
requested: bytes of global memory, counted. bound: no {} is faster, and what sets it; no time.
Times: `attn-cuda tune`, on a GPU.
)",
      ffmas, 1 / ffmas, device);
#endif
}

nlohmann::ordered_json to_json(const Chapter& chapter, const std::vector<Results>& all) {
  const auto or_null = [](const auto& value) {
    return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
  };
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Results& results : all) {
    for (const Tuned& tuned : results.rows) {
      const Candidate& candidate = *tuned.candidate;
      const Row& row = tuned.row;
      const auto text_or_null = [](std::string_view text) {
        return text.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(text);
      };
      rows.push_back(
          {{"tile", candidate.step.id},
           {"used", candidate.used},
           {"columns", candidate.support.max_d},
           {"shape", to_json(results.sizes)},
           {"kernel", text_or_null(name_of(candidate))},
           {"threads", candidate.threads},
           {"shared_bytes", candidate.shared_bytes},
           {"registers", or_null(tuned.footprint.registers)},
           {"blocks_per_multiprocessor", or_null(tuned.footprint.blocks_per_multiprocessor)},
           {"fits", tuned.footprint.fits},
           {"right", row.right},
           {"problem", text_or_null(row.problem)},
           {"shared_load_wavefronts", or_null(row.shared_load_wavefronts)},
           {"shared_store_wavefronts", or_null(row.shared_store_wavefronts)},
           {"multiply_adds", or_null(row.multiply_adds)},
           {"requested_bytes", or_null(row.requested_bytes)},
           {"bound_seconds", or_null(row.bound_seconds)},
           {"bound_limit", text_or_null(row.bound_limit)},
           {"gpu_seconds", or_null(row.gpu_seconds)}});
    }
  }
  return {{"chapter", chapter.id}, {"device", device_name(chapter)}, {"rows", rows}};
}

ExitStatus tune_on(const Chapter& chapter, const TuneArguments& arguments) {
  set_device(arguments.device);
  const std::vector<Round> rounds = chosen_rounds(arguments, chapter, kOnGpu, usual_shape(kOnGpu));
  for (const Round& round : rounds) check_counted(round.sizes);
  Progress progress;
  std::vector<Results> all;
  for (const Round& round : rounds) all.push_back(tune_one(chapter, round, progress));
  progress.clear();
  write_json(arguments.json, to_json(chapter, all).dump(2));
  if (!arguments.json.on_stdout()) print(chapter, all);
  for (const Results& results : all) {
    for (const Tuned& tuned : results.rows) {
      if (tuned.footprint.fits && !tuned.row.right) return kFailedVerification;
    }
  }
  return kSuccess;
}

#else

ExitStatus tune_on(const Chapter&, const TuneArguments&) {
#ifdef __SANITIZE_ADDRESS__
  throw Error(ErrorKind::kUnsupported,
              "tune: this build checks addresses (ATTN_SANITIZE) and cannot count accesses");
#else
  throw Error(ErrorKind::kUnsupported,
              "tune: this build has no CPU machine; install Boost.Context and configure again");
#endif
}

#endif

/// "08, 09": the chapters with candidates.
std::string having_candidates() {
  std::string ids;
  for (const Chapter* chapter : chapters::all()) {
    if (chapter->candidates == nullptr) continue;
    ids += fmt::format("{}{}", ids.empty() ? "" : ", ", chapter->id);
  }
  return ids;
}

ExitStatus tune(TuneArguments arguments) {
  // `tune --json 08`: CHAPTER, not the optional FILE of --json.
  if (arguments.chapter.empty()) arguments.chapter.swap(arguments.json.path);
  const Chapter& chapter = chapters::find(arguments.chapter);
  check_json(arguments.json);
  refuse_extras(arguments.problem);
  if (chapter.candidates == nullptr) {
    const std::string others = having_candidates();
    throw Error(
        ErrorKind::kUnsupported,
        fmt::format("CHAPTER = {}: {} has no tiles to choose from; allowed: {}", arguments.chapter,
                    chapter.id, others.empty() ? "no chapter of this build" : others));
  }
  return tune_on(chapter, arguments);
}

}  // namespace

void add_tune_command(CLI::App& app, Action& chosen) {
  CLI::App* command =
      app.add_subcommand("tune", "Which tile? A chapter's candidates side by side, each verified");
  const auto arguments = std::make_shared<TuneArguments>();
  command->add_option("CHAPTER", arguments->chapter, "id or number");
  command->add_option("--d", arguments->d,
                      "only the candidates for this d (default: all of the chapter's)");
  add_shape_options(*command, arguments->problem);
  command->add_option("--device", arguments->device,
                      "what fits on, and the bound for, H200 (default), H100, A100, RTX4090,\n"
                      "RTX3090, T4");
  add_json_option(*command, arguments->json);
  command->callback([arguments, &chosen] { chosen = [arguments] { return tune(*arguments); }; });
}

}  // namespace attn::cli
