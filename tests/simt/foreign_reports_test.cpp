// SPDX-License-Identifier: MIT
//
// What is counted for, and reported about, kernels in other people's style.
#include <algorithm>

#include "common/attention.hpp"
#include "common/simt/watch/counters.hpp"
#include "tests/simt/foreign_kernels.hpp"
#include "tests/simt/support.hpp"

namespace attn::simt_test {
namespace {

struct Outcome {
  simt::Traffic traffic;
  std::vector<simt::SiteTraffic> sites;
  std::vector<float> y;
  std::vector<Detection> detections;
};

/// Runs the kernel with the tracer on; x = -0.5, -0.75, ..., y = zeros.
Outcome watch(const std::string& name, unsigned blocks, unsigned threads) {
  std::vector<float> x(std::size_t{blocks} * threads + 128);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = -0.5f - 0.25f * static_cast<float>(i);
  DeviceArray<float> in(x);
  DeviceArray<float> out(x.size(), 0.0f);
  simt::options().tracer = true;
  simt::take_launches();
  run_foreign(name, blocks, threads, in.data(), out.data());
  simt::options().tracer = false;
  const std::vector<simt::LaunchRecord> launches = simt::take_launches();
  REQUIRE(launches.size() == 1);
  return {launches.front().traffic, launches.front().sites, out.read(),
          device_memory().take_detections()};
}

/// All reports are of this kind, at a marked line, and the last marked line is named.
void check_reports(const std::vector<Detection>& detections, const std::string& kind,
                   const std::string& marker) {
  CAPTURE(kind, marker);
  CHECK_FALSE(detections.empty());
  const std::vector<int> lines = lines_of(foreign_kernels_file(), marker);
  for (const Detection& detection : detections) {
    CAPTURE(to_string(detection));
    CHECK(detection.kind == kind);
    CHECK(detection.warning == (kind == "same value" || kind == "barriers on two lines"));
    CHECK(detection.file == foreign_kernels_file());
    CHECK(std::count(lines.begin(), lines.end(), detection.line) == 1);
    CHECK_FALSE(detection.advice.empty());
  }
}

TEST_CASE_METHOD(EveryOrder, "special functions count under every name", "[simt][detectors]") {
  for (const char* name : {"exp", "expf", "std_exp"}) {
    CAPTURE(name);
    CHECK(watch(name, 1, 32).traffic.special_functions == 32);
  }
  CHECK(watch("tanhf", 1, 32).traffic.special_functions == 2 * 32);
  CHECK(watch("logf", 1, 32).traffic.special_functions == 0);
  // sin, cos, 3 for tan, 2 for pow, log10, exp10, sin and cos, rsqrt; fdividef is a division.
  CHECK(watch("fast", 1, 4).traffic.special_functions == 12 * 4);
}

TEST_CASE_METHOD(EveryOrder, "cache hints are accesses at the kernel's line", "[simt][detectors]") {
  const Outcome outcome = watch("hints", 2, 64);
  CHECK(outcome.traffic.global_load_requests == 4);
  CHECK(outcome.traffic.global_load_sectors == 16);
  CHECK(outcome.traffic.global_store_requests == 4);
  CHECK(outcome.traffic.global_store_bytes == 4 * 128);
  REQUIRE(outcome.sites.size() == 2);
  for (const simt::SiteTraffic& site : outcome.sites) {
    CHECK(site.file == foreign_kernels_file());
    CHECK(site.line == line_of(foreign_kernels_file(), "hints"));
  }
}

TEST_CASE_METHOD(EveryOrder, "variables count as global memory, constants do not",
                 "[simt][detectors]") {
  const Outcome table = watch("table", 1, 32);
  CHECK(table.traffic.global_load_bytes == 32 * 4);
  CHECK(table.traffic.global_load_requests == 1);
  CHECK(table.traffic.global_store_bytes == 2 * 32 * 4);
  CHECK(table.traffic.global_read_bytes_compulsory == 32 * 4);
  CHECK(table.detections.empty());

  const Outcome ticket = watch("ticket", 1, 32);
  CHECK(ticket.traffic.global_atomic_requests == 1);
  CHECK(ticket.traffic.global_atomic_bytes == 32 * 4);

  const Outcome race = watch("variable_race", 2, 1);
  check_reports(race.detections, "race between blocks", "variable_race");
  REQUIRE_FALSE(race.detections.empty());
  CHECK(race.detections.front().what.find("table at byte 0") != std::string::npos);
}

TEST_CASE_METHOD(EveryOrder, "a loop around a compare-and-swap is no race, and has a GPU's rounds",
                 "[simt][detectors]") {
  for (const unsigned blocks : {1u, 2u}) {
    const Outcome sum = watch("cas_add", blocks, 64);
    CHECK(sum.detections.empty());
    // Of a warp's 32 lanes one gets through in each round.
    CHECK(sum.traffic.global_atomic_requests == 2 * blocks * 32);
    CHECK(sum.traffic.global_atomic_bytes == 2 * blocks * 4 * (32 * 33 / 2));
    CHECK(watch("cas_maximum", blocks, 64).detections.empty());
  }
  check_reports(watch("read_beside_atomic", 1, 32).detections, "race", "read_beside_atomic");
}

TEST_CASE_METHOD(EveryOrder, "stores of one same value are told apart from a race",
                 "[simt][detectors]") {
  check_reports(watch("flag", 1, 64).detections, "same value", "flag");
  check_reports(watch("flag", 3, 32).detections, "same value", "flag");
  check_reports(watch("warp_value", 1, 128).detections, "same value", "warp_value");
  check_reports(watch("two_values", 1, 32).detections, "same value", "two_values");

  // Two warps with a value each: within a warp the same, between them a race.
  const std::vector<Detection> both = watch("two_values", 1, 64).detections;
  const auto is_race = [](const Detection& d) { return d.kind == "race"; };
  CHECK(std::count_if(both.begin(), both.end(), is_race) == 1);
  check_reports(watch("wide", 1, 32).detections, "race", "wide");
}

TEST_CASE_METHOD(EveryOrder, "a shared array that is used again too early is a race",
                 "[simt][detectors]") {
  check_reports(watch("shared_reuse", 1, 128).detections, "race", "shared_reuse");
}

TEST_CASE_METHOD(EveryOrder, "barriers on two lines, whole warps each: a warning, and the result",
                 "[simt][detectors]") {
  const Outcome outcome = watch("two_barriers", 1, 64);
  check_reports(outcome.detections, "barriers on two lines", "two_barriers");
  REQUIRE(outcome.detections.size() == 1);
  for (std::size_t i = 0; i < 32; ++i) {
    CHECK(outcome.y[i] == -0.5f - 0.25f * static_cast<float>(i));
  }
}

TEST_CASE_METHOD(EveryOrder, "a barrier that some lanes of a warp run past before they leave",
                 "[simt][detectors]") {
  const std::vector<Detection> detections = watch("tail", 1, 64).detections;
  check_reports(detections, "skipped barrier", "tail");
  REQUIRE(detections.size() == 1);
  CHECK(detections.front().what.find("16 lanes") != std::string::npos);
  // And where they went: to the end of the kernel, two lines below the loop.
  const int line = line_of(foreign_kernels_file(), "tail") + 3;
  CAPTURE(detections.front().what);
  CHECK(detections.front().what.find("foreign_kernels.cpp:" + std::to_string(line)) !=
        std::string::npos);
  // Lanes that leave before it are another matter: no more than a warning.
  for (const Detection& detection : watch("early_return", 1, 64).detections) {
    CAPTURE(to_string(detection));
    CHECK(detection.kind == "barrier after a return");
    CHECK(detection.warning);
  }
}

}  // namespace
}  // namespace attn::simt_test
