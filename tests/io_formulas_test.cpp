// SPDX-License-Identifier: MIT
//
// The tracer's count equals the formula, exactly: every chapter that runs on the device, every
// step; default steps on a quarter of the case table, those on the way on half of that.
#include "tests/io_formulas.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "chapters/17_decode/decode.hpp"
#include "chapters/chapters.hpp"
#include "common/device/splits.hpp"
#include "common/io/image_windows.hpp"
#include "common/io/mask_arrays.hpp"
#include "common/io/workloads.hpp"
#include "common/run/run.hpp"
#include "common/simt/machine/options.hpp"
#include "common/simt/watch/counters.hpp"
#include "common/simt/watch/observer.hpp"
#include "common/verify/cases.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"
#include "tests/catch.hpp"

namespace attn::testing {

namespace {

/// What is counted, in bytes.
struct Moved {
  std::int64_t loads, stores, reads, writes, atomics, copies, copied_back;
  bool operator==(const Moved&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Moved& moved) {
  return out << fmt::format(
             "bytes: {} loaded, {} stored, {} distinct read, {} distinct written, {} by atomics, "
             "{} by asynchronous copies, {} stored by them",
             moved.loads, moved.stores, moved.reads, moved.writes, moved.atomics, moved.copies,
             moved.copied_back);
}

Moved moved_by(const Io& io) {
  constexpr std::int64_t kEach = sizeof(float);
  return {kEach * io.loads + io.load_bytes,
          kEach * io.stores + io.store_bytes,
          kEach * io.reads + io.read_bytes,
          kEach * io.writes + io.write_bytes,
          kEach * io.atomics,
          io.async_bytes,
          io.async_store_bytes};
}

Moved moved_by(const simt::Traffic& traffic) {
  const auto bytes = [](std::uint64_t count) { return static_cast<std::int64_t>(count); };
  return {bytes(traffic.global_load_bytes),
          bytes(traffic.global_store_bytes),
          bytes(traffic.global_read_bytes_compulsory),
          bytes(traffic.global_write_bytes_compulsory),
          bytes(traffic.global_atomic_bytes),
          bytes(traffic.global_async_bytes),
          bytes(traffic.global_async_store_bytes)};
}

constexpr std::uint64_t kSeed = 20260101;

std::int64_t floats(std::uint64_t bytes) {
  CHECK(bytes % sizeof(float) == 0);
  return static_cast<std::int64_t>(bytes / sizeof(float));
}

/// Traffic of one call of a step, summed over its launches.
simt::Traffic count(const Chapter& chapter, const Step& step, Pass pass, const Problem& problem,
                    int offset) {
  Outputs forward;
  if (pass == Pass::kBackward) {
    const Sizes sizes = sizes_of(problem.shape, problem.extras.on_host());
    forward.o.resize(static_cast<std::size_t>(sizes.o));
    forward.lse.resize(static_cast<std::size_t>(sizes.rows));
  }
  const Run run(chapter, step, pass, problem, forward.o, forward.lse, {.offset = offset});
  const simt::Options before = simt::options();
  simt::options().tracer = true;
  simt::take_launches();
  run.call();
  simt::options() = before;
  simt::Traffic sum;
  for (const simt::LaunchRecord& launch : simt::take_launches()) sum += launch.traffic;
  return sum;
}

simt::Traffic count(const Chapter& chapter, const Step& step, Pass pass,
                    const verify::InputSpec& spec, int offset) {
  return count(chapter, step, pass, verify::make_problem(spec, pass), offset);
}

Io io_of(const simt::Traffic& traffic) {
  return {floats(traffic.global_load_bytes), floats(traffic.global_store_bytes),
          floats(traffic.global_read_bytes_compulsory),
          floats(traffic.global_write_bytes_compulsory), floats(traffic.global_atomic_bytes)};
}

void check_step(const Chapter& chapter, const Step& step, Pass pass) {
  const IoFormula formula = find_io_formula(chapter.id, step.id, pass);
  const std::string name = fmt::format("{} {} {}", chapter.id, step.id, to_string(pass));
  if (formula == nullptr) FAIL(name << " has no formula");
  INFO(name);
  // Sizes around the largest tile are ragged for the smaller ones, too.
  const std::span<const int> edges = chapter.tile_edges;
  const auto largest = edges.last(std::min<std::size_t>(1, edges.size()));
  // A quarter of the table has every size and mask; the rest are other pairs of them. Of steps on
  // the way, whose loops the default step has, every second case of it.
  const std::size_t stride = &step == default_step(chapter, pass) ? 1 : 2;
  std::size_t number = 0;
  const std::vector<Element> elements = verify::elements_of(step, pass);
  for (verify::Case& one : verify::case_table(support_of(chapter, step), elements, largest, pass,
                                              verify::Extent::kThin, kSeed)) {
    if (number++ % stride != 0) continue;
    // The table's 70,000 heads of one key are about grid limits. Traced they take three quarters of
    // this test's time, and each head moves the same bytes; where heads do not differ,
    // two of a kind tell as much as three.
    Shape& shape = one.spec.shape;
    const bool alike = one.spec.features.empty() && shape.H == shape.Hkv;
    shape.B = std::min<std::int64_t>(shape.B, alike ? 2 : 100);
    if (alike) shape.H = shape.Hkv = std::min<std::int64_t>(shape.H, 2);
    INFO(verify::to_string(one));
    const bool launches = one.spec.shape.rows() > 0;  // without rows a call is a no-op
    const Problem problem = verify::make_problem(one.spec, pass);
    CHECK(moved_by(count(chapter, step, pass, problem, one.offset)) ==
          moved_by(launches ? formula(problem) : Io{}));
  }
}

TEST_CASE("the traffic of every step is its formula, on a part of the case table") {
  int checked = 0;
  for (const Chapter* chapter : chapters::all()) {
    if (chapter->memory != device_memory) continue;
    for (const Step& step : chapter->steps) {
      if (step.forward != nullptr) check_step(*chapter, step, Pass::kForward);
      if (step.backward != nullptr) check_step(*chapter, step, Pass::kBackward);
      ++checked;
    }
  }
  CHECK(checked > 0);
}

TEST_CASE("02_naive_gpu: N = 512, d = 64, one head") {
  constexpr std::int64_t N = 512, d = 64;
  const Chapter& chapter = chapters::ch02_naive_gpu();
  const verify::InputSpec spec{
      .shape = make_shape(1, 1, N, N, d), .scale = default_scale(d), .seed = kSeed};
  const simt::Traffic traffic = count(chapter, find_step(chapter, ""), Pass::kForward, spec, 0);
  const Io io = io_of(traffic);
  const IoFormula formula = find_io_formula("02_naive_gpu", "naive", Pass::kForward);
  CHECK(moved_by(io) == moved_by(formula(verify::make_problem(spec, Pass::kForward))));
  CHECK(io.loads + io.stores == 4 * N * N * d + 5 * N * N + N * d + N);
  // 4608.0 KiB for Q, K, V, O and four passes over S or P, and 2.0 for LSE.
  CHECK((io.reads + io.writes) * 4 == 4610 * 1024);
  // Every array is aligned and a whole number of sectors, and softmax's S is read and written.
  const std::int64_t sectors = (4 * N * d + 3 * N * N + N) * 4 / 32;
  CHECK(static_cast<std::int64_t>(traffic.global_sectors_compulsory) == sectors);
  CHECK(traffic.special_functions == static_cast<std::uint64_t>(2 * N * N));
}

TEST_CASE("04_online_softmax: N = 512, d = 64, one head") {
  constexpr std::int64_t N = 512, d = 64;
  const Chapter& chapter = chapters::ch04_online_softmax();
  const verify::InputSpec spec{
      .shape = make_shape(1, 1, N, N, d), .scale = default_scale(d), .seed = kSeed};
  const simt::Traffic traffic = count(chapter, find_step(chapter, ""), Pass::kForward, spec, 0);
  const Io io = io_of(traffic);
  CHECK(io.loads + io.stores == 2 * N * N * d + 2 * N * d + N);
  CHECK(io.reads + io.writes == 4 * N * d + N);
  // 512.0 KiB for Q, K, V and O, and 2.0 for LSE.
  CHECK((io.reads + io.writes) * 4 == 514 * 1024);
  // A warp reads 32 neighbouring floats: four sectors a request, and none of them wasted.
  CHECK(traffic.global_load_sectors == 4 * traffic.global_load_requests);
  // Two for every score, in each of the 32 lanes.
  CHECK(traffic.special_functions == static_cast<std::uint64_t>(32 * 2 * N * N));
}

TEST_CASE("05_fused_forward: N = 512, d = 64, one head") {
  constexpr std::int64_t N = 512, d = 64, Bc = 32, Tc = N / Bc;
  const Chapter& chapter = chapters::ch05_fused_forward();
  const verify::InputSpec spec{
      .shape = make_shape(1, 1, N, N, d), .scale = default_scale(d), .seed = kSeed};
  const simt::Traffic traffic = count(chapter, find_step(chapter, ""), Pass::kForward, spec, 0);
  const Io io = io_of(traffic);
  const IoFormula formula = find_io_formula("05_fused_forward", "forward", Pass::kForward);
  CHECK(moved_by(io) == moved_by(formula(verify::make_problem(spec, Pass::kForward))));
  CHECK(io.loads + io.stores == Tc * (3 * N * d + 4 * N) + N * d + N);
  CHECK(io.reads + io.writes == 5 * N * d + 5 * N);
  CHECK(traffic.shared_load_wavefronts == traffic.shared_load_wavefronts_ideal);
  CHECK(traffic.shared_store_wavefronts == traffic.shared_store_wavefronts_ideal);
}

TEST_CASE("07_v2_loop_order: N = 512, d = 64, one head") {
  constexpr std::int64_t N = 512, d = 64, Tr = N / 64, Tc = N / 32;
  const Chapter& chapter = chapters::ch07_v2_loop_order();
  const auto traffic = [&](std::string_view step, Pass pass, Mask mask) {
    return count(chapter, find_step(chapter, step), pass,
                 {.shape = make_shape(1, 1, N, N, d),
                  .mask = mask,
                  .scale = default_scale(d),
                  .seed = kSeed},
                 0);
  };
  for (const char* step : {"step1_loop_swap", "step2_skip", "step3_exp2"}) {
    INFO(step);
    const simt::Traffic full = traffic(step, Pass::kForward, Mask::kFull);
    const Io io = io_of(full);
    CHECK(io.loads + io.stores == 2 * N * d + N + Tr * 2 * N * d);
    CHECK(io.reads + io.writes == 4 * N * d + N);
    CHECK(full.barriers == static_cast<std::uint64_t>(2 * Tr * Tc));
    CHECK(full.shared_load_wavefronts == full.shared_load_wavefronts_ideal);
    CHECK(full.shared_store_wavefronts == full.shared_store_wavefronts_ideal);
    const Io causal = io_of(traffic(step, Pass::kForward, Mask::kCausal));
    const bool skips = std::string_view(step) != "step1_loop_swap";
    CHECK(causal.loads + causal.stores ==
          2 * N * d + N + (skips ? (Tr + 1) * N * d : Tr * 2 * N * d));
  }
  const Io atomics = io_of(traffic("step4_backward", Pass::kBackward, Mask::kFull));
  CHECK(atomics.loads + atomics.stores == 6 * N * d + N + Tc * (2 * N * d + 2 * N));
  CHECK(atomics.atomics == Tc * N * d);
  const Io seven = io_of(traffic("step5_deterministic", Pass::kBackward, Mask::kFull));
  CHECK(seven.loads + seven.stores == 9 * N * d + 3 * N + Tc * (4 * N * d + 2 * N));
  CHECK(seven.atomics == 0);
}

/// Wavefronts of shared loads for a multiply-add of a warp, times 128. `products`: matrix products
/// of N^2 d multiply-adds.
double wavefronts_per_128_ffma(std::uint64_t wavefronts, std::int64_t N, std::int64_t d,
                               int products) {
  return 128.0 * static_cast<double>(wavefronts) / static_cast<double>(products * N * N * d / 32);
}

TEST_CASE("08_register_tiles: N = 512, one head") {
  constexpr std::int64_t N = 512, Tr = N / 128, Tc = N / 64;
  const Chapter& chapter = chapters::ch08_register_tiles();
  const auto traffic = [&](std::string_view step, Pass pass, Mask mask, std::int64_t d) {
    return count(chapter, find_step(chapter, step), pass,
                 {.shape = make_shape(1, 1, N, N, d),
                  .mask = mask,
                  .scale = default_scale(d),
                  .seed = kSeed},
                 0);
  };
  struct Loads {
    std::int64_t d;
    const char* step;
    double wavefronts;  // for 128 multiply-adds
  };
  // A lane's loads for 4 columns, or keys: 8 + 8 for 256 multiply-adds at d = 64, in four turns for
  // K and V where lanes stand in reading order, else in two. At d = 128 4 + 8 for 128, and 4 + 16
  // for 256.
  for (const auto [d, step, wavefronts] : {Loads{64, "step2_fused", 24},
                                           {64, "step3_paired_lanes", 16},
                                           {64, "step4_wide_loads", 16},
                                           {64, "step5_exp2", 16},
                                           {128, "step5_exp2", 22}}) {
    INFO(step << " d=" << d);
    const simt::Traffic full = traffic(step, Pass::kForward, Mask::kFull, d);
    const Io io = io_of(full);
    CHECK(io.loads + io.stores == 2 * N * d + N + Tr * 2 * N * d);
    CHECK(io.reads + io.writes == 4 * N * d + N);
    CHECK(full.barriers == static_cast<std::uint64_t>(2 * Tr * Tc));
    CHECK(wavefronts_per_128_ffma(full.shared_load_wavefronts, N, d, 2) == wavefronts);
    CHECK(full.shared_load_wavefronts == full.shared_load_wavefronts_ideal);
    CHECK(full.shared_store_wavefronts == full.shared_store_wavefronts_ideal);
    // The tiles and P, which have to come to shared memory before.
    const std::uint64_t all = full.shared_load_wavefronts + full.shared_store_wavefronts;
    if (d == 64 && wavefronts == 16) {
      CHECK(wavefronts_per_128_ffma(all, N, d, 2) <= 0.145 * 128);
    }
    const Io causal = io_of(traffic(step, Pass::kForward, Mask::kCausal, d));
    CHECK(causal.loads + causal.stores == 2 * N * d + N + (Tr + 1) * N * d);
  }
  for (const char* step : {"step6_backward", "step7_deterministic"}) {
    INFO(step);
    constexpr std::int64_t d = 64;
    const bool adds = std::string_view(step) == "step6_backward";
    const simt::Traffic full = traffic(step, Pass::kBackward, Mask::kFull, d);
    const Io io = io_of(full);
    CHECK(io.loads + io.stores == (adds ? 6 * N * d + N + Tc * (2 * N * d + 2 * N)
                                        : 9 * N * d + 3 * N + Tc * (4 * N * d + 2 * N)));
    CHECK(io.atomics == (adds ? Tc * N * d : 0));
    CHECK(wavefronts_per_128_ffma(full.shared_load_wavefronts, N, d, adds ? 5 : 7) <= 0.19 * 128);
    CHECK(full.shared_load_wavefronts == full.shared_load_wavefronts_ideal);
    CHECK(full.shared_store_wavefronts == full.shared_store_wavefronts_ideal);
  }
}

/// Matrix products of a warp, and wavefronts of shared loads and of ldmatrix for each of them.
struct Products {
  std::string_view step;
  std::int64_t d;
  double wavefronts;
};

TEST_CASE("09_tensor_cores: N = 512, one head") {
  constexpr std::int64_t N = 512;
  const Chapter& chapter = chapters::ch09_tensor_cores();
  const auto traffic = [&](std::string_view step, Pass pass, Mask mask, std::int64_t d) {
    return count(chapter, find_step(chapter, step), pass,
                 {.shape = make_shape(1, 1, N, N, d),
                  .mask = mask,
                  .scale = default_scale(d),
                  .seed = kSeed,
                  .element = Element::kBfloat16},
                 0);
  };
  // A fragment of 16 x 16 is four wavefronts, and twice as many where V is fetched by 2 bytes. With
  // 16 rows a warp, Q K^T: (4 of Q + 16 of K) for 8 products (64 keys). P V: 4 of P, unless it is
  // in registers, and 4 (or 8) for each two products. With 32 rows those of K and V serve twice as
  // many; at d = 128 a tile has 32 keys, (8 + 8) for 8.
  for (const auto& [step, d, wavefronts] :
       {Products{"step1_fragments", 64, (20.0 / 8 + 36.0 / 8) / 2},
        {"step1_fragments", 128, (20.0 / 8 + 68.0 / 16) / 2},
        {"step2_ldmatrix", 64, (20.0 / 8 + 20.0 / 8) / 2},
        {"step2_ldmatrix", 128, (20.0 / 8 + 36.0 / 16) / 2},
        {"step3_registers", 64, (20.0 / 8 + 16.0 / 8) / 2},
        {"step3_registers", 128, (20.0 / 8 + 32.0 / 16) / 2},
        {"step4_rows32", 64, (24.0 / 16 + 16.0 / 16) / 2},
        {"step4_rows32", 128, (16.0 / 8 + 32.0 / 32) / 2}}) {
    INFO(step << " d=" << d);
    const std::int64_t Tr = step == "step4_rows32" ? N / 128 : N / 64;
    const std::int64_t Bc = step == "step4_rows32" && d == 128 ? 32 : 64;
    const simt::Traffic full = traffic(step, Pass::kForward, Mask::kFull, d);
    CHECK(full.global_load_bytes + full.global_store_bytes ==
          static_cast<std::uint64_t>(2 * (2 * N * d + Tr * 2 * N * d) + 4 * N));
    CHECK(full.barriers == static_cast<std::uint64_t>(2 * Tr * (N / Bc)));
    CHECK(full.mma_instructions == static_cast<std::uint64_t>(2 * N * N * d / 2048));
    const std::uint64_t all = full.shared_load_wavefronts + full.matrix_load_wavefronts;
    CHECK(static_cast<double>(all) == wavefronts * static_cast<double>(full.mma_instructions));
    CHECK((full.matrix_load_requests > 0) == (step != "step1_fragments"));
    CHECK((full.shared_load_wavefronts > 0) == (step == "step1_fragments"));
    CHECK(full.shared_load_wavefronts == full.shared_load_wavefronts_ideal);
    CHECK(full.matrix_load_wavefronts == full.matrix_load_wavefronts_ideal);
    CHECK(full.shared_store_wavefronts == full.shared_store_wavefronts_ideal);
    const simt::Traffic causal = traffic(step, Pass::kForward, Mask::kCausal, d);
    CHECK(causal.global_load_bytes + causal.global_store_bytes ==
          static_cast<std::uint64_t>(2 * (2 * N * d + (Tr + 1) * N * d) + 4 * N));
  }
}

/// The launches of one call of a step on a head of N = 512, in bfloat16.
std::vector<simt::LaunchRecord> launches_of(const Chapter& chapter, const Step& step, Pass pass,
                                            std::int64_t d) {
  const Problem problem = verify::make_problem({.shape = make_shape(1, 1, 512, 512, d),
                                                .scale = default_scale(d),
                                                .seed = kSeed,
                                                .element = Element::kBfloat16},
                                               pass);
  const verify::Truth truth = verify::truth_of(problem, pass);
  const Run run(chapter, step, pass, problem, truth.o, truth.lse, {});
  const simt::Options before = simt::options();
  simt::options().tracer = true;
  simt::take_launches();
  run.call();
  simt::options() = before;
  return simt::take_launches();
}

TEST_CASE("10_async_pipeline: N = 512, one head: what the tensor cores get") {
  const Chapter& chapter = chapters::ch10_async_pipeline();
  for (const std::int64_t d : {64, 128}) {
    // A turn of a block: 32 rows of each of four warps by Bc keys.
    const std::int64_t Bc = d == 64 ? 64 : 32, Tr = 512 / 128, turns = Tr * 512 / Bc;
    const std::int64_t products = 2 * 512 * 512 * d / 2048;
    const std::int64_t copied = 2 * (512 * d + Tr * 2 * 512 * d);  // bytes of Q, K and V
    for (const char* id : {"step1_swizzle", "step2_cp_async", "step3_hoisted", "step4_tiles"}) {
      INFO(id << ", d=" << d);
      // Of a warp's 32 rows of Q: in every turn, or once.
      const std::int64_t fetches = Tr * 4 * (d / 16) * 2;
      const bool once = d == 64 && id == std::string_view("step4_tiles");
      const std::int64_t loads =
          turns * 4 * 2 * (d / 16) * (Bc / 16) + (once ? fetches : 512 / Bc * fetches);
      const auto launches = launches_of(chapter, find_step(chapter, id), Pass::kForward, d);
      REQUIRE(launches.size() == 1);
      const simt::Traffic& t = launches[0].traffic;
      CHECK(t.mma_instructions == static_cast<std::uint64_t>(products));
      CHECK(t.matrix_load_requests == static_cast<std::uint64_t>(loads));
      CHECK(t.matrix_load_wavefronts == static_cast<std::uint64_t>(4 * loads));
      const double wavefronts = once ? 1.03125 : d == 64 ? 1.25 : 1.5;
      CHECK(4.0 * static_cast<double>(loads) == wavefronts * static_cast<double>(products));
      const bool copies = id != std::string_view("step1_swizzle");
      CHECK((copies ? t.global_async_bytes : t.global_load_bytes) ==
            static_cast<std::uint64_t>(copied));
      CHECK((copies ? t.shared_async_wavefronts : t.shared_store_wavefronts) ==
            static_cast<std::uint64_t>(copied / 128));
      for (const simt::SiteTraffic& site : launches[0].sites) {
        INFO(site.file << ":" << site.line << ", " << site.access);
        CHECK(site.wavefronts == site.wavefronts_ideal);
      }
    }
  }
}

/// Of the ring's tiles, how many are under way or in use at a time: one more where one is asked
/// for, one less when all warps that multiply have arrived in one phase of an mbarrier.
class HeldTiles : public simt::Observer {
 public:
  /// first: bytes in front of the ring in the block's shared memory.
  HeldTiles(std::int64_t first, int warps) : first_(first), warps_(warps) {}

