// SPDX-License-Identifier: MIT
#include "bench/benchmarks/shapes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <vector>

namespace attn::bench {
namespace {

Problem problem_of(std::int64_t B, std::int64_t H, std::int64_t N, std::int64_t d,
                   Mask mask = Mask::kFull) {
  return {make_shape(B, H, N, N, d), mask};
}

/// Takes "name:17" and then "/" off the front of `text`; 0 if something else stands there.
std::int64_t take(std::string_view& text, std::string_view name) {
  std::int64_t value = 0;
  if (!text.starts_with(name)) return 0;
  text.remove_prefix(name.size());
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (error != std::errc() || !text.starts_with('/')) return 0;
  text.remove_prefix(1);
  return value;
}

}  // namespace

std::string to_string(const Problem& problem) {
  const Shape& s = problem.shape;
  return fmt::format("B:{}/H:{}/N:{}/d:{}/{}", s.B, s.H, s.Nq, s.d,
                     problem.mask == Mask::kFull ? "full" : "causal");
}

Problem parse_problem(std::string_view text) {
  std::string_view rest = text;
  const std::int64_t B = take(rest, "B:");
  const std::int64_t H = take(rest, "H:");
  const std::int64_t N = take(rest, "N:");
  const std::int64_t d = take(rest, "d:");
  const Problem problem = problem_of(B, H, N, d, rest == "full" ? Mask::kFull : Mask::kCausal);
  if (B < 1 || H < 1 || N < 1 || d < 1 || to_string(problem) != text) {
    throw Error(ErrorKind::kBadArgument,
                fmt::format("--shape {}: allowed: B:1/H:12/N:197/d:64/full, or causal in place of "
                            "full, with other positive sizes",
                            text));
  }
  return problem;
}

std::span<const Problem> default_problems(bool on_gpu) {
  static const std::vector cpu{
      problem_of(1, 12, 197, 64),  problem_of(1, 1, 512, 64),
      problem_of(1, 1, 512, 128),  problem_of(1, 1, 2048, 64),
      problem_of(1, 1, 4096, 64),  problem_of(1, 1, 4096, 64, Mask::kCausal),
      problem_of(1, 1, 4096, 128), problem_of(1, 1, 8192, 64),
      problem_of(1, 1, 16384, 64), problem_of(1, 1, 16384, 128)};
  // 16,384 tokens in all, as FlashAttention-2's benchmarks have them (Dao 2023, section 4.1), so
  // that every size fills the GPU; and ViT-B/16 and one head, which do not. The important ones
  // stand first: those that bench/reporting predicts, and that README's ladder shows.
  static const std::vector gpu{problem_of(4, 16, 4096, 64),
                               problem_of(32, 16, 512, 64),
                               problem_of(4, 16, 4096, 64, Mask::kCausal),
                               problem_of(4, 16, 4096, 128),
                               problem_of(1, 12, 197, 64),
                               problem_of(1, 1, 512, 64),
                               problem_of(16, 16, 1024, 64),
                               problem_of(8, 16, 2048, 64),
                               problem_of(2, 16, 8192, 64),
                               problem_of(1, 16, 16384, 64)};
  return on_gpu ? gpu : cpu;
}

std::span<const Problem> peer_problems() {
  static const std::vector problems = [] {
    std::vector<Problem> result;
    for (const std::int64_t H : {1, 12}) {
      for (const std::int64_t d : {64, 128}) {
        for (const std::int64_t N : {197, 512, 2048, 4096, 16384}) {
          for (const Mask& mask : {Mask::kFull, Mask::kCausal}) {
            result.push_back(problem_of(1, H, N, d, mask));
          }
        }
      }
    }
    std::erase_if(result, [](const Problem& one) {
      return std::ranges::any_of(default_problems(false), [&](const Problem& other) {
        return to_string(one) == to_string(other);
      });
    });
    return result;
  }();
  return problems;
}

double flops(const Problem& problem, Pass pass) {
  const Shape& s = problem.shape;
  const double product = 2.0 * static_cast<double>(s.rows() * s.Nk * s.d);
  return product * (pass == Pass::kForward ? 2 : 5) * (problem.mask == Mask::kFull ? 1.0 : 0.5);
}

}  // namespace attn::bench
