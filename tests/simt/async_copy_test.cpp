// SPDX-License-Identifier: MIT
//
// cp.async: when copies arrive, what is counted, and what is said of those who do not wait.
#include <algorithm>
#include <functional>

#include "common/attention.hpp"
#include "common/simt/watch/counters.hpp"
#include "tests/simt/async_copy_kernels.hpp"
#include "tests/simt/support.hpp"

namespace attn::simt_test {
namespace {

constexpr unsigned kPoison = 0xFFFFFFFFu;  // what stands where a copy will arrive

std::vector<unsigned> numbers(std::size_t count) {
  return random_integers<unsigned>(count, 0, 1000, 11);
}

std::vector<unsigned> pipeline_sums(int rounds, int valid, const std::vector<unsigned>& in) {
  std::vector<unsigned> sums;
  for (int t = 0; t < kCopyThreads; ++t) {
    const int part = kCopyThreads - 1 - t;
    unsigned sum = 0;
    for (int round = 0; round < rounds && part < valid; ++round) {
      for (int i = 0; i < 4; ++i) {
        sum += in[static_cast<std::size_t>(4 * (kCopyThreads * round + part) + i)];
      }
    }
    sums.push_back(sum);
  }
  return sums;
}

TEST_CASE_METHOD(EveryMode, "two buffers of copies, whenever they arrive", "[simt][async]") {
  for (const simt::Completion completion : simt::kAllCompletions) {
    simt::options().completion = completion;
    for (const int rounds : {1, 2, 5}) {
      for (const int valid : {0, 37, kCopyThreads}) {
        CAPTURE(to_string(completion), rounds, valid);
        const std::vector<unsigned> words =
            numbers(static_cast<std::size_t>(4 * kCopyThreads * rounds));
        DeviceArray<unsigned> in(words), out(kCopyThreads, 7u);
        run_pipeline(Pipeline::kRight, rounds, valid, in.data(), out.data());
        CHECK(out.read() == pipeline_sums(rounds, valid, words));
      }
    }
  }
}

TEST_CASE_METHOD(EveryMode, "a thread sees its own copies once it has waited", "[simt][async]") {
  const std::vector<unsigned> words = numbers(256);
  DeviceArray<unsigned> in(words);
  for (const simt::Completion completion : simt::kAllCompletions) {
    CAPTURE(to_string(completion));
    simt::options().completion = completion;
    DeviceArray<unsigned> out(64, 7u), neighbours(32, 7u);
    run_two_groups(true, in.data(), out.data());
    run_neighbour_copies(true, in.data(), neighbours.data());
    for (std::size_t t = 0; t < 32; ++t) {
      CHECK(out.read(2 * t) == words[8 * t]);
      CHECK(out.read(2 * t + 1) == words[8 * t + 4]);
      CHECK(neighbours.read(t) == words[4 * (t ^ 1)]);
    }
  }
}

TEST_CASE("a copy that nobody has waited for arrives late, or at once", "[simt][async]") {
  const InMode unwatched({"unwatched", false, simt::Order::kForward, 1});
  const std::vector<unsigned> words = numbers(256);
  DeviceArray<unsigned> in(words);
  for (const simt::Completion completion : simt::kAllCompletions) {
    CAPTURE(to_string(completion));
    simt::options().completion = completion;
    DeviceArray<unsigned> out(64, 7u);
    run_two_groups(false, in.data(), out.data());
    for (std::size_t t = 0; t < 32; ++t) {
      const unsigned second = out.read(2 * t + 1);
      CHECK(out.read(2 * t) == words[8 * t]);
      if (completion == simt::Completion::kLate) CHECK(second == kPoison);
      if (completion == simt::Completion::kEager) CHECK(second == words[8 * t + 4]);
    }
  }
}

TEST_CASE_METHOD(EveryMode, "copies of 4 and 8 bytes, with zeros behind what is valid",
                 "[simt][async]") {
  const std::vector<unsigned> words = numbers(128);
  DeviceArray<unsigned> in(words), out(128, 7u);
  run_small_copies(in.data(), out.data());
  for (std::size_t t = 0; t < 32; ++t) {
    CAPTURE(t);
    CHECK(out.read(4 * t) == words[t]);  // below 1,000: its upper half is zero either way
    CHECK(out.read(4 * t + 1) == t);
    CHECK(out.read(4 * t + 2) == (t % 2 == 0 ? words[32 + 2 * t] : 0));
    CHECK(out.read(4 * t + 3) == 0);
  }
}

struct Expected {
  std::string kind;
  std::string line;   // its mark
  std::string other;  // the mark of the line that the report names
  std::string what;   // part of the report
};

void check_detection(const Detection& found, const Expected& expected) {
  const char* file = async_copy_kernels_file();
  CAPTURE(to_string(found));
  CHECK(found.kind == expected.kind);
  CHECK_FALSE(found.warning);
  CHECK(found.file == file);
  const std::vector<int> lines = lines_of(file, expected.line);
  CHECK(std::count(lines.begin(), lines.end(), found.line) == 1);
  CHECK(found.what.find(expected.what) != std::string::npos);
  if (!expected.other.empty()) {
    const std::string place = file + (":" + std::to_string(line_of(file, expected.other)));
    CHECK(found.what.find(place) != std::string::npos);
  }
  CHECK_FALSE(found.advice.empty());
}

TEST_CASE_METHOD(EveryMode, "misuse of cp.async stops the launch at its line", "[simt][async]") {
  const std::pair<const char*, Expected> misuses[] = {
      {"odd_size", {"bad cp.async", "odd_size", "", "bytes = 12; allowed: 4, 8, 16"}},
      {"too_valid", {"bad cp.async", "too_valid", "", "valid = 8 of 4 bytes; allowed: 0 to 4"}},
      {"misaligned_to",
       {"misaligned access", "misaligned_to", "", "to an address in shared memory that is 8"}},
      {"misaligned_from",
       {"misaligned access", "misaligned_from", "", "from an address in global memory that is 12"}},
      {"shared_end",
       {"out of bounds", "shared_end", "",
        "to byte 512 of the 512 bytes of dynamic shared memory"}},
  };
  DeviceArray<unsigned> in(numbers(128)), out(32, 0u);
  for (const auto& [name, expected] : misuses) {
    CAPTURE(name);
    CHECK_FALSE(message_of([&] { run_copy_misuse(name, in.data(), out.data()); }).empty());
    const std::vector<Detection> detections = device_memory().take_detections();
    REQUIRE(detections.size() == 1);
    check_detection(detections.front(), expected);
  }
}

#if !defined(__SANITIZE_ADDRESS__)
TEST_CASE_METHOD(EveryOrder, "a copy from outside global memory stops the launch",
                 "[simt][async]") {
  DeviceArray<unsigned> in(numbers(128)), out(32, 0u);
  const std::pair<const char*, Expected> misuses[] = {
      {"beyond_source", {"out of bounds", "beyond_source", "", "asynchronous copy of 16 bytes: "}},
      {"from_shared", {"out of bounds", "from_shared", "", "not in global memory"}},
  };
  for (const auto& [name, expected] : misuses) {
    CAPTURE(name);
    CHECK_FALSE(message_of([&] { run_copy_misuse(name, in.data(), out.data()); }).empty());
    const std::vector<Detection> detections = device_memory().take_detections();
    REQUIRE(detections.size() == 1);
    check_detection(detections.front(), expected);
  }
}

TEST_CASE_METHOD(EveryOrder, "bytes that a copy is about to write may not be touched",
                 "[simt][async]") {
  const std::pair<Pipeline, Expected> bugs[] = {
      {Pipeline::kNoWait, {"in flight", "pipeline_read", "pipeline_copy", "read of dynamic"}},
      {Pipeline::kWaitsTooLittle,
       {"in flight", "pipeline_read", "pipeline_copy", "read of dynamic"}},
      {Pipeline::kNoCommit, {"in flight", "pipeline_read", "pipeline_copy", "is under way"}},
      {Pipeline::kMatrices, {"in flight", "pipeline_read", "pipeline_copy", "read of dynamic"}},
      {Pipeline::kStore,
       {"in flight", "pipeline_store", "pipeline_copy",
        "write of dynamic shared memory at byte 84 (float 21); the copy to it that thread "
        "(5,0,0)"}},
      {Pipeline::kTwice,
       {"in flight", "pipeline_again", "pipeline_copy",
        "copy to dynamic shared memory at byte 80 (float 20); the copy to it that thread (5,0,0)"}},
      {Pipeline::kNoBarrier, {"race", "pipeline_read", "pipeline_copy", "read of dynamic"}},
      // These copies are ordered before the read by another barrier; their arrival is not.
      {Pipeline::kOneBarrier, {"race", "pipeline_read", "pipeline_copy", "read of dynamic"}},
      {Pipeline::kNoSecondBarrier,
       {"in flight", "pipeline_read", "pipeline_copy", "read of dynamic"}},
  };
  for (const simt::Completion completion : simt::kAllCompletions) {
    simt::options().completion = completion;
    for (const auto& [variant, expected] : bugs) {
      CAPTURE(to_string(completion), static_cast<int>(variant));
      DeviceArray<unsigned> in(numbers(4 * kCopyThreads * 3)), out(kCopyThreads, 0u);
      run_pipeline(variant, 3, kCopyThreads, in.data(), out.data());
      const std::vector<Detection> detections = device_memory().take_detections();
      REQUIRE_FALSE(detections.empty());
      // Another report may be of the same pair of lines, the other way round.
      const auto found =
          std::find_if(detections.begin(), detections.end(), [&](const Detection& one) {
            const std::vector<int> lines = lines_of(async_copy_kernels_file(), expected.line);
            return one.kind == expected.kind &&
                   std::count(lines.begin(), lines.end(), one.line) == 1;
          });
      CAPTURE(to_string(detections.front()));
      REQUIRE(found != detections.end());
      check_detection(*found, expected);
    }
  }
}

TEST_CASE_METHOD(EveryOrder, "waiting for the first group leaves the second under way",
                 "[simt][async]") {
  DeviceArray<unsigned> in(numbers(256)), out(64, 0u);
  run_two_groups(false, in.data(), out.data());
  const std::vector<Detection> detections = device_memory().take_detections();
  REQUIRE(detections.size() == 1);
  check_detection(detections.front(), {"in flight", "two_groups", "", "is under way"});
}

TEST_CASE_METHOD(EveryOrder, "waiting tells no other lane of the warp", "[simt][async]") {
  DeviceArray<unsigned> in(numbers(256)), out(32, 0u);
  run_neighbour_copies(false, in.data(), out.data());
  const std::vector<Detection> detections = device_memory().take_detections();
  REQUIRE(detections.size() == 1);
  check_detection(detections.front(),
                  {"race", "neighbour_read", "neighbour_copy", "and nothing orders the two"});
}

simt::LaunchRecord traced(const std::function<void()>& run) {
  simt::options().tracer = true;
  simt::take_launches();
  run();
  simt::options().tracer = false;
  const std::vector<simt::LaunchRecord> launches = simt::take_launches();
  REQUIRE(launches.size() == 1);
  return launches.front();
}

TEST_CASE_METHOD(EveryOrder, "copies are counted apart from loads and stores", "[simt][async]") {
  constexpr int kRounds = 3, kValid = 34;  // of the second warp, two lanes
  DeviceArray<unsigned> in(numbers(4 * kCopyThreads * kRounds)), out(kCopyThreads, 0u);
  const simt::LaunchRecord launch =
      traced([&] { run_pipeline(Pipeline::kRight, kRounds, kValid, in.data(), out.data()); });
  const simt::Traffic& t = launch.traffic;
  CHECK(t.global_async_bytes == kRounds * kValid * 16);
  CHECK(t.global_async_requests == kRounds * 2);
  CHECK(t.global_async_sectors == kRounds * kValid / 2);
  CHECK(t.global_load_bytes == 0);
  CHECK(t.global_load_requests == 0);
  CHECK(t.global_read_bytes_compulsory == kRounds * kValid * 16);
  CHECK(t.global_sectors_compulsory == kRounds * kValid / 2 + kCopyThreads * 4 / 32);
  CHECK(t.shared_async_wavefronts == kRounds * 2 * 4);
  CHECK(t.shared_async_wavefronts_ideal == kRounds * 2 * 4);
  CHECK(t.shared_store_bytes == 0);
  CHECK(t.shared_store_wavefronts == 0);
  std::vector<simt::SiteTraffic> copies;
  for (const simt::SiteTraffic& site : launch.sites) {
    if (site.access == "async copy") copies.push_back(site);
  }
  REQUIRE_FALSE(copies.empty());  // start() is inlined twice
  std::uint64_t bytes = 0, requests = 0, sectors = 0, wavefronts = 0;
  for (const simt::SiteTraffic& site : copies) {
    CHECK(site.file == async_copy_kernels_file());
    CHECK(site.lane_bytes == 16);
    bytes += site.bytes;
    requests += site.requests;
    sectors += site.sectors;
    wavefronts += site.wavefronts;
  }
  CHECK(bytes == t.global_async_bytes);
  CHECK(requests == t.global_async_requests);
  CHECK(sectors == t.global_async_sectors);
  CHECK(wavefronts == t.shared_async_wavefronts);
}

TEST_CASE_METHOD(EveryOrder, "what a copy stores has bank conflicts like any store",
                 "[simt][async]") {
  const std::vector<unsigned> words = numbers(128);
  DeviceArray<unsigned> in(words);
  for (const bool swizzled : {false, true}) {
    CAPTURE(swizzled);
    DeviceArray<unsigned> out(32, 0u);
    const simt::LaunchRecord launch =
        traced([&] { run_copy_columns(swizzled, in.data(), out.data()); });
    for (std::size_t t = 0; t < 32; ++t) CHECK(out.read(t) == words[4 * t]);
    CHECK(launch.traffic.shared_async_wavefronts == (swizzled ? 4 : 4 * 8));
    CHECK(launch.traffic.shared_async_wavefronts_ideal == 4);
  }
}
#endif

}  // namespace
}  // namespace attn::simt_test
