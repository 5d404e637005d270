// SPDX-License-Identifier: MIT
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "common/attention.hpp"

namespace attn::bench {

/// One size that everything is timed at: every head has its own keys, and Nq = Nk.
struct Problem {
  Shape shape;
  Mask mask = Mask::kFull;
};

/// "B:1/H:12/N:197/d:64/full" or ".../causal": how benchmarks are named, and what --shape takes.
std::string to_string(const Problem& problem);

/// The inverse. Throws Error(kBadArgument).
Problem parse_problem(std::string_view text);

/// What is timed unless --shape asks for something else: few heads for a CPU, many for a GPU.
std::span<const Problem> default_problems(bool on_gpu);

/// Further sizes for a CPU, at which the fastest twin alone meets PyTorch: all of B*H = 1 and 12,
/// d = 64 and 128, full and causal, from 197 tokens to 16,384.
std::span<const Problem> peer_problems();

/// Operations that the formulas ask for: two matrix products of 2 B H N N d forward, five backward,
/// and half of it under a causal mask.
double flops(const Problem& problem, Pass pass);

}  // namespace attn::bench
