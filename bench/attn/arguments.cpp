// SPDX-License-Identifier: MIT
#include "bench/attn/arguments.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>

#include "common/io/output_file.hpp"
#include "common/io/suggest.hpp"
#include "common/run/run.hpp"
#include "common/verify/check.hpp"
#if !defined(ATTN_USE_CUDA) && ATTN_HAS_DEVICE
#include "common/simt/machine/options.hpp"
#endif

namespace attn::cli {
namespace {

std::int64_t parse_size(std::string_view name, std::string_view text) {
  std::int64_t size = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  const std::int64_t least = name == "d" || name == "dv" ? 1 : 0;
  if (error == std::errc::result_out_of_range && !text.starts_with('-')) {
    bad(fmt::format("--shape {} = {}: allowed: at most {}", name, text,
                    std::numeric_limits<std::int64_t>::max()));
  }
  if (error != std::errc{} || end != text.data() + text.size() || size < least) {
    bad(fmt::format("--shape {} = {}: allowed: an integer of {} or more", name, text, least));
  }
  return size;
}

/// Whether a number that strtof can read is written with a digit other than 0 before its exponent.
bool has_nonzero_digit(std::string_view text) {
  const bool hexadecimal = text.find_first_of("xX") != std::string_view::npos;
  const std::string_view digits = text.substr(0, text.find_first_of(hexadecimal ? "pP" : "eE"));
  return digits.find_first_of("123456789abcdefABCDEF") != std::string_view::npos;
}

}  // namespace

void add_shape_options(CLI::App& command, ProblemOptions& options) {
  command.add_option("--shape", options.shape,
                     "sizes: B=1,H=2,Nq=128,Nk=128,d=64 (N=128 for both);\n"
                     "Hkv: fewer heads of K and V; dv: other rows of V and O than d");
  command.add_option("--workload", options.workload, "sizes by name; `attn workloads` lists them");
}

void add_mask_options(CLI::App& command, ProblemOptions& options) {
  command.add_flag("--causal", options.causal, "a query sees no key after its own");
  command.add_option("--causal-align", options.causal_align,
                     "the corner of S whose row and column are the same token:\n"
                     "bottom-right (default) or top-left");
  command.add_option("--window", options.window,
                     "LEFT,RIGHT: a query sees so many keys before its own and behind it;\n"
                     "-1: all of them");
}

void add_scores_option(CLI::App& command, ProblemOptions& options) {
  command.add_option("--scores", options.scores,
                     "what is done to the scores: some of alibi, bias (a number for every pair),\n"
                     "softcap, sinks (a learned logit per head), dropout; with made-up numbers");
}

void add_page_keys_option(CLI::App& command, ProblemOptions& options) {
  command.add_option("--page-keys", options.page_keys,
                     "K and V in pages of so many keys, which lie in no order");
}

void add_dtype_option(CLI::App& command, ProblemOptions& options) {
  command.add_option("--dtype", options.dtype, "what the arrays are stored in: fp32, bf16, fp16");
}

std::string to_string(const ProblemSizes& sizes) { return to_string(sizes.shape, sizes.d_v); }

nlohmann::ordered_json to_json(const ProblemSizes& sizes) {
  const Shape& s = sizes.shape;
  return {{"B", s.B},
          {"H", s.H},
          {"Hkv", s.Hkv},
          {"Nq", s.Nq},
          {"Nk", s.Nk},
          {"d", s.d},
          {"dv", sizes.d_v == 0 ? s.d : sizes.d_v}};
}

ProblemSizes problem_sizes(const ProblemOptions& options, bool on_gpu, const Shape& fallback) {
  if (!options.shape.empty() && !options.workload.empty()) {
    bad("--workload: given together with --shape; allowed: one of the two");
  }
  if (!options.shape.empty()) return parse_shape(options.shape);
  if (options.workload.empty()) return {fallback};
  const io::Workload& workload = io::find_workload(options.workload);
  return {on_gpu ? workload.shape : workload.on_cpu};
}

void refuse_extras(const ProblemOptions& options) {
  if (options.workload.empty()) return;
  const std::string_view extra = io::find_workload(options.workload).extra();
  if (extra.empty()) return;
  throw Error(ErrorKind::kUnsupported,
              fmt::format("--workload {}: it has {}; allowed: one without, or `attn trace`",
                          options.workload, extra));
}

std::int64_t parse_bound(const std::string& window, std::string_view text) {
  std::int64_t bound = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bound);
  if (error != std::errc{} || end != text.data() + text.size() || bound < -1) {
    bad(fmt::format("--window {}: allowed: LEFT,RIGHT, integers of -1 (no limit) or more", window));
  }
  return bound == -1 ? kUnbounded : bound;
}

