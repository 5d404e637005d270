// SPDX-License-Identifier: MIT
//
// Named barriers: what goes through them, and what is said of their misuse.
#include <algorithm>

#include "common/attention.hpp"
#include "tests/simt/named_barrier_kernels.hpp"
#include "tests/simt/support.hpp"

namespace attn::simt_test {
namespace {

constexpr int kRounds = 5;

TEST_CASE_METHOD(EveryMode, "a producer hands tiles to its consumers through two named barriers",
                 "[simt][named]") {
  for (const HandOver variant : {HandOver::kShared, HandOver::kGlobal}) {
    for (const unsigned consumers : {1u, 3u, 31u}) {
      CAPTURE(variant == HandOver::kShared, consumers);
      const std::vector<float> tiles = random_integers<float>(32 * kRounds, 0, 1000, 7);
      DeviceArray<float> in(tiles), scratch(32, 0.0f), out(std::size_t{32} * consumers, -1.0f);
      run_hand_over(variant, consumers, kRounds, in.data(), scratch.data(), out.data());
      std::vector<float> expected;
      for (unsigned i = 0; i < 32 * consumers; ++i) {
        float sum = 0.0f;
        for (unsigned round = 0; round < kRounds; ++round) {
          sum += tiles[32 * round + 31 - i % 32];
        }
        expected.push_back(sum);
      }
      CHECK(out.read() == expected);
    }
  }
}

struct Expected {
  std::string name;
  std::string kind;
  std::string what;  // part of the report
};

void check_misuse(const Expected& expected) {
  DeviceArray<float> out(96, 0.0f);
  CAPTURE(expected.name);
  const std::string message = message_of([&] { run_misuse(expected.name, out.data()); });
  CHECK_FALSE(message.empty());
  const std::vector<Detection> detections = device_memory().take_detections();
  REQUIRE(detections.size() == 1);
  const Detection& found = detections.front();
  CAPTURE(to_string(found));
  CHECK(found.kind == expected.kind);
  CHECK_FALSE(found.warning);
  CHECK(found.kernel.rfind(expected.name + "_kernel", 0) == 0);
  const char* file = named_barrier_kernels_file();
  CHECK(found.file == file);
  const std::vector<int> lines = lines_of(file, expected.name);
  CHECK(std::count(lines.begin(), lines.end(), found.line) == 1);
  CHECK(found.what.find(expected.what) != std::string::npos);
  CHECK_FALSE(found.advice.empty());
}

TEST_CASE_METHOD(EveryMode, "misuse of a named barrier stops the launch at its line",
                 "[simt][named]") {
  check_misuse({"id_zero", "bad named barrier", "id = 0; allowed: 1 to 15"});
  check_misuse({"id_too_large", "bad named barrier", "id = 16; allowed: 1 to 15"});
  check_misuse({"odd_count", "bad named barrier", "threads = 48; allowed: multiples of 32 up to"});
  check_misuse({"large_count", "bad named barrier", "up to the block's 96"});
  check_misuse({"unequal_counts", "unequal counts", "named barrier 1 is for "});
  check_misuse({"arrives_twice", "too many arrivals", "warp 0 comes to named barrier 1 a second"});
  check_misuse({"two_ids", "divergent named barrier", "lane 0 calls named_sync(1, 96)"});
  check_misuse({"half_a_warp", "divergent named barrier", "waits here for its whole warp"});
}

TEST_CASE_METHOD(EveryMode, "a deadlock is reported with what everybody waits for",
                 "[simt][named]") {
  DeviceArray<float> out(96, 0.0f);
  CHECK_THROWS_AS(run_misuse("deadlock", out.data()), Error);
  const std::vector<Detection> detections = device_memory().take_detections();
  REQUIRE(detections.size() == 1);
  const std::string file = named_barrier_kernels_file();
  const auto place = [&file](const char* mark) {
    return file + ":" + std::to_string(line_of(file.c_str(), mark));
  };
  CHECK(detections.front().kind == "deadlock");
  CHECK(detections.front().line == line_of(file.c_str(), "deadlock_sync"));
  CHECK(detections.front().what ==
        "nobody can go on: 32 threads from (0,0,0) on wait at " + place("deadlock_sync") +
            " for named barrier 4: 64 of 96 threads have arrived; 32 threads from (32,0,0) on "
            "wait at " +
            place("deadlock_block") + " for __syncthreads: 32 of 64 threads have arrived");
}

}  // namespace
}  // namespace attn::simt_test
