// SPDX-License-Identifier: MIT
//
// One program, built three times (bench/CMakeLists.txt): attn_benchmarks times plain C++ on the
// CPU, attn_benchmarks-cuda the kernels on a GPU, attn_cublas-cuda NVIDIA's cuBLAS on a GPU.
// Kernels on the CPU machine are not timed: its speed says nothing about a GPU.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/benchmarks/attention_benchmark.hpp"
#include "bench/benchmarks/timer.hpp"

namespace attn::bench {
namespace {

constexpr std::string_view kUsage =
    R"(usage: {} [--shape=B:1/H:12/N:197/d:64/causal]... [--time_limit=SECONDS]
          [--list_shapes] [--benchmark_...]

Times every chapter and step that runs here, both passes; each result is checked first.
  --shape        this size instead of the default ones; full or causal; may be repeated
  --time_limit   what has not begun by then is left out, and what would need longer
  --list_shapes  prints the default sizes
Google Benchmark's own options work, too; among them
  --benchmark_filter=REGEX   only these; --benchmark_list_tests=true shows the names
  --benchmark_out=FILE       writes the results as JSON
Times are medians of five repetitions (three, where one call takes long). A note that the library
"was built as DEBUG" is about its own code, not about what is measured.
)";

/// Refuses the command line in one line.
int refuse(std::string_view argument, std::string_view allowed) {
  fmt::print(stderr, "{}: allowed: {}\n", argument, allowed);
  return 2;
}

std::optional<double> parse_seconds(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool good = error == std::errc() && end == text.data() + text.size() && value > 0;
  return good ? std::optional(value) : std::nullopt;
}

int run(int argc, char** argv) {
  const std::string_view path = argv[0];
  const std::string_view program = path.substr(path.rfind('/') + 1);
  // Defaults first, so that the reader's own options win.
  std::vector<std::string> arguments{
      argv[0], "--benchmark_repetitions=5",
      on_gpu() ? "--benchmark_min_time=0.02" : "--benchmark_min_time=0.1",
      "--benchmark_report_aggregates_only=true"};
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--help") {
      fmt::print(kUsage, program);
      return 0;
    }
    arguments.emplace_back(argv[i]);
  }
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  int count = static_cast<int>(pointers.size());
  benchmark::Initialize(&count, pointers.data());  // keeps what is not its own

  std::vector<Problem> problems;
  std::optional<double> time_limit;
  for (int i = 1; i < count; ++i) {
    const std::string_view argument = pointers[static_cast<std::size_t>(i)];
    const std::string_view value = argument.substr(argument.find('=') + 1);
    if (argument.starts_with("--shape=")) {
      problems.push_back(parse_problem(value));
    } else if (argument.starts_with("--time_limit=")) {
      time_limit = parse_seconds(value);
      if (!time_limit) return refuse(argument, "a positive number of seconds");
    } else if (argument == "--list_shapes") {
      for (const Problem& problem : default_problems(on_gpu())) {
        fmt::print("{}\n", to_string(problem));
      }
      if (!on_gpu()) {
        for (const Problem& problem : peer_problems()) fmt::print("{}\n", to_string(problem));
      }
      return 0;
    } else {
      return refuse(argument, "what --help names");
    }
  }
  if (const std::string reason = missing_device(); !reason.empty()) {
    fmt::print("skipped: no CUDA device: {}\n", reason);
    return 0;
  }
  for (const auto& [key, value] : context()) benchmark::AddCustomContext(key, value);
  add_benchmarks(problems, time_limit);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::
      ClearRegisteredBenchmarks();  // frees their arrays while there is memory to free them in
  benchmark::Shutdown();
  return found_errors() ? 1 : 0;
}

}  // namespace
}  // namespace attn::bench

int main(int argc, char** argv) {
  try {
    return attn::bench::run(argc, argv);
  } catch (const attn::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return error.kind() == attn::ErrorKind::kBadArgument ? 2 : 1;
  }
}
