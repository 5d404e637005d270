// SPDX-License-Identifier: MIT
//
// The lower bound: one kernel per resource that is held back by it, worked out by hand; occupancy;
// the work of a pass; device descriptions.
#include "common/simt/watch/bound.hpp"

#include <algorithm>
#include <functional>
#include <set>
#include <string>

#include "common/simt/cuda/launch.hpp"
#include "tests/simt/bound_kernels.hpp"
#include "tests/simt/support.hpp"

namespace attn::simt_test {
namespace {

using simt::Bound;
using simt::DeviceDescription;
using simt::LaunchRecord;
using simt::Occupancy;
using simt::PassWork;
using simt::Resource;

const DeviceDescription& h200() { return simt::find_device("H200"); }
constexpr double kSms = 132;
constexpr double kClock = 1.98e9;

Approx about(double seconds) { return Approx(seconds).epsilon(1e-12).margin(0); }

/// `blocks` blocks of `threads` that did nothing yet.
LaunchRecord empty_launch(unsigned blocks, unsigned threads, std::size_t shared_bytes = 0) {
  LaunchRecord record;
  record.kernel = "kernel";
  record.grid = dim3(blocks);
  record.block = dim3(threads);
  record.shared_bytes = shared_bytes;
  return record;
}

// AddressSanitizer's build counts no accesses.
#ifndef __SANITIZE_ADDRESS__

/// The launches of `call`, traced.
std::vector<LaunchRecord> trace(const std::function<void()>& call) {
  simt::options().tracer = true;
  simt::take_launches();
  call();
  simt::options().tracer = false;
  return simt::take_launches();
}

Bound traced_bound(const std::function<void()>& call, const PassWork& work) {
  const std::vector<LaunchRecord> launches = trace(call);
  return simt::bound_of(launches, work, h200());
}

// A grid that fills the device: 4 blocks for each of the 132 multiprocessors.
constexpr unsigned kBlocks = 4 * 132;
constexpr unsigned kThreads = 256;
constexpr std::size_t kElements = std::size_t{kBlocks} * kThreads;
constexpr double kBytes = 4.0 * kElements;

TEST_CASE("bound: memory, for a kernel that only copies", "[simt][bound]") {
  DeviceArray<float> in(kElements, 1), out(kElements);
  const Bound bound = traced_bound([&] { run_scale(kBlocks, kThreads, in.data(), out.data()); },
                                   {.bytes = 2 * kBytes, .flops = 1.0 * kElements});
  CHECK(bound.limit == "memory");
  CHECK(bound.seconds == about(2 * kBytes / 4.8e12));
  CHECK(bound.cold_estimate == about(bound.seconds));  // everything once, and nothing in between
  // Reading and writing have a direction each between L2 and L1, and share L1.
  CHECK(bound.parts[Resource::kL2] == about(kBytes / (kSms * 64 * kClock)));
  CHECK(bound.parts[Resource::kL1] == about(2 * kBytes / (kSms * 128 * kClock)));
}

TEST_CASE("bound: an intermediate result stays in the cache", "[simt][bound]") {
  DeviceArray<float> between(kElements), out(kBlocks);
  const PassWork work{.bytes = 4.0 * kBlocks, .flops = 1.0 * kElements};  // only `out` leaves
  const Bound bound = traced_bound(
      [&] {
        run_fill(kBlocks, kThreads, between.data());
        run_count(kBlocks, kThreads, between.data(), out.data());
      },
      work);
  CHECK(bound.limit == "L2");
  CHECK(bound.by_launch.size() == 2);
  const double once = kBytes / (kSms * 64 * kClock);  // written; then read again
  CHECK(bound.by_launch[0].seconds == about(once));
  CHECK(bound.by_launch[1].seconds == about(once));
  CHECK(bound.launches == about(2 * once));
  CHECK(bound.seconds == about(2 * once));
  CHECK(bound.parts[Resource::kMemory] == about(work.bytes / 4.8e12));
  // The estimate without a cache counts it twice, and is larger than the bound.
  CHECK(bound.cold_estimate == about((2 * kBytes + 4.0 * kBlocks) / 4.8e12));
  CHECK(bound.cold_estimate > 2 * bound.seconds);
}

TEST_CASE("bound: L1, where the same sectors are requested again and again", "[simt][bound]") {
  DeviceArray<float> in(1024, 1), out(kBlocks);
  constexpr int kRounds = 64;
  const Bound bound =
      traced_bound([&] { run_reread(kBlocks, kThreads, kRounds, in.data(), out.data()); },
                   {.bytes = 4.0 * (1024 + kBlocks), .flops = 1.0 * kElements * kRounds});
  CHECK(bound.limit == "L1");
  const double sectors = 4.0 * kRounds * kBlocks * (kThreads / 32) + kBlocks;
  CHECK(bound.seconds == about(sectors * 32 / (kSms * 128 * kClock)));
}

TEST_CASE("bound: shared memory, where a column of a tile takes 32 wavefronts", "[simt][bound]") {
  DeviceArray<float> out(kBlocks);
  constexpr int kRounds = 32;
  const Bound bound = traced_bound([&] { run_columns(kBlocks, kThreads, kRounds, out.data()); },
                                   {.bytes = 4.0 * kBlocks, .flops = 1.0 * kElements * kRounds});
  CHECK(bound.limit == "shared memory");
  const double per_block = 32.0 * kRounds * (kThreads / 32) + 32;  // columns, and filling the tile
  CHECK(bound.seconds == about(kBlocks * per_block / (kSms * kClock)));
}

TEST_CASE("bound: special functions", "[simt][bound]") {
  DeviceArray<float> out(kBlocks);
  constexpr int kRounds = 32;
  const Bound bound =
      traced_bound([&] { run_exponentials(kBlocks, kThreads, kRounds, out.data()); },
                   {.bytes = 4.0 * kBlocks, .flops = 2.0 * kElements * kRounds});
  CHECK(bound.limit == "special functions");
  CHECK(bound.seconds == about(1.0 * kElements * kRounds / (kSms * 16 * kClock)));
}

TEST_CASE("bound: FLOPs", "[simt][bound]") {
  DeviceArray<float> out(kBlocks);
  constexpr int kRounds = 32;
  const PassWork work{.bytes = 4.0 * kBlocks, .flops = 2.0 * kElements * kRounds};
  const Bound bound =
      traced_bound([&] { run_multiply_adds(kBlocks, kThreads, kRounds, out.data()); }, work);
  CHECK(bound.limit == "FLOPs");
  CHECK(bound.seconds == about(work.flops / 66.9e12).epsilon(1e-3));  // the datasheet's peak
}

TEST_CASE("bound: as many times the heads are as many times the blocks and counts",
          "[simt][bound]") {
  DeviceArray<float> in(1024, 1), out(kBlocks);
  const auto traced = [&](unsigned blocks) {
    return trace([&] { run_reread(blocks, kThreads, 64, in.data(), out.data()); });
  };
  const std::vector<LaunchRecord> one = traced(11), all = traced(11 * 48);
  const std::vector<LaunchRecord> many = simt::times_heads(one, 48);
  REQUIRE(many.size() == 1);
  CHECK(many[0].grid.x == 11 * 48);
  CHECK(many[0].block.x == kThreads);
  CHECK(many[0].traffic.global_load_bytes == all[0].traffic.global_load_bytes);
  CHECK(many[0].traffic.global_load_sectors == 48 * one[0].traffic.global_load_sectors);
  CHECK(many[0].traffic.global_read_bytes_compulsory ==
        48 * one[0].traffic.global_read_bytes_compulsory);  // every head has bytes of its own
  CHECK(many[0].sites.empty());
  CHECK(simt::times_heads(one, 1)[0].traffic == one[0].traffic);
  // 11 blocks keep 11 multiprocessors busy, 528 keep all 132: 48 times the work, 12 times as fast.
  const PassWork none{.bytes = 0, .flops = 0};
  CHECK(simt::bound_of(many, none, h200()).seconds ==
        about(4 * simt::bound_of(one, none, h200()).seconds));
  CHECK_THROWS_AS(simt::times_heads(one, 0), Error);
  CHECK_THROWS_AS(simt::times_heads(one, 200'000'000), Error);  // 11 times that is beyond a grid
}

TEST_CASE("bound: few blocks use few multiprocessors, few warps few schedulers", "[simt][bound]") {
  DeviceArray<float> out(kBlocks);
  constexpr int kRounds = 32;
  const auto seconds = [&](unsigned blocks, unsigned threads) {
    return traced_bound([&] { run_exponentials(blocks, threads, kRounds, out.data()); }, {})
        .seconds;
  };
  const double one_warp = 32.0 * kRounds / (4 * kClock);  // a scheduler's 4 of the 16
  CHECK(seconds(1, 32) == about(one_warp));
  CHECK(seconds(1, 64) == about(one_warp));
  CHECK(seconds(1, 128) == about(one_warp));
  CHECK(seconds(1, 256) == about(2 * one_warp));
  CHECK(seconds(100, 128) == about(one_warp));
  CHECK(seconds(132, 128) == about(one_warp));
  CHECK(seconds(264, 128) == about(2 * one_warp));
  CHECK(seconds(264, 32) == about(one_warp));  // two warps on each: two schedulers
}

#else

TEST_CASE("bound of traced kernels: not tested, this build counts no accesses", "[simt][bound]") {
  SUCCEED();
}

#endif  // __SANITIZE_ADDRESS__

TEST_CASE("bound: atomics are L1 sectors and shared wavefronts", "[simt][bound]") {
  LaunchRecord launch = empty_launch(132, 128);
  launch.traffic.global_atomic_sectors = 132 * 400;
  launch.traffic.shared_atomic_requests = 132 * 300;
  const Bound bound = simt::bound_of(std::vector{launch}, {}, h200());
  CHECK(bound.parts[Resource::kL1] == about(100 / kClock));
  CHECK(bound.parts[Resource::kShared] == about(300 / kClock));
  CHECK(bound.seconds == about(300 / kClock));
  CHECK(bound.limit == "shared memory");
}

TEST_CASE("bound: shuffles, one of a warp per clock, and votes, two", "[simt][bound]") {
  LaunchRecord launch = empty_launch(132, 128);
  launch.traffic.shuffles = 132 * 500;
  launch.traffic.votes = 132 * 600;
  const Bound bound = simt::bound_of(std::vector{launch}, {}, h200());
  CHECK(bound.parts[Resource::kShuffles] == about(500 / kClock));
  CHECK(bound.parts[Resource::kVotes] == about(300 / kClock));
  CHECK(bound.seconds == about(500 / kClock));
  CHECK(bound.limit == "shuffles");
}

TEST_CASE("bound: tensor cores, one m16n8k16 per clock on Hopper, half of one on an A100",
          "[simt][bound]") {
  LaunchRecord launch = empty_launch(132, 128);
  launch.traffic.mma_instructions = 132 * 700;
  const auto parts = [&](const DeviceDescription& device) {
    return simt::bound_of(std::vector{launch}, {}, device);
  };
  CHECK(parts(h200()).parts[Resource::kTensor] == about(700 / kClock));
  CHECK(parts(h200()).limit == "tensor cores");
  CHECK(parts(h200()).tensor_flops == 132 * 700 * 4096.0);
  launch.grid.x = 108;
  CHECK(parts(simt::find_device("A100")).seconds ==
        about(132 * 700 * 2 / (108 * simt::find_device("A100").clocks_per_second)));
  // Each scheduler has a tensor core: a block of one warp uses one of four.
  launch.grid.x = 132;
  launch.block.x = 32;
  CHECK(parts(h200()).seconds == about(4 * 700 / kClock));
}

TEST_CASE("bound: ldmatrix takes shared wavefronts; what copies store may go another way",
          "[simt][bound]") {
  LaunchRecord launch = empty_launch(132, 128);
  launch.traffic.shared_load_wavefronts = 132 * 100;
  launch.traffic.shared_store_wavefronts = 132 * 20;
  launch.traffic.matrix_load_wavefronts = 132 * 300;
  launch.traffic.shared_async_wavefronts = 132 * 50;
  const Bound bound = simt::bound_of(std::vector{launch}, {}, h200());
  CHECK(bound.parts[Resource::kShared] == about(420 / kClock));
  CHECK(bound.limit == "shared memory");
}

TEST_CASE("bound: products of warpgroups keep the same tensor cores busy", "[simt][bound]") {
  LaunchRecord launch = empty_launch(132, 128);
  launch.traffic.mma_instructions = 132 * 100;
  launch.traffic.wgmma_instructions = 4 * 132;  // how many there are does not matter
  launch.traffic.wgmma_flops = 132ull * 600 * 4096;
  const simt::Bound bound = simt::bound_of(std::vector{launch}, {}, h200());
  CHECK(bound.parts[Resource::kTensor] == about(700 / kClock));
  CHECK(bound.tensor_flops == 132 * 700 * 4096.0);
}

TEST_CASE("bound: FLOPs that the tensor cores do are not counted as others", "[simt][bound]") {
  LaunchRecord launch = empty_launch(132, 128);
  launch.traffic.mma_instructions = 132 * 100;
  const double on_tensor_cores = 132 * 100 * 4096.0;
  const auto flops = [&](double all) {
    return simt::bound_of(std::vector{launch}, {.bytes = 0, .flops = all}, h200())
        .parts[Resource::kFlops];
  };
  CHECK(flops(on_tensor_cores) == 0);
  CHECK(flops(on_tensor_cores / 2) == 0);  // a mask hides half of what was multiplied
  CHECK(flops(on_tensor_cores + 132 * 256.0) == about(1 / kClock));
}

TEST_CASE("bound: the A100's L2 has a limit for all multiprocessors together", "[simt][bound]") {
  const auto l2_clocks = [](unsigned blocks) {
    LaunchRecord launch = empty_launch(blocks, 128);
    launch.traffic.global_read_bytes_compulsory = 5120 * 64;
    launch.traffic.global_sectors_compulsory = 160 * 64;
    const DeviceDescription& a100 = simt::find_device("A100");
    return simt::bound_of(std::vector{launch}, {}, a100).seconds * a100.clocks_per_second;
  };
  CHECK(l2_clocks(1) == about(5120));
  CHECK(l2_clocks(80) == about(64));
  CHECK(l2_clocks(108) == about(64));
}

TEST_CASE("bound: sectors that are read in part, or read and written", "[simt][bound]") {
  LaunchRecord launch = empty_launch(132, 128);
  launch.traffic.global_sectors_compulsory = 132 * 100;
  launch.traffic.global_read_bytes_compulsory = 132 * 100 * 4;  // one float of each sector
  const auto clocks = [&] {
    return simt::bound_of(std::vector{launch}, {}, h200()).parts[Resource::kL2] * kClock;
  };
  // Half of them may come in while the other half goes out: 50 sectors of 32 bytes at 64 a clock.
  CHECK(clocks() == about(25));
  launch.traffic.global_read_bytes_compulsory = 132 * 100 * 32;
  CHECK(clocks() == about(50));
}

TEST_CASE("bound: no launches, no time", "[simt][bound]") {
  const Bound bound = simt::bound_of({}, {.bytes = 1e9, .flops = 1e9}, h200());
  CHECK(bound.seconds == 0);
  CHECK(bound.by_launch.empty());
}

TEST_CASE("occupancy: blocks that fit by threads, by count and by shared memory", "[simt][bound]") {
  const auto fit = [](unsigned threads, std::size_t shared, const char* device) {
    return occupancy_of(empty_launch(10000, threads, shared), simt::find_device(device))
        .blocks_per_multiprocessor;
  };
  CHECK(fit(1024, 0, "H200") == 2);
  CHECK(fit(256, 0, "H200") == 8);
  CHECK(fit(32, 0, "H200") == 32);  // 64 by threads
  CHECK(fit(33, 0, "H200") == 32);  // two warps
  CHECK(fit(1000, 0, "H200") == 2);
  CHECK(fit(1024, 0, "T4") == 1);
  CHECK(fit(32, 0, "T4") == 16);
  CHECK(fit(768, 0, "RTX4090") == 2);
  CHECK(fit(32, 48 * 1024, "H200") == 4);   // 49 KiB of 228 each
  CHECK(fit(32, 227 * 1024, "H200") == 1);  // with the reserved KiB, all of it
  CHECK(fit(32, 32 * 1024, "T4") == 2);     // nothing reserved

  LaunchRecord with_static = empty_launch(10000, 32, 24 * 1024);
  with_static.static_shared_bytes = 24 * 1024;
  CHECK(occupancy_of(with_static, h200()).blocks_per_multiprocessor == 4);
}

TEST_CASE("occupancy: registers, a quarter of them for each scheduler", "[simt][bound]") {
  const auto fit = [](unsigned threads, int registers, std::size_t shared = 0) {
    return occupancy_of(empty_launch(10000, threads, shared), h200(), registers)
        .blocks_per_multiprocessor;
  };
  CHECK(fit(128, 0) == 16);   // not known: by threads
  CHECK(fit(128, 254) == 2);  // 256 x 32 of 16,384: 2 warps for each scheduler
  CHECK(fit(128, 168) == 3);  // 3.05 warps
  CHECK(fit(128, 169) == 2);  // as 176: 2.91
  CHECK(fit(256, 168) == 1);  // 12 warps, 8 a block
  CHECK(fit(64, 254) == 4);
  CHECK(fit(64, 254, 68 * 1024) == 3);  // by shared memory
  CHECK(fit(1024, 255) == 1);           // such a launch fails; never 0
}

TEST_CASE("work of a pass: FLOPs of visible pairs, bytes of what takes part", "[simt][bound]") {
  const Shape shape = make_shape(2, 3, 5, 7, 16);
  const PassWork full = simt::work_of(shape, Mask::kFull, Pass::kForward);
  CHECK(full.flops == 4.0 * 6 * 5 * 7 * 16);
  CHECK(full.bytes == 4.0 * 6 * (2 * 5 * 16 + 2 * 7 * 16 + 5));
  const PassWork backward = simt::work_of(shape, Mask::kFull, Pass::kBackward);
  CHECK(backward.flops == 2.5 * full.flops);
  CHECK(backward.bytes == 4.0 * 6 * (3 * 5 * 16 + 4 * 7 * 16));

  // Rows see 3, 4, 5, 6 and 7 keys.
  CHECK(simt::work_of(shape, Mask::kCausal, Pass::kForward).flops == 4.0 * 6 * 25 * 16);
  CHECK(simt::work_of(shape, Mask::kCausal, Pass::kForward).bytes == full.bytes);
  // 1 to 5 keys: the last two take no part.
  const PassWork top_left = simt::work_of(shape, Mask::kCausalTopLeft, Pass::kForward);
  CHECK(top_left.flops == 4.0 * 6 * 15 * 16);
  CHECK(top_left.bytes == 4.0 * 6 * (2 * 5 * 16 + 2 * 5 * 16 + 5));
  // More queries than keys: the first three see none, but their outputs are written.
  const PassWork tall = simt::work_of(make_shape(1, 1, 5, 2, 16), Mask::kCausal, Pass::kForward);
  CHECK(tall.flops == 4.0 * 3 * 16);
  CHECK(tall.bytes == 4.0 * (2 * 16 + 2 * 2 * 16 + 5 * 16 + 5));

  // Rows of V and O of 10 elements: Q K^T, dS K and dS^T Q stay as long as they were, P V, dO V^T
  // and P^T dO do not; float16 halves everything but LSE.
  const PassWork narrow =
      simt::work_of(shape, Mask::kFull, Pass::kForward, Element::kFloat16, /*d_v=*/10);
  CHECK(narrow.flops == 6 * 5 * 7 * (2 * 16 + 2 * 10));
  CHECK(narrow.bytes == 6 * (2.0 * (5 * 16 + 7 * 16 + 7 * 10 + 5 * 10) + 4 * 5));
  const PassWork narrow_backward =
      simt::work_of(shape, Mask::kFull, Pass::kBackward, Element::kFloat16, 10);
  CHECK(narrow_backward.flops == 6 * 5 * 7 * (3 * 2 * 16 + 2 * 2 * 10));
  CHECK(narrow_backward.bytes == 6 * 2.0 * (2 * 5 * 16 + 2 * 7 * 16 + 2 * 7 * 10 + 5 * 10));

  // The lesson's number: N = 512, d = 64, LSE included.
  CHECK(simt::work_of(make_shape(1, 1, 512, 512, 64), Mask::kFull, Pass::kForward).bytes ==
        514 * 1024);
}

TEST_CASE("devices: each is found by its name, whatever its case", "[simt][bound]") {
  std::set<std::string> names;
  for (const DeviceDescription& device : simt::devices()) {
    CAPTURE(device.name);
    names.emplace(device.name);
    std::string lower(device.name);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    CHECK(&simt::find_device(lower) == &device);
  }
  CHECK(names == std::set<std::string>{"H200", "H100", "A100", "RTX4090", "RTX3090", "T4"});
  CHECK(simt::current_device().name == "H200");
  const std::string message = message_of([] { simt::find_device("Voodoo"); });
  CHECK(message == "Voodoo: allowed: H200, H100, A100, RTX4090, RTX3090, T4");
}

TEST_CASE("devices: rates agree with the peaks that the datasheets print", "[simt][bound]") {
  const auto tflops = [](const char* name) {
    const DeviceDescription& d = simt::find_device(name);
    return d.multiprocessors * d.flops_per_clock * d.clocks_per_second / 1e12;
  };
  CHECK(tflops("H200") == Approx(66.9).epsilon(0.005));
  CHECK(tflops("H100") == Approx(66.9).epsilon(0.005));
  CHECK(tflops("A100") == Approx(19.5).epsilon(0.005));
  CHECK(tflops("T4") == Approx(8.1).epsilon(0.01));
  const auto tensor_tflops = [](const char* name) {
    const DeviceDescription& d = simt::find_device(name);
    return d.multiprocessors * d.tensor_flops_per_clock * d.clocks_per_second / 1e12;
  };
  CHECK(tensor_tflops("A100") == Approx(312).epsilon(0.005));
  CHECK(tensor_tflops("T4") == Approx(65).epsilon(0.01));
  CHECK(tensor_tflops("H100") > 989.4);  // which is said of 1,830 MHz
  // The GeForce cards run faster than the boost clock of their white papers.
  CHECK(tflops("RTX4090") > 82.6);
  CHECK(tflops("RTX3090") > 35.6);
}

TEST_CASE("devices: launches keep the limits of the one in force", "[simt][bound]") {
  DeviceArray<float> out(1);
  const auto body = [](void*) {};
  const auto message = [&](std::size_t shared_bytes) {
    const simt::LaunchConfig config{.kernel = nullptr,
                                    .grid = dim3(1),
                                    .block = dim3(32),
                                    .shared_bytes = shared_bytes,
                                    .where = std::source_location::current()};
    return message_of([&] { simt::run_grid(config, body, nullptr); });
  };
  CHECK(message(227 * 1024) == "");
  simt::set_current_device(simt::find_device("T4"));
  CHECK(message(64 * 1024) == "");
  CHECK(message(64 * 1024 + 1).find("allowed: 0 to 65536") != std::string::npos);
  simt::set_current_device(simt::find_device("H200"));
  CHECK(message(227 * 1024) == "");
  CHECK(message(227 * 1024 + 1).find("allowed: 0 to 232448") != std::string::npos);
}

}  // namespace
}  // namespace attn::simt_test
