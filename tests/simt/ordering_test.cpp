// SPDX-License-Identifier: MIT
//
// What named barriers order for the race detector, and what they do not.
#include <algorithm>

#include "tests/simt/named_barrier_kernels.hpp"
#include "tests/simt/support.hpp"

namespace attn::simt_test {
namespace {

constexpr int kRounds = 5;

/// All detections are races between the marked lines, and there is one.
void check_races(const std::string& mark) {
  const std::vector<int> lines = lines_of(named_barrier_kernels_file(), mark);
  const std::vector<Detection> detections = device_memory().take_detections();
  CHECK_FALSE(detections.empty());
  for (const Detection& detection : detections) {
    CAPTURE(to_string(detection));
    CHECK(detection.kind == "race");
    CHECK(std::count(lines.begin(), lines.end(), detection.line) == 1);
  }
}

TEST_CASE_METHOD(EveryOrder, "without one of the two barriers, or at the wrong place, it is a race",
                 "[simt][named]") {
  for (const unsigned consumers : {1u, 3u}) {
    CAPTURE(consumers);
    DeviceArray<float> in(32 * kRounds, 1.0f), scratch(32, 0.0f), out(32 * consumers, 0.0f);
    const auto check = [&](HandOver variant, int rounds) {
      CAPTURE(static_cast<int>(variant));
      run_hand_over(variant, consumers, rounds, in.data(), scratch.data(), out.data());
      check_races("hand_over");
    };
    check(HandOver::kNoFull, 2);
    for (const HandOver variant : {HandOver::kArriveFirst, HandOver::kWriteAfter,
                                   HandOver::kReadLate, HandOver::kReadLateFirst}) {
      check(variant, kRounds);
    }
  }
}

TEST_CASE_METHOD(EveryOrder, "what a warp has heard of, it hands on; an arrival hears of nothing",
                 "[simt][named]") {
  DeviceArray<float> out(96, -1.0f);
  run_relay(Relay::kInTurn, out.data());
  for (std::size_t i = 0; i < 96; ++i) {
    CHECK(out.read(i) == (i < 64 ? -1.0f : 95.0f - static_cast<float>(i)));
  }
  run_relay(Relay::kWholeBlock, out.data());
  for (std::size_t i = 0; i < 96; ++i) CHECK(out.read(i) == 31.0f - static_cast<float>(i % 32));
  CHECK(device_memory().take_detections().empty());
  run_relay(Relay::kTooEarly, out.data());
  check_races("relay");
  run_relay(Relay::kArriveOnly, out.data());
  check_races("relay");
}

TEST_CASE_METHOD(EveryOrder, "waiting orders the lanes of a warp, arriving does not",
                 "[simt][named]") {
  DeviceArray<float> out(64, -1.0f);
  run_neighbours(Neighbours::kSync, out.data());
  for (std::size_t i = 0; i < 64; ++i) CHECK(out.read(i) == static_cast<float>(i ^ 1));
  CHECK(device_memory().take_detections().empty());
  run_neighbours(Neighbours::kArrive, out.data());
  check_races("neighbours");
}

TEST_CASE_METHOD(EveryOrder, "an arrival that nobody waits for is a warning", "[simt][named]") {
  DeviceArray<float> out(96, 0.0f);
  run_misuse("one_too_many", out.data());
  const std::vector<Detection> detections = device_memory().take_detections();
  REQUIRE(detections.size() == 1);
  CAPTURE(to_string(detections.front()));
  CHECK(detections.front().warning);
  CHECK(detections.front().kind == "too many arrivals");
  CHECK(detections.front().line == line_of(named_barrier_kernels_file(), "one_too_many"));
  CHECK(detections.front().what.find("32 of 64 threads have arrived") != std::string::npos);
}

}  // namespace
}  // namespace attn::simt_test
