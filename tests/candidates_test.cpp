// SPDX-License-Identifier: MIT
//
// What `attn tune` compares: right, and as large as the records say.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "chapters/chapters.hpp"
#include "common/run/run.hpp"
#include "common/verify/cases.hpp"
#include "common/verify/oracle.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

template <class Visit>
void for_all_candidates(Visit visit) {
  int candidates = 0;
  for (const Chapter* chapter : chapters::all()) {
    if (chapter->candidates == nullptr) continue;
    for (const Candidate& candidate : chapter->candidates()) {
      INFO(chapter->id << " " << candidate.step.id << " d = " << candidate.support.max_d);
      visit(*chapter, candidate);
      ++candidates;
    }
  }
  CHECK(candidates > 0);
}

// The kernels are the chapter's own, which the battery checks: a candidate gets every twelfth case
// of the thin table, each another twelfth.
constexpr std::size_t kEvery = 12;
constexpr std::uint64_t kSeed = 20260101;

TEST_CASE("candidates: each is right, and no detector fires") {
  if (device_is_missing()) {
    fmt::print("skipped: no CUDA device\n");
    return;
  }
  std::size_t first = 0;
  for_all_candidates([&](const Chapter& chapter, const Candidate& candidate) {
    const Chapter alone = with_candidate(chapter, candidate);
    const Element element = Element::kFloat32;
    const std::vector<verify::Case> cases =
        verify::case_table(alone.support, {&element, 1}, alone.tile_edges, Pass::kForward,
                           verify::Extent::kThin, kSeed);
    alone.memory().watch(true);
    for (std::size_t i = first++ % kEvery; i < cases.size(); i += kEvery) {
      if (!cases[i].watched) continue;
      const Problem problem = verify::make_problem(cases[i].spec, Pass::kForward);
      const verify::Truth truth = verify::truth_of(problem, Pass::kForward);
      const Outputs outputs = run_step(alone, candidate.step, Pass::kForward, problem, truth.o,
                                       truth.lse, {.offset = cases[i].offset});
      const verify::Verdict verdict = verify::judge(truth, outputs);
      INFO(to_string(cases[i]));
      INFO(verdict.text);
      CHECK(verdict.passed);
    }
    alone.memory().watch(false);
  });
}

TEST_CASE("candidates: those of one head size together, one of them the chapter's own") {
  std::int64_t d = 0;
  int used = 1;
  for_all_candidates([&](const Chapter&, const Candidate& candidate) {
    if (candidate.support.max_d != d) {
      CHECK(candidate.support.max_d > d);
      CHECK(used == 1);
      d = candidate.support.max_d;
      used = 0;
    }
    used += candidate.used ? 1 : 0;
    CHECK(candidate.kernel() != nullptr);
    CHECK(candidate.step.id.ends_with(fmt::format(", {} warps", candidate.threads / 32)));
  });
  CHECK(used == 1);
}

TEST_CASE("candidates: a record with one takes its d and no larger one") {
  for_all_candidates([](const Chapter& chapter, const Candidate& candidate) {
    const Chapter alone = with_candidate(chapter, candidate);
    const auto why = [&](std::int64_t d) {
      return why_unsupported(Element::kFloat32, make_shape(1, 1, 4, 4, d), Mask::kFull, {},
                             alone.support);
    };
    CHECK(why(candidate.support.max_d) == "");
    CHECK(why(candidate.support.max_d + 4) != "");
    CHECK(alone.steps.size() == 1);
    CHECK(&alone.steps.front() == &candidate.step);
  });
}

}  // namespace
}  // namespace attn::testing
