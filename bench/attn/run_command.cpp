// SPDX-License-Identifier: MIT
//
// attn run: one chapter on arrays from .npy files. Everything that can be wrong is refused before
// anything is computed, and the output files appear together, once all of them are written.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bench/attn/arguments.hpp"
#include "bench/attn/commands.hpp"
#include "bench/attn/progress.hpp"
#include "chapters/chapters.hpp"
#include "common/io/npy.hpp"
#include "common/io/output_file.hpp"
#include "common/run/run.hpp"
#include "common/verify/check.hpp"

namespace attn::cli {
namespace {

struct RunArguments {
  std::string chapter, step;
  std::string q, k, v, grad_o;                 // files to read; grad_o is optional
  std::string o, lse, grad_q, grad_k, grad_v;  // files to write; all but o are optional
  std::string scale;
  ProblemOptions problem;
  bool deterministic = false;

  bool backward() const { return !grad_o.empty(); }
};

[[noreturn]] void bad(const std::string& message) { throw Error(ErrorKind::kBadArgument, message); }

using NamedPath = std::pair<const char*, const std::string*>;  // option, file

/// Every output can be written, and no file is named twice.
void check_files(const RunArguments& arguments) {
  constexpr int kInputs = 4;
  const NamedPath files[] = {
      {"--q", &arguments.q},       {"--k", &arguments.k},       {"--v", &arguments.v},
      {"--do", &arguments.grad_o}, {"--o", &arguments.o},       {"--lse", &arguments.lse},
      {"--dq", &arguments.grad_q}, {"--dk", &arguments.grad_k}, {"--dv", &arguments.grad_v}};
  const auto canonical = [](const std::string& path) {
    std::error_code error;
    const std::filesystem::path target = io::resolve_output(path);
    const auto result = std::filesystem::weakly_canonical(target, error);
    return error ? target : std::filesystem::absolute(result, error);
  };
  for (const NamedPath* file = files + kInputs; file != std::end(files); ++file) {
    const auto& [option, path] = *file;
    if (path->empty()) continue;
    naming(option, [&] { io::check_output(*path); });
    for (const NamedPath* other = files; other != file; ++other) {
      if (other->second->empty() || canonical(*path) != canonical(*other->second)) continue;
      bad(fmt::format("{} {}: it is the file of {} too; allowed: a file of its own", option, *path,
                      other->first));
    }
  }
}

/// --do comes with at least one of --dq, --dk and --dv, and they with it.
void check_gradients(const RunArguments& arguments) {
  const NamedPath gradients[] = {
      {"--dq", &arguments.grad_q}, {"--dk", &arguments.grad_k}, {"--dv", &arguments.grad_v}};
  bool any = false;
  for (const auto& [option, path] : gradients) {
    if (path->empty()) continue;
    any = true;
    if (!arguments.backward()) {
      bad(fmt::format("{} {}: given without --do; allowed: both together", option, *path));
    }
  }
  if (arguments.backward() && !any) {
    bad(fmt::format("--do {}: given alone; allowed: with at least one of --dq, --dk, --dv",
                    arguments.grad_o));
  }
}

io::NpyArray read(const char* option, const std::string& path) {
  return naming(option, [&] { return io::read_heads(path); });
}

/// One of the arrays of a problem: where it came from and its shape as [B, heads, N, d].
struct Heads {
  Heads(const char* option, const std::string& path, const io::NpyArray& array)
      : name(fmt::format("{} {}", option, path)), rank(array.shape.size()), sizes(array.shape) {
    if (rank == 2) sizes.insert(sizes.begin(), 2, 1);
  }

  /// Throws unless this array has the rank of `other` and the same size in `axes`.
  void expect_same(const Heads& other, std::initializer_list<std::size_t> axes) const {
    static constexpr const char* kAxes[] = {"B", "H", "N", "d"};
    if (rank != other.rank) {
      bad(fmt::format("{}: rank {}; allowed: {}, the rank of {}", name, rank, other.rank,
                      other.name));
    }
    for (const std::size_t axis : axes) {
      if (sizes[axis] == other.sizes[axis]) continue;
      bad(fmt::format("{}: {} = {}; allowed: {}, as in {}", name, kAxes[axis], sizes[axis],
                      other.sizes[axis], other.name));
    }
  }

