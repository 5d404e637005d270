// SPDX-License-Identifier: MIT
#include "tests/simt/scenarios.hpp"

#include <fmt/format.h>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <iterator>
#include <map>
#include <span>
#include <tuple>
#include <utility>

#include "chapters/chapters.hpp"
#include "common/run/buffers.hpp"
#include "common/run/run.hpp"
#include "common/simt/machine/options.hpp"
#include "common/verify/cases.hpp"
#include "common/verify/check.hpp"
#include "common/verify/inputs.hpp"
#include "tests/simt/tracer_kernels.hpp"

namespace attn::simt_test {
namespace {

/// n ones in the machine's global memory.
GuardedBuffer ones(std::size_t n) {
  GuardedBuffer buffer(device_memory(), "test", n * sizeof(float), 0);
  buffer.write(std::vector<float>(n, 1.0f).data());
  return buffer;
}

class Runner {
 public:
  Runner() {
    simt::options().tracer = true;
    simt::take_launches();
  }
  ~Runner() { simt::options() = before_; }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  void add(std::string name, std::string chapter, const std::function<void()>& call) {
    call();
    scenarios_.push_back({std::move(name), std::move(chapter), simt::take_launches()});
  }
  std::vector<Scenario> take() { return std::move(scenarios_); }

 private:
  simt::Options before_ = simt::options();
  std::vector<Scenario> scenarios_;
};

void add_test_kernels(Runner& runner) {
  const GuardedBuffer x = ones(64 * 64);
  const GuardedBuffer y = ones(64 * 64);
  const GuardedBuffer z = ones(64 * 64);
  const auto add = [&](const char* name, const std::function<void()>& call) {
    runner.add(name, "", call);
  };
  for (const int bytes : {1, 2, 4, 8, 16}) {
    Pattern pattern{.bytes = bytes, .lanes = 0x7FFF00FFu};
    for (int lane = 0; lane < 32; ++lane) {
      pattern.offsets[static_cast<std::size_t>(lane)] = lane * 37 % 50 * 16;
    }
    for (const Move move : {Move::kGlobalLoad, Move::kGlobalStore, Move::kGlobalAtomic,
                            Move::kSharedLoad, Move::kSharedStore, Move::kSharedAtomic}) {
      pattern.move = move;
      GuardedBuffer array(device_memory(), "test", kPatternBytes, 0);
      array.write(std::vector<std::byte>(kPatternBytes).data());
      add("pattern", [&] { run_pattern(pattern, static_cast<unsigned char*>(array.data())); });
    }
  }
  for (const Matmul kind : {Matmul::kNaive, Matmul::kSwappedIndices, Matmul::kTiled}) {
    add("matmul", [&] { run_matmul(kind, x.floats(), y.floats(), z.floats(), 64); });
  }
  for (const bool padded : {false, true}) {
    add("transpose", [&] { run_transpose(padded, x.floats(), y.floats()); });
  }
  for (const bool pairs : {false, true}) {
    add("product", [&] { run_product(pairs, x.floats(), y.floats(), z.floats()); });
  }
  add("warp instructions", [&] { run_warp_instructions(x.floats(), y.floats()); });
  add("causal columns", [&] { run_causal_columns(x.floats(), y.floats(), z.floats(), 100); });
  add("late lanes", [&] { run_late_lanes(x.floats(), y.floats(), 100); });
  add("nested loops", [&] { run_nested_loops(x.floats(), y.floats(), 100); });
  add("uneven loop", [&] { run_uneven_loop(x.floats(), y.floats()); });
  add("branches", [&] { run_branches(40, 36, x.floats(), y.floats(), z.floats()); });
  add("group shuffles", [&] { run_group_shuffles(x.floats(), y.floats(), 100); });
  add("calls", [&] { run_calls(x.floats(), y.floats()); });
  add("lone lane", [&] { run_lone_lane(x.floats(), y.floats(), 1000); });
  add("shuffle rounds", [&] { run_shuffle_rounds(x.floats(), y.floats(), 100); });
  add("mixed spaces", [&] { run_mixed_spaces(x.floats(), y.floats()); });
  add("in place", [&] { run_in_place(x.floats(), 8, 128); });
  add("half sectors", [&] { run_half_sectors(x.floats(), 64); });
  add("make_float4", [&] { run_make_float4(x.floats(), y.floats(), 32); });
  add("rounds", [&] { run_rounds(x.floats(), y.floats(), 2, 64, 100); });
  const auto ints = static_cast<int*>(z.data());
  add("counters", [&] { run_counters(ints, 3, 64); });
  add("barriers", [&] { run_barriers(3, 100, 70, 5, ints); });
  add("special functions", [&] { run_special_functions(50, x.floats(), y.floats()); });
  add("dynamic shared",
      [&] { run_dynamic_shared_bytes(40, 1000, static_cast<unsigned char*>(z.data())); });
}

/// Of that shape, with the next larger d that the chapter takes.
void add_step(Runner& runner, const Chapter& chapter, const Step& step, Pass pass, Shape shape,
              Mask mask, int offset, const Features& features = {}) {
  const Element element = verify::elements_of(step, pass).front();
  shape.d = verify::supported_d(chapter.support, element, shape.d);
  const Problem problem = verify::make_problem({.shape = shape,
                                                .mask = mask,
                                                .scale = default_scale(shape.d),
                                                .seed = 20260101,
                                                .element = element,
                                                .features = features},
                                               pass);
  const Sizes sizes = sizes_of(problem.shape, problem.extras.on_host());
  const std::vector<float> o(static_cast<std::size_t>(sizes.o), 1.0f);
  const std::vector<float> lse(static_cast<std::size_t>(sizes.rows), 1.0f);
  const Run run(chapter, step, pass, problem, o, lse, {.offset = offset});
  runner.add(fmt::format("{} {} {}, {}, {}, offset {}", chapter.id, step.id, to_string(pass),
                         to_string(shape), to_string(mask), offset),
             std::string(chapter.id), [&] { run.call(); });
}

/// A step's passes with each of the arrays that say which keys a row sees, where it reads them, and
/// with all that it takes of what is done to scores and weights.
void add_extras(Runner& runner, const Chapter& chapter, const Step& step) {
  const Features& taken = support_of(chapter, step).features;
  if (taken == Features::of_arrays()) return;  // all at once, below
  const auto add = [&](const Features& features, std::int64_t d) {
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      if (pass == Pass::kForward ? !step.forward : !step.backward) continue;
      add_step(runner, chapter, step, pass, make_shape(2, 1, 33, 47, d), Mask::kCausal, 0,
               features);
    }
  };
  for (const Feature feature :
       {Feature::kKeyCounts, Feature::kPacked, Feature::kRanges, Feature::kMaskArray}) {
    if (!taken.has(feature)) continue;
    add({feature}, 40);
    // The largest d has the smallest tiles, and chapter 14's words of 16 bits.
    if (feature == Feature::kMaskArray) add({feature}, 72);
  }
  Features scores;
  for (const Feature feature : {Feature::kBias, Feature::kAlibi, Feature::kSoftcap,
                                Feature::kSinkLogits, Feature::kDropout}) {
    if (taken.has(feature)) scores.add(feature);
  }
  if (!scores.empty()) add(scores, 40);
}

/// The passes of a step that takes everything, with everything: as arrays over pairs, and packed.
void add_all_features(Runner& runner, const Chapter& chapter, const Step& step) {
  const Features& taken = support_of(chapter, step).features;
  if (taken != Features::of_arrays()) return;
  Features pairs = taken, packed = taken;
  pairs.remove(Feature::kPacked);
  packed.remove({Feature::kStrides, Feature::kRanges, Feature::kMaskArray, Feature::kBias});
  Shape shape = make_shape(2, 6, 19, 35, 40);
  shape.Hkv = 2;
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    if (pass == Pass::kForward ? !step.forward : !step.backward) continue;
    for (const Features& features : {pairs, packed}) {
      add_step(runner, chapter, step, pass, shape, {.before = 20, .after = 3}, 0, features);
    }
  }
}

