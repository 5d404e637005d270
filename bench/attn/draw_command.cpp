// SPDX-License-Identifier: MIT
//
// attn draw: what a chapter's kernels do to memory, as a picture; and what holds for any kernel.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/attn/arguments.hpp"
#include "bench/attn/commands.hpp"
#include "bench/attn/traced_pass.hpp"
#include "chapters/chapters.hpp"
#include "common/io/output_file.hpp"
#if ATTN_CAN_TRACE
#include "common/simt/draw/fragments.hpp"
#include "common/simt/draw/sheet.hpp"
#include "common/simt/draw/swizzle.hpp"
#endif

namespace attn::cli {
namespace {

struct DrawArguments {
  std::vector<std::string> targets;  // CHAPTER or CHAPTER/STEP
  std::string pass, what, of, arrays, out;
  std::vector<std::string> lines;
  ProblemOptions problem;
};

#if ATTN_CAN_TRACE

/// The options that were given, and their values, but for --out.
std::vector<std::pair<std::string, std::string>> options_of(const DrawArguments& arguments) {
  std::vector<std::pair<std::string, std::string>> options;
  const auto add = [&options](const char* option, const std::string& value) {
    if (!value.empty()) options.emplace_back(option, " " + value);
  };
  add("--pass", arguments.pass);
  add("--what", arguments.what);
  add("--of", arguments.of);
  for (const std::string& line : arguments.lines) add("--line", line);
  add("--arrays", arguments.arrays);
  add("--shape", arguments.problem.shape);
  add("--workload", arguments.problem.workload);
  if (arguments.problem.causal) options.emplace_back("--causal", "");
  add("--causal-align", arguments.problem.causal_align);
  add("--window", arguments.problem.window);
  add("--scores", arguments.problem.scores);
  add("--page-keys", arguments.problem.page_keys);
  add("--dtype", arguments.problem.dtype);
  return options;
}

/// The command that makes this picture, wherever it is written to.
std::string command_of(const DrawArguments& arguments) {
  std::string text = "attn draw";
  for (const std::string& target : arguments.targets) text += " " + target;
  for (const auto& [option, value] : options_of(arguments)) text += " " + option + value;
  return text;
}

void write_picture(const std::string& out, const std::string& svg) {
  naming("--out", [&] {
    io::OutputFile file(out);
    file.write(svg.data(), svg.size());
    file.commit();
  });
  fmt::print("{}: {} KiB; any browser shows it\n", out, (svg.size() + 1023) / 1024);
}

// ---- Pictures that need no run ------------------------------------------------------------------

bool is_diagram(const DrawArguments& arguments) {
  return arguments.what == "fragments" || arguments.what == "swizzle";
}

ExitStatus draw_diagram(const DrawArguments& arguments) {
  if (!arguments.targets.empty()) {
    bad(fmt::format("CHAPTER {}: given with --what {}; allowed: none, it shows what holds for all",
                    fmt::join(arguments.targets, " "), arguments.what));
  }
  for (const auto& [option, value] : options_of(arguments)) {
    if (option == "--what" || option == "--of") continue;
    bad(fmt::format("{}{}: given with --what {}; allowed: --of and --out", option, value,
                    arguments.what));
  }
  const bool swizzle = arguments.what == "swizzle";
  const std::string of = !arguments.of.empty() ? arguments.of : swizzle ? "64" : "mma";
  const std::string out = arguments.out.empty() ? arguments.what + ".svg" : arguments.out;
  const std::string command = command_of(arguments);
  const simt::draw::Diagram diagram = naming("--of", [&] {
    using namespace simt::draw;
    return swizzle ? draw_swizzle(parse_row_elements(of), command)
                   : draw_fragments(parse_fragments(of), command);
  });
  naming("--out", [&] { io::check_output(out); });
  fmt::print("{}\n", diagram.text);
  write_picture(out, diagram.svg);
  return kSuccess;
}

// ---- Pictures of a run --------------------------------------------------------------------------

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(','), text.size());
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

/// The chapter and the step that CHAPTER/STEP names, ready to run.
Trace trace_of(const std::string& target, const DrawArguments& arguments) {
  const std::size_t slash = std::min(target.find('/'), target.size());
  const Chapter& chapter = chapters::find(target.substr(0, slash));
  const std::string wanted = target.substr(std::min(slash + 1, target.size()));
  const Step* step = nullptr;
  try {
    step = &traced_step(chapter, wanted, arguments.pass);
  } catch (const Error& error) {  // "--step 9: allowed in ..."
    const std::string text = error.what();
    const std::string option = "--step " + wanted;
    if (!text.starts_with(option)) throw;
    bad(target + text.substr(option.size()));
  }
  return make_trace(chapter, *step, arguments.pass, arguments.problem,
                    make_shape(1, 1, 256, 256, 64));
}

/// The arrays of a pass that have rows, in the order in which the lessons draw them.
std::vector<simt::draw::KnownArray> arrays_of(const Trace& trace) {
  const std::size_t element = bytes_of(trace.element);
  const auto d = static_cast<std::size_t>(trace.sizes.shape.d) * element;
  const auto d_v = trace.sizes.d_v > 0 ? static_cast<std::size_t>(trace.sizes.d_v) * element : d;
  return {{"k", "K", d},
          {"v", "V", d_v},
          {"q", "Q", d},
          {"o", "O", d_v},
          {"dO", "dO", d_v},
          {"dq", "dQ", d},
          {"dk", "dK", d},
          {"dv", "dV", d_v},
          {"lse", "LSE", 4},
          {"workspace", "workspace", 0},
          {"block_table", "table", 0},
          {"bias", "bias", static_cast<std::size_t>(trace.bias.Nk) * 4}};
}

simt::draw::What what_of(const DrawArguments& arguments) {
  if (arguments.what.empty()) {
    return arguments.lines.empty() ? simt::draw::What::kTouches : simt::draw::What::kWarp;
  }
  const auto what = naming(
      "--what", [&] { return simt::draw::parse_what(arguments.what, ", fragments, swizzle"); });
  if (what != simt::draw::What::kWarp && !arguments.lines.empty()) {
    bad(fmt::format("--line {}: given with --what {}; allowed: with --what warp",
                    arguments.lines.front(), arguments.what));
  }
  return what;
}

ExitStatus draw(DrawArguments arguments) {
  constexpr std::size_t kTargets = 2;
  if (is_diagram(arguments)) return draw_diagram(arguments);
  if (arguments.targets.empty()) chapters::find("");  // says which there are
  if (arguments.targets.size() > kTargets) {
    bad(fmt::format("CHAPTER {}: {} of them; allowed: one, or two to compare",
                    fmt::join(arguments.targets, " "), arguments.targets.size()));
  }
  const simt::draw::What what = what_of(arguments);
  if (!arguments.of.empty()) {
    bad(fmt::format("--of {}: given without --what fragments or --what swizzle; allowed: with them",
                    arguments.of));
  }
  if (arguments.lines.size() > arguments.targets.size()) {
    bad(fmt::format("--line {}: one too many; allowed: one for each CHAPTER",
                    arguments.lines.back()));
  }
  const std::string out = arguments.out.empty()
                              ? (what == simt::draw::What::kTouches  ? "touches.svg"
                                 : what == simt::draw::What::kWarp   ? "warp.svg"
                                 : what == simt::draw::What::kPhases ? "phases.svg"
                                                                     : "timeline.svg")
                              : arguments.out;
  naming("--out", [&] { io::check_output(out); });

  std::vector<Trace> traces;
  for (const std::string& target : arguments.targets) {
    traces.push_back(trace_of(target, arguments));
  }
  simt::draw::Sheet sheet(what, {.line = "--line", .arrays = "--arrays"});
  bool clean = true;
  for (std::size_t i = 0; i < traces.size(); ++i) {
    Trace& trace = traces[i];
    const std::string line =
        arguments.lines.empty() ? "" : arguments.lines[std::min(i, arguments.lines.size() - 1)];
    sheet.begin(std::string(trace.chapter->id), std::string(trace.step->id), arrays_of(trace), line,
                split(arguments.arrays));
    run_traced(trace, arguments.problem);
    sheet.end();
    for (const Detection& detection : trace.detections) fmt::print("{}\n\n", to_string(detection));
    for (const std::string& damage : trace.damage) fmt::print("{}\n\n", damage);
    clean = clean && trace.clean();
  }
  const Trace& first = traces.front();
  const std::string note = fmt::format(
      "{}, {} pass, mask {}{}{}", to_string(first.sizes), to_string(first.pass),
      to_string(first.mask), extras_text(first),
      first.element == Element::kFloat32 ? "" : fmt::format(", {}", to_string(first.element)));
  write_picture(out, sheet.svg(note, command_of(arguments)));
  return clean ? kSuccess : kFailedVerification;
}

#else

ExitStatus draw(const DrawArguments&) { refuse_to_trace("draw"); }

#endif

}  // namespace

