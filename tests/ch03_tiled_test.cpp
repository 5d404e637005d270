// SPDX-License-Identifier: MIT
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

// The tracer's counts exist on the CPU machine, in kernels compiled without sanitizers.
#if !defined(ATTN_USE_CUDA) && !defined(__SANITIZE_ADDRESS__)
#define ATTN_TRACED 1
#include "common/run/run.hpp"
#include "common/simt/machine/options.hpp"
#include "common/simt/watch/counters.hpp"
#include "common/verify/inputs.hpp"
#endif

using attn::Pass;

TEST_CASE("03_tiled: forward is right on the case table") {
  attn::testing::require_right(attn::chapters::ch03_tiled(), Pass::kForward);
}

TEST_CASE("03_tiled: stores S for all heads, and step 1 the transpose of K too") {
  const attn::Chapter& chapter = attn::chapters::ch03_tiled();
  const attn::Shape shape = attn::make_shape(4, 8, 1024, 512, 64);
  const std::size_t scores = std::size_t{4 * 8} * 1024 * 512 * 4;
  const std::size_t keys = std::size_t{4 * 8} * 64 * 512 * 4;
  for (const char* id : {"step2_tiled", "step3_padded", "step4_warp_softmax"}) {
    CHECK(attn::find_step(chapter, id).forward_workspace_bytes(shape) == scores);
  }
  CHECK(attn::find_step(chapter, "step1_coalesced").forward_workspace_bytes(shape) ==
        scores + keys);
  CHECK(chapter.twin->forward_workspace_bytes(shape) == scores);
  // Unfused, so N^2: one head of 8192 tokens takes 256 MiB.
  CHECK(attn::find_step(chapter, "")
            .forward_workspace_bytes(attn::make_shape(1, 1, 8192, 8192, 64)) == 256u << 20);
}

#ifdef ATTN_TRACED

namespace {

constexpr std::int64_t N = 512, d = 64;

// What the 32 lanes of a warp ask of Q and K, each in a request of its own.
constexpr std::uint64_t kRequests = 2 * N * N * d / 32;

/// The launches of one step at N = 512, d = 64, one head, no mask.
std::vector<attn::simt::LaunchRecord> trace(const char* step) {
  const attn::Chapter& chapter = attn::chapters::ch03_tiled();
  const attn::Problem problem = attn::verify::make_problem(
      {.shape = attn::make_shape(1, 1, N, N, d), .scale = attn::default_scale(d), .seed = 20260101},
      Pass::kForward);
  const attn::Run run(chapter, attn::find_step(chapter, step), Pass::kForward, problem, {}, {}, {});
  const attn::simt::Options before = attn::simt::options();
  attn::simt::options().tracer = true;
  attn::simt::take_launches();
  run.call();
  attn::simt::options() = before;
  return attn::simt::take_launches();
}

/// The kernel that multiplies Q with K.
const attn::simt::LaunchRecord& scores_of(const std::vector<attn::simt::LaunchRecord>& launches) {
  for (const attn::simt::LaunchRecord& launch : launches) {
    if (launch.kernel.find("scores_kernel") != std::string::npos) return launch;
  }
  FAIL("no scores_kernel");
  return launches.front();
}

}  // namespace

TEST_CASE("03_tiled: neighbouring lanes read K in 4 sectors, and Q in 1") {
  const auto launches = trace("step1_coalesced");
  const attn::simt::Traffic& traffic = scores_of(launches).traffic;
  CHECK(traffic.global_load_bytes == 2 * N * N * d * 4);  // as in chapter 02
  CHECK(traffic.global_load_requests == kRequests);
  CHECK(traffic.global_load_sectors == kRequests / 2 * (4 + 1));
}

TEST_CASE("03_tiled: tiles divide the reads of chapter 02's scores by 32") {
  for (const char* id : {"step2_tiled", "step3_padded", "step4_warp_softmax"}) {
    const auto launches = trace(id);
    CHECK(scores_of(launches).traffic.global_load_bytes == 2 * N * N * d * 4 / 32);
  }
}

TEST_CASE("03_tiled: a column of sK takes 32 wavefronts without the padding, 1 with it") {
  int columns = 0;
  const auto conflicts = trace("step2_tiled");
  for (const attn::simt::SiteTraffic& site : scores_of(conflicts).sites) {
    if (site.access != "shared load" || site.wavefronts == site.wavefronts_ideal) continue;
    CHECK(site.wavefronts == 32 * site.wavefronts_ideal);
    CHECK(site.wavefronts_ideal == kRequests / 2);  // one for each request
    ++columns;
  }
  CHECK(columns == 1);
  for (const char* id : {"step3_padded", "step4_warp_softmax"}) {
    for (const attn::simt::LaunchRecord& launch : trace(id)) {
      INFO(id << " " << launch.kernel);
      CHECK(launch.traffic.shared_load_wavefronts == launch.traffic.shared_load_wavefronts_ideal);
      CHECK(launch.traffic.shared_store_wavefronts == launch.traffic.shared_store_wavefronts_ideal);
    }
  }
}

TEST_CASE("03_tiled: a warp per row reads S in whole sectors") {
  const auto threads = trace("step3_padded");
  const auto warps = trace("step4_warp_softmax");
  REQUIRE(threads.size() == 3);
  REQUIRE(warps.size() == 3);
  const attn::simt::Traffic& before = threads[1].traffic;
  const attn::simt::Traffic& after = warps[1].traffic;
  CHECK(after.global_load_bytes == before.global_load_bytes);
  CHECK(before.global_load_sectors == before.global_load_requests * 32);
  CHECK(after.global_load_sectors == after.global_load_requests * 4);
}

#endif