/// A step's passes on one shape, with every mask aligned to 256 bytes, with the first to 4, too.
void add_shape(Runner& runner, const Chapter& chapter, const Step& step, const Shape& shape) {
  const auto add = [&](Mask mask, int offset) {
    if (step.forward) add_step(runner, chapter, step, Pass::kForward, shape, mask, offset);
    if (step.backward) add_step(runner, chapter, step, Pass::kBackward, shape, mask, offset);
  };
  if (chapter.support.alignment == 1) add(Mask::kFull, 1);
  for (const Mask mask : {Mask::kFull, Mask::kCausal, Mask::kCausalTopLeft}) add(mask, 0);
}

void add_chapters(Runner& runner) {
  const Shape plain[] = {make_shape(1, 1, 32, 32, 64), make_shape(2, 3, 33, 47, 40),
                         make_shape(1, 1, 17, 5, 8), make_shape(1, 2, 65, 129, 16)};
  for (const Chapter* chapter : chapters::all()) {
    if (chapter->memory != device_memory) continue;
    for (const Step& step : chapter->steps) {
      // Two shapes show the steps on the way, and what is 07's where masks are the subject.
      const bool leads = &step == default_step(*chapter, Pass::kForward) ||
                         &step == default_step(*chapter, Pass::kBackward);
      const bool all = leads && !chapter->support.features.has(Feature::kWindows);
      for (const Shape& shape : std::span(plain).first(all ? std::size(plain) : 2)) {
        add_shape(runner, *chapter, step, shape);
      }
      // On tensor cores tiles of 64 and of 128 columns have loops of their own.
      if (!step.forward.takes(Element::kFloat32) && !step.backward.takes(Element::kFloat32)) {
        add_shape(runner, *chapter, step, make_shape(1, 1, 33, 40, 72));
      }
      add_extras(runner, *chapter, step);
      add_all_features(runner, *chapter, step);
    }
  }
}

