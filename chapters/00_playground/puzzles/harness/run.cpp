// SPDX-License-Identifier: MIT
#include "chapters/00_playground/puzzles/harness/run.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "common/attention.hpp"
#include "common/run/buffers.hpp"
#include "common/simt/machine/options.hpp"

namespace attn::puzzles {
namespace {

/// Plenty for the largest size, and over in no time: what takes more never ends.
constexpr std::int64_t kSteps = 2'000'000;
constexpr std::size_t kMostTouches = 100'000;
constexpr std::uint32_t kNotStored = 0xFFFFFFFFu;  // a NaN that no arithmetic makes

/// Numbers with three decimals, all different up to 997 of them, none of them 0.
std::vector<float> numbers(const Array& array, Size problem) {
  if (array.name.empty()) return {};
  std::vector<float> values(array.size(problem).count());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const int mixed = static_cast<int>(i * 37 % 997) + 1;
    const float value = static_cast<float>(mixed) / 1000.0f;
    values[i] = array.positive ? 1.0f + value : mixed % 2 == 0 ? value : -value;
  }
  return values;
}

GuardedBuffer on_device(const Array& array, Size problem) {
  const std::size_t elements = array.name.empty() ? 0 : array.size(problem).count();
  return GuardedBuffer(device_memory(), std::string(array.name), elements * sizeof(float), 0);
}

/// Writes down what the launch does to the puzzle's arrays.
class Log : public simt::Observer {
 public:
  Log(const Data& data, std::array<std::size_t, 3> elements) : elements_(elements) {
    begins_ = {reinterpret_cast<std::uintptr_t>(data.a), reinterpret_cast<std::uintptr_t>(data.b),
               reinterpret_cast<std::uintptr_t>(data.out)};
  }

  void begin_launch(const std::string&, dim3, dim3 block) override {
    warps_ = static_cast<int>((block.x * block.y * block.z + 31) / 32);
  }
  void begin_block(uint3) override { ++block_; }

  void request(int warp, const simt::Request& request) override {
    if (touches_.size() >= kMostTouches) return;
    const auto first = request.addresses[std::countr_zero(request.lanes)];
    const std::optional<Place> place = place_of(first, request.space);
    if (!place) return;
    Touch touch{*place, request.access == simt::Access::kStore, block_, block_ * warps_ + warp, {}};
    for (unsigned rest = request.lanes; rest != 0; rest &= rest - 1) {
      const int lane = std::countr_zero(rest);
      const std::uintptr_t address = request.addresses[lane];
      if (*place == Place::kShared) lowest_ = std::min(lowest_, address);
      const std::uintptr_t begin =
          *place == Place::kShared ? 0 : begins_[static_cast<std::size_t>(*place)];
      words_.push_back((address - begin) / sizeof(float));
      touch.lanes.emplace_back(lane, 0);
    }
    touches_.push_back(std::move(touch));
  }
  void barrier(const std::source_location&) override {
    if (touches_.size() < kMostTouches) touches_.push_back({Place::kShared, false, block_, 0, {}});
  }

  Touches take() {
    std::size_t next = 0;
    for (Touch& touch : touches_) {
      for (auto& [lane, element] : touch.lanes) {
        const std::uintptr_t from = touch.place == Place::kShared ? lowest_ / sizeof(float) : 0;
        element = static_cast<int>(words_[next++] - from);
      }
    }
    return std::move(touches_);
  }

 private:
  std::optional<Place> place_of(std::uintptr_t address, simt::Space space) const {
    if (space == simt::Space::kShared) return Place::kShared;
    for (std::size_t i = 0; i < begins_.size(); ++i) {
      if (address - begins_[i] < elements_[i] * sizeof(float)) return static_cast<Place>(i);
    }
    return std::nullopt;
  }

  std::array<std::uintptr_t, 3> begins_{};
  std::array<std::size_t, 3> elements_;
  int warps_ = 1;
  int block_ = -1;
  std::uintptr_t lowest_ = ~std::uintptr_t{0};  // address of shared memory
  std::vector<std::uintptr_t> words_;           // of all lanes of all touches
  Touches touches_;
};

/// Switches all watching on, and back off.
class Watching {
 public:
  explicit Watching(simt::Observer& observer) : before_(simt::options()) {
    simt::take_launches();
    device_memory().take_detections();
    simt::options().detectors = true;
    simt::options().tracer = true;
    simt::options().observer = &observer;
    simt::options().steps = kSteps;
  }
  ~Watching() { simt::options() = before_; }
  Watching(const Watching&) = delete;
  Watching& operator=(const Watching&) = delete;

 private:
  simt::Options before_;
};

}  // namespace

Data Result::host(const Puzzle& puzzle, Size size) const {
  return {a.data(), b.data(), nullptr, size.rows, size.columns, puzzle.number};
}

bool Result::wrong_at(std::size_t i) const {
  // Sums in another order; no number of an input is as small.
  const float tolerance = 1e-6f + 2e-5f * std::abs(wanted[i]);
  return !stored[i] || !(std::abs(got[i] - wanted[i]) <= tolerance);
}

bool Result::nothing_stored() const {
  return std::none_of(stored.begin(), stored.end(), [](bool one) { return one; });
}

bool Result::right() const {
  if (!error.empty()) return false;
  for (const Detection& found : detections) {
    if (!found.warning) return false;
  }
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wrong_at(i)) return false;
  }
  return true;
}

Result run(const Puzzle& puzzle, Code code, Size size) {
  Result result{.a = numbers(puzzle.a, size),
                .b = numbers(puzzle.b, size),
                .wanted = std::vector<float>(puzzle.out.size(size).count()),
                .got = {},
                .stored = {},
                .detections = {},
                .error = {},
                .traffic = {},
                .touches = {}};
  Data data = result.host(puzzle, size);
  data.out = result.wanted.data();
  puzzle.loop(data);

  GuardedBuffer a = on_device(puzzle.a, size);
  GuardedBuffer b = on_device(puzzle.b, size);
  GuardedBuffer out = on_device(puzzle.out, size);
  a.write(result.a.data());
  b.write(result.b.data());
  out.fill_undefined(0xFF);
  data.a = a.floats();
  data.b = b.floats();
  data.out = out.floats();
  Log log(data, {result.a.size(), result.b.size(), result.wanted.size()});
  {
    const Watching watching(log);
    try {
      code(data);
    } catch (const Error& error) {
      result.error = error.what();
    }
    result.detections = device_memory().take_detections();
    for (const simt::LaunchRecord& launch : simt::take_launches()) result.traffic = launch.traffic;
  }
  result.touches = log.take();
  result.got.resize(result.wanted.size());
  out.read(result.got.data());
  for (const float value : result.got) {
    result.stored.push_back(std::bit_cast<std::uint32_t>(value) != kNotStored);
  }
  return result;
}

}  // namespace attn::puzzles
