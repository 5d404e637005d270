// SPDX-License-Identifier: MIT
//
// Chapter against chapter: what one computes, every other one computes too.
#include "chapters/chapters.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "common/run/run.hpp"
#include "common/verify/cases.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

constexpr std::uint64_t kSeed = 20260101;
constexpr Element kFloat32[] = {Element::kFloat32};

/// What another step must compute if this one is right: these outputs, within the tolerance of
/// both. Where there is no number to compare with (-inf, NaN), what the oracle says.
std::vector<verify::Expected> as_computed(const verify::Truth& truth, const Outputs& outputs) {
  std::vector<verify::Expected> arrays = truth.arrays;
  for (verify::Expected& array : arrays) {
    const std::vector<float>& computed = verify::array_of(outputs, array.name);
    for (std::size_t e = 0; e < array.values.size(); ++e) {
      if (std::isfinite(computed[e])) array.values[e] = static_cast<double>(computed[e]);
      array.tolerance[e] *= 2;
    }
  }
  return arrays;
}

void check_agree(const std::vector<verify::Expected>& others, const Outputs& outputs) {
  for (const verify::Expected& array : others) {
    const verify::Comparison result = verify::compare(array, verify::array_of(outputs, array.name));
    INFO(result.text);
    CHECK(result.passed);
  }
}

/// The chapters and twins that take this element, against the first chapter on the same numbers, in
/// float32; d = 64, which all take.
void check_all_agree(Element element, Mask mask) {
  Problem problem = verify::make_problem({.shape = make_shape(2, 1, 113, 203, 64),
                                          .mask = mask,
                                          .scale = default_scale(64),
                                          .seed = kSeed,
                                          .element = element},
                                         Pass::kForward);
  const verify::Truth truth = verify::truth_of(problem, Pass::kForward);
  const Chapter& first = *chapters::all().front();
  problem.element = Element::kFloat32;
  const std::vector<verify::Expected> others =
      as_computed(truth, run_forward(first, find_step(first, ""), problem));
  problem.element = element;
  const auto agree = [&](const Chapter& chapter, const Step& step) {
    if (!step.forward.takes(element)) return;
    INFO(fmt::format("{} {} against {}, {}, {}", chapter.id, step.id, first.id, to_string(mask),
                     to_string(element)));
    check_agree(others, run_forward(chapter, step, problem));
  };
  for (const Chapter* chapter : chapters::all().subspan(1)) {
    for (const Step& step : chapter->steps) agree(*chapter, step);
    for (const Step* twin : twins_of(*chapter)) agree(*chapter, *twin);
  }
}

TEST_CASE("all chapters and their twins agree, within the tolerance of both") {
  for (const Element element : kAllElements) {
    for (const Mask mask : {Mask::kFull, Mask::kCausal, Mask::kCausalTopLeft}) {
      check_all_agree(element, mask);
    }
  }
}

#if ATTN_HAS_DEVICE
TEST_CASE("a new token's row in chapter 17 is the last row of chapter 16's prefill") {
  const Chapter& decode = chapters::ch17_decode();
  const Chapter& prefill = chapters::ch16_heads();
  const auto spec = [](std::int64_t Nq, const Mask& mask, const Features& features) {
    return verify::InputSpec{.shape = {.B = 2, .H = 6, .Hkv = 2, .Nq = Nq, .Nk = 90, .d = 40},
                             .mask = mask,
                             .scale = default_scale(40),
                             .seed = kSeed,
                             .features = features,
                             .sink_keys = 5,
                             .key_begin = {4, 0},
                             .key_count = {81, 70}};
  };
  const Features all = {Feature::kGroupedHeads, Feature::kWindows, Feature::kSinkKeys,
                        Feature::kKeyCounts};
  for (const Mask& mask : {Mask(Mask::kFull), Mask(Mask::kCausal), Mask{.before = 40, .after = 0},
                           Mask{.before = 2, .after = 1}}) {
    for (const Features& features :
         {Features{}, Features{Feature::kSinkKeys}, Features{Feature::kKeyCounts}, all}) {
      // The same cache; of the prefill's queries the last one is the token.
      const std::int64_t Nq = 70, d = 40;
      const Problem prompt = verify::make_problem(spec(Nq, mask, features), Pass::kForward);
      Problem token = verify::make_problem(spec(1, mask, features), Pass::kForward);
      token.k = prompt.k;
      token.v = prompt.v;
      for (std::int64_t head = 0; head < token.shape.heads(); ++head) {
        const auto row = prompt.q.begin() + ((head + 1) * Nq - 1) * d;
        std::copy(row, row + d, token.q.begin() + head * d);
      }
      const Outputs whole = run_forward(prefill, *default_step(prefill, Pass::kForward), prompt);
      Outputs last;
      last.o.resize(token.q.size());
      last.lse.resize(token.q.size() / d);
      for (std::int64_t head = 0; head < token.shape.heads(); ++head) {
        const auto row = whole.o.begin() + ((head + 1) * Nq - 1) * d;
        std::copy(row, row + d, last.o.begin() + head * d);
        last.lse[static_cast<std::size_t>(head)] =
            whole.lse[static_cast<std::size_t>((head + 1) * Nq - 1)];
      }
      const std::vector<verify::Expected> others =
          as_computed(verify::truth_of(token, Pass::kForward), last);
      const auto agree = [&](const Step& step) {
        INFO(fmt::format("{}, {}", step.id, to_string(mask)));
        check_agree(others, run_forward(decode, step, token));
      };
      for (const Step& step : decode.steps) agree(step);
      agree(*decode.twin);
    }
  }
}
#endif

