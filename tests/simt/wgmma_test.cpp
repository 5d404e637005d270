// SPDX-License-Identifier: MIT
//
// wgmma and setmaxnreg: where operands and results lie, when a thread gets them, what is counted,
// and what is said of misuse.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "common/attention.hpp"
#include "common/simt/models/product.hpp"
#include "common/simt/watch/counters.hpp"
#include "tests/simt/support.hpp"
#include "tests/simt/wgmma_cases.hpp"

namespace attn::simt_test {
namespace {

constexpr unsigned kRows = 64, kDepth = 16, kThreads = 128, kSide = 64;

TEST_CASE("wgmma finds its operands in all canonical layouts", "[simt][wgmma]") {
  const InMode mode({"detectors", true, simt::Order::kForward, 1});
  check_layouts();
}

TEST_CASE("wgmma's descriptors step along the sum within a tile", "[simt][wgmma]") {
  const InMode mode({"detectors", true, simt::Order::kForward, 1});
  check_steps();
}

TEST_CASE_METHOD(EveryMode, "wgmma of every kind of operand, N and element", "[simt][wgmma]") {
  check_shapes();
}

TEST_CASE_METHOD(EveryMode, "wgmma gives the same whenever it is done", "[simt][wgmma]") {
  for (const simt::Completion completion : simt::kAllCompletions) {
    CAPTURE(to_string(completion));
    simt::options().completion = completion;
    check_one_tile();
    check_two_products();
    check_tma_tiles();
  }
}

TEST_CASE_METHOD(EveryMode, "a warpgroup hands registers to two others", "[simt][wgmma]") {
  check_setmaxnreg();
}

TEST_CASE("wgmma adds up as mma does, as asked for", "[simt][wgmma]") {
  const InMode unwatched({"unwatched", false, simt::Order::kForward, 1});
  std::mt19937 generator(10);
  std::normal_distribution<float> normal;
  const auto random = [&](unsigned rows, unsigned columns, bool rounded) {
    Matrix matrix{columns, std::vector<float>(std::size_t{rows} * columns)};
    for (float& value : matrix.values) {
      value = normal(generator);
      if (rounded) value = to_float32(to_bfloat16(value));
    }
    return matrix;
  };
  const Matrix a = random(kRows, kDepth, true), b = random(128, kDepth, true);
  const Matrix c = random(kRows, 128, false);
  std::vector<Matrix> results;
  for (const simt::Accumulation accumulation : simt::kAllAccumulations) {
    CAPTURE(to_string(accumulation));
    simt::options().accumulation = accumulation;
    results.push_back(multiply({kSquare, {8, false}, {8, false}}, a, b, c));
    int wrong = 0;
    for (unsigned row = 0; row < kRows; row += 16) {
      for (unsigned column = 0; column < 128; column += 8) {
        simt::Product product;
        for (unsigned i = 0; i < 16; ++i) {
          for (unsigned k = 0; k < 16; ++k) product.a[i][k] = a.at(row + i, k);
          for (unsigned n = 0; n < 8; ++n) product.c[i][n] = c.at(row + i, column + n);
        }
        for (unsigned k = 0; k < 16; ++k) {
          for (unsigned n = 0; n < 8; ++n) product.b[k][n] = b.at(column + n, k);
        }
        simt::multiply(product, accumulation);
        for (unsigned i = 0; i < 16; ++i) {
          for (unsigned n = 0; n < 8; ++n) {
            wrong += results.back().at(row + i, column + n) == product.c[i][n] ? 0 : 1;
          }
        }
      }
    }
    CHECK(wrong == 0);
  }
  CHECK((results[0].values != results[2].values));
}

// ---- Misuse ------------------------------------------------------------------------------------

struct Expected {
  std::string kind;
  std::string line;  // its mark
  std::string what;  // part of the report
};

/// Runs it; true if the launch was stopped.
bool run_bug(const std::string& name, std::vector<float>* result = nullptr) {
  const Operands operands;
  DeviceArray<std::uint16_t> q(operands.q.bits(Element::kBfloat16));
  DeviceArray<std::uint16_t> k(operands.k.bits(Element::kBfloat16));
  DeviceArray<std::uint16_t> v(operands.v.bits(Element::kBfloat16));
  DeviceArray<float> o(kSide * kSide + kThreads, 0.0f);
  const bool stopped =
      !message_of([&] { run_wgmma_misuse(name, q.data(), k.data(), v.data(), o.data()); }).empty();
  if (result != nullptr) *result = o.read();
  return stopped;
}

void check_report(const Expected& expected) {
  const std::vector<Detection> detections = device_memory().take_detections();
  REQUIRE_FALSE(detections.empty());
  const std::vector<int> lines = lines_of(wgmma_kernels_file(), expected.line);
  std::string all;
  const auto fits = [&](const Detection& one) {
    all += to_string(one) + "\n";
    return one.kind == expected.kind && !one.warning && one.file == wgmma_kernels_file() &&
           std::count(lines.begin(), lines.end(), one.line) == 1 &&
           one.what.find(expected.what) != std::string::npos;
  };
  const bool found = std::any_of(detections.begin(), detections.end(), fits);
  CAPTURE(all);
  CHECK(found);
}

TEST_CASE_METHOD(EveryMode, "misuse of wgmma that stops the launch, watched or not",
                 "[simt][wgmma]") {
  const std::pair<const char*, Expected> bugs[] = {
      {"no_commit", {"registers in flight", "waits", "may still write the accumulators"}},
      {"waits_too_little", {"registers in flight", "waits_too_little", "may still write"}},
      {"no_fence", {"missing wgmma_fence", "scores", "has had no wgmma_fence at all"}},
      {"other_shape", {"registers in flight", "other_shape", "accumulators of this wgmma are"}},
      {"outside", {"out of bounds", "scores", "reads B (n, k) = ("}},
      {"base_offset", {"bad descriptor", "scores", "B: base offset = 1; allowed here: 0"}},
      {"unequal_descriptors", {"unequal descriptors", "scores", "descriptor of B: 0x4"}},
      {"unequal_scale", {"divergent wgmma", "scores", "another scale-d"}},
      {"skips_lanes", {"divergent wgmma", "", "another thread of warpgroup 0 has come to"}},
      {"other_wait", {"divergent wgmma", "", "another thread of warpgroup 0 has come to"}},
      {"shifted", {"divergent wgmma", "first_fence", "thread (0,0,0) has left the kernel"}},
      {"partial", {"incomplete warpgroup", "first_fence", "of which the block has 96 threads"}},
  };
  for (const auto& [name, expected] : bugs) {
    CAPTURE(name);
    CHECK(run_bug(name));
    if (!expected.line.empty()) {
      check_report(expected);
      continue;
    }
    const std::vector<Detection> detections = device_memory().take_detections();
    REQUIRE(detections.size() == 1);
    CHECK(detections.front().kind == expected.kind);
    CHECK(detections.front().what.find(expected.what) != std::string::npos);
  }
}

#if !defined(__SANITIZE_ADDRESS__)
TEST_CASE_METHOD(EveryOrder, "misuse of wgmma that only the detectors see", "[simt][wgmma]") {
  const std::pair<const char*, Expected> bugs[] = {
      {"reads_early", {"registers in flight", "reads_early", "read of accumulators of the wgmma"}},
      {"writes_early",
       {"registers in flight", "writes_early", "write of accumulators of the wgmma"}},
      {"touches_a", {"registers in flight", "touches_a", "write of A registers of the wgmma"}},
      {"no_second_fence",
       {"missing wgmma_fence", "values", "used the A registers of this wgmma since its last"}},
      {"overwrites", {"in flight", "overwrites", "write of dynamic shared memory at"}},
      {"releases_early", {"in flight", "tile_store", "which may still be read by what thread"}},
      {"landing", {"in flight", "scores", "the copy to it that thread"}},
      {"unwritten", {"uninitialised read", "scores", "which nothing has written"}},
      {"no_proxy_fence", {"missing proxy fence", "scores", "has not fenced since"}},
      {"no_barrier", {"race", "scores", "nothing orders the two"}},
  };
  for (const simt::Completion completion : simt::kAllCompletions) {
    simt::options().completion = completion;
    for (const auto& [name, expected] : bugs) {
      CAPTURE(to_string(completion), name);
      run_bug(name);
      check_report(expected);
    }
  }
}
#endif

/// Runs it; what it has written.
[[maybe_unused]] std::vector<float> run_tma(Tma variant) {
  const Operands operands;
  DeviceArray<std::uint16_t> q(operands.q.bits(Element::kBfloat16));
  DeviceArray<std::uint16_t> k(operands.k.bits(Element::kBfloat16));
  DeviceArray<float> s(2 * kSide * kSide, std::nanf(""));
  run_tma_tiles(variant, q.data(), k.data(), s.data());
  return s.read();
}

#if !defined(__SANITIZE_ADDRESS__)
TEST_CASE_METHOD(EveryOrder, "misuse of wgmma on tiles that TMA brings", "[simt][wgmma]") {
  const auto lines = [](const char* mark) { return lines_of(wgmma_kernels_file(), mark); };
  for (const simt::Completion completion : simt::kAllCompletions) {
    CAPTURE(to_string(completion));
    simt::options().completion = completion;
    run_tma(Tma::kSwizzle);
    check_report({"swizzle mismatch", "tma_scores", "the descriptor of B says swizzle: 128"});
    // Who comes first, the copy or the product, is up to the order; and with it, who is too early.
    for (const Tma variant : {Tma::kNoWait, Tma::kReleasesEarly}) {
      CAPTURE(static_cast<int>(variant));
      run_tma(variant);
      std::vector<int> places = lines("tma_load");
      if (variant == Tma::kNoWait) {
        for (const int line : lines("tma_scores")) places.push_back(line);
      }
      std::string all;
      const std::vector<Detection> detections = device_memory().take_detections();
      const bool found = std::any_of(detections.begin(), detections.end(), [&](const auto& one) {
        all += to_string(one) + "\n";
        return (one.kind == "in flight" || one.kind == "race") &&
               std::count(places.begin(), places.end(), one.line) == 1;
      });
      CAPTURE(all);
      CHECK(found);
    }
  }
}
#endif

TEST_CASE("what wgmma does late shows in the results of who does not wait", "[simt][wgmma]") {
  const InMode unwatched({"unwatched", false, simt::Order::kForward, 1});
  std::vector<float> right = Operands().result();
  right.resize(right.size() + kThreads, 0.0f);
  for (const simt::Completion completion : simt::kAllCompletions) {
    CAPTURE(to_string(completion));
    simt::options().completion = completion;
    std::vector<float> o;
    run_bug("reads_early", &o);  // whenever it is done, a thread's part comes at its wait
    for (unsigned t = 0; t < kThreads; ++t) CHECK(std::isnan(o[kSide * kSide + t]));
    run_bug("touches_a", &o);
    if (completion == simt::Completion::kLate) CHECK((o != right));
    run_bug("releases_early", &o);
    if (completion == simt::Completion::kLate) CHECK((o != right));
    if (completion == simt::Completion::kEager) CHECK((o == right));
  }
}

TEST_CASE("wgmmas and their FLOPs are counted apart from mma", "[simt][wgmma]") {
  const InMode mode({"detectors", true, simt::Order::kForward, 1});
  simt::options().tracer = true;
  simt::take_launches();
  const Matrix a = integers(kRows, kDepth, 1), b = integers(128, kDepth, 2);
  multiply({kSquare, {8, false}, {8, false}}, a, b, integers(kRows, 128, 3));
  const std::vector<simt::LaunchRecord> launches = simt::take_launches();
  REQUIRE(launches.size() == 1);
  const simt::Traffic& t = launches.front().traffic;
  CHECK(t.mma_instructions == 0);
  CHECK(t.wgmma_instructions == 4);
  CHECK(t.wgmma_flops == 2 * 64 * 128 * 16);
}

// ---- Registers ---------------------------------------------------------------------------------

TEST_CASE_METHOD(EveryMode, "misuse of setmaxnreg", "[simt][wgmma]") {
  const std::pair<const char*, Expected> bugs[] = {
      {"too_many", {"deadlock", "too_many", "setmaxnreg: 248 registers a thread; the block has "}},
      {"nobody_gives",
       {"deadlock", "nobody_gives",
        "setmaxnreg: 240 registers a thread; the block has 168 left for this warp"}},
      {"dec_to_more",
       {"bad setmaxnreg", "dec_to_more", "setmaxnreg_dec(240) by a warp whose threads have 168"}},
      {"inc_to_fewer",
       {"bad setmaxnreg", "inc_to_fewer", "setmaxnreg_inc(24) by a warp whose threads have 168"}},
      {"one_warp",
       {"divergent setmaxnreg", "one_warp", "32 of the 128 threads of warpgroup 0 have come"}},
  };
  for (const auto& [name, expected] : bugs) {
    CAPTURE(name);
    DeviceArray<int> out(3 * kThreads, 0);
    CHECK_FALSE(message_of([&] { run_setmaxnreg_misuse(name, out.data()); }).empty());
    check_report(expected);
  }
}

}  // namespace
}  // namespace attn::simt_test
