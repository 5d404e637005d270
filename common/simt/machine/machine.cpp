// SPDX-License-Identifier: MIT
//
// Runs a grid: checks the launch, hands blocks to the cores, and inside a block gives every thread
// its turns. notes/cpu_machine.md tells the story.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <numeric>
#include <thread>

#include "common/attention.hpp"
#include "common/simt/cuda/runtime.hpp"
#include "common/simt/machine/device.hpp"
#include "common/simt/machine/image.hpp"
#include "common/simt/machine/stacks.hpp"
#include "common/simt/machine/worker.hpp"
#include "common/simt/watch/recorder.hpp"

namespace attn::simt {
namespace {

[[noreturn]] void refuse(const LaunchConfig& config, cudaError_t error, const std::string& why) {
  throw LaunchRefused(
      fmt::format("{}:{}: launch of {}: {} ({})", config.where.file_name(), config.where.line(),
                  kernel_name(config), cudaGetErrorString(error), why),
      error);
}

void check_limits(const LaunchConfig& config) {
  const DeviceDescription& device = current_device();
  const auto check = [&config](const char* name, std::uint64_t value, std::uint64_t limit) {
    if (value == 0 || value > limit) {
      refuse(config, cudaErrorInvalidConfiguration,
             fmt::format("{} = {}; allowed: 1 to {}", name, value, limit));
    }
  };
  check("gridDim.x", config.grid.x, 0x7FFFFFFFu);
  check("gridDim.y", config.grid.y, 65535);
  check("gridDim.z", config.grid.z, 65535);
  check("blockDim.x", config.block.x, 1024);
  check("blockDim.y", config.block.y, 1024);
  check("blockDim.z", config.block.z, 64);
  check("threads per block", std::uint64_t{config.block.x} * config.block.y * config.block.z,
        device.max_threads_per_block);
  if (config.shared_bytes > device.shared_bytes_per_block) {
    refuse(config, cudaErrorInvalidValue,
           fmt::format("shared memory = {} bytes; allowed: 0 to {}", config.shared_bytes,
                       device.shared_bytes_per_block));
  }
}

uint3 block_index_of(std::uint64_t number, dim3 grid) {
  const std::uint64_t plane = std::uint64_t{grid.x} * grid.y;
  return {static_cast<unsigned>(number % grid.x), static_cast<unsigned>(number / grid.x % grid.y),
          static_cast<unsigned>(number / plane)};
}

/// A fixed, seeded bijection of 0..n-1, so that blocks can run in shuffled order without a list.
std::uint64_t reorder(std::uint64_t i, std::uint64_t n) {
  const Options& o = options();
  if (o.order == Order::kForward) return i;
  if (o.order == Order::kReversed) return n - 1 - i;
  // Multiplying by a number coprime to n permutes 0..n-1.
  std::uint64_t factor = (0x9E3779B97F4A7C15ull ^ o.shuffle_seed) % n | 1;
  while (std::gcd(factor, n) != 1) factor += 2;
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(i) * factor + o.shuffle_seed) %
                                    n);
}

/// How many of a grid's blocks run.
std::uint64_t blocks_that_run(std::uint64_t in_grid) {
  const auto ends = 2 * static_cast<std::uint64_t>(options().end_blocks);
  return ends == 0 ? in_grid : std::min(in_grid, ends);
}

unsigned worker_count(std::uint64_t blocks) {
  unsigned workers = options().workers;
  if (workers == 0) {
    const char* setting = std::getenv("ATTN_SIMT_THREADS");
    workers = setting != nullptr ? static_cast<unsigned>(std::max(1, std::atoi(setting)))
                                 : std::max(1u, std::thread::hardware_concurrency());
  }
  return static_cast<unsigned>(std::min<std::uint64_t>(workers, blocks));
}

std::int64_t allowed_steps() {
  if (options().steps > 0) return options().steps;
  const char* setting = std::getenv("ATTN_SIMT_STEPS");
  const std::int64_t steps = setting != nullptr ? std::atoll(setting) : 0;
  if (steps > 0) return std::min(steps, kUncounted);
  return std::clamp(options().expected_steps, kSteps, kUncounted);
}

