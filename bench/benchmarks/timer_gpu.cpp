// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <array>
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
  }
  ~Device() {
    static_cast<void>(cudaEventDestroy(stop));
    static_cast<void>(cudaEventDestroy(start));
    static_cast<void>(cudaFree(flush));
  }

  std::size_t bytes;
  void* flush = nullptr;
  cudaEvent_t start = nullptr;
  cudaEvent_t stop = nullptr;
};

Timer::Timer() : device_(std::make_unique<Device>()) {}
Timer::~Timer() = default;

double Timer::seconds(const std::function<void()>& call) {
  // While the GPU writes the buffer, the host already queues the call: its own part is not timed.
  CUDA_CHECK(cudaMemsetAsync(device_->flush, 0, device_->bytes));
  CUDA_CHECK(cudaEventRecord(device_->start));
  call();
  CUDA_CHECK(cudaEventRecord(device_->stop));
  CUDA_CHECK(cudaEventSynchronize(device_->stop));
  float milliseconds = 0;
  CUDA_CHECK(cudaEventElapsedTime(&milliseconds, device_->start, device_->stop));
  return static_cast<double>(milliseconds) / 1e3;
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
          {"timing", fmt::format("CUDA events; L2 flushed before every call by writing {} MiB",
                                 flush_bytes() >> 20)}};
}

}  // namespace attn::bench
