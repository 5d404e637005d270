// SPDX-License-Identifier: MIT
//
// Every detector against kernels that have exactly its bug, and against their repaired twins.
#include <algorithm>
#include <functional>
#include <memory>
#include <set>

#include "common/attention.hpp"
#include "common/run/buffers.hpp"
#include "tests/simt/kernels.hpp"
#include "tests/simt/support.hpp"

namespace attn::simt_test {
namespace {

enum class Stops { kNo, kYes };  // whether the launch throws

/// What the detectors must say about one kernel.
struct Expectation {
  std::string bug;
  std::string kind;
  Stops stops;
  std::function<bool(int)> block;   // the blocks that may be named
  std::function<bool(int)> thread;  // the threads that may be named
};

std::function<bool(int)> only(int index) {
  return [index](int i) { return i == index; };
}
bool any(int) { return true; }

const std::vector<Expectation>& expectations() {
  static const std::vector<Expectation> kAll{
      {"read_past_end", "out of bounds", Stops::kYes, only(2), only(62)},
      {"read_before_start", "out of bounds", Stops::kYes, only(0), only(0)},
      {"write_past_end", "out of bounds", Stops::kYes, only(2), only(63)},
      {"write_before_start", "out of bounds", Stops::kYes, only(0), only(0)},
      {"vector_past_end", "out of bounds", Stops::kYes, only(0), only(47)},
      {"atomic_past_end", "out of bounds", Stops::kYes, only(2), only(63)},
      {"foreign_pointer", "out of bounds", Stops::kYes, any, any},
      {"dynamic_shared_past_end", "out of bounds", Stops::kYes, only(1), only(63)},
      {"misaligned_float4", "misaligned access", Stops::kYes, only(0), any},
      {"misaligned_float2", "misaligned access", Stops::kYes, any, any},
      {"misaligned_shared", "misaligned access", Stops::kYes, only(1), any},
      {"shared_uninitialised", "uninitialised read", Stops::kNo, only(1), only(58)},
      {"shared_carried_over", "uninitialised read", Stops::kNo, only(1), any},
      {"global_uninitialised", "uninitialised read", Stops::kNo, only(1), only(6)},
      {"bytes_uninitialised", "uninitialised read", Stops::kNo, only(1), only(0)},
      {"atomic_uninitialised", "uninitialised read", Stops::kNo, only(1), only(36)},
      {"shared_read_after_write", "race", Stops::kNo, only(1), any},
      {"shared_write_after_read", "race", Stops::kNo, only(1), any},
      {"shared_write_after_write", "race", Stops::kNo, only(1), any},
      {"shared_write_same", "race", Stops::kNo, only(1), any},
      {"shared_tile_loop", "race", Stops::kNo, only(1), any},
      {"shared_atomic_then_read", "race", Stops::kNo, only(1), any},
      {"syncwarp_missing", "race", Stops::kNo, only(1), any},
      {"syncwarp_missing_wide", "race", Stops::kNo, only(1), any},
      {"shuffle_does_not_order", "race", Stops::kNo, only(1), any},
      {"syncwarp_wrong_lanes", "race", Stops::kNo, only(1), any},
      {"syncwarp_across_warps", "race", Stops::kNo, only(1), any},
      {"shared_half", "race", Stops::kNo, only(1), any},
      {"shared_halves", "race", Stops::kNo, only(1), any},
      {"global_read_after_write", "race", Stops::kNo, only(1), any},
      {"global_write_after_read", "race", Stops::kNo, only(1), any},
      {"global_write_after_write", "race", Stops::kNo, only(1), any},
      {"global_syncwarp_missing", "race", Stops::kNo, only(1), any},
      {"global_half", "race", Stops::kNo, only(1), any},
      {"global_word_then_half", "race", Stops::kNo, only(1), any},
      {"blocks_write_write", "race between blocks", Stops::kNo, any, any},
      {"blocks_write_read", "race between blocks", Stops::kNo, any, any},
      {"blocks_halo", "race between blocks", Stops::kNo, any,
       [](int t) { return t == 0 || t == 63; }},
      {"blocks_write_atomic", "race between blocks", Stops::kNo, any, only(0)},
      {"blocks_read_atomic", "race between blocks", Stops::kNo, any, only(0)},
      {"blocks_half", "race between blocks", Stops::kNo, any, only(0)},
      {"blocks_read_half", "race between blocks", Stops::kNo, any, only(0)},
  };
  return kAll;
}

/// The arrays of a kernel with a bug. Out-of-bounds kernels get one element less than threads.
class Setup {
 public:
  explicit Setup(bool one_short)
      : n_(kDetectorBlocks * kDetectorThreads - (one_short ? 1 : 0)),
        in_(n_, 1.0f),
        out_(n_, 0.0f),
        result_(n_, 0.0f),
        scratch_(device_memory().allocate(n_ * sizeof(float), "scratch")) {
    device_memory().fill_undefined(scratch_, 0x5A, n_ * sizeof(float));
  }
  ~Setup() { device_memory().release(scratch_); }
  Setup(const Setup&) = delete;
  Setup& operator=(const Setup&) = delete;