  void begin_block(uint3 /*block*/) override {
    held_ = 0;
    arrivals_.clear();
  }
  void async_event(int /*warp*/, unsigned lanes, const simt::AsyncEvent& event) override {
    using Kind = simt::AsyncEvent::Kind;
    if (event.kind == Kind::kLoad && 16 * std::int64_t{event.pieces->front().chunk} >= first_) {
      most_ = std::max(most_, ++held_);
    }
    if (event.kind != Kind::kArrive || event.bytes > 0) return;
    int& arrivals = arrivals_[{event.barrier, event.phase}];
    arrivals += std::popcount(lanes);
    if (arrivals == warps_) --held_;
  }
  int most() const { return most_; }

 private:
  const std::int64_t first_;
  const int warps_;
  std::map<std::pair<std::uint16_t, std::uint32_t>, int> arrivals_;  // by barrier and phase
  int held_ = 0, most_ = 0;
};

TEST_CASE("11_hopper: what the engines do is what the tiles ask for") {
  const Chapter& chapter = chapters::ch11_hopper();
  struct Case {
    std::int64_t Nq, Nk, d;
    Mask mask;
  };
  for (const auto& [Nq, Nk, d, mask] : {Case{512, 512, 64, Mask::kFull},
                                        {300, 389, 128, Mask::kCausal},
                                        {193, 700, 64, Mask::kCausalTopLeft},
                                        {300, 0, 64, Mask::kFull}}) {
    const verify::InputSpec spec{.shape = make_shape(1, 1, Nq, Nk, d),
                                 .mask = mask,
                                 .scale = default_scale(d),
                                 .seed = kSeed,
                                 .element = Element::kBfloat16};
    const Problem problem = verify::make_problem(spec, Pass::kForward);
    const std::int64_t Br = d == 64 ? 192 : 128, Tr = (Nq + Br - 1) / Br;
    const int warps = static_cast<int>(Br / 16);
    for (const Step& step : chapter.steps) {
      INFO(step.id << ", Nq=" << Nq << " Nk=" << Nk << " d=" << d << ", " << to_string(mask));
      HeldTiles tiles(2 * Br * d, warps);
      simt::options().observer = &tiles;
      const simt::Traffic t = count(chapter, step, Pass::kForward, problem, 0);
      simt::options().observer = nullptr;
      const auto is = [](std::uint64_t counted, std::int64_t expected) {
        return static_cast<std::int64_t>(counted) == expected;
      };
      CHECK(is(t.wgmma_flops, warpgroup_flops(problem)));
      CHECK(t.mma_instructions == 0);
      const bool by_engine = step.id != "step1_wgmma";
      CHECK(is(t.announced_bytes, by_engine ? announced_bytes(problem) : 0));
      // A box of Q for each warpgroup, and one of O; K and V by whole tiles.
      const std::int64_t queries = Tr * Br / 64 * 2;
      const std::int64_t keys = (announced_bytes(problem) - Tr * Br * d * 2) / (256 * d);
      CHECK(is(t.tensor_copies, by_engine ? queries + keys : 0));
      CHECK(is(t.global_async_sectors, static_cast<std::int64_t>(t.global_async_bytes) / 32));
      CHECK(is(t.global_async_store_sectors,
               static_cast<std::int64_t>(t.global_async_store_bytes) / 32));
      CHECK(t.global_async_requests == 0);  // which are cp.async's
      // Two of K and two of V; as many as there are, if there are fewer.
      CHECK(tiles.most() == (!by_engine || Nk == 0 ? 0 : 4));
    }
  }
}

TEST_CASE("12_windows: what a window saves, as the lesson says") {
  const IoFormula formula = find_io_formula("12_windows", "step2_skip", Pass::kForward);
  const auto keys = [&](std::int64_t N, std::int64_t d, std::int64_t W, std::int64_t sinks) {
    Problem problem;
    problem.mask = {.before = W - 1, .after = 0};
    problem.shape = make_shape(1, 1, N, N, d);
    problem.extras.sink_keys = sinks;
    return (formula(problem).loads - N * d) / (2 * d);
  };
  CHECK(keys(4096, 64, 64, 0) == 8'128);
  CHECK(keys(4096, 64, 256, 0) == 19'840);
  CHECK(keys(4096, 64, 1024, 0) == 60'928);
  CHECK(keys(4096, 64, 4096, 0) == 133'120);
  CHECK(keys(4096, 64, 256, 4) == 19'840 + 59 * 32);
  CHECK(keys(16'384, 128, 4096, 0) == 1'849'344);
  CHECK(keys(16'384, 128, 16'384, 0) == 4'202'496);
  CHECK(keys(1536, 128, 4096, 0) == keys(1536, 128, 1536, 0));

  constexpr std::int64_t N = 512, d = 64;
  const Chapter& chapter = chapters::ch12_windows();
  const auto traffic = [&](std::string_view step, const Mask& mask) {
    return count(chapter, find_step(chapter, step), Pass::kForward,
                 {.shape = make_shape(1, 1, N, N, d),
                  .mask = mask,
                  .scale = default_scale(d),
                  .seed = kSeed},
                 0);
  };
  constexpr Mask kWindow{.before = 127, .after = 0};
  const simt::Traffic masked = traffic("step1_range", kWindow);
  const simt::Traffic skipped = traffic("step2_skip", kWindow);
  const Io all = io_of(masked), some = io_of(skipped);
  CHECK(all.loads + all.stores == 590'336);
  CHECK(some.loads + some.stores == 238'080);
  CHECK(some.reads + some.writes == 4 * N * d + N);
  CHECK(masked.barriers == 256);
  CHECK(skipped.barriers == 84);
  const Io one = io_of(traffic("step2_skip", {.before = 0, .after = 0}));
  CHECK(one.loads + one.stores == 131'584);
}

/// Keys of one head with 260 of them, d = 40 (tiles of 32 keys), 70 queries, that no tile reaches.
struct Unread {
  Mask mask;
  std::int64_t sink_keys = 0;
  std::vector<std::int64_t> key_begin = {}, key_count = {};
  std::vector<Range> keys;
};

/// How many reads of a step met a key that has no contents, where these keys have none.
std::size_t reads_of(const Chapter& chapter, const Step& step, Pass pass, const Problem& problem,
                     const std::vector<Range>& keys) {
  const verify::Truth truth = verify::truth_of(problem, pass);
  const Run run(chapter, step, pass, problem, truth.o, truth.lse, {});
  Memory& memory = memory_of(chapter, step);
  const bool forward = pass == Pass::kForward;
  for (const void* array : {forward ? run.forward_args().k : run.backward_args().k,
                            forward ? run.forward_args().v : run.backward_args().v}) {
    for (const Range& range : keys) {
      const std::int64_t row = problem.shape.d * static_cast<std::int64_t>(sizeof(float));
      memory.fill_undefined(static_cast<char*>(const_cast<void*>(array)) + range.begin * row, 0xFF,
                            static_cast<std::size_t>(range.size() * row));
    }
  }
  memory.watch(true);
  try {
    run.call();
  } catch (const Error& error) {  // the detector has stopped it
    if (error.kind() != ErrorKind::kDeviceFailure) throw;
  }
  memory.watch(false);
  const std::vector<Detection> found = memory.take_detections();
  return static_cast<std::size_t>(std::count_if(
      found.begin(), found.end(), [](const auto& it) { return it.kind == "uninitialised read"; }));
}

TEST_CASE("12_windows: keys that no tile reaches are not read, and may be anything") {
  constexpr Mask kWindow{.before = 10, .after = 0};
  const Unread cases[] = {
      {.mask = kWindow, .keys = {{0, 160}}},  // row 0 sees keys from 180 on
      {.mask = {.before = 3, .after = 5, .top_left = true}, .keys = {{96, 260}}},
      // 200 valid keys, of which row 0 sees those from 120 on: tiles from 37 + 96 on
      {.mask = kWindow, .key_begin = {37}, .key_count = {200}, .keys = {{0, 133}, {237, 260}}},
      {.mask = Mask::kFull, .key_count = {97}, .keys = {{97, 260}}},
      {.mask = kWindow, .sink_keys = 3, .keys = {{32, 160}}},
      {.mask = kWindow,
       .sink_keys = 3,
       .key_begin = {37},
       .key_count = {200},
       .keys = {{0, 37}, {69, 133}, {237, 260}}},
      // No key is valid.
      {.mask = {.before = 0, .after = 0, .top_left = true},
       .key_begin = {259},
       .key_count = {0},
       .keys = {{0, 260}}},
  };
  const Chapter& chapter = chapters::ch12_windows();
  int checked = 0;
  for (const Unread& one : cases) {
    Features features;
    if (one.sink_keys > 0) features.add(Feature::kSinkKeys);
    if (!one.key_count.empty()) features.add(Feature::kKeyCounts);
    for (const Step& step : chapter.steps) {
      const Support support = support_of(chapter, step);
      Features missing = features;
      missing.remove(support.features);
      if (!missing.empty() || step.id == "step1_range") continue;
      const Pass pass = step.forward != nullptr ? Pass::kForward : Pass::kBackward;
      const Problem problem = verify::make_problem({.shape = make_shape(1, 1, 70, 260, 40),
                                                    .mask = one.mask,
                                                    .scale = default_scale(40),
                                                    .seed = kSeed,
                                                    .features = features,
                                                    .sink_keys = one.sink_keys,
                                                    .key_begin = one.key_begin,
                                                    .key_count = one.key_count},
                                                   pass);
      INFO(step.id << ", " << to_string(one.mask) << ", sink keys " << one.sink_keys
                   << ", valid keys given: " << one.key_count.size());
      CHECK(reads_of(chapter, step, pass, problem, one.keys) == 0);
      if (one.keys.front().size() < 260) {  // one more would be read
        const Range first = one.keys.front();
        const bool starts_with_none = first.begin == 0;
        CHECK(reads_of(chapter, step, pass, problem,
                       {{first.begin - (starts_with_none ? 0 : 1),
                         first.end + (starts_with_none ? 1 : 0)}}) > 0);
      }
      ++checked;
    }
  }
  CHECK(checked >= 20);
}

TEST_CASE("13_packed: keys that no tile reaches are not read, and may be anything") {
  const Chapter& chapter = chapters::ch13_packed();
  struct Sparse {
    std::string_view what;
    verify::InputSpec spec;
    std::vector<Range> keys;  // unread
    Range one_more;           // some of it read
    bool gap = false;         // between two ranges, which step 1 does not pass over
  };
  const auto ranges = [](int per_row, const std::vector<std::int64_t>& row) {
    verify::InputSpec spec{.shape = make_shape(1, 1, 70, 260, 40),
                           .features = {Feature::kRanges},
                           .ranges_per_row = per_row};
    for (int i = 0; i < 70; ++i) spec.ranges.insert(spec.ranges.end(), row.begin(), row.end());
    return spec;
  };
  const Sparse cases[] = {
      {"one range", ranges(1, {70, 100}), {{0, 64}, {128, 260}}, {0, 65}},
      {"two ranges", ranges(2, {3, 9, 170, 180}), {{32, 160}, {192, 260}}, {31, 160}, true},
      {"the second first", ranges(2, {170, 180, 3, 9}), {{32, 160}, {192, 260}}, {32, 161}, true},
      {"sequences without queries",
       {.shape = make_shape(4, 1, 70, 100, 40),
        .features = {Feature::kPacked},
        .q_offsets = {0, 0, 70, 70, 73},
        .k_offsets = {0, 100, 140, 150, 155}},
       {{0, 100}, {140, 150}},
       {0, 101}},
  };
  int checked = 0;
  for (const Sparse& one : cases) {
    for (const Step& step : chapter.steps) {
      Features missing = one.spec.features;
      missing.remove(support_of(chapter, step).features);
      if (!missing.empty()) continue;
      const Pass pass = step.forward != nullptr ? Pass::kForward : Pass::kBackward;
      verify::InputSpec spec = one.spec;
      spec.scale = default_scale(40);
      spec.seed = kSeed;
      const Problem problem = verify::make_problem(spec, pass);
      INFO(step.id << ", " << one.what);
      const bool passes_over = !one.gap || step.id != "step1_ranges";
      CHECK((reads_of(chapter, step, pass, problem, one.keys) == 0) == passes_over);
      CHECK(reads_of(chapter, step, pass, problem, {one.one_more}) > 0);
      ++checked;
    }
  }
  CHECK(checked == 12);
}

/// Part of all pairs of tiles (64, 32) whose keys a step loads, in percent.
double computed(const IoFormula& formula, const io::Segments& segments, bool packed) {
  const std::int64_t N = segments.offsets.back();
  Problem problem;
  problem.shape = make_shape(1, 1, N, N, 64);
  if (packed) {
    problem.extras.q_offsets = problem.extras.k_offsets = segments.offsets;
    problem.shape.B = static_cast<std::int64_t>(segments.offsets.size()) - 1;
  } else {
    problem.extras.ranges = io::ranges_of(segments.offsets);
    problem.extras.ranges_per_row = 1;
  }
  const Io lookups = formula(problem);
  problem.shape.d = 63;  // what depends on d is Q, K and V
  const std::int64_t rows = lookups.loads - formula(problem).loads;
  return 100.0 * 64 * static_cast<double>(rows - N) / static_cast<double>(2 * N * N);
}

TEST_CASE("13_packed: what the order of an image's tokens saves, as the lesson says") {
  const IoFormula ranges = find_io_formula("13_packed", "step1_ranges", Pass::kForward);
  const IoFormula packed = find_io_formula("13_packed", "step2_packed", Pass::kForward);
  const io::Segments large = io::segments_of({64, 64, 8, 0}),
                     small = io::segments_of({16, 16, 7, 0}),
                     narrow = io::segments_of({16, 16, 4, 0});
  CHECK(computed(ranges, large, false) == 1.5625);
  CHECK(computed(packed, large, true) == 1.5625);
  CHECK(computed(ranges, small, false) == 50);
  CHECK(computed(ranges, narrow, false) == 25);
}

TEST_CASE("13_packed: eight texts of 64 to 512 tokens, as the lesson says") {
  const auto requested = [](std::string_view chapter, std::string_view step,
                            const Problem& problem) {
    const Io io = find_io_formula(chapter, step, Pass::kForward)(problem);
    return io.loads + io.stores;
  };
  Problem problem;
  problem.shape = make_shape(8, 1, 512, 512, 64);
  CHECK(requested("12_windows", "step3_lengths", problem) == 4'722'688);
  Problem packed = problem;
  packed.extras.q_offsets = {0};
  for (std::int64_t n = 64; n <= 512; n += 64) {
    problem.extras.key_count.push_back(n);
    packed.extras.q_offsets.push_back(packed.extras.q_offsets.back() + n);
  }
  packed.extras.k_offsets = packed.extras.q_offsets;
  CHECK(packed.extras.q_offsets.back() == 2'304);
  CHECK(requested("12_windows", "step3_lengths", problem) == 2'904'064);
  CHECK(requested("13_packed", "step2_packed", packed) == 2'043'136);
}

TEST_CASE("13_packed: what it costs to read what 12 computes, as the lesson says") {
  const Chapter& chapter = chapters::ch13_packed();
  const auto window = [](const Chapter& of, std::string_view step) {
    return count(of, find_step(of, step), Pass::kForward,
                 {.shape = make_shape(1, 1, 512, 512, 64),
                  .mask = {.before = 127, .after = 0},
                  .scale = default_scale(64),
                  .seed = kSeed},
                 0);
  };
  const simt::Traffic by_pair = window(chapters::ch12_windows(), "step2_skip"),
                      computed = window(chapter, "step2_packed"),
                      read = window(chapter, "step3_both");
  for (const simt::Traffic& traffic : {by_pair, computed, read}) {
    const Io io = io_of(traffic);
    CHECK(io.loads + io.stores == 238'080);
  }
  CHECK(by_pair.barriers == 84);
  CHECK(computed.barriers == 92);
  CHECK(read.barriers == 92);
  CHECK(by_pair.shared_load_wavefronts == 416'632);
  CHECK(computed.shared_load_wavefronts == 419'952);
  CHECK(read.shared_load_wavefronts == 420'464);

  const auto swin = [&](std::string_view step) {  // one of three heads
    verify::InputSpec spec{.shape = make_shape(81, 1, 49, 49, 32),
                           .scale = default_scale(32),
                           .seed = kSeed,
                           .features = {Feature::kPacked}};
    spec.q_offsets = spec.k_offsets = io::find_workload("swin_56").offsets();
    return count(chapter, find_step(chapter, step), Pass::kForward,
                 verify::make_problem(spec, Pass::kForward), 0);
  };
  CHECK(3 * swin("step2_packed").shared_load_wavefronts == 2'189'328);
  CHECK(3 * swin("step3_both").shared_load_wavefronts == 2'201'616);
}

TEST_CASE("14_masks: keys of tiles that are on no list are not read, and may be anything") {
  struct Sparse {
    std::string_view what;
    bool (*sees)(std::int64_t i, std::int64_t j);
    std::vector<Range> keys;  // unread
    Range one_more;           // some of it read
    Mask mask = Mask::kFull;
    PairShape size = {1, 1, 70, 260};
    bool by_band = false;  // the mask alone hides these keys
  };
  const auto some = [](std::int64_t, std::int64_t j) { return 70 <= j && j < 100; };
  const Sparse cases[] = {
      {"keys side by side", some, {{0, 64}, {128, 260}}, {0, 65}},
      {"the same for all rows", some, {{0, 64}, {128, 260}}, {0, 65}, Mask::kFull, {1, 1, 1, 260}},
      {"keys far apart",
       [](std::int64_t i, std::int64_t j) { return i == 69 ? j == 170 : j == i % 32; },
       {{32, 160}, {192, 260}},
       {160, 171}},
      {"a window, and an array that shows all",
       [](std::int64_t, std::int64_t) { return true; },
       {{96, 260}},
       {95, 260},
       {.before = 3, .after = 5, .top_left = true},
       {1, 1, 70, 260},
       true},
      {"no key", [](std::int64_t, std::int64_t) { return false; }, {{0, 260}}, {}},
  };
  const Chapter& chapter = chapters::ch14_masks();
  int checked = 0;
  for (const Sparse& one : cases) {
    std::vector<std::uint8_t> array;
    for (std::int64_t i = 0; i < one.size.Nq; ++i) {
      for (std::int64_t j = 0; j < one.size.Nk; ++j) array.push_back(one.sees(i, j) ? 1 : 0);
    }
    for (const Step& step : chapter.steps) {
      const Pass pass = step.forward != nullptr ? Pass::kForward : Pass::kBackward;
      const Problem problem = verify::make_problem({.shape = make_shape(1, 1, 70, 260, 40),
                                                    .mask = one.mask,
                                                    .scale = default_scale(40),
                                                    .seed = kSeed,
                                                    .features = {Feature::kMaskArray},
                                                    .mask_array = array,
                                                    .mask_shape = one.size,
                                                    .mask_name = one.what},
                                                   pass);
      INFO(step.id << ", " << one.what);
      const bool lists = step.id != "step1_bytes" && step.id != "step2_bits";
      CHECK((reads_of(chapter, step, pass, problem, one.keys) == 0) == (lists || one.by_band));
      if (!one.one_more.empty()) {
        CHECK(reads_of(chapter, step, pass, problem, {one.one_more}) > 0);
      }
      ++checked;
    }
  }
  CHECK(checked == 20);
}

/// A problem of N tokens that see by a mask for all heads; without one, all of them.
Problem masked(std::int64_t H, std::int64_t N, std::int64_t d,
               const std::vector<std::uint8_t>& mask) {
  Problem problem;
  problem.shape = make_shape(1, H, N, N, d);
  problem.extras.mask = mask;
  if (!mask.empty()) problem.extras.mask_shape = {1, 1, N, N};
  return problem;
}

/// Bytes that a step of chapter 14 asks for.
std::int64_t requested(std::string_view step, const Problem& problem) {
  const Moved moved = moved_by(find_io_formula("14_masks", step, Pass::kForward)(problem));
  return moved.loads + moved.stores;
}

/// Of these, what does not depend on d: the mask, and LSE, which has 4 N bytes for each head.
std::int64_t of_the_mask(std::string_view step, Problem problem) {
  const std::int64_t wide = requested(step, problem), d = problem.shape.d;
  problem.shape.d = d - 1;
  const std::int64_t each = wide - requested(step, problem);
  return wide - each * d - 4 * problem.shape.rows();
}

/// Keys that a head's blocks load with step 3.
std::int64_t keys_loaded(Problem problem) {
  const std::int64_t wide = requested("step3_tiles", problem);
  problem.shape.d -= 1;
  const std::int64_t each = (wide - requested("step3_tiles", problem)) / 4;
  return (each / problem.shape.H - 2 * problem.shape.Nq) / 2;
}

TEST_CASE("14_masks: bytes, bits and lists, as the lesson says") {
  const auto elements = [](std::string_view step, const Problem& problem) {
    return requested(step, problem) / 4;
  };
  const Problem image = masked(4, 1024, 32, io::neighbourhood_mask({32, 32, 7}));
  CHECK(elements("step1_bytes", image) == 5'509'120);
  CHECK(elements("step2_bits", image) == 4'886'528);
  CHECK(elements("step3_tiles", image) == 1'655'948);
  CHECK(of_the_mask("step1_bytes", image) == 4 * 1'048'576);
  CHECK(of_the_mask("step2_bits", image) == 4 * 425'984);
  CHECK(of_the_mask("step3_tiles", image) == 4 * 373'900);
  CHECK(keys_loaded(image) == 124 * 32);
  const std::vector<std::int64_t> order = io::segments_of({32, 32, 8, 0}).order;
  Problem windows = image;
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (std::size_t j = 0; j < order.size(); ++j) {
      const auto row = static_cast<std::size_t>(order[i]), key = static_cast<std::size_t>(order[j]);
      windows.extras.mask[i * 1024 + j] = image.extras.mask[row * 1024 + key];
    }
  }
  CHECK(keys_loaded(windows) == 140 * 32);

  const Problem blocks = masked(1, 2048, 64, io::big_bird_mask(2048));
  CHECK(elements("step1_bytes", blocks) == 9'701'376);
  CHECK(elements("step3_tiles", blocks) == 3'869'820);
  CHECK(keys_loaded(masked(1, 4096, 64, io::big_bird_mask(4096))) == 622 * 64);

  std::vector<std::uint8_t> padding(500, 1);
  std::fill(padding.begin() + 400, padding.end(), std::uint8_t{0});
  Problem padded = masked(1, 500, 64, padding);
  padded.extras.mask_shape = {1, 1, 1, 500};
  CHECK(keys_loaded(padded) == 8 * 416);
  std::vector<std::uint8_t> checkerboard;
  for (int i = 0; i < 512; ++i) {
    for (int j = 0; j < 512; ++j) checkerboard.push_back((i + j) % 2 == 0 ? 1 : 0);
  }
  CHECK(keys_loaded(masked(1, 512, 64, checkerboard)) == 8 * 512);

  CHECK(elements("step1_bytes", masked(1, 512, 64, {})) == 590'336);
  CHECK(elements("step3_tiles", masked(1, 512, 64, {})) == 607'944);

  constexpr std::int64_t kMiB = 1 << 20;
  const std::vector<std::uint8_t> all(16 * kMiB, 1);
  for (const auto& [H, bytes, bits] : {std::tuple{12, 192, 42}, {1, 16, 20}}) {
    CHECK(of_the_mask("step1_bytes", masked(H, 4096, 64, all)) == bytes * kMiB);
    CHECK(of_the_mask("step2_bits", masked(H, 4096, 64, all)) == bits * kMiB);
  }

  // Of one head; what bounds the kernels is shared memory.
  const auto wavefronts = [&](std::string_view step) {
    Problem one = verify::make_problem(
        {.shape = make_shape(1, 1, 1024, 1024, 32), .scale = default_scale(32), .seed = kSeed},
        Pass::kForward);
    one.extras.mask = image.extras.mask;
    one.extras.mask_shape = image.extras.mask_shape;
    const Chapter& chapter = chapters::ch14_masks();
    return count(chapter, find_step(chapter, step), Pass::kForward, one, 0).shared_load_wavefronts;
  };
  CHECK(4 * wavefronts("step2_bits") == 8'845'312);
  CHECK(4 * wavefronts("step3_tiles") == 2'388'992);
}

TEST_CASE("15_scores: what is asked of memory for the scores, as the lesson says") {
  const IoFormula forward = find_io_formula("15_scores", "step4_dropout", Pass::kForward);
  const IoFormula backward = find_io_formula("15_scores", "step5_backward", Pass::kBackward);
  const auto requested = [](IoFormula formula, const Problem& problem) {
    const Io io = formula(problem);
    return io.loads + io.stores;
  };
  const auto compulsory = [](IoFormula formula, const Problem& problem) {
    const Io io = formula(problem);
    return io.reads + io.writes;
  };
  Problem plain;
  plain.shape = make_shape(1, 1, 512, 512, 64);
  Problem alibi = plain, bias = plain;
  alibi.extras.alibi = {0.5f};
  bias.extras.bias_shape = {1, 1, 512, 512};
  bias.extras.bias.resize(512 * 512);
  CHECK(requested(forward, plain) == 590'336);
  CHECK(requested(forward, alibi) == 591'360);
  CHECK(requested(forward, bias) == 852'480);
  CHECK(compulsory(forward, plain) == 131'584);
  CHECK(compulsory(forward, bias) == 393'728);
  CHECK(requested(backward, plain) == 2'409'984);
  CHECK(requested(backward, bias) == 5'572'096);
  Problem large = plain, large_bias = bias;
  for (Problem* problem : {&large, &large_bias}) problem->shape = make_shape(1, 1, 4096, 4096, 64);
  large_bias.extras.bias_shape = {1, 1, 4096, 4096};
  const std::int64_t keys = requested(forward, large) - (2 * 4096 * 64 + 4096);  // K and V
  CHECK(keys == 33'554'432);
  CHECK(requested(forward, large_bias) - requested(forward, large) == keys / 2);

  Problem swin;
  swin.shape = make_shape(64, 3, 49, 49, 32);
  Problem shared = swin;
  shared.extras.bias_shape = {1, 3, 49, 49};
  shared.extras.bias.resize(3 * 49 * 49);
  CHECK(requested(forward, swin) == 1'213'632);
  CHECK(requested(forward, shared) == 1'674'624);
  CHECK(compulsory(forward, shared) - compulsory(forward, swin) == 7'203);
}

TEST_CASE("15_scores: a tanh costs two special functions more per score, as the lesson says") {
  const Chapter& chapter = chapters::ch15_scores();
  const auto special_functions = [&](Features features) {
    return count(chapter, find_step(chapter, "step4_dropout"), Pass::kForward,
                 {.shape = make_shape(1, 1, 512, 512, 64),
                  .scale = default_scale(64),
                  .seed = kSeed,
                  .features = features},
                 0)
        .special_functions;
  };
  CHECK(special_functions({}) == 524'288);
  CHECK(special_functions({Feature::kSoftcap}) == 1'048'576);
}

TEST_CASE("16_heads: groups, packed or not, as the lesson says") {
  const auto elements = [](std::string_view step, const Shape& shape, const Mask& mask) {
    Problem problem;
    problem.shape = shape;
    problem.mask = mask;
    const Io io = find_io_formula("16_heads", step, Pass::kForward)(problem);
    return std::pair(io.loads + io.stores, io.reads + io.writes);
  };
  const auto shape = [](std::int64_t H, std::int64_t Hkv, std::int64_t Nq, std::int64_t Nk,
                        std::int64_t d) {
    return Shape{.B = 1, .H = H, .Hkv = Hkv, .Nq = Nq, .Nk = Nk, .d = d};
  };
  using Both = std::pair<std::int64_t, std::int64_t>;
  // One query: a group's K and V come once.
  const Shape one = shape(32, 8, 1, 4096, 128), repeated = shape(32, 32, 1, 4096, 128);
  CHECK(elements("step1_groups", repeated, Mask::kFull) == Both{33'562'656, 33'562'656});
  CHECK(elements("step1_groups", one, Mask::kFull) == Both{33'562'656, 8'396'832});
  CHECK(elements("step2_pack", one, Mask::kFull) == Both{8'396'832, 8'396'832});
  // Prefill: as many as before, but for the diagonal, which tiles of fewer tokens follow closer.
  const Shape many = shape(4, 1, 512, 512, 64), causal = shape(4, 1, 512, 512, 128);
  CHECK(elements("step1_groups", many, Mask::kFull) == Both{2'361'344, 329'728});
  CHECK(elements("step2_pack", many, Mask::kFull) == Both{2'361'344, 329'728});
  CHECK(elements("step1_groups", causal, Mask::kCausal) == Both{4'982'784, 657'408});
  CHECK(elements("step2_pack", causal, Mask::kCausal) == Both{4'851'712, 657'408});

  Problem narrow;
  narrow.shape = make_shape(1, 1, 512, 512, 64);
  narrow.extras.d_v = 32;
  const Io io = find_io_formula("16_heads", "step3_layout", Pass::kForward)(narrow);
  CHECK(io.loads + io.stores == 442'880);
}

TEST_CASE("16_heads: what each feature costs, as the lesson says") {
  const Chapter& chapter = chapters::ch16_heads();
  const auto traffic = [&](std::string_view step, const Features& features, const Mask& mask) {
    verify::InputSpec spec{.shape = make_shape(1, 1, 512, 512, 64),
                           .mask = mask,
                           .scale = default_scale(64),
                           .seed = kSeed,
                           .features = features};
    if (features.has(Feature::kPacked)) spec.q_offsets = spec.k_offsets = {0, 512};
    if (features.has(Feature::kKeyCounts)) spec.key_count = {512};
    if (features.has(Feature::kRanges)) {
      for (int i = 0; i < 512; ++i) spec.ranges.insert(spec.ranges.end(), {0, 512});
      spec.ranges_per_row = 1;
    }
    Problem problem = verify::make_problem(spec, Pass::kForward);
    for (std::uint8_t& sees : problem.extras.mask) sees = 1;
    for (float& x : problem.extras.bias) x = std::max(x, -10.0f);
    return count(chapter, find_step(chapter, step), Pass::kForward, problem, 0);
  };
  struct Cost {
    std::string_view step;
    Features features;
    Mask mask;
    std::uint64_t bytes, barriers, shared_loads, special;
  };
  // Where a mask, a bias, ranges hide nothing: what it costs to ask.
  for (const Cost& one : {
           Cost{"step3_layout", {}, Mask::kFull, 2'361'344, 256, 1'359'872, 524'288},
           {"step4_all", {}, Mask::kFull, 2'361'344, 256, 1'359'872, 524'288},
           {"step3_layout", {}, Mask::kCausal, 1'443'840, 144, 749'216, 270'592},
           {"step4_all", {}, Mask::kCausal, 1'443'840, 144, 749'216, 270'592},
           {"step4_all", {Feature::kPacked}, {}, 2'394'112, 256, 1'359'872, 524'288},
           {"step4_all", {Feature::kKeyCounts}, {}, 2'369'536, 256, 1'359'872, 524'288},
           {"step4_all", {Feature::kRanges}, {}, 2'369'536, 256, 1'359'872, 524'288},
           {"step4_all", {Feature::kMaskArray}, {}, 2'623'488, 384, 1'359'872, 524'288},
           {"step4_all", {Feature::kBias}, {}, 4'458'496, 384, 1'368'064, 524'288},
           {"step4_all", {Feature::kAlibi}, {}, 2'363'392, 256, 1'376'256, 524'288},
           {"step4_all", {Feature::kSoftcap}, {}, 2'361'344, 256, 1'359'872, 1'048'576},
           {"step4_all", {Feature::kSinkLogits}, {}, 2'426'880, 256, 1'359'872, 524'288},
           {"step4_all", {Feature::kDropout}, {}, 2'361'344, 256, 1'368'064, 524'288},
       }) {
    const simt::Traffic counted = traffic(one.step, one.features, one.mask);
    const auto of = [](const Features& features) {
      for (int n = 0; n < kFeatures; ++n) {
        if (features.has(static_cast<Feature>(n))) return to_string(static_cast<Feature>(n));
      }
      return std::string_view("nothing");
    };
    INFO(one.step << ", " << of(one.features));
    CHECK(counted.global_load_bytes + counted.global_store_bytes == one.bytes);
    CHECK(counted.barriers == one.barriers);
    CHECK(counted.shared_load_wavefronts == one.shared_loads);
    CHECK(counted.special_functions == one.special);
  }
}

TEST_CASE("17_decode: one new token with a long cache, as the lesson says") {
  const Chapter& chapter = chapters::ch17_decode();
  const verify::InputSpec spec{.shape = {.B = 1, .H = 32, .Hkv = 8, .Nq = 1, .Nk = 4096, .d = 128},
                               .scale = default_scale(128),
                               .seed = kSeed};
  const auto elements = [&](std::string_view step) {
    Problem problem;
    problem.shape = spec.shape;
    const Io io = find_io_formula("17_decode", step, Pass::kForward)(problem);
    return io.loads + io.stores;
  };
  CHECK(elements("step1_one_query") == 33'562'656);
  CHECK(elements("step2_split") == 33'657'888);  // 8 runs
  CHECK(elements("step3_group") == 8'790'048);   // 32 runs
  CHECK(elements("step4_cache") == 8'790'048);
  // 8 runs by hand: K and V once for a group, Q once for a run; O, a maximum and a sum for each row
  // and run, written and read; O and LSE.
  constexpr int kRuns = 8;
  const Step step{
      .id = "8 runs",
      .idea = "",
      .forward = [](const ForwardArgs& args) { decoding::forward_with_splits(args, kRuns); },
      .forward_workspace_bytes =
          [](const Shape& shape) { return decoding::partial_bytes(shape, kRuns); }};
  const Io io = io_of(count(chapter, step, Pass::kForward, spec, 0));
  CHECK(io.loads == 2 * 4096 * 128 * 8 + kRuns * 32 * 128 + kRuns * 32 * (128 + 2));
  CHECK(io.stores == kRuns * 32 * (128 + 2) + 32 * (128 + 1));
  CHECK(io.loads + io.stores == 8'492'064);  // 32.4 MiB
  // What one run, which would write O and LSE at once, needs not move.
  const std::int64_t alone = 2 * 4096 * 128 * 8 + 32 * 128 + 32 * (128 + 1);
  CHECK(io.loads + io.stores - alone == 95'232);
  CHECK(1000 * (io.loads + io.stores - alone) / alone == 11);  // 1.1 %
}

TEST_CASE("17_decode: a window, padding and sink keys, as the lesson says") {
  // A window of 4096 in a cache of 32768 that holds 30000 keys from the 1000th on, and 4 sink keys.
  Problem problem;
  problem.shape = {.B = 1, .H = 32, .Hkv = 8, .Nq = 1, .Nk = 32768, .d = 128};
  problem.mask = {.before = 4095, .after = 0};
  problem.extras.sink_keys = 4;
  problem.extras.key_begin = {1000};
  problem.extras.key_count = {30000};
  const auto keys = [&](std::string_view step) {  // of K and V, of one head
    const Io io = find_io_formula("17_decode", step, Pass::kForward)(problem);
    const std::int64_t q = 32 * 128, integers = 2 * 2;
    return (io.reads - q - integers - (32 * (128 + 2) * 32 + integers)) / (2 * 128 * 8);
  };
  CHECK(keys("step3_group") == 30'000);
  CHECK(keys("step4_cache") == 4'144);  // one tile for the sinks, and those of the window
}

TEST_CASE("18_paged: what a table costs, as the lesson says") {
  const auto io = [](std::string_view chapter, std::string_view step, std::int64_t page_keys) {
    Problem problem;
    problem.shape = {.B = 1, .H = 32, .Hkv = 8, .Nq = 1, .Nk = 4096, .d = 128};
    problem.extras.page_keys = page_keys;
    for (std::int64_t page = 0; page_keys > 0 && page < 4096 / page_keys; ++page) {
      problem.extras.block_table.push_back(page);
    }
    return find_io_formula(chapter, step, Pass::kForward)(problem);
  };
  const Io arrays = io("17_decode", "step4_cache", 0);
  CHECK(moved_by(io("18_paged", "step2_pages", 0)) == moved_by(arrays));
  const Io lookup = io("18_paged", "step1_lookup", 16), pages = io("18_paged", "step2_pages", 16);
  CHECK(lookup.loads + lookup.stores == 12'984'352);
  CHECK(pages.loads + pages.stores == 9'052'192);
  CHECK(lookup.loads - arrays.loads == 4'194'304);  // half of K and V again
  CHECK(pages.loads - arrays.loads == 262'144);     // 3.1 % of them
  CHECK(pages.reads - arrays.reads == 2 * 256);
  CHECK(io("18_paged", "step2_pages", 256).reads - arrays.reads == 2 * 16);
}

TEST_CASE("18_paged: a common prefix, as the lesson says") {
  // 16 sequences of 512 keys, of which 256 are the same.
  verify::InputSpec spec{.shape = {.B = 16, .H = 4, .Hkv = 1, .Nq = 1, .Nk = 512, .d = 32},
                         .scale = default_scale(32),
                         .seed = kSeed,
                         .features = {Feature::kPages},
                         .page_keys = 16};
  const Chapter& chapter = chapters::ch18_paged();
  const auto io = [&](std::int64_t shared_keys) {
    spec.shared_keys = shared_keys;
    const Problem problem = verify::make_problem(spec, Pass::kForward);
    const simt::Traffic traffic = count(chapter, chapter.steps.back(), Pass::kForward, problem, 0);
    const Io formula = find_io_formula("18_paged", "step2_pages", Pass::kForward)(problem);
    CHECK(moved_by(traffic) == moved_by(formula));
    return formula;
  };
  const Io alone = io(0), shared = io(256);
  CHECK(shared.loads == alone.loads);  // each sequence still asks for its prefix
  CHECK(alone.reads - shared.reads == 2 * 15 * 256 * 32);
}

}  // namespace
}  // namespace attn::testing