bool says_mask(const ProblemOptions& options) {
  return options.causal || !options.causal_align.empty() || !options.window.empty();
}

Mask mask_of(const ProblemOptions& options, bool on_gpu) {
  if (!options.workload.empty() && !says_mask(options)) {
    const io::Workload& workload = io::find_workload(options.workload);
    return on_gpu ? workload.mask : workload.mask_on_cpu;
  }
  Mask mask;
  if (!options.window.empty()) {
    const std::string_view text = options.window;
    const std::size_t comma = std::min(text.find(','), text.size());
    mask.before = parse_bound(options.window, text.substr(0, comma));
    mask.after = parse_bound(options.window, text.substr(std::min(comma + 1, text.size())));
  }
  if (options.causal) mask.after = 0;
  if (options.causal_align.empty()) return mask;
  if (!options.causal && options.window.empty()) {
    bad(fmt::format("--causal-align {}: given alone; allowed: with --causal or --window",
                    options.causal_align));
  }
  if (options.causal_align != "bottom-right" && options.causal_align != "top-left") {
    bad(fmt::format("--causal-align {}: allowed: bottom-right, top-left", options.causal_align));
  }
  mask.top_left = options.causal_align == "top-left";
  return mask;
}

Features scores_of(const ProblemOptions& options) {
  static const std::map<std::string_view, Feature> kNames{{"alibi", Feature::kAlibi},
                                                          {"bias", Feature::kBias},
                                                          {"dropout", Feature::kDropout},
                                                          {"sinks", Feature::kSinkLogits},
                                                          {"softcap", Feature::kSoftcap}};
  Features features;
  for (std::string_view text = options.scores; !text.empty();) {
    const std::string_view name = text.substr(0, text.find(','));
    const auto found = kNames.find(name);
    if (found == kNames.end()) {
      bad(
          fmt::format("--scores {}: allowed: alibi, bias, dropout, sinks, softcap, or some of them "
                      "with commas between",
                      options.scores));
    }
    features.add(found->second);
    text.remove_prefix(std::min(name.size() + 1, text.size()));
  }
  return features;
}

std::int64_t page_keys_of(const ProblemOptions& options) {
  if (options.page_keys.empty()) return 0;
  const std::string_view text = options.page_keys;
  constexpr std::int64_t kMost = std::int64_t{1} << 32;
  std::int64_t keys = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), keys);
  if (error != std::errc{} || end != text.data() + text.size() || keys < 1 || keys > kMost) {
    bad(fmt::format("--page-keys {}: allowed: an integer from 1 to {}", text, kMost));
  }
  return keys;
}

std::optional<Mask> mask_if_given(const ProblemOptions& options) {
  return says_mask(options) ? std::optional(mask_of(options, false)) : std::nullopt;
}

std::vector<Source> sources_of(const ProblemOptions& options) {
  const std::string sizes =
      options.shape.empty() ? "--workload " + options.workload : "--shape " + options.shape;
  const std::string scores = options.scores.empty() ? sizes : "--scores " + options.scores;
  return {{"Hkv", sizes, true},
          {"d = ", sizes, true},
          {"d_v", sizes, true},
          {"q_offsets", sizes},
          {"ranges", sizes},
          {"mask: an array", sizes},
          {"bias", scores},
          {"alibi", scores},
          {"softcap", scores},
          {"sink_logits", scores},
          {"dropout", scores},
          {"page_keys", "--page-keys " + options.page_keys},
          {"mask = window", options.window.empty() ? sizes : "--window " + options.window},
          {"element", dtype_text(options)}};
}

std::string dtype_text(const ProblemOptions& options) {
  return "--dtype " + (options.dtype.empty() ? "fp32, the default" : options.dtype);
}

std::optional<Element> element_of(const ProblemOptions& options) {
  if (options.dtype.empty()) return std::nullopt;
  if (options.dtype == "fp32") return Element::kFloat32;
  if (options.dtype == "bf16") return Element::kBfloat16;
  if (options.dtype == "fp16") return Element::kFloat16;
  bad(fmt::format("--dtype {}: allowed: fp32, bf16, fp16", options.dtype));
}

