// SPDX-License-Identifier: MIT
//
// What the tests of the CPU machine share: device arrays, random numbers, and a fixture that runs a
// test in every mode of the machine and fails it if the detectors report anything but warnings.
#pragma once

#include <cstddef>
#include <cstdio>
#include <exception>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "common/memory.hpp"
#include "common/simt/machine/options.hpp"
#include "tests/catch.hpp"

namespace attn::simt_test {

/// An array in the CPU machine's global memory, written at construction and read back on demand.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& host) : size_(host.size()) {
    data_ = static_cast<T*>(device_memory().allocate(size_ * sizeof(T), "test"));
    device_memory().write(data_, host.data(), size_ * sizeof(T));
  }
  explicit DeviceArray(std::size_t size, T value = T{})
      : DeviceArray(std::vector<T>(size, value)) {}
  ~DeviceArray() { device_memory().release(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() { return data_; }
  std::vector<T> read() const {
    std::vector<T> host(size_);
    device_memory().read(host.data(), data_, size_ * sizeof(T));
    return host;
  }
  T read(std::size_t index) const { return read().at(index); }

 private:
  std::size_t size_;
  T* data_;
};

/// One way to run the machine. A correct kernel gives the same result in all of them.
struct Mode {
  const char* name;
  bool detectors;
  simt::Order order;
  unsigned workers;  // OS threads; the detectors use one
};

/// Runs the test case in one mode; any report that it did not take fails it.
class InMode {
 public:
  explicit InMode(const Mode& mode) {
    UNSCOPED_INFO("mode: " << mode.name);
    device_memory().watch(mode.detectors);
    simt::options().order = mode.order;
    simt::options().workers = mode.workers;
    device_memory().take_detections();
  }
  ~InMode() {
    for (const Detection& detection : device_memory().take_detections()) {
      if (!detection.warning) FAIL_CHECK("not expected: " << to_string(detection));
    }
    simt::options() = initial_;
  }
  InMode(const InMode&) = delete;
  InMode& operator=(const InMode&) = delete;

 private:
  simt::Options initial_ = simt::options();
};

/// Runs the test case once with the detectors on and every order of threads and blocks.
struct EveryOrder : InMode {
  EveryOrder()
      : InMode(GENERATE(Mode{"detectors", true, simt::Order::kForward, 1},
                        Mode{"detectors, reversed", true, simt::Order::kReversed, 1},
                        Mode{"detectors, shuffled", true, simt::Order::kShuffled, 1})) {}
};

/// Runs the test case once per mode.
struct EveryMode : InMode {
  EveryMode()
      : InMode(GENERATE(Mode{"parallel", false, simt::Order::kForward, 4},
                        Mode{"parallel, reversed", false, simt::Order::kReversed, 3},
                        Mode{"shuffled", false, simt::Order::kShuffled, 1},
                        Mode{"detectors", true, simt::Order::kForward, 1},
                        Mode{"detectors, shuffled", true, simt::Order::kShuffled, 1})) {}
};

/// What `call` throws, in words; empty if it throws nothing.
template <typename Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

/// `count` integers in [low, high], the same for the same seed.
template <typename T>
std::vector<T> random_integers(std::size_t count, long long low, long long high, unsigned seed) {
  std::mt19937_64 generator(seed);
  std::uniform_int_distribution<long long> distribution(low, high);
  std::vector<T> values(count);
  for (T& value : values) value = static_cast<T>(distribution(generator));
  return values;
}

/// Numbers of the lines in `file` that carry the comment `bug: <name>`: at least one.
inline std::vector<int> lines_of(const char* file, const std::string& name) {
  std::ifstream in(file);
  const std::string marker = "// bug: " + name;
  std::vector<int> lines;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    const std::size_t at = line.find(marker);
    if (at != std::string::npos && at + marker.size() == line.size()) lines.push_back(number);
  }
  CAPTURE(file, marker);
  REQUIRE_FALSE(lines.empty());
  return lines;
}

/// The one such line.
inline int line_of(const char* file, const std::string& name) {
  const std::vector<int> lines = lines_of(file, name);
  REQUIRE(lines.size() == 1);
  return lines.front();
}

/// x of a detection's thread or block, "(x,0,0)".
inline int first_index(const std::string& index) {
  int x = -1, y = -1, z = -1;
  CAPTURE(index);
  REQUIRE(std::sscanf(index.c_str(), "(%d,%d,%d)", &x, &y, &z) == 3);
  CHECK(y == 0);
  CHECK(z == 0);
  return x;
}

}  // namespace attn::simt_test
