// SPDX-License-Identifier: MIT
//
// One line of `attn compare`: one step on one problem, verified, timed and counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bench/attn/arguments.hpp"
#include "common/verify/check.hpp"
#include "common/verify/oracle.hpp"

namespace attn::cli {

inline constexpr std::uint64_t kCompareSeed = 20260101;

/// What a row is about: a problem that is run and compared with what it must give, and the shape
/// that the counts are for, which may have more of its heads. Heads of K and V share no byte: one
/// is counted, with the heads of Q that read it, and multiplied.
struct Subject {
  Shape shape;
  Problem problem;
  verify::Truth truth;
};

/// One problem with random inputs and its truth.
Subject subject_of(const ProblemSizes& sizes, const Mask& mask, Element element, Pass pass);

/// The same with every head's copy so often that a GPU has the whole shape to run.
void repeat_heads(Subject& subject);

/// Counting takes ten times as long as running: not beyond so many multiply-adds of Q K^T.
inline constexpr std::int64_t kCountedWork = 100'000'000;

/// What the table shows of a step.
struct Row {
  const Chapter* chapter = nullptr;
  const Step* step = nullptr;
  Element element = Element::kFloat32;
  std::string where;
  std::string problem;  // why there are no numbers; empty if there are
  bool supported = true;
  bool right = false;
  double max_error = 0;
  double error_over_tolerance = 0;
  Shape shape;  // of the numbers below
  std::size_t workspace_bytes = 0;
  std::optional<double> requested_bytes;  // of global memory; on the CPU machine only
  std::optional<double> compulsory_bytes;
  std::optional<double> bound_seconds;  // no current device is faster
  std::string_view bound_limit;         // what sets it
  std::optional<double> shared_load_wavefronts;
  std::optional<double> shared_store_wavefronts;
  std::optional<double> multiply_adds;  // of the problem
  std::optional<double> cpu_seconds;    // plain C++ only
  std::optional<double> gpu_seconds;
};

/// Whether a row's arrays are in host memory: plain C++.
bool on_host(const Row& row);
bool on_host(const Chapter& chapter, const Step& step);

/// Runs a step and compares it with the oracle; if it is right, times it, where it is plain C++ or
/// on a GPU, or counts its traffic, where it runs on the CPU machine. What a run throws becomes the
/// row's problem, except Error(kBadArgument), which it throws on.
Row compare_one(const Chapter& chapter, const Step& step, Pass pass, const Subject& subject);

}  // namespace attn::cli
