// SPDX-License-Identifier: MIT
//
// The checker on 16-bit elements and on every extra: it finds the probe right, each of its bugs
// wrong, and refuses outputs that a wide tolerance would let pass.
#include "tests/probe/probe.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "common/run/run.hpp"
#include "common/verify/cases.hpp"
#include "common/verify/check.hpp"
#include "common/verify/head_cases.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"
#include "common/verify/score_cases.hpp"
#include "tests/catch.hpp"

namespace attn::probe {
namespace {

constexpr std::uint64_t kSeed = 20260102;

verify::CheckReport check(Bug bug, Pass pass, Element element) {
  verify::CheckOptions options = verify::options_from_environment();
  options.extent = verify::Extent::kThin;  // every kind of case, in three elements and two passes
  options.element = element;
  if (bug != Bug::kNone) {
    options.scattered = true;
    options.max_failures = 1;
    options.survey = 0;
    options.detectors = false;
  }
  const Chapter& probe = chapter(bug);
  return verify::check(probe, probe.steps.back(), pass, options);
}

TEST_CASE("probe: right in every element, with every extra") {
  const Element element = GENERATE(Element::kFloat32, Element::kBfloat16, Element::kFloat16);
  const Pass pass = GENERATE(Pass::kForward, Pass::kBackward);
  const verify::CheckReport report = check(Bug::kNone, pass, element);
  INFO(to_string(element) << ", " << to_string(pass) << ", worst " << report.worst << "\n"
                          << verify::describe(report));
  CHECK(report.passed());
  CHECK(report.cases > 120);
}

/// The probe without float32, as a chapter whose rows are aligned for loads of 16 bytes.
template <class T>
void aligned_forward(const ForwardArgsOf<T>& args) {
  forward(chapter(Bug::kNone), chapter(Bug::kNone).steps.back(), args);
}
template <class T>
void aligned_backward(const BackwardArgsOf<T>& args) {
  backward(chapter(Bug::kNone), chapter(Bug::kNone).steps.back(), args);
}

TEST_CASE("a chapter of 16-bit elements and aligned rows passes the battery") {
  static constexpr std::int64_t kOnly[] = {8, 16, 24, 32, 48, 64, 128};
  static constexpr Step kStep{
      .id = "aligned",
      .idea = "one thread per row",
      .forward = {aligned_forward<bfloat16>, aligned_forward<float16>},
      .forward_workspace_bytes = [](const Shape&) { return std::size_t{0}; },
      .backward = {aligned_backward<bfloat16>, aligned_backward<float16>},
      .backward_workspace_bytes = [](const Shape&) { return std::size_t{0}; },
      .deterministic_backward = false};
  Chapter aligned = chapter(Bug::kNone);
  aligned.steps = {&kStep, 1};
  aligned.support = {.only_d = kOnly, .alignment = 16};
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    verify::CheckOptions options = verify::options_from_environment();
    options.extent = verify::Extent::kThin;
    options.detectors = false;
    const verify::CheckReport report = verify::check(aligned, kStep, pass, options);
    INFO(verify::describe(report));
    CHECK(report.passed());
    CHECK(report.cases > 100);
  }
}

/// Which pass shows it, and in which elements: a float32 kernel has no narrower type to use.
struct Planted {
  Bug bug;
  Pass pass;
  bool in_float32 = true;
};

TEST_CASE("probe: every planted bug is found") {
  constexpr Planted kPlanted[] = {{Bug::kLostFirstKey, Pass::kForward},
                                  {Bug::kNoLowerBound, Pass::kForward},
                                  {Bug::kIgnoresQ, Pass::kForward},
                                  {Bug::kNoRescale, Pass::kForward},
                                  {Bug::kNarrowSum, Pass::kForward, false},
                                  {Bug::kNarrowOutput, Pass::kForward, false},
                                  {Bug::kNarrowLse, Pass::kForward, false},
                                  {Bug::kHeadModulo, Pass::kForward},
                                  {Bug::kValueAsKey, Pass::kForward},
                                  {Bug::kGapWritten, Pass::kForward},
                                  {Bug::kPackedNeighbour, Pass::kForward},
                                  {Bug::kCountFromZero, Pass::kForward},
                                  {Bug::kSinkEscapesCausal, Pass::kForward},
                                  {Bug::kSinkFromZero, Pass::kForward},
                                  {Bug::kBoundClamped, Pass::kForward},
                                  {Bug::kCapAfterBias, Pass::kForward},
                                  {Bug::kCapByExponential, Pass::kForward},
                                  {Bug::kBiasTransposed, Pass::kForward},
                                  {Bug::kLowestHides, Pass::kForward},
                                  {Bug::kAlibiFromRow, Pass::kForward},
                                  {Bug::kSinkOutsideMax, Pass::kForward},
                                  {Bug::kSinkNotInLse, Pass::kForward},
                                  {Bug::kDropoutUnscaled, Pass::kForward},
                                  {Bug::kDropoutInLse, Pass::kForward},
                                  {Bug::kIgnoresQ, Pass::kBackward},
                                  {Bug::kDeltaForgotten, Pass::kBackward},
                                  {Bug::kCapNotDerived, Pass::kBackward},
                                  {Bug::kGradLseForgotten, Pass::kBackward},
                                  {Bug::kDropoutOnlyForward, Pass::kBackward},
                                  {Bug::kGroupOverwritten, Pass::kBackward}};
  const Element element = GENERATE(Element::kFloat32, Element::kBfloat16, Element::kFloat16);
  for (const Planted& planted : kPlanted) {
    if (element == Element::kFloat32 && !planted.in_float32) continue;
    INFO("bug " << static_cast<int>(planted.bug) << ", " << to_string(planted.pass) << ", "
                << to_string(element));
    CHECK_FALSE(check(planted.bug, planted.pass, element).right());
  }
}

verify::CheckReport check_with_mask(const Chapter& probe, Pass pass, const Mask& mask) {
  verify::CheckOptions options;
  options.extent = verify::Extent::kThin;
  options.element = Element::kBfloat16;
  options.mask = mask;
  options.detectors = false;
  options.max_failures = 1;
  options.survey = 0;
  return verify::check(probe, probe.steps.back(), pass, options);
}

TEST_CASE("probe: checked with one mask alone, if it takes that mask") {
  constexpr Mask kWindow{.before = 3, .after = 0};
  constexpr Mask kFromTopLeft{.before = 6, .after = 2, .top_left = true};
  const Pass pass = GENERATE(Pass::kForward, Pass::kBackward);
  for (const Mask& mask : {kWindow, kFromTopLeft, Mask::kCausal, Mask::kFull}) {
    const verify::CheckReport report = check_with_mask(chapter(Bug::kNone), pass, mask);
    INFO(to_string(mask) << ", " << to_string(pass) << "\n" << verify::describe(report));
    CHECK(report.passed());
    CHECK(report.cases > 90);
  }
  if (pass == Pass::kForward) {  // a bug of windows shows in windows only
    CHECK_FALSE(check_with_mask(chapter(Bug::kNoLowerBound), pass, kWindow).right());
    CHECK(check_with_mask(chapter(Bug::kNoLowerBound), pass, Mask::kCausal).right());
  }

  Chapter without = chapter(Bug::kNone);
  without.support.features.remove(Feature::kWindows);
  CHECK(check_with_mask(without, pass, {.after = 2}).passed());
  const auto refusal = [&](const auto& call) {
    try {
      call();
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kUnsupported);
      return std::string(error.what());
    }
    return std::string();
  };
  constexpr std::string_view kWords =
      "mask = window 3,0: a window; this chapter does not take windows";
  CHECK(refusal([&] { check_with_mask(without, pass, kWindow); }) == kWords);
  const Step* const steps[] = {&without.steps.back()};
  CHECK(refusal([&] { verify::find_endless(without, steps, pass, kWindow); }) == kWords);
}