void add_draw_command(CLI::App& app, Action& chosen) {
  CLI::App* command =
      app.add_subcommand("draw", "Pictures of what a chapter's kernels do to memory");
  const auto arguments = std::make_shared<DrawArguments>();
  command->add_option("CHAPTER", arguments->targets,
                      "id or number, and a step other than the last: 5, 7/1, 03/step2_tiled;\n"
                      "two of them are put beside each other");
  command->add_option("--what", arguments->what,
                      "touches (default): which rows of which array, in order;\n"
                      "warp: which lane asks for which address, in a line of source;\n"
                      "timeline: what the warps of a block do between barriers;\n"
                      "phases: who asks for tiles, waits and is done, and the mbarriers;\n"
                      "without a CHAPTER, and as text, too:\n"
                      "fragments: which lane holds which element of a tensor core's matrices;\n"
                      "swizzle: which banks ldmatrix reads, with and without a swizzle");
  command->add_option("--of", arguments->of,
                      "for --what fragments: mma (default), ldmatrix, or p: two tiles of S\n"
                      "become one of P; for --what swizzle: elements of a row, 64 (default)\n"
                      "or 128");
  command
      ->add_option("--line", arguments->lines,
                   "FILE:LINE, as `attn trace --lines` lists them, for --what warp;\n"
                   "with two chapters once for both, or once for each")
      ->allow_extra_args(false);
  command->add_option("--arrays", arguments->arrays, "draw these only, in this order: k,v,q,o");
  command->add_option("--out", arguments->out,
                      "the file, by default what is drawn with .svg: touches.svg");
  command->add_option("--pass", arguments->pass, "forward (default) or backward");
  add_shape_options(*command, arguments->problem);
  add_mask_options(*command, arguments->problem);
  add_scores_option(*command, arguments->problem);
  add_page_keys_option(*command, arguments->problem);
  add_dtype_option(*command, arguments->problem);
  command->callback([arguments, &chosen] { chosen = [arguments] { return draw(*arguments); }; });
}

}  // namespace attn::cli