TEST_CASE("from chapter 04 on no workspace grows with N^2, but those that say so") {
  const Shape small = make_shape(1, 1, 1024, 1024, 64);
  const Shape longer = make_shape(1, 1, 2048, 2048, 64);
  const Shape more_keys = make_shape(1, 1, 1024, 2048, 64);
  for (const Chapter* chapter : chapters::all()) {
    if (chapter->id < "04") continue;
    const auto check = [&](const Step& step, WorkspaceBytes bytes) {
      if (bytes == nullptr) return;
      INFO(fmt::format("{} {}", chapter->id, step.id));
      // P in HBM, S in HBM, a bit for each pair of a mask.
      const bool packs =
          chapter->id == "14_masks" && step.id != "step1_bytes" && !is_twin(*chapter, step);
      const bool stores = step.id == "step1_textbook" || step.id == "cpu_textbook" ||
                          step.id == "step1_unfused" || packs;
      CHECK((bytes(longer) <= 2 * bytes(small)) != stores);
      // A twin may have sums of dK and dV for every thread.
      if (!is_twin(*chapter, step)) CHECK((bytes(more_keys) == bytes(small)) != stores);
    };
    for (const Step& step : chapter->steps) {
      check(step, step.forward_workspace_bytes);
      check(step, step.backward_workspace_bytes);
    }
    for (const Step* twin : twins_of(*chapter)) {
      check(*twin, twin->forward_workspace_bytes);
      check(*twin, twin->backward_workspace_bytes);
    }
  }
}

/// One row, one key, one column: O is V and LSE the logit, q times k.
Outputs one_logit(const Chapter& chapter, const Step& step, float q, float k,
                  Element element = Element::kFloat32) {
  Problem problem;
  problem.element = element;
  problem.shape = make_shape(1, 1, 1, 1, 1);
  problem.scale = 1.0f;
  problem.q = {q};
  problem.k = {k};
  problem.v = {3.0f};
  return run_forward(chapter, step, problem);
}

TEST_CASE("a logit is right up to 3.4e38, and an infinity beyond") {
  for (const Chapter* chapter : chapters::all()) {
    const auto check = [&](const Step& step) {
      INFO(fmt::format("{} {}", chapter->id, step.id));
      const Outputs largest = one_logit(*chapter, step, 0x1p64f, 0x1.fffffep63f);
      CHECK(largest.o[0] == 3.0f);
      CHECK(largest.lse[0] == 0x1.fffffep127f);
      CHECK(std::isnan(one_logit(*chapter, step, 0x1p64f, 0x1p64f).o[0]));   // +Inf
      CHECK(std::isnan(one_logit(*chapter, step, -0x1p64f, 0x1p64f).o[0]));  // -Inf alone
    };
    for (const Step& step : chapter->steps) {
      if (step.forward.takes(Element::kFloat32)) check(step);
      if (!step.forward.takes(Element::kBfloat16) || chapter->support.alignment > 2) continue;
      INFO(fmt::format("{} {}, bfloat16", chapter->id, step.id));
      const Outputs largest = one_logit(*chapter, step, 0x1p64f, 0x1.fep63f, Element::kBfloat16);
      CHECK(largest.o[0] == 3.0f);
      CHECK(largest.lse[0] == 0x1.fep127f);
      CHECK(std::isnan(one_logit(*chapter, step, 0x1p64f, 0x1p64f, Element::kBfloat16).o[0]));
    }
    for (const Step* twin : twins_of(*chapter)) {
      if (twin->forward != nullptr) check(*twin);
    }
  }
}

TEST_CASE(
    "keys with logits of -inf weigh nothing, whole tiles of them before the first finite one") {
  Problem problem;
  problem.shape = make_shape(1, 1, 1, 300, 1);
  problem.scale = 1.0f;
  problem.q = {1.0f};
  for (int j = 0; j < 300; ++j) {
    problem.k.push_back(j < 298 ? -std::numeric_limits<float>::infinity() : 0.0f);
    problem.v.push_back(j < 298 ? 1e30f : static_cast<float>(j));
  }
  for (const Chapter* chapter : chapters::all()) {
    const auto check = [&](const Step& step) {
      INFO(fmt::format("{} {}", chapter->id, step.id));
      const Outputs outputs = run_forward(*chapter, step, problem);
      CHECK(outputs.o[0] == 298.5f);
      CHECK(std::abs(outputs.lse[0] - std::log(2.0f)) < 1e-6f);
    };
    for (const Step& step : chapter->steps) {
      if (step.forward.takes(Element::kFloat32)) check(step);
    }
    for (const Step* twin : twins_of(*chapter)) {
      if (twin->forward != nullptr) check(*twin);
    }
  }
}