TEST_CASE("a case table with one mask has no other, and every size of the whole table") {
  const Element element = Element::kFloat32;
  constexpr Mask kWindow{.before = 5, .after = 1};
  const Support support{.features = {Feature::kWindows, Feature::kBias}};
  for (const verify::Extent extent : {verify::Extent::kThin, verify::Extent::kCovering}) {
    const auto sizes_of_cases = [&](const std::optional<Mask>& only) {
      std::set<std::pair<std::int64_t, std::int64_t>> sizes;
      for (const verify::Case& one : verify::case_table(support, std::span(&element, 1), {},
                                                        Pass::kForward, extent, kSeed, only)) {
        sizes.insert({one.spec.shape.Nq, one.spec.shape.Nk});
        if (only && one.spec.mask != *only) FAIL(verify::to_string(one));
      }
      return sizes;
    };
    CHECK(sizes_of_cases(kWindow) == sizes_of_cases({}));
  }
}

/// Of the case table, the cases in which tiles of 32 and 64 meet masks, valid keys and sink keys of
/// given numbers.
std::vector<verify::Case> key_range_cases(const Features& features, verify::Extent extent) {
  const Element element = Element::kFloat32;
  constexpr int kEdges[] = {32, 64};
  std::vector<verify::Case> cases = verify::case_table(
      {.features = features}, std::span(&element, 1), kEdges, Pass::kForward, extent, kSeed);
  std::erase_if(cases, [](const verify::Case& one) {
    const Shape& shape = one.spec.shape;
    return std::minmax(shape.Nq, shape.Nk) != std::minmax<std::int64_t>(71, 135);
  });
  return cases;
}

