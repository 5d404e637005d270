// SPDX-License-Identifier: MIT
//
// A collective, a piece of asynchronous work and a wait that no GPU has, added to the machine as
// the instructions of tensor cores and copy engines are.
#include <cstring>
#include <set>

#include "common/attention.hpp"
#include "common/simt/machine/collective.hpp"
#include "common/simt/machine/options.hpp"
#include "common/simt/machine/wait.hpp"
#include "common/simt/machine/worker.hpp"
#include "tests/simt/machine_kernels.hpp"
#include "tests/simt/support.hpp"

namespace attn::simt_test {
namespace {

void transpose(const simt::Meeting& meeting) {
  const auto rows = [&meeting](std::size_t lane) {
    return static_cast<float*>(meeting.operands[lane]);
  };
  for (std::size_t i = 0; i < 32; ++i) {
    for (std::size_t j = 0; j < i; ++j) std::swap(rows(i)[j], rows(j)[i]);
  }
}

constexpr simt::Collective kTranspose{.run = transpose, .aligned = "transpose"};

thread_local int copies_under_way = 0;

struct NoCopies final : simt::Condition {
  bool holds() const override { return copies_under_way == 0; }
  std::string state() const override { return std::to_string(copies_under_way) + " copies"; }
};

struct Never final : simt::Condition {
  bool holds() const override { return false; }
  std::string state() const override { return "what never happens"; }
};

}  // namespace

void transpose_rows(float (&row)[32], std::source_location where) {
  simt::meet(kTranspose, ~0u, row, where, __builtin_return_address(0));
}

void start_copy(float* to, const float* from, int count) {
  ++copies_under_way;
  simt::Worker::running().async_work().start([=] {
    std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
    --copies_under_way;
  });
}

void wait_for_copies(std::source_location where) {
  simt::Worker::running().wait_for(NoCopies(), where);
}

void wait_in_vain(std::source_location where) { simt::Worker::running().wait_for(Never(), where); }

namespace {

TEST_CASE_METHOD(EveryMode, "a collective gets what 32 lanes have posted", "[simt][machine]") {
  constexpr unsigned kWarps = 3;
  const std::vector<float> in = random_integers<float>(1024 * kWarps, 0, 1 << 20, 11);
  DeviceArray<float> device_in(in), out(in.size(), -1.0f);
  run_transpose(kWarps, device_in.data(), out.data());
  const std::vector<float> result = out.read();
  bool right = true;
  for (std::size_t i = 0; i < in.size(); ++i) {
    right = right && result[i] == in[i / 1024 * 1024 + i % 32 * 32 + i / 32 % 32];
  }
  CHECK(right);
}

TEST_CASE_METHOD(EveryMode, "a collective for whole warps says so if half of one comes",
                 "[simt][machine]") {
  DeviceArray<float> in(1024, 1.0f), out(32, 0.0f);
  CHECK_THROWS_AS(run_half_transpose(in.data(), out.data()), Error);
  const std::vector<Detection> detections = device_memory().take_detections();
  REQUIRE(detections.size() == 1);
  CHECK(detections.front().kind == "divergent transpose");
  CHECK(detections.front().line == line_of(machine_kernels_file(), "half_transpose"));
}

/// Which of four copies were done at once; all must be done in the end.
std::vector<bool> done_at_once(bool waits) {
  const std::vector<float> in = random_integers<float>(32, 1, 1000, 13);
  DeviceArray<float> device_in(in), scratch(32, 0.0f), early(4, -1.0f), late(4, -1.0f);
  run_copies(waits, device_in.data(), scratch.data(), early.data(), late.data());
  CHECK(scratch.read() == in);
  std::vector<bool> at_once;
  for (std::size_t i = 0; i < 4; ++i) {
    at_once.push_back(early.read(i) != 0.0f);
    CHECK(early.read(i) == (at_once.back() ? in[8 * i] : 0.0f));
    CHECK(late.read(i) == (waits ? in[8 * i] : -1.0f));
  }
  return at_once;
}

TEST_CASE_METHOD(EveryMode, "work is done when nobody can run, or at once, or at random",
                 "[simt][machine]") {
  for (const bool waits : {true, false}) {
    CAPTURE(waits);
    simt::options().completion = simt::Completion::kLate;
    CHECK(done_at_once(waits) == std::vector<bool>(4, false));
    simt::options().completion = simt::Completion::kEager;
    CHECK(done_at_once(waits) == std::vector<bool>(4, true));
    simt::options().completion = simt::Completion::kRandom;
    done_at_once(waits);
  }
}

TEST_CASE("work is done in the order of its start, or in any", "[simt][machine]") {
  const simt::Options before = simt::options();
  const auto order_of = [](simt::Completion completion, std::uint64_t seed) {
    simt::options().completion = completion;
    simt::options().shuffle_seed = seed;
    simt::AsyncWork work;
    work.begin_block();
    std::string order;
    for (const char name : {'a', 'b', 'c', 'd'}) work.start([&order, name] { order += name; });
    work.after_round();
    const std::string after_round = order;
    while (work.complete_one()) {
    }
    CHECK(order.size() == 4);
    return after_round + "|" + order;
  };
  CHECK(order_of(simt::Completion::kLate, 1) == "|abcd");
  CHECK(order_of(simt::Completion::kEager, 1) == "abcd|abcd");
  std::set<std::string> orders;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    orders.insert(order_of(simt::Completion::kRandom, seed));
    CHECK(order_of(simt::Completion::kRandom, seed) == order_of(simt::Completion::kRandom, seed));
  }
  CHECK(orders.size() > 20);
  simt::options() = before;
}

TEST_CASE_METHOD(EveryMode, "who waits in vain is reported", "[simt][machine]") {
  CHECK_THROWS_AS(run_wait_in_vain(), Error);
  const std::vector<Detection> detections = device_memory().take_detections();
  REQUIRE(detections.size() == 1);
  const Detection& found = detections.front();
  CAPTURE(to_string(found));
  CHECK(found.kind == "deadlock");
  CHECK(first_index(found.thread) == 3);
  CHECK(found.line == line_of(machine_kernels_file(), "wait_in_vain"));
  CHECK(found.what.find("1 thread from (3,0,0) on waits at ") != std::string::npos);
  CHECK(found.what.find(" for what never happens") != std::string::npos);
}

}  // namespace
}  // namespace attn::simt_test