ProblemSizes parse_shape(std::string_view text) {
  std::map<std::string_view, std::int64_t> sizes;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::string_view item = text.substr(begin, text.find(',', begin) - begin);
    begin += item.size() + 1;
    const std::size_t equals = item.find('=');
    const std::string_view name = item.substr(0, equals);
    if (name != "B" && name != "H" && name != "Hkv" && name != "Nq" && name != "Nk" &&
        name != "N" && name != "d" && name != "dv") {
      bad(fmt::format("--shape {}: allowed names: B, H, Hkv, Nq, Nk, N (both Nq and Nk), d, dv",
                      item));
    }
    if (equals == std::string_view::npos) {
      bad(fmt::format("--shape {}: allowed: {}=SIZE", item, name));
    }
    if (!sizes.emplace(name, parse_size(name, item.substr(equals + 1))).second) {
      bad(fmt::format("--shape {}: {} is given twice; allowed: once", text, name));
    }
  }
  if (const auto n = sizes.find("N"); n != sizes.end()) {
    if (sizes.contains("Nq") || sizes.contains("Nk")) {
      bad(fmt::format("--shape {}: allowed: either N, or Nq and Nk", text));
    }
    sizes["Nq"] = sizes["Nk"] = n->second;
  }
  for (const std::string_view needed : {"Nq", "Nk", "d"}) {
    if (!sizes.contains(needed)) {
      bad(fmt::format("--shape {}: {} is missing; allowed: for example B=1,H=2,Nq=128,Nk=128,d=64",
                      text, needed));
    }
  }
  const auto size = [&sizes](std::string_view name, std::int64_t fallback) {
    const auto entry = sizes.find(name);
    return entry == sizes.end() ? fallback : entry->second;
  };
  Shape shape = make_shape(size("B", 1), size("H", 1), sizes["Nq"], sizes["Nk"], sizes["d"]);
  shape.Hkv = size("Hkv", shape.H);
  if (shape.Hkv == 0 ? shape.H != 0 : shape.H % shape.Hkv != 0) {
    bad(fmt::format("--shape Hkv = {}: allowed: a divisor of H = {}", shape.Hkv, shape.H));
  }
  return {shape, size("dv", 0)};
}

double physical_memory() {
  return static_cast<double>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<double>(::sysconf(_SC_PAGE_SIZE));
}

void check_memory(const ProblemSizes& sizes) {
  const Shape& shape = sizes.shape;
  const auto product = [](auto... factors) { return (static_cast<double>(factors) * ...); };
  const double widths =  // of a row of Q and of O, or of K and of V
      static_cast<double>(shape.d) + static_cast<double>(sizes.d_v == 0 ? shape.d : sizes.d_v);
  const double elements =
      widths * (product(shape.B, shape.H, shape.Nq) + product(shape.B, shape.Hkv, shape.Nk));
  if (64 * elements > physical_memory()) {
    throw Error(ErrorKind::kBadArgument,
                fmt::format("--shape {}: its arrays need about {:.0f} GiB; allowed: what fits into "
                            "{:.0f} GiB of memory",
                            to_string(sizes), 64 * elements / 0x1p30, physical_memory() / 0x1p30));
  }
}

std::optional<Pass> parse_pass(std::string_view text) {
  if (text.empty()) return std::nullopt;
  if (text == "forward") return Pass::kForward;
  if (text == "backward") return Pass::kBackward;
  bad(fmt::format("--pass {}: allowed: forward, backward", text));
}

float parse_float(std::string_view option, const std::string& text, const FloatRange& range) {
  char* end = nullptr;
  const float value = std::strtof(text.c_str(), &end);
  const bool number = !text.empty() && *end == '\0' && std::isfinite(value) &&
                      (value != 0 || !has_nonzero_digit(text));
  if (number && value >= range.least && value < range.below) return value;
  using Limits = std::numeric_limits<float>;
  const std::string any = fmt::format("0, or a float32 of either sign from {:.2g} to {:.3g}",
                                      Limits::denorm_min(), Limits::max());
  bad(fmt::format("{} {}: allowed: {}", option, text, range.allowed.empty() ? any : range.allowed));
}

void name_sources(std::span<const Source> sources, const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    const std::string text = error.what();
    for (const Source& source : sources) {
      if (!text.starts_with(source.argument)) continue;
      if (source.says_more || error.kind() != ErrorKind::kUnsupported) {
        throw Error(error.kind(), source.option + ": " + text);
      }
      // "softcap = 2: given; this chapter does not take a softcap", "element = bfloat16: ... takes
      // float32": what stands in front says no more than the option does.
      const std::size_t semicolon = text.find("; ");
      const std::size_t front = semicolon != std::string::npos ? semicolon : text.find(": ");
      throw Error(error.kind(), source.option + ": " + text.substr(front + 2));
    }
    throw;
  }
}

void add_completion_option(CLI::App& command, std::string& completion) {
  command.add_option("--completion", completion,
                     "when asynchronous operations complete on the CPU machine: late (default),\n"
                     "eager, or random, which ATTN_SEED=n in the environment varies");
}