/// What a case has of one kind, with T for the edge of a tile, and as "" what it has not.
std::array<std::string, 3> key_ranges_of(const verify::Case& one) {
  const verify::InputSpec& spec = one.spec;
  const auto number = [&](std::int64_t n) {
    for (const std::int64_t T : {64, 32}) {
      if (n >= T - 1 && n <= T + 3) return fmt::format("T{:+}", n - T);
    }
    const Shape& shape = spec.shape;
    return n == kUnbounded            ? std::string("-")
           : n >= shape.Nq + shape.Nk ? "beyond"
           : n == shape.Nk            ? "Nk"
           : n == shape.Nk - 1        ? "Nk-1"
                                      : fmt::to_string(n);
  };
  std::string lengths;
  for (const auto* array : {&spec.key_begin, &spec.key_count}) {
    for (const std::int64_t n : *array) lengths += number(n) + ",";
    lengths += ";";
  }
  std::string mask = number(spec.mask.before) + " " + number(spec.mask.after);
  if (spec.mask.top_left) mask += " top-left";
  return {spec.mask == Mask::kFull ? "" : mask, lengths == ";;" ? "" : lengths,
          spec.sink_keys ? number(*spec.sink_keys) : ""};
}

TEST_CASE("the case table has every two of window, key counts and sink keys together") {
  const Features features{Feature::kWindows, Feature::kKeyCounts, Feature::kSinkKeys};
  std::array<std::set<std::string>, 3> values;
  std::set<std::array<std::string, 3>> seen, pairs;
  for (const verify::Case& one : key_range_cases(features, verify::Extent::kCovering)) {
    const std::array<std::string, 3> here = key_ranges_of(one);
    seen.insert(here);
    for (std::size_t kind = 0; kind < 3; ++kind) {
      values[kind].insert(here[kind]);
      std::array<std::string, 3> pair = here;
      pair[kind] = "*";
      pairs.insert(pair);
    }
  }
  CHECK(values[0] == std::set<std::string>{"", "- 0", "0 0", "1 0", "T-1 0", "T+0 0", "T+1 3",
                                           "beyond 0", "beyond beyond", "1 -", "T+0 0 top-left"});
  CHECK(values[1] == std::set<std::string>{"", ";0,Nk,;", ";T+0,1,;", "1,T+0,;;", "2,0,;T+1,T+0,;",
                                           "Nk-1,T-1,;1,2,;"});
  CHECK(values[2] == std::set<std::string>{"", "1", "T+0", "T+3"});
  for (std::size_t kind = 0; kind < 3; ++kind) {
    for (const std::string& value : values[kind]) {
      std::array<std::string, 3> alone;
      alone[kind] = value;
      INFO(value);
      if (value != "" && value != "- 0") CHECK(seen.contains(alone));
    }
  }
  std::size_t expected = 0;
  for (std::size_t kind = 0; kind < 3; ++kind) {
    expected += values[(kind + 1) % 3].size() * values[(kind + 2) % 3].size();
  }
  CHECK(pairs.size() == expected);
}