// The running launch; one grid at a time.
std::atomic<std::uint64_t> next_block{0};
std::atomic<std::uint64_t> block_count{0};

/// So many of a grid's blocks, half of them at either end, each taken by whichever worker is free;
/// the first error stops all.
void run_blocks(const GridRun& grid, std::uint64_t in_grid, unsigned workers) {
  const std::uint64_t blocks = blocks_that_run(in_grid);
  next_block = 0;
  block_count = blocks;
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  std::mutex mutex;
  const auto work = [&] {
    while (!failed.load(std::memory_order_relaxed)) {
      const std::uint64_t number = next_block.fetch_add(1, std::memory_order_relaxed);
      if (number >= blocks) return;
      try {
        std::uint64_t block = reorder(number, blocks);
        if (block >= (blocks + 1) / 2) block += in_grid - blocks;
        Worker::mine().run_block(grid, block_index_of(block, grid.config.grid));
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
        failed = true;
      }
    }
  };
  run_on_threads(workers, work);
  if (error) std::rethrow_exception(error);
}

std::mutex detections_mutex;

// Made on first use, so that they outlive whoever asked for them before.
std::vector<Detection>& all_detections() {
  static std::vector<Detection> detections;
  return detections;
}

std::mutex launch_mutex;  // one grid at a time, as in one CUDA stream

}  // namespace

Options& options() {
  static Options instance;
  return instance;
}

void report(Detection detection) {
  const std::lock_guard lock(detections_mutex);
  all_detections().push_back(std::move(detection));
}

std::vector<Detection> take_detections() {
  const std::lock_guard lock(detections_mutex);
  return std::exchange(all_detections(), {});
}

LaunchProgress launch_progress() {
  return {std::min(next_block.load(), block_count.load()), block_count.load()};
}

std::string kernel_name(const LaunchConfig& config) {
  return config.name != nullptr ? config.name : function_name(config.kernel);
}

std::string to_string(uint3 i) { return fmt::format("({},{},{})", i.x, i.y, i.z); }

Detection detection_at(const GridRun& grid, uint3 block, uint3 thread, std::string kind,
                       std::source_location where) {
  return Detection{.kind = std::move(kind),
                   .kernel = kernel_name(grid.config),
                   .block = to_string(block),
                   .thread = to_string(thread),
                   .file = where.file_name(),
                   .line = static_cast<int>(where.line()),
                   .what = {},
                   .advice = {},
                   .warning = false};
}

void run_grid(const LaunchConfig& config, void (*body)(void*), void* data) {
  check_limits(config);
  const std::lock_guard lock(launch_mutex);
  const std::uint64_t blocks = std::uint64_t{config.grid.x} * config.grid.y * config.grid.z;
  GridRun grid{.config = config, .body = body, .data = data, .steps = allowed_steps()};
  if (!Recorder::wanted()) {
    run_blocks(grid, blocks, worker_count(blocks));
    return;
  }
  Recorder recorder(grid);
  grid.recorder = &recorder;
  run_blocks(grid, blocks, 1);
  recorder.finish();
}

uint3 thread_index() { return Worker::running().current().index; }
uint3 block_index() { return Worker::running().block(); }
dim3 block_size() { return Worker::running().grid().config.block; }
dim3 grid_size() { return Worker::running().grid().config.grid; }
void* dynamic_shared_memory() { return Worker::running().shared_memory(); }

int barrier(BarrierKind kind, int predicate, std::source_location where) {
  Worker& worker = Worker::running();
  Posted& posted = worker.current().posted;
  posted = {.where = where,
            .site = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)),
            .value = predicate != 0 ? 1u : 0u,
            .barrier_kind = kind};
  worker.suspend(State::kAtBarrier);
  return static_cast<int>(Worker::running().current().posted.value);
}

}  // namespace attn::simt
