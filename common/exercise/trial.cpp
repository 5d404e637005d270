// SPDX-License-Identifier: MIT
#include "common/exercise/trial.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <exception>

#include "common/simt/machine/options.hpp"

namespace attn::exercise {
namespace {

constexpr unsigned char kUnwritten = 0xFF;
constexpr std::int64_t kSteps = 20'000'000;  // of a block: plenty for the small problems here

/// What a kind of report usually means, in one sentence.
std::string_view meaning(const Detection& detection) {
  if (detection.kind == "uninitialised read" && detection.file.ends_with("show_tile.cuh")) {
    return "show_tile has met an element of the tile that nobody has written. Does the loop over "
           "the tile reach all its elements, and is a barrier behind it?";
  }
  if (detection.kind == "race" && detection.file.ends_with("show_tile.cuh")) {
    return "show_tile reads the tile while others still write it: a barrier is missing between "
           "the two.";
  }
  if (detection.kind == "uninitialised read" &&
      detection.what.find("shared") != std::string::npos) {
    return "The kernel reads a number in shared memory that nobody has written yet. Does the loop "
           "that fills it reach this element, does this thread have an element at all? And: "
           "what other threads write is complete only behind a barrier.";
  }
  if (detection.kind == "uninitialised read") {
    return "The kernel reads a number that nobody has written yet. On the first visit nothing is "
           "in HBM; and what other threads write is complete only behind a barrier.";
  }
  if (detection.kind == "race") {
    return "Two threads use one place in memory, one of them writes, and no barrier is between "
           "them: which thread comes first is luck. __syncthreads between all warps, __syncwarp "
           "between the lanes of one.";
  }
  if (detection.kind == "race between blocks") {
    return "Two blocks use one place in memory, and one of them writes. Does each block add its "
           "head's (or tile's) offset?";
  }
  if (detection.kind == "out of bounds") {
    return "An index is beyond the end of its array. At the edge, a tile has fewer rows or "
           "columns; and a thread for which there is no element has nothing to do.";
  }
  if (detection.kind == kEndlessKernel) {
    return "The kernel does not end. Does the loop's variable grow?";
  }
  return "Not all threads come to the same barrier or shuffle. Is one inside an if, or behind a "
         "return?";
}

}  // namespace

bool is_unwritten(float value) { return std::bit_cast<std::uint32_t>(value) == 0xFFFFFFFFu; }

const float* Trial::input(std::string_view name, const std::vector<float>& values) {
  buffers_.emplace_back(device_memory(), std::string(name), values.size() * sizeof(float),
                        std::size_t{0});
  if (!values.empty()) buffers_.back().write(values.data());
  return buffers_.back().floats();
}

float* Trial::output(std::string_view name, std::int64_t floats) {
  const auto bytes = static_cast<std::size_t>(floats) * sizeof(float);
  buffers_.emplace_back(device_memory(), std::string(name), bytes, std::size_t{0});
  buffers_.back().fill_undefined(kUnwritten);
  return buffers_.back().floats();
}

std::string Trial::run(const std::function<void()>& launch) {
  Memory& memory = device_memory();
  memory.take_detections();
  memory.watch(true);
  simt::options().steps = kSteps;
  std::string thrown;
  try {
    launch();
    memory.synchronize();
  } catch (const std::exception& error) {
    thrown = fmt::format("The launch failed: {}\n", error.what());
  }
  simt::options().steps = 0;
  memory.watch(false);
  for (const Detection& detection : memory.take_detections()) {
    if (detection.kind == "same value") doubled_.push_back(detection.what);
    if (!detection.warning) {
      return fmt::format("{}\n\n{}\n", meaning(detection), to_string(detection));
    }
  }
  for (const GuardedBuffer& buffer : buffers_) {
    for (const std::string& damage : buffer.check()) thrown += damage + "\n";
  }
  return thrown;
}

bool Trial::stored_twice(std::string_view name) const {
  return std::ranges::any_of(doubled_,
                             [start = fmt::format("write of {}[", name)](const std::string& what) {
                               return what.starts_with(start);
                             });
}

std::vector<float> Trial::read(const float* array) const {
  for (const GuardedBuffer& buffer : buffers_) {
    if (buffer.floats() != array) continue;
    std::vector<float> values(buffer.bytes() / sizeof(float));
    if (!values.empty()) buffer.read(values.data());
    return values;
  }
  return {};
}

}  // namespace attn::exercise
