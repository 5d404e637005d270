// SPDX-License-Identifier: MIT
//
// What several commands of `attn` accept. Values stay text until a command runs, so that every
// wrong one is refused with the same kind of line: the option, its value, what is allowed.
#pragma once

#include <CLI/CLI.hpp>
#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/attention.hpp"
#include "common/io/workloads.hpp"

namespace attn::cli {

/// Throws Error(kBadArgument).
[[noreturn]] inline void bad(const std::string& message) {
  throw Error(ErrorKind::kBadArgument, message);
}

/// The option that an argument of attn::validate()'s messages came from.
struct Source {
  std::string_view argument;  // "softcap", with which a message begins
  std::string option;         // "--softcap 2"
  bool says_more = false;     // the message names sizes, and the option only a file
};

/// --shape or --workload, --causal with --causal-align, --window, --scores, --page-keys, and
/// --dtype.
struct ProblemOptions {
  std::string shape;
  std::string workload;
  bool causal = false;
  std::string causal_align;
  std::string window;  // "LEFT,RIGHT"
  std::string scores;  // "alibi,softcap"
  std::string page_keys;
  std::string dtype;
};
void add_shape_options(CLI::App& command, ProblemOptions& options);
void add_mask_options(CLI::App& command, ProblemOptions& options);
void add_scores_option(CLI::App& command, ProblemOptions& options);
void add_page_keys_option(CLI::App& command, ProblemOptions& options);

/// What SHAPE says.
struct ProblemSizes {
  Shape shape;
  std::int64_t d_v = 0;  // elements of a row of V and O; 0: d
};
std::string to_string(const ProblemSizes& sizes);
nlohmann::ordered_json to_json(const ProblemSizes& sizes);

/// The problem's sizes: those of --shape, of --workload (its scaled twin unless `on_gpu`), or
/// `fallback`.
ProblemSizes problem_sizes(const ProblemOptions& options, bool on_gpu, const Shape& fallback);
/// Refuses a workload with more than a mask, for commands that give each batch the same.
void refuse_extras(const ProblemOptions& options);
void add_dtype_option(CLI::App& command, ProblemOptions& options);
/// The options' mask; where none says anything of one, that of --workload (of its scaled twin
/// unless `on_gpu`), or none.
Mask mask_of(const ProblemOptions& options, bool on_gpu);
/// What --scores asks for.
Features scores_of(const ProblemOptions& options);
/// Keys of a page, by --page-keys; 0: no pages.
std::int64_t page_keys_of(const ProblemOptions& options);
/// The options' mask, or nothing if no option says anything of a mask.
std::optional<Mask> mask_if_given(const ProblemOptions& options);
/// Where an Error about the mask, the element or the sizes comes from.
std::vector<Source> sources_of(const ProblemOptions& options);
/// "--dtype bf16", and where it was not given what holds then.
std::string dtype_text(const ProblemOptions& options);
/// --dtype: fp32, bf16 or fp16; nothing if it was not given.
std::optional<Element> element_of(const ProblemOptions& options);

/// "B=1,H=2,Nq=128,Nk=128,d=64". B and H default to 1, Hkv to H, dv to d; N=128 stands for
/// Nq=128,Nk=128.
ProblemSizes parse_shape(std::string_view text);

/// Bytes of memory in this computer.
double physical_memory();

/// Refuses sizes whose arrays and float64 oracle would not fit into memory, at about 64 bytes for
/// each element of Q, K, V and O together.
void check_memory(const ProblemSizes& sizes);

/// "forward" or "backward"; nothing for an empty text.
std::optional<Pass> parse_pass(std::string_view text);

/// Which float32 an option takes, and that in words, where it is not every finite one.
struct FloatRange {
  float least = -std::numeric_limits<float>::infinity();
  float below = std::numeric_limits<float>::infinity();
  std::string_view allowed = {};
};
/// A finite float32 for the option of this name; not a number too small for one, either.
float parse_float(std::string_view option, const std::string& text, const FloatRange& range = {});

/// --completion: when the CPU machine completes what a block has started and goes on without.
void add_completion_option(CLI::App& command, std::string& completion);
/// Tells it to the CPU machine, and the seed of a random order to standard error; nothing for an
/// empty text. Refuses it where none of the steps runs there.
void set_completion(const std::string& text, const Chapter& chapter,
                    std::span<const Step* const> steps);

/// --accumulation: how the CPU machine's tensor cores add up.
void add_accumulation_option(CLI::App& command, std::string& accumulation);
/// Likewise.
void set_accumulation(const std::string& text, const Chapter& chapter,
                      std::span<const Step* const> steps);

/// All of the chapter's steps and then its twins.
std::vector<const Step*> all_steps(const Chapter& chapter);

/// Steps a command works on: for an empty text all of them; else the one of this id, this number
/// ("3" for step3_exp2), or with this part in its id, if it is the only one.
std::vector<const Step*> select_steps(const Chapter& chapter, const std::string& text);

/// --json [FILE]: JSON is wanted, on standard output or in that file.
struct JsonOptions {
  CLI::Option* option = nullptr;
  std::string path;  // empty for standard output

  bool wanted() const { return option->count() > 0; }
  bool on_stdout() const { return wanted() && path.empty(); }
};
void add_json_option(CLI::App& command, JsonOptions& options);
/// Refuses a file that cannot be written, before any work.
void check_json(const JsonOptions& options);
/// Writes the text and a line break to where it is wanted, if it is.
void write_json(const JsonOptions& options, const std::string& text);

/// Whether the step runs on a GPU in this build.
bool runs_on_gpu(const Chapter& chapter, const Step& step);

/// Runs `action`; an Error about one of the arguments ("key_count[1] = 9: ...") gets its option in
/// front, or in place of what only repeats it.
void name_sources(std::span<const Source> sources, const std::function<void()>& action);

/// Calls `action`; an Error that leaves it names `option` first ("--q q.npy: ...").
template <std::invocable Action>
decltype(auto) naming(std::string_view option, Action&& action) {
  try {
    return action();
  } catch (const Error& error) {
    throw Error(error.kind(), std::string(option) + " " + error.what());
  }
}

}  // namespace attn::cli
