// SPDX-License-Identifier: MIT
//
// What several commands of `attn` accept. Values stay text until a command runs, so that every
// wrong one is refused with the same kind of line: the option, its value, what is allowed.
#pragma once

#include <CLI/CLI.hpp>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/attention.hpp"
#include "common/io/workloads.hpp"

namespace attn::cli {

/// --shape or --workload, and --causal with --causal-align.
struct ProblemOptions {
  std::string shape;
  std::string workload;
  bool causal = false;
  std::string causal_align;
};
void add_shape_options(CLI::App& command, ProblemOptions& options);
void add_mask_options(CLI::App& command, ProblemOptions& options);

/// The problem's sizes: those of --shape, of --workload (its scaled twin unless `on_gpu`), or
/// `fallback`.
Shape shape_of(const ProblemOptions& options, bool on_gpu, const Shape& fallback);
Mask mask_of(const ProblemOptions& options);

/// "B=1,H=2,Nq=128,Nk=128,d=64". B and H default to 1, Hkv to H; N=128 stands for Nq=128,Nk=128.
Shape parse_shape(std::string_view text);

/// Bytes of memory in this computer.
double physical_memory();

/// Refuses sizes whose arrays and float64 oracle would not fit into memory, at about 64 bytes for
/// each element of Q, K, V and O together.
void check_memory(const Shape& shape);

/// "forward" or "backward"; nothing for an empty text.
std::optional<Pass> parse_pass(std::string_view text);

/// A finite float32 for the option of this name.
float parse_float(std::string_view option, const std::string& text);

/// Steps a command works on: the one called `id` (a twin has an id too), or, for an empty id, all
/// of the chapter's steps and then its twin.
std::vector<const Step*> select_steps(const Chapter& chapter, const std::string& id);

/// Whether the step runs on a GPU in this build.
bool runs_on_gpu(const Chapter& chapter, const Step& step);

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