#if ATTN_HAS_DEVICE

/// All but the 70,000 heads of one key, which would take two thirds of the time: they are about the
/// grid's limits, and each chapter's own test holds its default steps to the oracle there.
std::vector<verify::Case> table(const Chapter& chapter, Pass pass) {
  std::vector<verify::Case> cases =
      verify::case_table(chapter.support, kFloat32, chapter.tile_edges, pass,
                         verify::options_from_environment().extent, kSeed);
  std::erase_if(cases, &verify::is_crowded);
  return cases;
}

TEST_CASE("07 equals 05 on every case of its table") {
  const Chapter& before = chapters::ch05_fused_forward();
  const Chapter& after = chapters::ch07_v2_loop_order();
  for (const verify::Case& one : table(after, Pass::kForward)) {
    INFO(verify::to_string(one));
    const Problem problem = verify::make_problem(one.spec, Pass::kForward);
    const std::vector<verify::Expected> expected =
        as_computed(verify::truth_of(problem, Pass::kForward),
                    run_forward(before, find_step(before, ""), problem));
    for (const Step& step : after.steps) {
      if (step.forward == nullptr) continue;
      INFO(step.id);
      check_agree(expected, run_forward(after, step, problem));
    }
  }
}

TEST_CASE("the backward of 07 equals that of 06 on every case of its table") {
  const Chapter& before = chapters::ch06_recompute_backward();
  const Chapter& after = chapters::ch07_v2_loop_order();
  for (const verify::Case& one : table(after, Pass::kBackward)) {
    INFO(verify::to_string(one));
    const Problem problem = verify::make_problem(one.spec, Pass::kBackward);
    const verify::Truth truth = verify::truth_of(problem, Pass::kBackward);
    const std::vector<verify::Expected> expected = as_computed(
        truth, run_backward(before, find_step(before, ""), problem, truth.o, truth.lse));
    for (const Step& step : after.steps) {
      if (step.backward == nullptr) continue;
      INFO(step.id);
      check_agree(expected, run_backward(after, step, problem, truth.o, truth.lse));
    }
  }
}

// ---- A cache in pages ---------------------------------------------------------------------------

/// Six heads on two, everything that the chapter takes, and hidden keys of NaN and Inf.
verify::InputSpec paged_spec(std::int64_t page_keys, std::int64_t Nq, std::int64_t Nk) {
  return {.shape = {.B = 2, .H = 6, .Hkv = 2, .Nq = Nq, .Nk = Nk, .d = page_keys > 64 ? 16 : 40},
          .mask = {.before = Nk / 2, .after = 0},
          .scale = default_scale(40),
          .kind = verify::InputKind::kHiddenPoison,
          .seed = kSeed,
          .features = {Feature::kGroupedHeads, Feature::kWindows, Feature::kSinkKeys,
                       Feature::kKeyCounts, Feature::kPages},
          .sink_keys = 3,
          .key_begin = {1, page_keys},
          .key_count = {Nk - 5, page_keys / 2},
          .page_keys = page_keys};
}

/// The same with K and V as arrays.
Problem without_pages(Problem problem) {
  problem.extras.page_keys = problem.extras.pages = 0;
  problem.extras.block_table.clear();
  return problem;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST_CASE("18_paged: the bits of 17_decode, wherever the pages lie") {
  const Chapter &arrays = chapters::ch17_decode(), &paged = chapters::ch18_paged();
  for (const std::int64_t page_keys : {16, 17, 32, 64, 128, 256}) {
    for (const std::int64_t Nq : {1, 7}) {
      const Problem problem = verify::make_problem(
          paged_spec(page_keys, Nq, 2 * page_keys + page_keys / 2 + 3), Pass::kForward);
      const Outputs expected = run_forward(arrays, arrays.steps.back(), without_pages(problem));
      const auto check = [&](const Step& step, const Problem& of) {
        const Outputs got = run_forward(paged, step, of);
        INFO(step.id << ", " << Nq << " queries, pages of " << of.extras.page_keys << " keys");
        CHECK(same_bits(got.o, expected.o));
        CHECK(same_bits(got.lse, expected.lse));
      };
      for (const Step& step : paged.steps) check(step, problem);
      if (page_keys == 16) check(paged.steps.back(), without_pages(problem));
    }
  }
}

TEST_CASE("18_paged: the twin has the bits of 17_decode's") {
  for (const std::int64_t page_keys : {16, 17, 256}) {
    const Problem problem =
        verify::make_problem(paged_spec(page_keys, 3, 3 * page_keys + 5), Pass::kForward);
    const Outputs expected =
        run_forward(chapters::ch17_decode(), *chapters::ch17_decode().twin, without_pages(problem));
    const Outputs got = run_forward(chapters::ch18_paged(), *chapters::ch18_paged().twin, problem);
    INFO("pages of " << page_keys << " keys");
    CHECK(same_bits(got.o, expected.o));
    CHECK(same_bits(got.lse, expected.lse));
  }
}
#endif

}  // namespace
}  // namespace attn::testing