TEST_CASE("a thin case table has every window, key count and number of sink keys by itself") {
  const Features all{Feature::kWindows, Feature::kKeyCounts, Feature::kSinkKeys};
  std::set<std::array<std::string, 3>> alone;
  int together = 0;
  for (const verify::Case& one : key_range_cases(all, verify::Extent::kThin)) {
    const std::array<std::string, 3> here = key_ranges_of(one);
    const auto there = std::count_if(here.begin(), here.end(), [](auto& s) { return s != ""; });
    if (there == 1) alone.insert(here);
    together += there > 1 ? 1 : 0;
  }
  CHECK(alone.size() == 9 + 5 + 3);
  CHECK(together >= 15);
  // Of what a chapter does not take there is nothing.
  CHECK(key_range_cases({}, verify::Extent::kCovering).empty());
  for (const verify::Case& one : key_range_cases({Feature::kWindows}, verify::Extent::kCovering)) {
    CHECK(key_ranges_of(one)[1] + key_ranges_of(one)[2] == "");
  }
}

/// By its name each pattern of ranges, by their number each set of sequences, and the masks it has.
std::map<std::string, std::set<std::string>> masks_of_sequences(verify::Extent extent,
                                                                const Features& features) {
  const Element element = Element::kFloat32;
  constexpr int kEdges[] = {32};
  std::map<std::string, std::set<std::string>> masks;
  for (const verify::Case& one : verify::case_table({.features = features}, std::span(&element, 1),
                                                    kEdges, Pass::kForward, extent, kSeed)) {
    const verify::InputSpec& spec = one.spec;
    std::string name(spec.ranges_name);
    if (!spec.q_offsets.empty()) {
      name = fmt::format("{};{}", fmt::join(spec.q_offsets, ","), fmt::join(spec.k_offsets, ","));
    }
    if (!name.empty()) masks[name].insert(to_string(spec.mask));
  }
  return masks;
}

TEST_CASE("the case table has packed sequences and ranges, each with every mask") {
  const Features all{Feature::kWindows, Feature::kPacked, Feature::kRanges};
  const auto whole = masks_of_sequences(verify::Extent::kCovering, all);
  CHECK(whole.size() == 8 + 9);
  CHECK(whole.contains("0,1,1,34,34,66,69;0,1,1,34,34,66,69"));  // 1, 0, T + 1, 0, T, 3
  CHECK(whole.contains("0,0,3,35,35;0,0,33,97,97"));             // nothing first and last
  CHECK(whole.contains("0,0,0,0;0,0,0,0"));
  CHECK(whole.contains("two ends"));
  for (const auto& [name, masks] : whole) {
    INFO(name);
    CHECK(masks.size() == 11);
  }
  for (const auto& [name, masks] : masks_of_sequences(verify::Extent::kThin, all)) {
    INFO(name);
    CHECK((masks.contains("full") && masks.contains("causal") && masks.size() > 4));
  }
  const Features without{Feature::kPacked};
  for (const auto& [name, masks] : masks_of_sequences(verify::Extent::kCovering, without)) {
    INFO(name);
    CHECK(masks == std::set<std::string>{"full", "causal"});
  }
  CHECK(masks_of_sequences(verify::Extent::kCovering, {Feature::kWindows}).empty());
}

/// Cases whose values of a bias, a cap, ... are given, for a chapter that takes these features.
std::vector<verify::ScoreCase> score_cases(const Features& features, bool thin) {
  constexpr int kEdges[] = {32, 64};
  return verify::score_cases(features, kEdges, thin);
}

/// What a case has of each thing that may be done to a score, and its mask; "" where it has not.
std::map<std::string, std::string> scores_of(const verify::ScoreCase& one) {
  std::map<std::string, std::string> values{{"mask", to_string(one.mask)}};
  for (const Feature feature : {Feature::kBias, Feature::kAlibi, Feature::kSoftcap,
                                Feature::kSinkLogits, Feature::kDropout}) {
    const bool there = one.features.has(feature);
    verify::ScoreValues scores = one.scores;
    scores.bias_shape = {};
    values[std::string(to_string(feature))] = there ? verify::to_string(scores, {feature}) : "";
  }
  return values;
}

