// SPDX-License-Identifier: MIT
//
// What must not run: collectives that cannot complete, exceptions, configurations beyond the
// device's limits. Each is an error that says where, and the next launch works.
#include <algorithm>
#include <functional>

#include "common/attention.hpp"
#include "common/simt/cuda/runtime.hpp"
#include "tests/simt/kernels.hpp"
#include "tests/simt/support.hpp"

namespace attn::simt_test {
namespace {

/// A launch with barriers and shuffles that gives the right answer.
void check_next_launch_works() {
  const std::vector<float> values = random_integers<float>(10 * 100, -9, 9, 12);
  DeviceArray<float> in(values);
  DeviceArray<float> sums(10);
  run_block_sum(10, 100, in.data(), sums.data());
  for (std::size_t block = 0; block < 10; ++block) {
    float expected = 0.0f;
    for (std::size_t t = 0; t < 100; ++t) expected += values[100 * block + t];
    CHECK(sums.read(block) == expected);
  }
  CHECK(cudaGetLastError() == cudaSuccess);
}

/// What the first detection of a failed launch must say.
struct Report {
  Failure failure;
  std::string kernel;
  std::string kind;
  std::string marker;                  // marks the reported line...
  std::function<bool(int)> is_guilty;  // ...at which these threads stand
  std::string what;                    // part of the text
};

std::vector<Detection> failed_launch(Failure failure) {
  DeviceArray<int> out(6 * 64);
  try {
    run_failure(failure, out.data());
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kDeviceFailure);
    CAPTURE(error.what());
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return device_memory().take_detections();
  }
  FAIL("the launch succeeded");
  return {};
}

void check_place(const Detection& detection, const std::string& kernel, const std::string& kind) {
  CAPTURE(to_string(detection));
  CHECK(detection.kernel == kernel);
  CHECK(detection.kind == kind);
  CHECK(detection.block == "(2,1,0)");
  CHECK(detection.file == failure_kernels_file());
  CHECK_FALSE(detection.what.empty());
  CHECK_FALSE(detection.advice.empty());
}

void check_report(const Report& report) {
  const std::vector<Detection> detections = failed_launch(report.failure);
  REQUIRE(detections.size() == 1);
  const Detection& detection = detections.front();
  CAPTURE(to_string(detection));
  check_place(detection, report.kernel, report.kind);
  CHECK(detection.line == line_of(failure_kernels_file(), report.marker));
  CHECK(report.is_guilty(first_index(detection.thread)));
  CHECK(detection.what.find(report.what) != std::string::npos);
  check_next_launch_works();
}

TEST_CASE_METHOD(EveryMode, "a warp operation that lacks lanes stops the launch at its line",
                 "[simt]") {
  const auto anyone = [](int) { return true; };
  check_report({Failure::kShuffleAgainstBarrier, "shuffle_against_barrier_kernel",
                "incomplete warp mask", "shuffle_against_barrier",
                [](int t) { return t % 32 < 16; }, "0xffffffff"});
  check_report({Failure::kSelfNotInMask, "self_not_in_mask_kernel", "incomplete warp mask",
                "self_not_in_mask", [](int t) { return t % 32 == 5; }, "lane 5"});
  check_report({Failure::kUnequalMasks, "unequal_masks_kernel", "incomplete warp mask",
                "unequal_masks", anyone, "0xffff0001"});
  check_report({Failure::kSyncwarpIncomplete, "syncwarp_incomplete_kernel", "incomplete warp mask",
                "syncwarp_incomplete", [](int t) { return t % 2 == 0; }, "0xffffffff"});
  check_report({Failure::kVoteIncomplete, "vote_incomplete_kernel", "incomplete warp mask",
                "vote_incomplete", [](int t) { return t >= 32 && t != 40; }, "(40,0,0)"});
  check_report({Failure::kCircularWait, "circular_wait_kernel", "incomplete warp mask",
                "circular_wait", [](int t) { return t < 3; }, "mask"});
  check_report(
      {Failure::kBadWidth, "bad_width_kernel", "bad shuffle width", "bad_width", anyone, "12"});
}

/// Two groups of threads wait at two lines: the report stands at one and names the other.
void check_divergence(Failure failure, const std::string& kernel, const std::string& marker,
                      const std::function<bool(int)>& is_at_a) {
  const std::vector<Detection> detections = failed_launch(failure);
  REQUIRE(detections.size() == 1);
  const Detection& detection = detections.front();
  CAPTURE(to_string(detection));
  check_place(detection, kernel, "divergent barrier");
  const int line_a = line_of(failure_kernels_file(), marker + "_a");
  const int line_b = line_of(failure_kernels_file(), marker + "_b");
  const bool at_a = is_at_a(first_index(detection.thread));
  CHECK(detection.line == (at_a ? line_a : line_b));
  const std::string other =
      std::string(failure_kernels_file()) + ":" + std::to_string(at_a ? line_b : line_a);
  CHECK(detection.what.find(other) != std::string::npos);
  check_next_launch_works();
}

TEST_CASE_METHOD(EveryMode, "a divergent barrier stops the launch and names both lines", "[simt]") {
  check_divergence(Failure::kDivergentBarrier, "divergent_barrier_kernel", "divergent_barrier",
                   [](int t) { return t < 16; });
  check_divergence(Failure::kDivergentKinds, "divergent_kinds_kernel", "divergent_kinds",
                   [](int t) { return t >= 32; });
  check_divergence(Failure::kUnequalLoops, "unequal_loops_kernel", "unequal_loops",
                   [](int t) { return t == 5; });
}

TEST_CASE_METHOD(EveryOrder, "a shuffle from a lane that takes no part is reported, not fatal",
                 "[simt]") {
  DeviceArray<int> out(6 * 64, 0);
  run_failure(Failure::kAbsentLane, out.data());
  std::vector<Detection> detections = device_memory().take_detections();
  REQUIRE_FALSE(detections.empty());
  for (const Detection& detection : detections) {
    check_place(detection, "absent_lane_kernel", "shuffle from an absent lane");
    CHECK(detection.line == line_of(failure_kernels_file(), "absent_lane"));
    CHECK(first_index(detection.thread) % 32 == 3);
    CHECK(detection.what.find("lane 20") != std::string::npos);
  }

  run_failure(Failure::kExitedLane, out.data());
  detections = device_memory().take_detections();
  REQUIRE_FALSE(detections.empty());
  for (const Detection& detection : detections) {
    check_place(detection, "exited_lane_kernel", "shuffle from an absent lane");
    CHECK(detection.line == line_of(failure_kernels_file(), "exited_lane"));
    CHECK(first_index(detection.thread) % 32 == 29);
    CHECK(detection.what.find("lane 30") != std::string::npos);
  }
}

TEST_CASE_METHOD(EveryMode, "a kernel that never ends is stopped at its line", "[simt]") {
  simt::options().steps = 100'000;
  const auto anyone = [](int) { return true; };
  check_report({Failure::kEndlessLoop, "endless_loop_kernel", "endless kernel", "endless_loop",
                [](int t) { return t == 5; }, "taken 100000 steps"});
  check_report({Failure::kEndlessBarrier, "endless_barrier_kernel", "endless kernel",
                "endless_barrier", anyone, "taken 100000 steps"});
  check_report({Failure::kEndlessWait, "endless_wait_kernel", "endless kernel", "endless_wait",
                anyone, "taken 100000 steps"});
}

TEST_CASE("a kernel that never ends is stopped without being asked for", "[simt]") {
  const InMode mode(Mode{"unwatched", false, simt::Order::kForward, 4});
  check_report({Failure::kEndlessLoop, "endless_loop_kernel", "endless kernel", "endless_loop",
                [](int t) { return t == 5; }, "taken 200000000 steps"});
}

TEST_CASE("a block may take the steps that its problem needs", "[simt]") {
  const InMode mode(Mode{"detectors", true, simt::Order::kForward, 1});
  simt::options().steps = 1000;  // fewer than the block sum below takes
  CHECK(message_of(check_next_launch_works).find("endless kernel") != std::string::npos);
  CHECK(device_memory().take_detections().size() == 1);
  simt::options().steps = 0;
  device_memory().expect_steps(1e15);
  CHECK(simt::options().expected_steps == 1'000'000'000'000'000);
  check_next_launch_works();
}

TEST_CASE_METHOD(EveryMode, "failures do not add up: 200 stopped launches, then a good one",
                 "[simt]") {
  for (int round = 0; round < 100; ++round) {
    failed_launch(Failure::kDivergentBarrier);
    failed_launch(Failure::kShuffleAgainstBarrier);
  }
  check_next_launch_works();
}

TEST_CASE_METHOD(EveryMode, "an exception in a kernel arrives at its launch", "[simt]") {
  DeviceArray<int> out(8 * 32, 0);
  for (int round = 0; round < 20; ++round) {
    CHECK(message_of([&] { run_throw(out.data()); }).find("thread 7 of block 3") !=
          std::string::npos);
    // Nobody in that block passed the barrier, since thread 7 never came to it.
    const std::vector<int> written = out.read();
    CHECK(std::count(written.begin() + 3 * 32, written.begin() + 4 * 32, 0) == 32);
    check_next_launch_works();
  }
  CHECK(message_of(run_all_throw).find("every thread") != std::string::npos);
  check_next_launch_works();
}

/// The launch is refused, by CUDA's own words, before any thread runs.
void check_refused(Extent grid, Extent block, std::size_t shared_bytes, const std::string& words) {
  CAPTURE(grid.x, grid.y, grid.z, block.x, block.y, block.z, shared_bytes);
  DeviceArray<int> ran(1, 0);
  std::string message;
  try {
    run_configuration(grid, block, shared_bytes, ran.data());
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kDeviceFailure);
    message = error.what();
  }
  CAPTURE(message);
  CHECK(message.find(words) != std::string::npos);
  CHECK(message.find("failure_kernels.cpp") != std::string::npos);
  CHECK(ran.read(0) == 0);
  CHECK(device_memory().take_detections().empty());
  run_configuration({}, {32, 1, 1}, 0, ran.data());
  CHECK(ran.read(0) == 1);
}

TEST_CASE_METHOD(EveryMode, "configurations beyond the device's limits are refused", "[simt]") {
  const std::string configuration = "invalid configuration argument";
  const Extent one{}, warp{32, 1, 1};
  for (const Extent block : {Extent{1025, 1, 1}, Extent{1, 1025, 1}, Extent{1, 1, 65},
                             Extent{32, 33, 1}, Extent{16, 16, 5}, Extent{0, 1, 1}, Extent{1, 0, 1},
                             Extent{1, 1, 0}, Extent{65536, 65536, 1}}) {
    check_refused(one, block, 0, configuration);
  }
  for (const Extent grid :
       {Extent{0, 1, 1}, Extent{1, 0, 1}, Extent{1, 1, 0}, Extent{1, 65536, 1}, Extent{1, 1, 65536},
        Extent{1u << 31, 1, 1}, Extent{0xFFFFFFFFu, 1, 1}}) {
    check_refused(grid, warp, 0, configuration);
  }
}

TEST_CASE_METHOD(EveryMode, "dynamic shared memory up to the device's limit, and not a byte more",
                 "[simt]") {
  cudaDeviceProp properties{};
  REQUIRE(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  const std::size_t limit = properties.sharedMemPerBlockOptin;
  CHECK(limit >= 48 * 1024);
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{48 * 1024}, limit}) {
    DeviceArray<int> ran(1, 0);
    run_configuration({4, 1, 1}, {64, 1, 1}, bytes, ran.data());
    CHECK(ran.read(0) == 1);
  }
  for (const std::size_t bytes : {limit + 1, limit * 10, std::size_t{1} << 40}) {
    check_refused({}, {32, 1, 1}, bytes, "invalid argument");
  }
}

}  // namespace
}  // namespace attn::simt_test
