// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cstdio>

#include "bench/benchmarks/timer.hpp"
#include "common/attention.hpp"
#include "common/device/check.hpp"

namespace attn::bench {
namespace {

cudaDeviceProp properties() {
  int device = 0;
  cudaDeviceProp result;
  CUDA_CHECK(cudaGetDevice(&device));
  CUDA_CHECK(cudaGetDeviceProperties(&result, device));
  return result;
}

/// Twice the L2 cache: what is written evicts everything else.
std::size_t flush_bytes() { return 2 * static_cast<std::size_t>(properties().l2CacheSize); }

/// What nvidia-smi says of this GPU; "unknown" where it does not know the query, or is not there.
std::string ask_driver(const std::string& query) {
  int device = 0;
  std::array<char, 32> bus{};
  CUDA_CHECK(cudaGetDevice(&device));
  CUDA_CHECK(cudaDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()), device));
  const std::string command = fmt::format(
      "nvidia-smi -i {} --query-gpu={} --format=csv,noheader 2>/dev/null", bus.data(), query);
  std::FILE* pipe = ::popen(command.c_str(), "r");
  std::array<char, 256> line{};
  const bool read = pipe != nullptr && std::fgets(line.data(), line.size(), pipe) != nullptr;
  if (pipe == nullptr || ::pclose(pipe) != 0 || !read) return "unknown";
  const std::string text(line.data());
  return text.substr(0, text.find('\n'));
}

/// The bits of the reasons for which clocks are held back at this moment; 0 for none.
std::string throttling() {
  const std::string reasons = ask_driver("clocks_event_reasons.active");
  return reasons == "unknown" ? ask_driver("clocks_throttle_reasons.active") : reasons;
}

}  // namespace

struct Timer::Device {
  Device() : bytes(flush_bytes()) {
    CUDA_CHECK(cudaMalloc(&flush, bytes));
    CUDA_CHECK(cudaEventCreate(&start));
    CUDA_CHECK(cudaEventCreate(&stop));
    write_buffer();  // the first one is slow
    CUDA_CHECK(cudaEventRecord(start));
    write_buffer();
    flush_seconds = seconds_to_stop();
  }
  ~Device() {
    static_cast<void>(cudaEventDestroy(stop));
    static_cast<void>(cudaEventDestroy(start));
    static_cast<void>(cudaFree(flush));
  }

  void write_buffer() const { CUDA_CHECK(cudaMemsetAsync(flush, 0, bytes)); }

  /// Seconds between `start`, which was recorded, and now.
  double seconds_to_stop() const {
    CUDA_CHECK(cudaEventRecord(stop));
    CUDA_CHECK(cudaEventSynchronize(stop));
    float milliseconds = 0;
    CUDA_CHECK(cudaEventElapsedTime(&milliseconds, start, stop));
    return static_cast<double>(milliseconds) / 1e3;
  }

  std::size_t bytes;
  void* flush = nullptr;
  double flush_seconds = 0;
  double queueing_seconds = 0;  // of the last call
  cudaEvent_t start = nullptr;
  cudaEvent_t stop = nullptr;
};

Timer::Timer() : device_(std::make_unique<Device>()) {}
Timer::~Timer() = default;

double Timer::seconds(const std::function<void()>& call) {
  // While the GPU writes the buffer, the host already queues the call: its own part is not timed.
  const int flushes = flushes_before(device_->queueing_seconds, device_->flush_seconds);
  for (int i = 0; i < flushes; ++i) device_->write_buffer();
  CUDA_CHECK(cudaEventRecord(device_->start));
  const auto begin = std::chrono::steady_clock::now();
  call();
  const std::chrono::duration<double> queueing = std::chrono::steady_clock::now() - begin;
  device_->queueing_seconds = queueing.count();
  return device_->seconds_to_stop();
}

bool on_gpu() { return true; }

std::string missing_device() {
  try {
    return properties().name[0] == '\0' ? "the GPU has no name" : "";
  } catch (const Error& error) {
    return error.what();
  }
}

std::vector<std::pair<std::string, std::string>> context() {
  return {{"device", properties().name},
          {"driver", ask_driver("driver_version")},
          {"toolkit", fmt::format("CUDA {}.{}", CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10)},
          {"clocks", fmt::format("SM, most, memory before the run: {}",
                                 ask_driver("clocks.sm,clocks.max.sm,clocks.mem"))},
          {"throttling", fmt::format("reasons before the run: {}", throttling())},
          {"compiler", "host code by " __VERSION__},
          {"timing", fmt::format("CUDA events; L2 flushed before every call by writing {} MiB "
                                 "for as long as the host needs to queue it",
                                 flush_bytes() >> 20)}};
}

}  // namespace attn::bench