constexpr Features kScores{Feature::kWindows, Feature::kBias,       Feature::kAlibi,
                           Feature::kSoftcap, Feature::kSinkLogits, Feature::kDropout};

TEST_CASE("the case table has every two of bias, ALiBi, softcap, sinks, dropout and mask") {
  std::map<std::string, std::set<std::string>> values;
  std::set<std::string> pairs;
  for (const verify::ScoreCase& one : score_cases(kScores, false)) {
    const auto here = scores_of(one);
    if (one.shape.B != 1 || one.shape.H != 2) continue;  // those are of one thing alone
    for (const auto& [thing, value] : here) {
      values[thing].insert(value);
      for (const auto& [other, its] : here) {
        if (thing < other) pairs.insert(thing + value + " and " + other + its);
      }
    }
  }
  std::size_t expected = 0;
  for (const auto& [thing, of] : values) {
    INFO(thing << ": " << fmt::format("{}", fmt::join(of, "; ")));
    CHECK(of.size() >= 3);
    for (const auto& [other, its] : values) expected += thing < other ? of.size() * its.size() : 0;
  }
  CHECK(values.size() == 6);
  CHECK(pairs.size() == expected);
}

TEST_CASE("the case table has a bias of every broadcast shape, and each value alone") {
  std::set<std::array<bool, 4>> shapes;
  std::map<std::string, std::set<std::string>> alone, thin;
  const auto add = [](const verify::ScoreCase& one, auto& to) {
    int there = 0;
    std::string name, value;
    for (const auto& [thing, its] : scores_of(one)) {
      if (thing == "mask" || its.empty()) continue;
      ++there;
      name = thing;
      value = its;
    }
    if (there == 1) to[name].insert(value);
  };
  for (const verify::ScoreCase& one : score_cases(kScores, false)) {
    add(one, alone);
    if (!one.scores.bias_shape) continue;
    const PairShape& of = *one.scores.bias_shape;
    shapes.insert({of.B == 1, of.H == 1, of.Nq == 1, of.Nk == 1});
  }
  for (const verify::ScoreCase& one : score_cases(kScores, true)) add(one, thin);
  CHECK(shapes.size() == 16);
  CHECK(alone.size() == 5);
  CHECK(thin.size() == 5);
  CHECK(alone["dropout"].size() == 4);
  CHECK(alone["a bias"].size() == 2);
  CHECK(score_cases(kScores, true).size() < score_cases(kScores, false).size() * 2 / 5);
  CHECK(score_cases({Feature::kWindows}, false).empty());
  for (const verify::ScoreCase& one : score_cases({Feature::kAlibi}, false)) {
    CHECK(one.features == Features{Feature::kAlibi});
  }
}

/// Which combinations of `count` features there are among the cases, packed or not: which features,
/// and which of these a case has.
std::set<std::pair<std::vector<int>, unsigned>> combinations(
    const std::vector<verify::HeadCase>& cases, bool packed, int count) {
  std::set<std::pair<std::vector<int>, unsigned>> seen;
  for (const verify::HeadCase& one : cases) {
    if (one.features.has(Feature::kPacked) != packed) continue;
    for (unsigned set = 0; set < 1u << kFeatures; ++set) {
      if (std::popcount(set) != count) continue;
      std::vector<int> features;
      unsigned here = 0;
      for (int n = 0; n < kFeatures; ++n) {
        if ((set >> n & 1) == 0) continue;
        if (one.features.has(static_cast<Feature>(n))) here |= 1u << features.size();
        features.push_back(n);
      }
      seen.insert({features, here});
    }
  }
  return seen;
}