  Arrays arrays(const float* foreign = nullptr) {
    return {in_.data(), out_.data(),         result_.data(), static_cast<float*>(scratch_),
            foreign,    static_cast<int>(n_)};
  }
  std::vector<float> result() const { return result_.read(); }

 private:
  std::size_t n_;
  DeviceArray<float> in_, out_, result_;
  void* scratch_;
};

bool is_out_of_bounds(const std::string& bug) {
  return bug.find("past_end") != std::string::npos || bug.find("before_start") != std::string::npos;
}

Setup setup_for(const std::string& bug) {
  return Setup(is_out_of_bounds(bug) && bug != "dynamic_shared_past_end");
}

/// Runs the kernel with the bug and returns what was detected; checks whether the launch stopped.
std::vector<Detection> detect(const Expectation& expected, const float* foreign = nullptr) {
  Setup setup = setup_for(expected.bug);
  const std::string message =
      message_of([&] { run_bug(expected.bug, false, setup.arrays(foreign)); });
  CAPTURE(message);
  CHECK(message.empty() == (expected.stops == Stops::kNo));
  return device_memory().take_detections();
}

void check_detections(const Expectation& expected, const std::vector<Detection>& detections) {
  const char* file = detectors_kernels_file();
  const std::vector<int> lines = lines_of(file, expected.bug);
  CAPTURE(expected.bug, lines);
  if (detections.empty()) {
    FAIL_CHECK("nothing was detected");
    return;
  }
  CHECK(detections.size() <= 8);  // the same bug again and again is one report
  for (const Detection& detection : detections) {
    CAPTURE(to_string(detection));
    CHECK(detection.kind == expected.kind);
    CHECK(detection.kernel.rfind(expected.bug + "_kernel", 0) == 0);
    CHECK(detection.file == file);
    CHECK(std::count(lines.begin(), lines.end(), detection.line) == 1);
    CHECK(expected.block(first_index(detection.block)));
    CHECK(expected.thread(first_index(detection.thread)));
    CHECK_FALSE(detection.what.empty());
    CHECK_FALSE(detection.advice.empty());
    if (expected.kind.rfind("race", 0) != 0) continue;
    if (expected.kind == "race") {  // no thread races with itself
      CHECK(detection.what.find("thread " + detection.thread + " has") == std::string::npos);
    }
    // The other party stands at one of the lines too; at the other one, if there are two.
    bool names_other = false;
    for (const int line : lines) {
      const bool is_other = lines.size() == 1 || line != detection.line;
      const std::string place = "detectors_kernels.cpp:" + std::to_string(line);
      names_other = names_other || (is_other && detection.what.find(place) != std::string::npos);
    }
    CHECK(names_other);
  }
}

TEST_CASE_METHOD(EveryOrder, "every detector reports its bug at its line", "[simt][detectors]") {
  for (const Expectation& expected : expectations()) {
    check_detections(expected, detect(expected));
  }
}

TEST_CASE_METHOD(EveryOrder, "no detector reports a repaired kernel", "[simt][detectors]") {
  for (const Expectation& expected : expectations()) {
    Setup setup = setup_for(expected.bug);
    CAPTURE(expected.bug);
    run_bug(expected.bug, true, setup.arrays());
    for (const Detection& detection : device_memory().take_detections()) {
      FAIL_CHECK("not expected: " << to_string(detection));
    }
  }
}

TEST_CASE("every kernel with a bug has its expectation", "[simt][detectors]") {
  std::multiset<std::string> kernels, expected;
  for (const std::string& name : bug_names()) kernels.insert(name);
  for (const Expectation& expectation : expectations()) expected.insert(expectation.bug);
  CHECK(kernels == expected);
}

TEST_CASE_METHOD(EveryOrder, "pointers that a kernel may not use", "[simt][detectors]") {
  const auto find = [](const std::string& bug) {
    return *std::find_if(expectations().begin(), expectations().end(),
                         [&](const Expectation& e) { return e.bug == bug; });
  };
  const Expectation expected = find("foreign_pointer");
  const std::vector<float> on_the_host(192, 1.0f);
  check_detections(expected, detect(expected, on_the_host.data()));

  auto freed = std::make_unique<DeviceArray<float>>(192, 1.0f);
  const float* stale = freed->data();
  freed.reset();
  const std::vector<Detection> detections = detect(expected, stale);
  check_detections(expected, detections);
  CAPTURE(to_string(detections.front()));
  CHECK(detections.front().what.find("free") != std::string::npos);  // says that it was freed
}

TEST_CASE_METHOD(EveryOrder, "an access out of bounds names the array and the distance",
                 "[simt][detectors]") {
  for (const Expectation& expected : expectations()) {
    if (!is_out_of_bounds(expected.bug) || expected.bug == "dynamic_shared_past_end") continue;
    const std::vector<Detection> detections = detect(expected);
    REQUIRE_FALSE(detections.empty());
    CAPTURE(to_string(detections.front()));
    CHECK(detections.front().what.find("test") != std::string::npos);  // the array's label
    const bool is_before = expected.bug.find("before_start") != std::string::npos;
    CHECK(detections.front().what.find(is_before
                                           ? "test[-1], 1 before the first"
                                           : ", 1 past the last: test has ") != std::string::npos);
  }
}

TEST_CASE_METHOD(EveryOrder, "a kernel that touches a guard band is stopped, the element named",
                 "[simt][detectors]") {
  constexpr std::size_t kElements = kDetectorBlocks * kDetectorThreads - 1;
  Setup setup(true);
  GuardedBuffer guarded(device_memory(), "o", kElements * sizeof(float), 4);
  Arrays arrays = setup.arrays();
  arrays.out = guarded.floats();
  CHECK(message_of([&] { run_bug("write_past_end", false, arrays); }).find("o[191]") !=
        std::string::npos);
  std::vector<Detection> detections = device_memory().take_detections();
  REQUIRE(detections.size() == 1);
  CHECK(detections.front().kind == "out of bounds");
  CHECK(detections.front().line == line_of(detectors_kernels_file(), "write_past_end"));
  CHECK(detections.front().what ==
        "write of 4 bytes: o[191], 1 past the last: o has 191 elements, o[0] to o[190]");
  const std::string text = to_string(detections.front());
  CAPTURE(text);
  CHECK(text.find("out of bounds: kernel write_past_end_kernel") == 0);
  CHECK(text.find(", block (2,0,0), thread (63,0,0)\n  at    ") != std::string::npos);
  CHECK_THROWS(run_bug("write_before_start", false, arrays));
  detections = device_memory().take_detections();
  REQUIRE(detections.size() == 1);
  CHECK(detections.front().what ==
        "write of 4 bytes: o[-1], 1 before the first: o has 191 elements, o[0] to o[190]");

  // Without the detectors the band itself tells.
  device_memory().watch(false);
  run_bug("write_past_end", false, arrays);
  run_bug("write_before_start", false, arrays);
  CHECK(guarded.check() ==
        std::vector<std::string>{"o: o[-1] was written, 1 before the first element",
                                 "o: o[191] was written; it has 191 elements"});
}

TEST_CASE_METHOD(EveryOrder, "what is uninitialised or raced for is named by its element",
                 "[simt][detectors]") {
  const auto what_of = [](const std::string& bug) {
    for (const Expectation& expected : expectations()) {
      if (expected.bug == bug) return detect(expected).at(0).what;
    }
    return std::string();
  };
  CHECK(what_of("global_uninitialised").find("scratch[") != std::string::npos);
  Setup setup(false);
  GuardedBuffer workspace(device_memory(), "workspace", 192 * sizeof(float), 0);
  workspace.fill_undefined(0xFF);
  Arrays arrays = setup.arrays();
  arrays.scratch = workspace.floats();
  run_bug("global_uninitialised", false, arrays);
  const std::vector<Detection> found = device_memory().take_detections();
  REQUIRE(found.size() == 1);
  CHECK(found.front().what == "read of workspace[70], which nothing has written");
  CHECK(what_of("blocks_write_write").find("write of test[") == 0);
  CHECK(what_of("misaligned_shared").find("modulo 16") != std::string::npos);
}

TEST_CASE_METHOD(EveryOrder, "the advice fits the kind of race", "[simt][detectors]") {
  const auto check_advice = [](const std::string& bug, const std::string& good,
                               const std::string& bad) {
    for (const Expectation& expected : expectations()) {
      if (expected.bug != bug) continue;
      for (const Detection& detection : detect(expected)) {
        CAPTURE(to_string(detection));
        CHECK(detection.advice.find(good) != std::string::npos);
        CHECK(detection.advice.find(bad) == std::string::npos);
      }
    }
  };
  check_advice("shared_read_after_write", "__syncthreads", "owner");
  check_advice("shared_atomic_then_read", "an atomic too", "owner");
  check_advice("shared_write_same", "A barrier would only decide", "__syncthreads");
  check_advice("global_write_after_write", "one owner", "__syncthreads");
  check_advice("blocks_write_write", "No barrier reaches another block", "__syncthreads");
  check_advice("blocks_write_read", "two launches", "__syncthreads");
  check_advice("blocks_write_atomic", "an atomic too", "__syncthreads");
}

TEST_CASE_METHOD(EveryOrder, "a barrier after a return is a warning with both lines",
                 "[simt][detectors]") {
  DeviceArray<int> out(6 * 64, 0);
  run_failure(Failure::kBarrierAfterReturn, out.data());
  const std::vector<Detection> detections = device_memory().take_detections();
  REQUIRE(detections.size() == 1);
  const Detection& found = detections.front();
  CAPTURE(to_string(found));
  CHECK(found.warning);
  CHECK(to_string(found).find("warning: barrier after a return: kernel barrier_after_return_") ==
        0);
  CHECK(found.line == line_of(failure_kernels_file(), "barrier_after_return_b"));
  const std::string there =
      "thread (50,0,0) and 13 more had returned at " + std::string(failure_kernels_file()) + ":" +
      std::to_string(line_of(failure_kernels_file(), "barrier_after_return_a"));
  CHECK(found.what.find(there) != std::string::npos);
}

TEST_CASE_METHOD(EveryOrder, "legal accesses close to a race are not reported",
                 "[simt][detectors]") {
  Setup setup(false);
  run_close_to_a_race(setup.arrays());
}

TEST_CASE_METHOD(EveryOrder, "launches are ordered", "[simt][detectors]") {
  Setup setup(false);
  run_two_launches(setup.arrays());
  run_two_launches(setup.arrays());
  std::vector<float> expected;
  for (int i = 191; i >= 0; --i) expected.push_back(static_cast<float>(i));
  CHECK(setup.result() == expected);
}

TEST_CASE_METHOD(EveryOrder, "memory counts as initialised once a copy or a kernel has written it",
                 "[simt][detectors]") {
  Setup setup(false);
  Arrays arrays = setup.arrays();
  void* fresh = device_memory().allocate(192 * sizeof(float), "fresh");
  arrays.in = static_cast<const float*>(fresh);
  // read_past_end, repaired, reads all of `in`.
  run_bug("read_past_end", true, arrays);
  std::vector<Detection> detections = device_memory().take_detections();
  REQUIRE_FALSE(detections.empty());
  CHECK(detections.front().kind == "uninitialised read");
  CHECK(detections.front().what.find("fresh") != std::string::npos);

  const std::vector<float> zeros(192, 0.0f);
  device_memory().write(fresh, zeros.data(), 192 * sizeof(float));
  run_bug("read_past_end", true, arrays);
  CHECK(device_memory().take_detections().empty());

  device_memory().fill_undefined(fresh, 0, 192 * sizeof(float));
  run_bug("read_past_end", true, arrays);
  CHECK_FALSE(device_memory().take_detections().empty());

  arrays.out = static_cast<float*>(fresh);
  arrays.in = setup.arrays().in;
  run_bug("read_past_end", true, arrays);  // writes all of `out`
  arrays.in = static_cast<const float*>(fresh);
  arrays.out = setup.arrays().out;
  run_bug("read_past_end", true, arrays);
  CHECK(device_memory().take_detections().empty());
  device_memory().release(fresh);
}

TEST_CASE("without the detectors a race is not reported", "[simt][detectors]") {
  const InMode mode(Mode{"unwatched", false, simt::Order::kForward, 1});
  Setup setup(false);
  run_bug("shared_read_after_write", false, setup.arrays());
  CHECK(device_memory().take_detections().empty());
}

}  // namespace
}  // namespace attn::simt_test
