// SPDX-License-Identifier: MIT
//
// attn run: one chapter on arrays from .npy files. Everything that can be wrong is refused before
// anything is computed, and the output files appear together, once all of them are written.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cmath>
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
#include "bench/attn/run_append.hpp"
#include "bench/attn/run_problem.hpp"
#include "chapters/chapters.hpp"
#include "common/io/npy.hpp"
#include "common/io/output_file.hpp"
#include "common/philox.hpp"
#include "common/reference/reference.hpp"
#include "common/run/run.hpp"

namespace attn::cli {
namespace {

using NamedPath = std::pair<const char*, const std::string*>;  // option, file

/// Every output can be written, and no file is named twice.
void check_files(const RunArguments& arguments) {
  const auto [q_offsets, k_offsets] = offset_files(arguments);
  std::vector<NamedPath> inputs{{"--q", &arguments.q},
                                {"--k", &arguments.k},
                                {"--v", &arguments.v},
                                {"--do", &arguments.grad_o},
                                {"--dlse", &arguments.grad_lse},
                                {"--mask", &arguments.mask},
                                {"--bias", &arguments.bias},
                                {"--alibi", &arguments.alibi},
                                {"--sink-logits", &arguments.sink_logits},
                                {"--key-begin", &arguments.key_begin},
                                {"--ranges", &arguments.ranges},
                                {"--block-table", &arguments.block_table},
                                {"--cu-seqlens", &q_offsets},
                                {"--cu-seqlens", &k_offsets}};
  std::vector<NamedPath> outputs{{"--o", &arguments.o},
                                 {"--lse", &arguments.lse},
                                 {"--dq", &arguments.grad_q},
                                 {"--dk", &arguments.grad_k},
                                 {"--dv", &arguments.grad_v},
                                 {"--dbias", &arguments.grad_bias},
                                 {"--dsink", &arguments.grad_sinks},
                                 {"--dropout-mask", &arguments.dropout_mask}};
  const NamedPath cache[] = {{"--key-count", &arguments.key_count},
                             {"--cache-k", &arguments.cache_k},
                             {"--cache-v", &arguments.cache_v}};
  std::vector<NamedPath>& theirs = arguments.append ? outputs : inputs;
  theirs.insert(arguments.append ? theirs.begin() : theirs.end(), std::begin(cache),
                std::end(cache));
  const auto canonical = [](const std::string& path) {
    std::error_code error;
    const std::filesystem::path target = io::resolve_output(path);
    const auto result = std::filesystem::weakly_canonical(target, error);
    return error ? target : std::filesystem::absolute(result, error);
  };
  std::vector<NamedPath>& others = inputs;  // and the outputs before
  for (const NamedPath& file : outputs) {
    const auto& [option, path] = file;
    if (path->empty()) continue;
    naming(option, [&] { io::check_output(*path); });
    for (const NamedPath& other : others) {
      if (other.second->empty() || canonical(*path) != canonical(*other.second)) continue;
      bad(fmt::format("{} {}: it is the file of {} too; allowed: a file of its own", option, *path,
                      other.first));
    }
    others.push_back(file);
  }
}

/// --do comes with at least one gradient to write, and they with it.
void check_gradients(const RunArguments& arguments) {
  const NamedPath gradients[] = {{"--dq", &arguments.grad_q},
                                 {"--dk", &arguments.grad_k},
                                 {"--dv", &arguments.grad_v},
                                 {"--dbias", &arguments.grad_bias},
                                 {"--dsink", &arguments.grad_sinks}};
  const auto needs = [](const NamedPath& option, const char* other, const std::string& path) {
    if (option.second->empty() || !path.empty()) return;
    bad(fmt::format("{} {}: given without {}; allowed: both together", option.first, *option.second,
                    other));
  };
  bool any = false;
  for (const NamedPath& gradient : gradients) {
    any = any || !gradient.second->empty();
    needs(gradient, "--do", arguments.grad_o);
  }
  needs({"--dlse", &arguments.grad_lse}, "--do", arguments.grad_o);
  needs({"--dbias", &arguments.grad_bias}, "--bias", arguments.bias);
  needs({"--dsink", &arguments.grad_sinks}, "--sink-logits", arguments.sink_logits);
  if (arguments.backward() && !any) {
    bad(
        fmt::format("--do {}: given alone; allowed: with at least one of --dq, --dk, --dv, "
                    "--dbias, --dsink",
                    arguments.grad_o));
  }
}

/// The chapter and step that compute one pass.
struct Choice {
  const Chapter* chapter;
  const Step* step;
};

/// named: the step that --step asks for, or null. Its forward, the chapter's, or a borrowed one;
/// for a twin a twin's.
Choice choose_forward(const Chapter& chapter, const Step* named) {
  if (named != nullptr && named->forward != nullptr) return {&chapter, named};
  const Chapter& lender = chapter.forward_of.empty() ? chapter : chapters::find(chapter.forward_of);
  const bool by_twin = named != nullptr && is_twin(chapter, *named) && lender.twin != nullptr &&
                       lender.twin->forward != nullptr;
  return {&lender, by_twin ? lender.twin : default_step(lender, Pass::kForward)};
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

/// Which pairs dropout keeps, hidden ones too: [B,H,Nq,Nk].
std::vector<std::uint8_t> kept_pairs(const Shape& shape, float dropout, std::uint64_t seed) {
  const std::uint32_t dropped_below = dropout_threshold(dropout);
  std::vector<std::uint8_t> kept;
  kept.reserve(static_cast<std::size_t>(shape.rows() * shape.Nk));
  for (std::int64_t b = 0; b < shape.B; ++b) {
    for (std::int64_t h = 0; h < shape.H; ++h) {
      for (std::int64_t i = 0; i < shape.Nq; ++i) {
        for (std::int64_t j = 0; j < shape.Nk; ++j) {
          kept.push_back(dropout_bits(seed, b, h, i, j) >= dropped_below ? 1 : 0);
        }
      }
    }
  }
  return kept;
}

/// The arrays that are written, in Real.
template <class Real>
struct RunResult {
  std::vector<Real> o, lse, grad_q, grad_k, grad_v, grad_bias, grad_sinks;
};

/// Writes all files or none, and says in one line what was run.
template <class Real>
void write(const RunArguments& arguments, const RunInputs<Real>& in, const RunResult<Real>& result,
           const std::vector<std::string>& done, const Mask& mask, double scale) {
  std::vector<io::OutputFile> files;
  std::vector<std::string_view> names;
  const auto stage = [&](const char* option, const std::string& path,
                         const std::vector<std::int64_t>& sizes, const auto& values) {
    if (path.empty()) return;
    naming(option, [&] { files.push_back(io::stage_npy(path, sizes, std::span(values))); });
    names.push_back(path);
  };
  // Rows are computed in the order [B,H,N,d].
  const auto stage_rows = [&](const char* option, const std::string& path,
                              const std::vector<std::int64_t>& sizes,
                              const std::vector<Real>& values) {
    if (path.empty() || !in.rows_first) return stage(option, path, sizes, values);
    stage(option, path, sizes, swap_axes(values, {sizes[0], sizes[2], sizes[1], sizes[3]}));
  };
  stage_rows("--o", arguments.o, in.o_sizes, result.o);
  stage("--lse", arguments.lse, in.lse_sizes, result.lse);
  stage_rows("--dq", arguments.grad_q, in.q_sizes, result.grad_q);
  stage_rows("--dk", arguments.grad_k, in.k_sizes, result.grad_k);
  stage_rows("--dv", arguments.grad_v, in.v_sizes, result.grad_v);
  stage("--dbias", arguments.grad_bias, in.bias_sizes, result.grad_bias);
  stage("--dsink", arguments.grad_sinks, {in.shape.H}, result.grad_sinks);
  if (arguments.append) {
    const bool paged = !arguments.block_table.empty();
    stage("--cache-k", arguments.cache_k, in.k_sizes, paged ? in.k_pool : in.k);
    stage("--cache-v", arguments.cache_v, in.v_sizes, paged ? in.v_pool : in.v);
    naming("--key-count", [&] {
      files.push_back(io::stage_npy(arguments.key_count, std::array{in.shape.B},
                                    in.extras.key_count, in.counts_type));
    });
    names.push_back(arguments.key_count);
  }
  if (!arguments.dropout_mask.empty()) {
    const Shape& s = in.shape;
    stage("--dropout-mask", arguments.dropout_mask, {s.B, s.H, s.Nq, s.Nk},
          kept_pairs(s, in.extras.dropout, in.extras.dropout_seed));
  }
  for (io::OutputFile& file : files) file.commit();
  fmt::print(stderr, "attn: {}; {}, mask {}, scale {}; wrote {}\n", fmt::join(done, ", "),
             to_string(in.shape, in.extras.d_v), to_string(mask), scale, fmt::join(names, ", "));
}

/// The problem that a chapter gets: inputs in float32 or rounded to the element.
Problem problem_of(RunInputs<float> in, const Mask& mask, float scale, Element element) {
  Problem problem;
  problem.shape = in.shape;
  problem.mask = mask;
  problem.scale = scale;
  problem.q = std::move(in.q);
  problem.k = std::move(in.k);
  problem.v = std::move(in.v);
  problem.grad_o = std::move(in.grad_o);
  problem.element = element;
  problem.rows_first = in.rows_first;
  problem.extras = std::move(in.extras);
  round_to_element(problem);
  return problem;
}

float scale_of(const RunArguments& arguments, const Shape& shape) {
  return arguments.scale.empty() ? default_scale(shape.d) : parse_float("--scale", arguments.scale);
}

ExitStatus run_chapter(const RunArguments& arguments) {
  const Chapter& chapter = chapters::find(arguments.chapter);
  const Step* named =
      arguments.step.empty() ? nullptr : select_steps(chapter, arguments.step).front();
  const Choice forward = choose_forward(chapter, named);
  const Choice backward =
      arguments.backward() ? choose_backward(chapter, named, arguments.deterministic) : forward;
  check_files(arguments);
  const Mask mask = mask_of(arguments.problem, false);
  const std::optional<Element> element = element_of(arguments.problem);
  RunInputs<float> in = read_inputs<float>(arguments, element);
  const float scale = scale_of(arguments, in.shape);
  std::vector<std::string> done;
  if (arguments.append) {
    name_sources(sources_of(arguments), [&] { append_keys(*forward.chapter, in); });
    done.push_back(fmt::format("{} new keys appended", in.N_new));
  }
  const Problem problem = problem_of(in, mask, scale, element.value_or(Element::kFloat32));

  done.push_back(describe(forward, Pass::kForward));
  Outputs result;
  name_sources(sources_of(arguments), [&] {
    const ShowRun show(done.back());
    result = run_forward(*forward.chapter, *forward.step, problem);
  });
  expect_clean(result);
  Outputs gradients;
  if (arguments.backward()) {
    done.push_back(describe(backward, Pass::kBackward));
    name_sources(sources_of(arguments), [&] {
      const ShowRun show(done.back());
      gradients = run_backward(*backward.chapter, *backward.step, problem, result.o, result.lse);
    });
    expect_clean(gradients);
  }
  write<float>(arguments, in,
               {result.o, result.lse, gradients.grad_q, gradients.grad_k, gradients.grad_v,
                gradients.grad_bias, gradients.grad_sink_logits},
               done, mask, static_cast<double>(scale));
  return kSuccess;
}

/// What the oracle accepts: everything that the contract knows.
const Chapter& oracle_record() {
  static constexpr WorkspaceBytes kNone = [](const Shape&) { return std::size_t{0}; };
  static constexpr Step kSteps[] = {{.id = "oracle",
                                     .idea = "float64",
                                     .forward_workspace_bytes = kNone,
                                     .backward_workspace_bytes = kNone}};
  static constexpr Chapter kChapter{
      .id = "oracle",
      .title = "Oracle",
      .idea = "float64",
      .memory = host_memory,
      .steps = kSteps,
      .support = {.max_d = std::int64_t{1} << 40, .features = Features::all()}};
  return kChapter;
}

/// The formulas in float64, on float64 files too, which then give float64 files.
ExitStatus run_oracle(const RunArguments& arguments) {
  if (arguments.append) bad("--append: the oracle has no cache; allowed: with a chapter");
  if (!arguments.step.empty()) {
    bad(fmt::format("--step {}: the oracle has no steps; allowed: a chapter's, or no --step",
                    arguments.step));
  }
  check_files(arguments);
  const Mask mask = mask_of(arguments.problem, false);
  const std::optional<Element> wanted = element_of(arguments.problem);
  const Element element = wanted.value_or(Element::kFloat32);
  RunInputs<double> in = read_inputs<double>(arguments, wanted);
  const bool doubles = in.doubles && !wanted;
  if (!doubles) in = read_inputs<float>(arguments, wanted).as<double>();  // as a chapter does
  const float scale = scale_of(arguments, in.shape);
  for (std::vector<double>* array : {&in.q, &in.k, &in.v, &in.grad_o}) {
    if (doubles) break;
    for (double& x : *array) {
      x = static_cast<double>(rounded_to(element, static_cast<float>(x)));
    }
  }
  name_sources(sources_of(arguments), [&] {  // what a chapter would be refused for
    const Problem problem = problem_of(in.as<float>(), mask, scale, element);
    const Chapter& oracle = oracle_record();
    const Run run(oracle, oracle.steps.front(), Pass::kForward, problem, {}, {}, {});
    validate(element, run.forward_args(), oracle.support);
  });
  const double exact_scale = doubles && arguments.scale.empty()
                                 ? 1 / std::sqrt(static_cast<double>(in.shape.d))
                                 : static_cast<double>(scale);
  const reference::Inputs inputs{in.shape, mask, exact_scale, in.q,
                                 in.k,     in.v, in.grad_o,   in.extras};
  reference::Forward forward = reference::forward(inputs);
  const auto store = [&](std::vector<double>& values, Element as) {
    for (double& x : values) {
      if (!doubles) x = static_cast<double>(rounded_to(as, static_cast<float>(x)));
    }
  };
  store(forward.o, element);
  store(forward.lse, Element::kFloat32);
  reference::Gradients grad;
  if (arguments.backward()) {
    grad = reference::backward(inputs, forward);
    for (auto* array : {&grad.grad_q, &grad.grad_k, &grad.grad_v}) store(*array, element);
  }
  const std::vector<std::string> done{
      fmt::format("forward{} by the oracle in float64", arguments.backward() ? ", backward" : "")};
  if (doubles) {
    write<double>(arguments, in,
                  {forward.o, forward.lse, grad.grad_q, grad.grad_k, grad.grad_v, grad.grad_bias,
                   grad.grad_sink_logits},
                  done, mask, exact_scale);
    return kSuccess;
  }
  const auto narrow = reference::narrow;
  write<float>(arguments, in.as<float>(),
               {narrow(forward.o), narrow(forward.lse), narrow(grad.grad_q), narrow(grad.grad_k),
                narrow(grad.grad_v), narrow(grad.grad_bias), narrow(grad.grad_sink_logits)},
               done, mask, exact_scale);
  return kSuccess;
}

ExitStatus run(const RunArguments& arguments) {
  check_gradients(arguments);
  if (!arguments.scale.empty()) parse_float("--scale", arguments.scale);
  mask_of(arguments.problem, false);
  return arguments.chapter == "oracle" ? run_oracle(arguments) : run_chapter(arguments);
}

}  // namespace

void add_run_command(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("run", "One chapter on arrays from .npy files");
  const auto arguments = std::make_shared<RunArguments>();
  command->add_option("CHAPTER", arguments->chapter, "id or number; oracle: float64, every option")
      ->required();
  command->add_option("--step", arguments->step,
                      "a step other than the last: its id, its number, or a part of the id");
  command->add_option("--q", arguments->q, "Q, [B,H,Nq,d] or [Nq,d], float32 or float64")
      ->required();
  command->add_option("--k", arguments->k, "K, [B,Hkv,Nk,d] or [Nk,d]");
  command->add_option("--v", arguments->v, "V, like K, or of another d");
  command->add_option("--o", arguments->o, "writes O, [B,H,Nq,d of V]")->required();
  command->add_option("--lse", arguments->lse, "writes LSE, [B,H,Nq] or [Nq]");
  command->add_option("--do", arguments->grad_o, "dO, like O: runs the backward pass too");
  command->add_option("--dq", arguments->grad_q, "writes dQ");
  command->add_option("--dk", arguments->grad_k, "writes dK");
  command->add_option("--dv", arguments->grad_v, "writes dV");
  command->add_option("--scale", arguments->scale, "of the scores (default 1/sqrt(d))");
  add_mask_options(*command, arguments->problem);
  add_dtype_option(*command, arguments->problem);
  const auto add = [&](const char* option, std::string& value, const char* what) {
    command->add_option(option, value, what);
  };
  add("--layout", arguments->layout, "BHNd (default) or BNHd: the order of axes in files of rows");
  add("--cu-seqlens", arguments->cu_seqlens,
      "Q.npy or Q.npy,K.npy: B + 1 offsets of packed sequences;\nQ, K, V are then [H,total,d]");
  add("--sinks", arguments->sinks, "so many first keys stay visible in a window");
  add("--key-begin", arguments->key_begin, "[B] first valid key");
  add("--key-count", arguments->key_count, "[B] number of valid keys");
  add("--ranges", arguments->ranges, "[B,Nq,2] or [B,Nq,4]: keys of a row, begin and end");
  add("--mask", arguments->mask, "bool, broadcast to [B,H,Nq,Nk]: true where the row sees the key");
  add("--bias", arguments->bias, "float32, broadcast to [B,H,Nq,Nk]: added to the scores");
  add("--alibi", arguments->alibi, "[H] slopes");
  add("--softcap", arguments->softcap, "C: a score s becomes C tanh(s / C)");
  add("--sink-logits", arguments->sink_logits, "[H] one more score for every row, without a value");
  add("--dropout", arguments->dropout, "probability that a weight becomes 0; with --seed");
  add("--seed", arguments->seed, "of dropout");
  add("--dropout-mask", arguments->dropout_mask, "writes which pairs were kept, bool [B,H,Nq,Nk]");
  add("--dlse", arguments->grad_lse, "dLSE, like LSE");
  add("--dbias", arguments->grad_bias, "writes dbias, like the bias");
  add("--dsink", arguments->grad_sinks, "writes the gradient of the sink logits, [H]");
  add("--cache-k", arguments->cache_k, "in place of --k: K of a cache, [B,Hkv,Nk,d]");
  add("--cache-v", arguments->cache_v, "and V");
  add("--block-table", arguments->block_table,
      "[B,n] pages of each sequence: the caches are pools,\n[pages,Hkv,page_keys,d], Nk = n "
      "page_keys");
  command->add_flag(
      "--append", arguments->append,
      "--k and --v, [B,Hkv,N_new,d], go into the cache first, behind the\n--key-count "
      "valid keys; caches and counts are written in place");
  command->add_flag("--deterministic", arguments->deterministic,
                    "a backward pass that gives the same bits every time");
  command->footer(
      "Arrays are [B,H,N,d], heads before rows. Files in the order [B,N,H,d], which several "
      "libraries\nkeep, cannot be told from them where Nq = Nk: they run without a word, rows "
      "taken "
      "for heads.\nSay --layout BNHd where the chapter takes it, or swap their axes 1 and 2 "
      "first.\n"
      "A chapter that does not take what an option asks for says so, with exit status 3.\n"
      "What was run, and which files were written, is said in one line on standard error.");
  command->callback([arguments, &chosen] { chosen = [arguments] { return run(*arguments); }; });
}

}  // namespace attn::cli