TEST_CASE("the case table has every three features together, there or not") {
  constexpr int kEdges[] = {32, 64};
  const Support all{.max_d = 256, .features = Features::of_arrays()};
  const auto cases = verify::head_cases(all, kEdges, false);
  const auto thin = verify::head_cases(all, kEdges, true);
  // 14 features without kPacked, 10 beside it. kPacked, what it excludes, and kPages have one value
  // each.
  CHECK(combinations(cases, false, 3).size() == 364 * 8 + 2 * 91 * 4 + 14 * 2);
  CHECK(combinations(thin, false, 2).size() == 91 * 4 + 2 * 14 * 2 + 1);
  for (const auto* list : {&cases, &thin}) {
    CHECK(combinations(*list, true, 2).size() == 45 * 4 + 10 * 6 * 2 + 15);
  }
  for (const verify::HeadCase& one : cases) {
    const Features& of = one.features;
    CHECK(std::max(one.shape.d, one.d_v) <= all.max_d);
    CHECK((one.gap == 0 || of.has(Feature::kStrides)));
    CHECK((one.d_v != 0) == of.has(Feature::kValueWidth));
    CHECK(one.d_v != one.shape.d);
  }
  CHECK(
      verify::head_cases({.features = {Feature::kWindows, Feature::kBias}}, kEdges, false).empty());
  CHECK(cases.size() < 90);
  CHECK(thin.size() < 55);
}

TEST_CASE("the case table has groups that share a tile, and do not, of one query and of many") {
  constexpr int kEdges[] = {64};
  std::set<std::tuple<std::int64_t, std::int64_t, std::int64_t>> groups;
  for (const verify::HeadCase& one :
       verify::head_cases({.features = {Feature::kGroupedHeads}}, kEdges, false)) {
    if (one.shape.Hkv < one.shape.H) groups.insert({one.shape.H, one.shape.Hkv, one.shape.Nq});
  }
  for (const auto& [H, Hkv, tile] :
       {std::tuple<std::int64_t, std::int64_t, std::int64_t>{6, 2, 21}, {6, 1, 10}, {12, 3, 16}}) {
    for (const std::int64_t Nq : {std::int64_t{1}, tile, tile + 1, std::int64_t{69}}) {
      INFO(H << " heads on " << Hkv << ", " << Nq << " queries");
      CHECK(groups.contains({H, Hkv, Nq}));
    }
  }
}

/// Three arrays [B, H, N, d] as one, [B, N, 3, H, d].
std::vector<float> interleaved(const Shape& s, const std::vector<float>& q,
                               const std::vector<float>& k, const std::vector<float>& v) {
  std::vector<float> all;
  for (std::int64_t b = 0; b < s.B; ++b) {
    for (std::int64_t i = 0; i < s.Nq; ++i) {
      for (const std::vector<float>* array : {&q, &k, &v}) {
        for (std::int64_t h = 0; h < s.H; ++h) {
          const auto row = array->begin() + ((b * s.H + h) * s.Nq + i) * s.d;
          all.insert(all.end(), row, row + s.d);
        }
      }
    }
  }
  return all;
}

TEST_CASE("probe: Q, K, V in one buffer, and their gradients in another") {
  const Chapter& probe = chapter(Bug::kNone);
  const Step& step = probe.steps.back();
  const Problem problem = verify::make_problem(
      {.shape = make_shape(2, 3, 19, 19, 16), .scale = 0.25f, .seed = kSeed}, Pass::kBackward);
  const verify::Truth truth = verify::truth_of(problem, Pass::kBackward);
  const Outputs apart = run_backward(probe, step, problem, truth.o, truth.lse);

  const Shape& shape = problem.shape;
  Memory& memory = probe.memory();
  const auto filled = [&](const char* name, const std::vector<float>& values) {
    GuardedBuffer buffer(memory, name, values.size() * sizeof(float), 0);
    buffer.write(values.data());
    return buffer;
  };
  const GuardedBuffer qkv = filled("qkv", interleaved(shape, problem.q, problem.k, problem.v));
  const GuardedBuffer o = filled("o", truth.o), lse = filled("lse", truth.lse);
  const GuardedBuffer grad_o = filled("dO", problem.grad_o);
  GuardedBuffer grads(memory, "dqkv", qkv.bytes(), 0);
  grads.fill_undefined(0xFF);

  const std::int64_t part = shape.H * shape.d;
  BackwardArgs args{.shape = shape,
                    .scale = problem.scale,
                    .q = qkv.floats(),
                    .k = qkv.floats() + part,
                    .v = qkv.floats() + 2 * part,
                    .o = o.floats(),
                    .lse = lse.floats(),
                    .grad_o = grad_o.floats(),
                    .grad_q = grads.floats(),
                    .grad_k = grads.floats() + part,
                    .grad_v = grads.floats() + 2 * part};
  args.extras.q = {.batch = shape.Nq * 3 * part, .head = shape.d, .row = 3 * part};
  args.extras.k = args.extras.v = args.extras.q;
  backward(probe, step, args);
  memory.synchronize();
  std::vector<float> together(grads.bytes() / sizeof(float));
  grads.read(together.data());
  CHECK(together == interleaved(shape, apart.grad_q, apart.grad_k, apart.grad_v));
  CHECK(grads.check().empty());
}

