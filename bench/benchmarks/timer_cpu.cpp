// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

#include "bench/benchmarks/timer.hpp"

namespace attn::bench {
namespace {

#ifdef __clang__
constexpr const char* kCompiler = __VERSION__;
#else
constexpr const char* kCompiler = "g++ " __VERSION__;
#endif

/// "AMD EPYC": what Linux calls the processor.
std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown CPU";  // aarch64 has no such line
}

}  // namespace

struct Timer::Device {};

Timer::Timer() = default;
Timer::~Timer() = default;

double Timer::seconds(const std::function<void()>& call) {
  const auto start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool on_gpu() { return false; }

std::string missing_device() { return ""; }

std::vector<std::pair<std::string, std::string>> context() {
  const std::string cpu = processor();
  return {{"device", fmt::format("{}, {} cores", cpu, ::sysconf(_SC_NPROCESSORS_ONLN))},
          {"cpu", cpu},
          {"compiler", kCompiler},
          {"timing", "wall clock, warm caches"}};
}

}  // namespace attn::bench