  std::string name;
  std::size_t rank;
  std::vector<std::int64_t> sizes;
};

Shape shape_of(const Heads& q, const Heads& k, const Heads& v) {
  if (q.sizes[3] == 0) bad(fmt::format("{}: d = 0; allowed: 1 or more", q.name));
  k.expect_same(q, {0, 3});
  v.expect_same(k, {0, 1, 2, 3});
  Shape shape = make_shape(q.sizes[0], q.sizes[1], q.sizes[2], k.sizes[2], q.sizes[3]);
  shape.Hkv = k.sizes[1];
  if (shape.Hkv == 0 ? shape.H != 0 : shape.H % shape.Hkv != 0) {
    bad(fmt::format("{}: {} heads; allowed: a divisor of {}, the heads of {}", k.name, shape.Hkv,
                    shape.H, q.name));
  }
  return shape;
}

/// The chapter and step that compute one pass.
struct Choice {
  const Chapter* chapter;
  const Step* step;
};

/// named: the step that --step asks for, or null. Its forward, the chapter's, or a borrowed one.
Choice choose_forward(const Chapter& chapter, const Step* named) {
  if (named != nullptr && named->forward != nullptr) return {&chapter, named};
  const Chapter& lender = chapter.forward_of.empty() ? chapter : chapters::find(chapter.forward_of);
  return {&lender, default_step(lender, Pass::kForward)};
}

Choice choose_backward(const Chapter& chapter, const Step* named, bool deterministic) {
  const Step* step = named != nullptr ? named : default_step(chapter, Pass::kBackward);
  if (step == nullptr || step->backward == nullptr) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("--do: {} {}has no backward pass", chapter.id,
                            step == nullptr ? "" : fmt::format("{} ", step->id)));
  }
  if (deterministic && !step->deterministic_backward) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("--deterministic: {} {} adds its gradients in any order", chapter.id,
                            step->id));
  }
  return {&chapter, step};
}

/// Throws what the run noticed: a kernel that wrote outside its arrays, say.
void expect_clean(const Outputs& outputs) {
  for (const std::string& damage : outputs.damage) throw Error(ErrorKind::kDeviceFailure, damage);
  for (const Detection& detection : outputs.detections) {
    if (!detection.warning) throw Error(ErrorKind::kDeviceFailure, to_string(detection));
  }
}

/// "forward by 05_fused_forward forward on the CPU machine".
std::string describe(const Choice& choice, Pass pass) {
  return fmt::format("{} by {} {} on {}", to_string(pass), choice.chapter->id, choice.step->id,
                     memory_of(*choice.chapter, *choice.step).name());
}