/// The outputs of one case: zeros, or what the formulas give.
Outputs outputs_of(const verify::Truth& truth, Pass pass, bool zeros) {
  Outputs outputs;
  const auto values = [&](std::size_t number) {
    std::vector<float> array = reference::narrow(truth.arrays[number].values);
    if (zeros) std::fill(array.begin(), array.end(), 0.0f);
    return array;
  };
  if (pass == Pass::kForward) {
    outputs.o = values(0);
    outputs.lse = reference::narrow(truth.arrays[1].values);  // right: O alone must be refused
  } else {
    outputs.grad_q = values(0);
    outputs.grad_k = values(1);
    outputs.grad_v = values(2);
  }
  return outputs;
}

bool finite_and_not_all_zero(const std::vector<double>& values, double least) {
  bool any = false;
  for (const double x : values) {
    if (!std::isfinite(x)) return false;
    any = any || std::abs(x) > least;
  }
  return any;
}

struct Difference {
  bool finite = true;
  bool beyond_tolerance = false;
  double largest = 0;
  double magnitude = 0;  // of the largest right element
};

Difference compare(const verify::Expected& right, const std::vector<double>& wrong) {
  Difference result;
  for (std::size_t e = 0; e < wrong.size(); ++e) {
    const double difference = std::abs(right.values[e] - wrong[e]);
    result.finite = result.finite && std::isfinite(difference);
    result.beyond_tolerance = result.beyond_tolerance || difference > right.tolerance[e];
    result.largest = std::max(result.largest, difference);
    result.magnitude = std::max(result.magnitude, std::abs(right.values[e]));
  }
  return result;
}

/// dQ is a sum of dS K. Where all keys have a large part in common, the sum of dS over a row, zero
/// but for its rounding to 16 bits, times that part is more than what tells right from wrong.
bool ill_conditioned(verify::InputKind kind, Pass pass) {
  return pass == Pass::kBackward &&
         (kind == verify::InputKind::kVeryNegative || kind == verify::InputKind::kHuge);
}

TEST_CASE("probe: zeros, and outputs that ignore Q, are refused in 16 bits") {
  const Element element = GENERATE(Element::kBfloat16, Element::kFloat16);
  const Pass pass = GENERATE(Pass::kForward, Pass::kBackward);
  const Support support{.features = {Feature::kWindows}};
  int refused = 0, told_apart = 0;
  for (const verify::Case& one : verify::case_table(support, std::span(&element, 1), {}, pass,
                                                    verify::Extent::kThin, kSeed)) {
    if (one.spec.shape.heads() > 100) continue;
    const Problem problem = verify::make_problem(one.spec, pass);
    const verify::Truth truth = verify::truth_of(problem, pass);
    INFO(verify::to_string(one));
    if (finite_and_not_all_zero(truth.arrays[0].values, 0x1p-24)) {
      CHECK_FALSE(verify::judge(truth, outputs_of(truth, pass, /*zeros=*/true)).passed);
      ++refused;
    }
    Problem ignoring = problem;
    std::fill(ignoring.q.begin(), ignoring.q.end(), 0.0f);
    const verify::Truth other = verify::truth_of(ignoring, pass);
    const Difference difference = compare(truth.arrays[0], other.arrays[0].values);
    if (!difference.finite || ill_conditioned(one.spec.kind, pass)) continue;
    // By more than a few roundings of the largest element, that is.
    if (difference.largest <= 8 * unit_roundoff(element) * difference.magnitude) continue;
    INFO("difference " << difference.largest);
    CHECK(difference.beyond_tolerance);
    ++told_apart;
  }
  CHECK(refused > 80);
  CHECK(told_apart > 60);
}

}  // namespace
}  // namespace attn::probe