namespace {

/// Refuses an option of the CPU machine where none of the steps runs there.
void require_machine(const std::string& option, const Chapter& chapter,
                     std::span<const Step* const> steps) {
  const auto unsupported = [&](std::string_view why) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{}: {}", option, why));
  };
  const bool plain = std::all_of(steps.begin(), steps.end(), [&](const Step* step) {
    return is_twin(chapter, *step) || chapter.memory == host_memory;
  });
  if (plain) {
    unsupported(fmt::format("{} {}is plain C++; allowed: with a chapter's kernels, for example 02",
                            chapter.id, steps.size() == 1 ? fmt::format("{} ", steps[0]->id) : ""));
  }
#if defined(ATTN_USE_CUDA)
  unsupported("a GPU does not let itself be told; allowed: with attn, on the CPU machine");
#elif !ATTN_HAS_DEVICE
  unsupported("this build has no CPU machine; install Boost.Context and configure again");
#endif
}

}  // namespace

void set_completion(const std::string& text, const Chapter& chapter,
                    std::span<const Step* const> steps) {
  if (text.empty()) return;
  if (text != "late" && text != "eager" && text != "random") {
    bad(fmt::format("--completion {}: allowed: late, eager, random", text));
  }
  require_machine("--completion " + text, chapter, steps);
#if ATTN_HAS_DEVICE && !defined(ATTN_USE_CUDA)
  simt::Options& options = simt::options();
  options.completion = text == "late"    ? simt::Completion::kLate
                       : text == "eager" ? simt::Completion::kEager
                                         : simt::Completion::kRandom;
  if (options.completion != simt::Completion::kRandom) return;
  options.shuffle_seed = verify::options_from_environment().seed;
  fmt::print(stderr,
             "attn: asynchronous operations complete at random, seed {}; ATTN_SEED=n for another\n",
             options.shuffle_seed);
#endif
}

void add_accumulation_option(CLI::App& command, std::string& accumulation) {
  command.add_option("--accumulation", accumulation,
                     "how tensor cores add up on the CPU machine: in-order (default), or as those\n"
                     "of an A100 or H100, which cut off bits");
}

void set_accumulation(const std::string& text, const Chapter& chapter,
                      std::span<const Step* const> steps) {
  if (text.empty()) return;
  if (text != "in-order" && text != "A100" && text != "H100") {
    bad(fmt::format("--accumulation {}: allowed: in-order, A100, H100", text));
  }
  require_machine("--accumulation " + text, chapter, steps);
#if ATTN_HAS_DEVICE && !defined(ATTN_USE_CUDA)
  simt::options().accumulation = text == "in-order" ? simt::Accumulation::kInOrder
                                 : text == "A100"   ? simt::Accumulation::kA100
                                                    : simt::Accumulation::kH100;
#endif
}

std::vector<const Step*> select_steps(const Chapter& chapter, const std::string& text) {
  std::vector<const Step*> steps = all_steps(chapter);
  if (text.empty()) return steps;
  const bool number =
      std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  std::vector<std::string_view> known;
  std::vector<std::string_view> matching;
  std::vector<const Step*> found;
  for (const Step* step : steps) {
    if (step->id == text) return {step};
    known.push_back(step->id);
    if (number ? step->id.starts_with(fmt::format("step{}_", text))
               : step->id.find(text) != std::string_view::npos) {
      matching.push_back(step->id);
      found.push_back(step);
    }
  }
  if (found.size() == 1) return found;
  if (found.size() > 1) {
    bad(fmt::format("--step {}: it may be {}; allowed: a part that only one of them has", text,
                    fmt::join(matching, " or ")));
  }
  bad(fmt::format("--step {}: allowed in {}: {}, or a number or a part of one{}", text, chapter.id,
                  fmt::join(known, ", "), io::did_you_mean(text, known)));
}

std::vector<const Step*> all_steps(const Chapter& chapter) {
  std::vector<const Step*> steps;
  for (const Step& step : chapter.steps) steps.push_back(&step);
  for (const Step* twin : twins_of(chapter)) steps.push_back(twin);
  return steps;
}

void add_json_option(CLI::App& command, JsonOptions& options) {
  options.option = command
                       .add_option("--json", options.path,
                                   "JSON, in FILE or in place of the tables on standard output")
                       ->type_name("[FILE]")
                       ->expected(0, 1);
}

void check_json(const JsonOptions& options) {
  if (!options.path.empty()) naming("--json", [&] { io::check_output(options.path); });
}

void write_json(const JsonOptions& options, const std::string& text) {
  if (!options.wanted()) return;
  if (options.path.empty()) {
    fmt::print("{}\n", text);
    return;
  }
  naming("--json", [&] {
    io::OutputFile file(options.path);
    file.write(text.data(), text.size());
    file.write("\n", 1);
    file.commit();
  });
}

bool runs_on_gpu(const Chapter& chapter, const Step& step) {
#ifdef ATTN_USE_CUDA
  return &memory_of(chapter, step) != &host_memory();
#else
  static_cast<void>(chapter);
  static_cast<void>(step);
  return false;
#endif
}

}  // namespace attn::cli