std::string to_text(const dim3& size) { return fmt::format("({},{},{})", size.x, size.y, size.z); }

std::string to_text(const simt::LaunchRecord& launch) {
  const simt::Traffic& t = launch.traffic;
  // Not static_shared_bytes: in a tile used in part it depends on where the linker put the arrays.
  std::string text = fmt::format(
      "  {} {} {} shared {} global {} {} {} {} {} {} atomic {} {} {} async {} compulsory {} {} "
      "{} shared {} {} {} {} {} {} {} barriers {} special {} shuffles {} votes {} "
      "async {} {} {} {} matrix {} {} {} {} mma {} wgmma {} {} tensor {} {} {} mbarrier {} {}\n",
      launch.kernel, to_text(launch.grid), to_text(launch.block), launch.shared_bytes,
      t.global_load_bytes, t.global_store_bytes, t.global_load_requests, t.global_store_requests,
      t.global_load_sectors, t.global_store_sectors, t.global_atomic_bytes,
      t.global_atomic_requests, t.global_atomic_sectors, t.global_async_bytes,
      t.global_read_bytes_compulsory, t.global_write_bytes_compulsory, t.global_sectors_compulsory,
      t.shared_load_bytes, t.shared_store_bytes, t.shared_load_wavefronts,
      t.shared_load_wavefronts_ideal, t.shared_store_wavefronts, t.shared_store_wavefronts_ideal,
      t.shared_atomic_requests, t.barriers, t.special_functions, t.shuffles, t.votes,
      t.global_async_requests, t.global_async_sectors, t.shared_async_wavefronts,
      t.shared_async_wavefronts_ideal, t.matrix_load_bytes, t.matrix_load_requests,
      t.matrix_load_wavefronts, t.matrix_load_wavefronts_ideal, t.mma_instructions,
      t.wgmma_instructions, t.wgmma_flops, t.tensor_copies, t.global_async_store_bytes,
      t.global_async_store_sectors, t.mbarrier_waits, t.announced_bytes);
  // The compiler may make two accesses of one, in the head and the body of a loop: sum by line.
  using Place = std::tuple<std::string, int, std::string, int>;
  std::map<Place, simt::SiteTraffic> places;
  for (const simt::SiteTraffic& site : launch.sites) {
    const std::string file = std::filesystem::path(site.file).filename().string();
    simt::SiteTraffic& sum = places[{file, site.line, site.access, site.lane_bytes}];
    sum.bytes += site.bytes;
    sum.requests += site.requests;
    sum.sectors += site.sectors;
    sum.wavefronts += site.wavefronts;
    sum.wavefronts_ideal += site.wavefronts_ideal;
  }
  for (const auto& [place, sum] : places) {
    const auto& [file, line, access, lane_bytes] = place;
    text +=
        fmt::format("    {}:{} {} of {} bytes: {} {} {} {} {}\n", file, line, access, lane_bytes,
                    sum.bytes, sum.requests, sum.sectors, sum.wavefronts, sum.wavefronts_ideal);
  }
  return text;
}

}  // namespace

std::vector<Scenario> run_scenarios() {
  Runner runner;
  add_test_kernels(runner);
  add_chapters(runner);
  return runner.take();
}

std::string to_text(const Scenario& scenario) {
  std::string text = scenario.name + "\n";
  for (const simt::LaunchRecord& launch : scenario.launches) text += to_text(launch);
  return text;
}

}  // namespace attn::simt_test