ExitStatus run(const RunArguments& arguments) {
  const Chapter& chapter = chapters::find(arguments.chapter);
  const Step* named =
      arguments.step.empty() ? nullptr : select_steps(chapter, arguments.step).front();
  check_gradients(arguments);
  const Mask mask = mask_of(arguments.problem);
  const float scale = arguments.scale.empty() ? 0.0f : parse_float("--scale", arguments.scale);
  const Choice forward = choose_forward(chapter, named);
  const Choice backward =
      arguments.backward() ? choose_backward(chapter, named, arguments.deterministic) : forward;
  check_files(arguments);

  io::NpyArray q = read("--q", arguments.q);
  io::NpyArray k = read("--k", arguments.k);
  io::NpyArray v = read("--v", arguments.v);
  io::NpyArray grad_o;
  const Heads q_heads("--q", arguments.q, q);
  Problem problem;
  problem.shape = shape_of(q_heads, Heads("--k", arguments.k, k), Heads("--v", arguments.v, v));
  problem.mask = mask;
  problem.scale = arguments.scale.empty() ? default_scale(problem.shape.d) : scale;
  if (arguments.backward()) {
    grad_o = read("--do", arguments.grad_o);
    Heads("--do", arguments.grad_o, grad_o).expect_same(q_heads, {0, 1, 2, 3});
  }
  problem.q = std::move(q.values);
  problem.k = std::move(k.values);
  problem.v = std::move(v.values);
  problem.grad_o = std::move(grad_o.values);

  std::vector<std::string> done{describe(forward, Pass::kForward)};
  Outputs result;
  {
    const ShowRun show(done.back());
    result = run_forward(*forward.chapter, *forward.step, problem);
  }
  expect_clean(result);
  Outputs gradients;
  if (arguments.backward()) {
    done.push_back(describe(backward, Pass::kBackward));
    const ShowRun show(done.back());
    gradients = run_backward(*backward.chapter, *backward.step, problem, result.o, result.lse);
    expect_clean(gradients);
  }

  std::vector<io::OutputFile> files;
  std::vector<std::string_view> names;
  const auto stage = [&](const char* option, const std::string& path,
                         std::span<const std::int64_t> shape, std::span<const float> values) {
    if (path.empty()) return;
    naming(option, [&] { files.push_back(io::stage_npy(path, shape, values)); });
    names.push_back(path);
  };
  stage("--o", arguments.o, q.shape, result.o);
  stage("--lse", arguments.lse, std::span(q.shape).first(q.shape.size() - 1), result.lse);
  stage("--dq", arguments.grad_q, q.shape, gradients.grad_q);
  stage("--dk", arguments.grad_k, k.shape, gradients.grad_k);
  stage("--dv", arguments.grad_v, k.shape, gradients.grad_v);
  for (io::OutputFile& file : files) file.commit();
  fmt::print(stderr, "attn: {}; {}, mask {}, scale {}; wrote {}\n", fmt::join(done, ", "),
             to_string(problem.shape), to_string(problem.mask), problem.scale,
             fmt::join(names, ", "));
  return kSuccess;
}

}  // namespace

void add_run_command(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("run", "One chapter on arrays from .npy files");
  const auto arguments = std::make_shared<RunArguments>();
  command->add_option("CHAPTER", arguments->chapter, "id or number")->required();
  command->add_option("--step", arguments->step,
                      "a step other than the last: its id, its number, or a part of the id");
  command->add_option("--q", arguments->q, "Q, [B,H,Nq,d] or [Nq,d], float32 or float64")
      ->required();
  command->add_option("--k", arguments->k, "K, [B,H,Nk,d] or [Nk,d]")->required();
  command->add_option("--v", arguments->v, "V, like K")->required();
  command->add_option("--o", arguments->o, "writes O, like Q")->required();
  command->add_option("--lse", arguments->lse, "writes LSE, [B,H,Nq] or [Nq]");
  command->add_option("--do", arguments->grad_o, "dO, like Q: runs the backward pass too");
  command->add_option("--dq", arguments->grad_q, "writes dQ");
  command->add_option("--dk", arguments->grad_k, "writes dK");
  command->add_option("--dv", arguments->grad_v, "writes dV");
  command->add_option("--scale", arguments->scale, "of the scores (default 1/sqrt(d))");
  add_mask_options(*command, arguments->problem);
  command->add_flag("--deterministic", arguments->deterministic,
                    "a backward pass that gives the same bits every time");
  command->footer(
      "Arrays are [B,H,N,d], heads before rows. Files in the order [B,N,H,d], which several "
      "libraries\nkeep, cannot be told from them where Nq = Nk: they run without a word, rows "
      "taken "
      "for heads.\nSwap their axes 1 and 2 first.\n"
      "What was run, and which files were written, is said in one line on standard error.");
  command->callback([arguments, &chosen] { chosen = [arguments] { return run(*arguments); }; });
}

}  // namespace attn::cli
