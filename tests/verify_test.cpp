// SPDX-License-Identifier: MIT
//
// The checker, checked: fake chapters with one bug each, all of which it must refuse, and thousands
// of right evaluations in other orders of summation, none of which it may refuse.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "common/attention.hpp"
#include "common/run/buffers.hpp"
#include "common/run/run.hpp"
#include "common/verify/cases.hpp"
#include "common/verify/check.hpp"
#include "common/verify/compare.hpp"
#include "common/verify/goals.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"
#include "common/verify/pattern.hpp"
#include "tests/catch.hpp"

namespace attn::verify {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr Element kFloat32[] = {Element::kFloat32};
constexpr int kTile = 8;
constexpr int kTileEdges[] = {kTile};

std::size_t size(std::int64_t elements) { return static_cast<std::size_t>(elements); }

Chapter fake_chapter(const Step& step) {
  return {.id = "99_fake",
          .title = "Fake",
          .idea = "a chapter for the checker's own tests",
          .memory = host_memory,
          .steps = {&step, 1},
          .tile_edges = kTileEdges};
}

// --- Fakes: float32 loops with one bug ----------------------------------------------------------

enum class Bug {
  kNone,
  // Forward
  kAllNan,
  kAllZero,
  kIgnoresQ,
  kSkippedTile,
  kUntouchedElement,
  kUntouchedLse,
  kPastO,
  kPastLse,
  kPastWorkspace,
  kBeforeO,
  kBeforeWorkspace,
  kChangedInput,
  kOneKeyTooMany,
  kOneKeyTooFew,
  kTopLeft,
  kNoMask,
  kEmptyRowIsNan,
  kEmptyRowIsMean,
  kEmptyRowLseFinite,
  kNoKeysUntouched,
  kLseBase2,
  kLseWithoutMaximum,
  kScaleIgnored,
  kScaleDoubled,
  kMaximumBeforeScale,
  kMaximumFromZero,
  kNoMaximum,
  kMaskByMultiplication,
  kNanSwallowed,
  kMissingRescale,
  kOtherHead,
  kHalfPrecision,
  kDirtyWorkspace,
  kWorkspaceTooSmall,
  kLeak,
  kNondeterministic,
  kThrows,
  // Backward
  kGradNan,
  kGradZero,
  kGradAccumulates,
  kGradSkippedTile,
  kGradOneKeyTooMany,
  kGradTopLeft,
  kGradWithoutDelta,
  kGradWithoutScale,
  kGradHiddenKeysUntouched,
  kGradChangedInput,
  kGradPastDk,
  kGradBeforeDv,
  kGradNondeterministic,
  kGradDirtyWorkspace,
  kGradThrows,
};
constexpr Bug kFirstForwardBug = Bug::kAllNan, kLastForwardBug = Bug::kThrows;
constexpr Bug kFirstBackwardBug = Bug::kGradNan, kLastBackwardBug = Bug::kGradThrows;

int calls = 0;                     // makes the nondeterministic fakes differ from call to call
std::vector<void*> leaked_memory;  // what the leaking fake did not release

/// How many keys the fake uses for row i.
std::int64_t keys_used(const Shape& s, Mask mask, Bug bug, std::int64_t i) {
  const std::int64_t visible = visible_keys(i, diagonal(mask, s.Nq, s.Nk), s.Nk);
  switch (bug) {
    case Bug::kSkippedTile:
    case Bug::kGradSkippedTile:
      return visible / kTile * kTile;
    case Bug::kOneKeyTooMany:
    case Bug::kGradOneKeyTooMany:
      return std::min(visible + 1, s.Nk);
    case Bug::kOneKeyTooFew:
      return std::max<std::int64_t>(visible - 1, 0);
    case Bug::kTopLeft:
    case Bug::kGradTopLeft:
      return mask == Mask::kCausal ? visible_keys(i, 0, s.Nk) : visible;
    case Bug::kNoMask:
      return s.Nk;
    default:
      return visible;
  }
}

void fake_row(const ForwardArgs& a, Bug bug, std::int64_t head, std::int64_t i) {
  const auto [B, H, Hkv, Nq, Nk, d] = a.shape;
  const std::int64_t kv_head = bug == Bug::kOtherHead ? 0 : head;
  const float* q = a.q + (head * Nq + i) * d;  // (d)
  const float* k = a.k + kv_head * Nk * d;     // (Nk, d)
  const float* v = a.v + kv_head * Nk * d;     // (Nk, d)
  float* o = a.o + (head * Nq + i) * d;        // (d)
  float& lse = a.lse[head * Nq + i];
  float* s = static_cast<float*>(a.workspace);  // (Nk)

  std::int64_t visible = keys_used(a.shape, a.mask, bug, i);
  if (Nk == 0 && bug == Bug::kNoKeysUntouched) return;
  if (visible == 0 && bug == Bug::kEmptyRowIsNan) {
    std::fill_n(o, d, kNan);
    lse = -kInfinity;
    return;
  }
  if (visible == 0 && bug == Bug::kEmptyRowIsMean && Nk > 0) {  // exp(s - max) = 1 everywhere
    for (std::int64_t c = 0; c < d; ++c) {
      o[c] = 0.0f;
      for (std::int64_t j = 0; j < Nk; ++j) o[c] += v[j * d + c] / static_cast<float>(Nk);
    }
    lse = -kInfinity;
    return;
  }
  if (visible == 0) {
    std::fill_n(o, d, 0.0f);
    lse = bug == Bug::kEmptyRowLseFinite ? std::numeric_limits<float>::lowest() : -kInfinity;
    return;
  }

  const float scale = bug == Bug::kScaleIgnored   ? default_scale(d)
                      : bug == Bug::kScaleDoubled ? 2.0f * a.scale
                                                  : a.scale;
  float row_max = bug == Bug::kMaximumFromZero ? 0.0f : -kInfinity;
  float raw_max = -kInfinity;
  for (std::int64_t j = 0; j < visible; ++j) {
    float dot = 0.0f;
    for (std::int64_t c = 0; c < d; ++c)
      dot += (bug == Bug::kIgnoresQ ? 0.0f : q[c]) * k[j * d + c];
    raw_max = std::max(raw_max, dot);
    s[j] = scale * dot;
    if (std::isnan(s[j]) && bug == Bug::kNanSwallowed) s[j] = -kInfinity;
    row_max = std::isnan(s[j]) ? s[j] : std::max(row_max, s[j]);
  }
  if (bug == Bug::kMaximumBeforeScale) row_max = scale * raw_max;
  if (bug == Bug::kNoMaximum) row_max = 0.0f;
  float row_sum = bug == Bug::kDirtyWorkspace ? s[Nk] : 0.0f;  // never written
  for (std::int64_t j = 0; j < visible; ++j) {
    s[j] = std::exp(s[j] - row_max);
    row_sum += s[j];
    // An online softmax whose accumulator keeps the scale of the first tile.
    if (bug == Bug::kMissingRescale && j >= kTile) s[j] *= 1.0f + 1e-3f * static_cast<float>(j);
  }
  for (std::int64_t c = 0; c < d; ++c) {
    float sum = 0.0f;
    for (std::int64_t j = 0; j < visible; ++j) sum += s[j] * v[j * d + c];
    if (bug == Bug::kMaskByMultiplication) {
      for (std::int64_t j = visible; j < Nk; ++j) sum += 0.0f * v[j * d + c];
    }
    o[c] = sum / row_sum;
    if (bug == Bug::kHalfPrecision) o[c] = std::round(o[c] * 1024.0f) / 1024.0f;
  }
  lse = row_max + std::log(row_sum);
  if (bug == Bug::kLseBase2) lse *= 1.44269504f;
  if (bug == Bug::kLseWithoutMaximum) lse = std::log(row_sum);
}

/// Writes that a kernel must not do, and other things that it must not do once per call.
void misbehave_after(const ForwardArgs& a, Bug bug) {
  const std::int64_t elements = a.shape.q_elements();
  float* workspace = static_cast<float*>(a.workspace);
  switch (bug) {
    case Bug::kAllNan:
      std::fill_n(a.o, elements, kNan);
      std::fill_n(a.lse, a.shape.rows(), kNan);
      break;
    case Bug::kAllZero:
      std::fill_n(a.o, elements, 0.0f);
      std::fill_n(a.lse, a.shape.rows(), 0.0f);
      break;
    case Bug::kUntouchedElement:
      a.o[elements - 1] = kNan;
      break;
    case Bug::kUntouchedLse:
      a.lse[a.shape.rows() / 2] = kNan;
      break;
    case Bug::kPastO:
      a.o[elements] = 0.0f;
      break;
    case Bug::kPastLse:
      a.lse[a.shape.rows()] = 0.0f;
      break;
    case Bug::kPastWorkspace:
      workspace[a.workspace_bytes / sizeof(float)] = 0.0f;
      break;
    case Bug::kBeforeO:
      a.o[-1] = 0.0f;
      break;
    case Bug::kBeforeWorkspace:
      workspace[-1] = 0.0f;
      break;
    case Bug::kChangedInput:
      const_cast<float*>(a.q)[elements - 1] += 1.0f;
      break;
    case Bug::kLeak:
      leaked_memory.push_back(host_memory().allocate(64, "leak"));
      break;
    case Bug::kNondeterministic:
      a.o[0] = std::nextafter(a.o[0], ++calls % 2 == 0 ? -1e30f : 1e30f);
      break;
    default:
      break;
  }
}

void fake_forward(const ForwardArgs& a, Bug bug) {
  if (bug == Bug::kThrows && a.shape.Nk == 2 * kTile + 1) throw std::runtime_error("out of sorts");
  for (std::int64_t row = 0; row < a.shape.rows(); ++row) {
    fake_row(a, bug, row / a.shape.Nq, row % a.shape.Nq);
  }
  misbehave_after(a, bug);
}

std::size_t fake_forward_workspace(const Shape& shape, Bug bug) {
  // One row of S, and one number more for the fake that sums into it.
  const std::int64_t floats = shape.Nk + 1;
  return size(bug == Bug::kWorkspaceTooSmall ? floats / 2 : floats) * sizeof(float);
}

void fake_backward_row(const BackwardArgs& a, Bug bug, std::int64_t head, std::int64_t i) {
  const auto [B, H, Hkv, Nq, Nk, d] = a.shape;
  const std::int64_t row = (head * Nq + i) * d;
  float delta = 0.0f;
  for (std::int64_t c = 0; c < d; ++c) delta += a.grad_o[row + c] * a.o[row + c];
  if (bug == Bug::kGradWithoutDelta) delta = 0.0f;
  const std::int64_t visible = keys_used(a.shape, a.mask, bug, i);
  for (std::int64_t j = 0; j < visible; ++j) {
    const std::int64_t key = (head * Nk + j) * d;
    float dot = 0.0f, grad_p = 0.0f;
    for (std::int64_t c = 0; c < d; ++c) {
      dot += a.q[row + c] * a.k[key + c];
      grad_p += a.grad_o[row + c] * a.v[key + c];
    }
    const float p = std::exp(a.scale * dot - a.lse[head * Nq + i]);
    const float grad_s = p * (grad_p - delta) * (bug == Bug::kGradWithoutScale ? 1.0f : a.scale);
    for (std::int64_t c = 0; c < d; ++c) {
      a.grad_q[row + c] += grad_s * a.k[key + c];
      a.grad_k[key + c] += grad_s * a.q[row + c];
      a.grad_v[key + c] += p * a.grad_o[row + c];
    }
  }
}

void fake_backward(const BackwardArgs& a, Bug bug) {
  const auto [B, H, Hkv, Nq, Nk, d] = a.shape;
  if (bug == Bug::kGradThrows && Nk == 2 * kTile + 1) throw std::runtime_error("out of sorts");
  if (bug != Bug::kGradAccumulates) {
    const std::int64_t seen = bug == Bug::kGradHiddenKeysUntouched && Nq > 0
                                  ? keys_used(a.shape, a.mask, bug, Nq - 1)
                                  : Nk;
    std::fill_n(a.grad_q, a.shape.q_elements(), 0.0f);
    for (std::int64_t head = 0; head < B * H; ++head) {
      std::fill_n(a.grad_k + head * Nk * d, seen * d, 0.0f);
      std::fill_n(a.grad_v + head * Nk * d, seen * d, 0.0f);
    }
  }
  if (bug == Bug::kGradZero) return;
  for (std::int64_t row = 0; row < a.shape.rows(); ++row) {
    fake_backward_row(a, bug, row / Nq, row % Nq);
  }
  const std::int64_t keys = a.shape.kv_elements();
  switch (bug) {
    case Bug::kGradNan:
      std::fill_n(a.grad_q, a.shape.q_elements(), kNan);
      std::fill_n(a.grad_k, keys, kNan);
      std::fill_n(a.grad_v, keys, kNan);
      break;
    case Bug::kGradChangedInput:
      const_cast<float*>(a.o)[0] += 1.0f;
      break;
    case Bug::kGradPastDk:
      a.grad_k[keys] = 0.0f;
      break;
    case Bug::kGradBeforeDv:
      a.grad_v[-1] = 0.0f;
      break;
    case Bug::kGradNondeterministic:
      a.grad_q[0] = std::nextafter(a.grad_q[0], ++calls % 2 == 0 ? -1e30f : 1e30f);
      break;
    case Bug::kGradDirtyWorkspace:
      a.grad_q[0] += static_cast<const float*>(a.workspace)[0];
      break;
    default:
      break;
  }
}

template <Bug kBug>
constexpr Step make_fake() {
  return {.id = "fake",
          .idea = "float32 loops",
          .forward = [](const ForwardArgs& args) { fake_forward(args, kBug); },
          .forward_workspace_bytes =
              [](const Shape& shape) { return fake_forward_workspace(shape, kBug); },
          .backward = [](const BackwardArgs& args) { fake_backward(args, kBug); },
          .backward_workspace_bytes = [](const Shape&) { return sizeof(float); }};
}

template <std::size_t... kIndices>
constexpr auto make_fakes(std::index_sequence<kIndices...>) {
  return std::array{make_fake<static_cast<Bug>(kIndices)>()...};
}

/// One step for every bug, in the order of the enumeration.
constexpr auto kFakes =
    make_fakes(std::make_index_sequence<static_cast<std::size_t>(kLastBackwardBug) + 1>());

const Step& fake(Bug bug) { return kFakes[static_cast<std::size_t>(bug)]; }

CheckReport check_fake(Bug bug, Pass pass) {
  CheckOptions options;
  options.max_failures = 1;
  options.survey = 0;
  return check(fake_chapter(fake(bug)), fake(bug), pass, options);
}

void require_refused(Bug first, Bug last, Pass pass) {
  for (int bug = static_cast<int>(first); bug <= static_cast<int>(last); ++bug) {
    const CheckReport report = check_fake(static_cast<Bug>(bug), pass);
    CAPTURE(bug, report.cases);
    CHECK_FALSE(report.passed());
    CHECK(report.failures.size() == 1);
  }
}

std::string text_of(const CheckReport& report) {
  std::string text;
  for (const Failure& failure : report.failures) text += failure.name + "\n" + failure.text;
  return text;
}

TEST_CASE("plain float32 loops pass the whole battery", "[verify]") {
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    const CheckReport report = check_fake(Bug::kNone, pass);
    CAPTURE(to_string(pass), text_of(report));
    CHECK(report.passed());
    CHECK(report.cases > 200);
    CHECK(report.worst > 0.0);
    CHECK(report.worst <= 1.0);
  }
}

/// The battery's cases, those for which `fails` holds apart from the others.
template <class Fails>
std::string pattern_of(Fails fails) {
  constexpr int kEdges[] = {16};
  std::vector<Case> failing, passing;
  for (const Case& one : case_table({}, kFloat32, kEdges, Pass::kForward, Extent::kCovering, 1)) {
    (fails(one) ? failing : passing).push_back(one);
  }
  return describe_pattern(failing, passing, kEdges);
}

TEST_CASE("a pattern says what failing cases have in common", "[verify]") {
  const auto all_but_none = [](const std::string& text, const std::string& traits) {
    CAPTURE(text);
    CHECK(text.find(" failing cases: " + traits + "; of the ") != std::string::npos);
    CHECK(text.find("passing cases none") != std::string::npos);
  };
  all_but_none(pattern_of([](const Case& c) { return c.spec.shape.Nk > 16; }), "Nk > 16");
  all_but_none(pattern_of([](const Case& c) { return c.spec.mask == Mask::kCausal; }),
               "mask causal");
  all_but_none(pattern_of([](const Case& c) { return c.spec.shape.d % 32 != 0; }),
               "d not a multiple of 32");
  all_but_none(pattern_of([](const Case& c) { return c.spec.scale < 0; }), "a negative scale");
  all_but_none(pattern_of([](const Case& c) { return c.spec.kind == InputKind::kSaw; }),
               fmt::format("{} inputs", to_string(InputKind::kSaw)));
  const std::string both = pattern_of(
      [](const Case& c) { return c.spec.mask == Mask::kCausal && c.spec.shape.heads() > 1; });
  CAPTURE(both);
  CHECK(both.find("mask causal") != std::string::npos);
  CHECK(both.find("B*H > 1") != std::string::npos);
  CHECK(both.find("passing cases none") != std::string::npos);

  // Cases that share nothing, one case, none.
  CHECK(pattern_of([](const Case& c) { return c.spec.seed % 7 == 0; }).empty());
  CHECK(pattern_of([](const Case& c) { return c.spec.seed == 5; }).empty());
  CHECK(pattern_of([](const Case&) { return false; }).empty());
  CHECK(pattern_of([](const Case&) { return true; }).find("cases fail") != std::string::npos);
}

TEST_CASE("a failed check surveys more cases than it describes", "[verify]") {
  const CheckReport report = check(fake_chapter(fake(kFirstForwardBug)), fake(kFirstForwardBug),
                                   Pass::kForward, CheckOptions{});
  CHECK(report.failures.size() == 3);
  CHECK(report.failed >= 3);
  CHECK(report.cases > 60);
  CHECK(describe(report).find(report.pattern) != std::string::npos);
}

/// Plain loops that report how much they used of what a goal allows.
void modest_forward(const ForwardArgs& args, std::int64_t used) {
  fake_forward(args, Bug::kNone);
  hold_to(Medal::kBronze, "loads", used, 10);
  hold_to(Medal::kGold, "loads", used, 5);
}

template <std::int64_t kUsed>
CheckReport check_modest() {
  static constexpr Step kStep{
      .id = "modest",
      .idea = "float32 loops",
      .forward = [](const ForwardArgs& args) { modest_forward(args, kUsed); },
      .forward_workspace_bytes =
          [](const Shape& shape) { return fake_forward_workspace(shape, Bug::kNone); }};
  return check(fake_chapter(kStep), kStep, Pass::kForward, {});
}

TEST_CASE("a right result that misses a goal is no failure: the goal is not met", "[verify]") {
  const CheckReport none = check_modest<11>();
  CHECK(none.right());
  CHECK_FALSE(none.passed());
  CHECK(none.failures.empty());
  const std::string text = describe(none);
  CAPTURE(text);
  CHECK(text.find("goal not met, bronze: 11 loads; the goal is at most 10\n") != std::string::npos);
  CHECK(text.find("no medal yet") != std::string::npos);

  const CheckReport bronze = check_modest<6>();
  CHECK(bronze.passed());
  CHECK(describe(bronze).find("goal not met, gold: 6 loads; the goal is at most 5\n") !=
        std::string::npos);
  CHECK(describe(bronze).find("medal: bronze\n") != std::string::npos);
  CHECK(describe(check_modest<5>()) == "  medal: gold\n");
}

TEST_CASE("a missed goal quotes the case that misses it by the largest factor", "[verify]") {
  std::vector<Goal> goals;
  add(goals, {{Medal::kGold, "loads", 101, 100}}, "one percent");
  add(goals, {{Medal::kGold, "loads", 4, 2}}, "twice");
  add(goals, {{Medal::kGold, "loads", 300, 200}}, "half as much again");
  CHECK(describe(goals).find("gold: 4 loads; the goal is at most 2\n    in twice, and in 2 more") !=
        std::string::npos);
}

TEST_CASE("scattered cases are the same cases", "[verify]") {
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    const Step& right = fake(Bug::kNone);
    CheckOptions options;
    options.scattered = true;
    const CheckReport scattered = check(fake_chapter(right), right, pass, options);
    const CheckReport in_order = check_fake(Bug::kNone, pass);
    CHECK(scattered.passed());
    CHECK(scattered.cases == in_order.cases);
    CHECK(scattered.worst == in_order.worst);
  }
}

TEST_CASE("every broken forward pass is refused", "[verify]") {
  require_refused(kFirstForwardBug, kLastForwardBug, Pass::kForward);
  for (void* pointer : leaked_memory) host_memory().release(pointer);
  leaked_memory.clear();
}

TEST_CASE("every broken backward pass is refused", "[verify]") {
  require_refused(kFirstBackwardBug, kLastBackwardBug, Pass::kBackward);
}

TEST_CASE("a failure says which array, where, and what it should be", "[verify]") {
  const auto forward_text = [](Bug bug) { return text_of(check_fake(bug, Pass::kForward)); };
  const auto has = [](const std::string& text, const std::string& part) {
    CAPTURE(text, part);
    CHECK(text.find(part) != std::string::npos);
  };
  has(forward_text(Bug::kAllNan), "got nan");
  has(forward_text(Bug::kAllNan), "seed=");
  has(forward_text(Bug::kAllNan), "o[b=0 h=0 i=0 c=0]: expected ");
  has(forward_text(Bug::kLseBase2), "lse[b=0 h=0 i=0]");
  has(forward_text(Bug::kPastO), "o: o[");
  has(forward_text(Bug::kBeforeO), "o: o[-");
  has(forward_text(Bug::kPastWorkspace), "workspace: workspace[");
  has(forward_text(Bug::kChangedInput), "q: an input");
  has(forward_text(Bug::kThrows), "out of sorts");
  has(text_of(check_fake(Bug::kGradPastDk, Pass::kBackward)), "dk: dk[");
}

// --- What fails every case ----------------------------------------------------------------------

/// Largest magnitude; a NaN counts as infinite.
double largest(const std::vector<double>& values) {
  double result = 0.0;
  for (const double value : values) {
    result = std::isnan(value) ? HUGE_VAL : std::max(result, std::abs(value));
  }
  return result;
}

/// Per array name: in how many cases all zeros are refused. Fails where zeros for all arrays of a
/// case pass although one of them is not zero.
std::map<std::string, int> refuse_zeros(Pass pass) {
  std::map<std::string, int> refused;
  for (const Case& one : case_table(Support{}, kFloat32, kTileEdges, pass, Extent::kCovering, 7)) {
    const Truth truth = truth_of(make_problem(one.spec, pass), pass);
    bool all_zero = true, all_pass = true;
    for (const Expected& expected : truth.arrays) {
      const std::vector<float> zeros(expected.values.size(), 0.0f);
      const bool is_zero = largest(expected.values) == 0.0;
      const bool passes = compare(expected, zeros).passed;
      CAPTURE(to_string(one), expected.name, largest(expected.values), largest(expected.tolerance));
      CHECK((passes || !is_zero));
      // dQ and dK may cancel to less than their rounding errors: dS of a peaked softmax.
      const bool may_cancel = expected.name == "dq" || expected.name == "dk";
      CHECK((!passes || is_zero || may_cancel));
      refused[expected.name] += passes ? 0 : 1;
      all_zero = all_zero && is_zero;
      all_pass = all_pass && passes;
    }
    CAPTURE(to_string(one));
    CHECK(all_pass == all_zero);
  }
  return refused;
}

TEST_CASE("each array is once the only one that is not 16-byte aligned", "[verify]") {
  constexpr int kEdges[] = {64, 128};
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    std::map<std::string_view, int> alone;  // in problems whose rows take loads of 16 bytes
    for (const Case& one : case_table({}, kFloat32, kEdges, pass, Extent::kCovering, 1)) {
      const Shape& shape = one.spec.shape;
      const bool wide = shape.d % 4 == 0 && shape.rows() > 0 && shape.Nk > 0;
      if (wide && one.offset != 0) ++alone[one.only];
      if (one.only.empty()) continue;
      CHECK(to_string(one).ends_with(fmt::format(", unaligned {}", one.only)));
    }
    std::vector<std::string_view> arrays{"", "q", "k", "v", "o"};
    if (pass == Pass::kBackward) arrays.insert(arrays.end(), {"dO", "dq", "dk", "dv"});
    for (const std::string_view array : arrays) {
      CAPTURE(to_string(pass), array);
      CHECK(alone[array] >= 3);
    }
  }
}

TEST_CASE("all zeros fail every case that is not zero", "[verify]") {
  std::map<std::string, int> refused = refuse_zeros(Pass::kForward);
  CHECK(refused["o"] > 300);
  CHECK(refused["lse"] > 300);
  refused = refuse_zeros(Pass::kBackward);
  CHECK(refused["dq"] > 100);
  CHECK(refused["dk"] > 100);
  CHECK(refused["dv"] > 300);
}

bool same_number(double a, double b, double rounding) {
  return a == b || (std::isnan(a) && std::isnan(b)) || std::abs(a - b) <= rounding;
}

TEST_CASE("a result that ignores Q fails every case in which Q matters", "[verify]") {
  int refused = 0;
  for (const Case& one :
       case_table(Support{}, kFloat32, kTileEdges, Pass::kForward, Extent::kCovering, 8)) {
    const Problem problem = make_problem(one.spec, Pass::kForward);
    Problem without = problem;
    std::fill(without.q.begin(), without.q.end(), 0.0f);
    const Truth truth = truth_of(problem, Pass::kForward);
    const Truth ignorant = truth_of(without, Pass::kForward);
    for (std::size_t a = 0; a < truth.arrays.size(); ++a) {
      const Expected& expected = truth.arrays[a];
      const std::vector<float>& got = a == 0 ? ignorant.o : ignorant.lse;
      // The two references agree but for float64's own rounding: Q does not matter here.
      const double rounding = 1e-12 * (1.0 + largest(expected.values));
      bool same = true;
      for (std::size_t e = 0; e < expected.values.size(); ++e) {
        same = same && same_number(expected.values[e], ignorant.arrays[a].values[e], rounding);
      }
      CAPTURE(to_string(one), expected.name, largest(expected.tolerance));
      if (same) continue;
      CHECK_FALSE(compare(expected, got).passed);
      ++refused;
    }
  }
  CHECK(refused > 300);
}

// --- What must never be refused -----------------------------------------------------------------

std::mt19937_64 order_generator;  // the order of summation of the next run

std::vector<std::int64_t> random_order(std::int64_t n) {
  std::vector<std::int64_t> order(size(n));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), order_generator);
  return order;
}

/// q . k in one of three ways: any order, four partial sums, fused multiply-adds.
float any_dot(const float* a, const float* b, std::int64_t d, int way) {
  if (way == 0) {
    float sum = 0.0f;
    for (const std::int64_t c : random_order(d)) sum += a[c] * b[c];
    return sum;
  }
  if (way == 1) {
    float partial[4] = {};
    for (std::int64_t c = 0; c < d; ++c) partial[c % 4] += a[c] * b[c];
    return (partial[0] + partial[1]) + (partial[2] + partial[3]);
  }
  float sum = 0.0f;
  for (std::int64_t c = d; c-- > 0;) sum = std::fma(a[c], b[c], sum);
  return sum;
}

float exp_by_exp2(float x) { return std::exp2(x * 1.44269504f); }

/// O and LSE of one row: maximum first, then sums in any order, or online, key by key in any order.
void right_row(const ForwardArgs& a, std::int64_t head, std::int64_t i, int way) {
  const auto [B, H, Hkv, Nq, Nk, d] = a.shape;
  const float* q = a.q + (head * Nq + i) * d;
  const float* k = a.k + head * Nk * d;
  const float* v = a.v + head * Nk * d;
  float* o = a.o + (head * Nq + i) * d;
  float& lse = a.lse[head * Nq + i];
  std::fill_n(o, d, 0.0f);
  const std::int64_t visible = visible_keys(i, diagonal(a.mask, Nq, Nk), Nk);
  if (visible == 0) {
    lse = -kInfinity;
    return;
  }
  const std::vector<std::int64_t> order = random_order(visible);
  std::vector<float> s(size(visible));
  for (const std::int64_t j : order) s[size(j)] = a.scale * any_dot(q, k + j * d, d, way % 3);

  float row_max = s[size(order[0])];
  float row_sum = 0.0f;
  const bool online = way >= 3;
  if (!online) {
    for (const float x : s) row_max = std::isnan(x) ? x : std::max(row_max, x);
  }
  for (const std::int64_t j : order) {
    const float x = s[size(j)];
    if (online && !(x <= row_max)) {
      const float rescale = std::exp(row_max - x);
      row_sum *= rescale;
      for (std::int64_t c = 0; c < d; ++c) o[c] *= rescale;
      row_max = x;
    }
    // The first key may have a logit of -Inf: its weight of 1 goes when there is a larger one.
    const float weight = online && x == row_max ? 1.0f
                         : way % 2 == 0         ? std::exp(x - row_max)
                                                : exp_by_exp2(x - row_max);
    row_sum += weight;
    for (std::int64_t c = 0; c < d; ++c) o[c] += weight * v[j * d + c];
  }
  if (std::isinf(row_max)) row_sum = kNan;  // exp(Inf - Inf), as the formula has it
  for (std::int64_t c = 0; c < d; ++c) o[c] = way == 4 ? o[c] * (1.0f / row_sum) : o[c] / row_sum;
  lse = row_max + std::log(row_sum);
}

void right_forward(const ForwardArgs& a) {
  const int way = static_cast<int>(order_generator() % 6);
  for (std::int64_t row = 0; row < a.shape.rows(); ++row) {
    right_row(a, row / a.shape.Nq, row % a.shape.Nq, way);
  }
}

void right_backward(const BackwardArgs& a) {
  const auto [B, H, Hkv, Nq, Nk, d] = a.shape;
  const int way = static_cast<int>(order_generator() % 3);
  std::fill_n(a.grad_q, a.shape.q_elements(), 0.0f);
  std::fill_n(a.grad_k, a.shape.kv_elements(), 0.0f);
  std::fill_n(a.grad_v, a.shape.kv_elements(), 0.0f);
  for (const std::int64_t row : random_order(a.shape.rows())) {
    const std::int64_t head = row / Nq;
    const float* q = a.q + row * d;
    const float* grad_o = a.grad_o + row * d;
    const float delta = any_dot(grad_o, a.o + row * d, d, way);
    const std::int64_t visible = visible_keys(row % Nq, diagonal(a.mask, Nq, Nk), Nk);
    for (const std::int64_t j : random_order(visible)) {
      const std::int64_t key = (head * Nk + j) * d;
      const float s = a.scale * any_dot(q, a.k + key, d, way);
      const float p = std::exp(s - a.lse[row]);
      const float grad_s = p * (any_dot(grad_o, a.v + key, d, way) - delta);
      for (std::int64_t c = 0; c < d; ++c) {
        a.grad_q[row * d + c] += a.scale * grad_s * a.k[key + c];
        a.grad_k[key + c] += a.scale * grad_s * q[c];
        a.grad_v[key + c] += p * grad_o[c];
      }
    }
  }
}

constexpr Step kRight{.id = "right",
                      .idea = "float32 loops in random order",
                      .forward = right_forward,
                      .forward_workspace_bytes = [](const Shape&) { return std::size_t{0}; },
                      .backward = right_backward,
                      .backward_workspace_bytes = [](const Shape&) { return std::size_t{0}; }};

template <typename T, std::size_t kCount>
T pick(const std::array<T, kCount>& from, std::mt19937_64& generator) {
  return from[generator() % kCount];
}

/// A random request; one in sixteen has hundreds of keys.
InputSpec random_spec(Pass pass, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  const auto up_to = [&](std::uint64_t n) {
    return static_cast<std::int64_t>(generator() % (n + 1));
  };
  const bool is_long = generator() % 16 == 0;
  InputSpec spec;
  spec.shape =
      make_shape(1 + up_to(1), 1 + up_to(1), up_to(is_long ? 8 : 20), up_to(is_long ? 700 : 30), 1);
  spec.shape.d = pick(std::array<std::int64_t, 8>{1, 3, 8, 16, 33, 40, 64, 128}, generator);
  spec.mask = pick(std::array{Mask::kFull, Mask::kCausal, Mask::kCausalTopLeft}, generator);
  do {
    spec.kind = pick(kAllInputKinds, generator);
  } while (pass == Pass::kBackward && has_visible_infinity(spec.kind));
  const float standard = default_scale(spec.shape.d);
  spec.scale =
      has_prescribed_logits(spec.kind)
          ? kPrescribedScale
          : pick(std::array{standard, standard, -standard, 0.0f, 3.0f * standard}, generator);
  spec.tile_edge = kTile;
  spec.seed = seed;
  return spec;
}

/// Runs `count` random cases and returns the largest error in units of its tolerance.
double check_right_results(Pass pass, int count) {
  const Chapter chapter = fake_chapter(kRight);
  double worst = 0.0;
  for (int number = 0; number < count; ++number) {
    const std::uint64_t seed = 1000 + static_cast<std::uint64_t>(number);
    const InputSpec spec = random_spec(pass, seed);
    const Problem problem = make_problem(spec, pass);
    const Truth truth = truth_of(problem, pass);
    order_generator.seed(seed);
    const Verdict verdict = judge(
        truth, pass == Pass::kForward ? run_forward(chapter, kRight, problem)
                                      : run_backward(chapter, kRight, problem, truth.o, truth.lse));
    worst = std::max(worst, verdict.worst);
    if (verdict.passed) continue;
    CAPTURE(to_string(Case{.spec = spec}), verdict.text);
    FAIL_CHECK("a right result was refused");
  }
  return worst;
}

TEST_CASE("right forward passes are never refused", "[verify]") {
  const double worst = check_right_results(Pass::kForward, 3000);
  CHECK(worst > 0.01);  // the tolerances are not arbitrarily wide either
}

TEST_CASE("right backward passes are never refused", "[verify]") {
  const double worst = check_right_results(Pass::kBackward, 2000);
  CHECK(worst > 0.001);
}

// --- Where a NaN may pass through a hidden pair -------------------------------------------------

/// Whether the results of a step with this reach may have `value` in element (row, column) of one
/// array in which the oracle has a finite number. Twelve rows of d = 4; row i sees keys 0 to i.
bool allowed(const Problem& problem, Pass pass, std::int64_t reach, const std::string& array,
             std::int64_t row, std::int64_t column, float value) {
  const Truth truth = truth_of(problem, pass, reach);
  for (const Expected& expected : truth.arrays) {
    if (expected.name != array) continue;
    std::vector<float> got = reference::narrow(expected.values);
    for (std::size_t e = 0; e < got.size(); ++e) got[e] = rounded_to(problem.element, got[e]);
    REQUIRE(compare(expected, got).passed);
    float& element = got[size(row * problem.shape.d + column)];
    REQUIRE(std::isfinite(element));
    element = value;
    return compare(expected, got).passed;
  }
  return false;
}

struct Poisoned {
  std::vector<float> Problem::*input;
  Pass pass;
  const char* output;
  bool to_rows;  // from a key's number to rows before it, or from a row's to keys behind it
};

TEST_CASE("a NaN may pass through hidden pairs within the reach, and nowhere else", "[verify]") {
  const Poisoned routes[] = {{&Problem::v, Pass::kForward, "o", true},
                             {&Problem::k, Pass::kBackward, "dq", true},
                             {&Problem::q, Pass::kBackward, "dk", false},
                             {&Problem::grad_o, Pass::kBackward, "dv", false}};
  for (const Poisoned& route : routes) {
    for (const float poison : {kNan, kInfinity}) {
      INFO(route.output << " by " << poison);
      Problem problem = make_problem({.shape = make_shape(1, 1, 12, 12, 4),
                                      .mask = Mask::kCausalTopLeft,
                                      .scale = 0.5f,
                                      .seed = 3,
                                      .element = Element::kBfloat16},
                                     route.pass);
      const std::int64_t from = 6, column = 2;
      (problem.*route.input)[size(from * 4 + column)] = poison;
      const auto check = [&](std::int64_t reach, std::int64_t to, std::int64_t c, float value) {
        return allowed(problem, route.pass, reach, route.output, to, c, value);
      };
      // Between key 6 and the keys of row 2 lie three: 3, 4 and 5. Row 6 sees keys up to 6, and
      // three lie between these and key 10.
      const std::int64_t to = route.to_rows ? 2 : 10;
      CHECK(check(4, to, column, kNan));
      CHECK_FALSE(check(3, to, column, kNan));
      CHECK_FALSE(check(0, to, column, kNan));
      CHECK_FALSE(check(4, to, column + 1, kNan));
      CHECK_FALSE(check(4, route.to_rows ? to - 1 : to + 1, column, kNan));
      CHECK_FALSE(check(4, to, column, kInfinity));
      CHECK_FALSE(check(4, to, column, 100.0f));
      // Without it, nothing may be NaN.
      (problem.*route.input)[size(from * 4 + column)] = 1.0f;
      CHECK_FALSE(check(4, to, column, kNan));
    }
  }
}

TEST_CASE("within no reach: K of a hidden key forward, V backward, what takes no part",
          "[verify]") {
  const auto problem_with = [](std::int64_t Nq, std::int64_t Nk, Mask mask, Pass pass) {
    return make_problem(
        {.shape = make_shape(1, 1, Nq, Nk, 4), .mask = mask, .scale = 0.5f, .seed = 3}, pass);
  };
  Problem problem = problem_with(12, 12, Mask::kCausal, Pass::kForward);
  problem.k[size(6 * 4)] = kNan;
  CHECK_FALSE(allowed(problem, Pass::kForward, 100, "o", 2, 0, kNan));
  problem = problem_with(12, 12, Mask::kCausal, Pass::kBackward);
  problem.v[size(6 * 4)] = kNan;
  CHECK_FALSE(allowed(problem, Pass::kBackward, 100, "dq", 2, 0, kNan));

  // Rows 0 to 3 see no key; keys 6 to 9 are seen by no row.
  problem = problem_with(8, 4, Mask::kCausal, Pass::kForward);
  problem.v[size(1 * 4)] = kNan;
  CHECK(allowed(problem, Pass::kForward, 100, "o", 4, 0, kNan));
  CHECK_FALSE(allowed(problem, Pass::kForward, 100, "o", 3, 0, kNan));
  problem = problem_with(6, 10, Mask::kCausalTopLeft, Pass::kForward);
  problem.v[size(6 * 4)] = kNan;
  CHECK_FALSE(allowed(problem, Pass::kForward, 100, "o", 5, 0, kNan));
  problem = problem_with(6, 10, Mask::kCausalTopLeft, Pass::kBackward);
  problem.grad_o[size(2 * 4)] = kNan;
  CHECK(allowed(problem, Pass::kBackward, 100, "dv", 5, 0, kNan));
  CHECK_FALSE(allowed(problem, Pass::kBackward, 100, "dv", 6, 0, kNan));
}

/// Plain loops that multiply 0 with V of the hidden keys up to the end of a tile, or of all.
template <bool kWholeRow>
void tiled_forward(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t most = visible_keys(Nq - 1, diagonal(args.mask, Nq, Nk), Nk);
  fake_forward(args, Bug::kNone);
  for (std::int64_t row = 0; row < args.shape.rows(); ++row) {
    const std::int64_t visible = visible_keys(row % Nq, diagonal(args.mask, Nq, Nk), Nk);
    const std::int64_t tile = (visible + kTile - 1) / kTile * kTile;
    for (std::int64_t j = visible; visible > 0 && j < std::min(kWholeRow ? Nk : tile, most); ++j) {
      const float* v = args.v + (row / Nq * Nk + j) * d;
      for (std::int64_t c = 0; c < d; ++c) args.o[row * d + c] += 0.0f * v[c];
    }
  }
}

template <bool kWholeRow>
bool passes_with_reach(std::int64_t reach) {
  static constexpr Step kStep{.id = "tiled",
                              .idea = "float32 loops",
                              .forward = tiled_forward<kWholeRow>,
                              .forward_workspace_bytes = [](const Shape& shape) {
                                return fake_forward_workspace(shape, Bug::kNone);
                              }};
  Chapter chapter = fake_chapter(kStep);
  chapter.support.reach = reach;
  CheckOptions options;
  options.max_failures = 1;
  options.survey = 0;
  return check(chapter, kStep, Pass::kForward, options).passed();
}

TEST_CASE("the battery allows a NaN within the tile of a chapter that says so", "[verify]") {
  CHECK(passes_with_reach<false>(kTile));
  CHECK_FALSE(passes_with_reach<false>(0));
  CHECK_FALSE(passes_with_reach<true>(kTile));
}

// --- The parts ----------------------------------------------------------------------------------

TEST_CASE("where rows must be aligned, every case has them so, at the least alignment",
          "[verify]") {
  constexpr Element kNarrow[] = {Element::kBfloat16, Element::kFloat16};
  constexpr Element kAll[] = {Element::kFloat32, Element::kBfloat16, Element::kFloat16};
  constexpr int kLarge[] = {200};  // so many pairs that the table asks for d = 1
  std::vector<std::int64_t> eights(16);
  for (std::size_t n = 0; n < eights.size(); ++n) eights[n] = 8 * static_cast<std::int64_t>(n + 1);
  constexpr std::int64_t kTwo[] = {64, 128};
  for (const std::span<const std::int64_t> only :
       {std::span<const std::int64_t>(), {eights}, {kTwo}}) {
    for (const std::span<const Element> elements : {std::span<const Element>(kNarrow), {kAll}}) {
      const Support support{.only_d = only, .alignment = 16};
      std::map<std::int64_t, int> dims;
      int unaligned = 0;
      for (const Case& one :
           case_table(support, elements, kLarge, Pass::kForward, Extent::kThin, 9)) {
        const InputSpec& spec = one.spec;
        CAPTURE(to_string(one));
        CHECK(why_unsupported(spec.element, spec.shape, spec.mask, {}, support) == "");
        const auto bytes = static_cast<std::int64_t>(bytes_of(spec.element));
        CHECK((one.offset == 0 || one.offset * bytes == 16));
        unaligned += one.offset == 0 ? 0 : 1;
        ++dims[spec.shape.d];
      }
      CHECK(unaligned > 20);
      if (only.size() == 2) {
        CHECK(dims.size() == 2);
      } else {
        for (const std::int64_t d : {8, 16, 32, 40, 64, 80, 128}) CHECK(dims[d] >= 3);
      }
    }
  }
}

TEST_CASE("cases with other rows of V say how long they are, and keep the alignment", "[verify]") {
  const Support support{.features = {Feature::kValueWidth, Feature::kStrides}, .alignment = 16};
  int narrow = 0;
  for (const Case& one :
       case_table(support, kFloat32, kTileEdges, Pass::kForward, Extent::kThin, 9)) {
    const InputSpec& spec = one.spec;
    const std::string name = to_string(one);
    CAPTURE(name);
    CHECK((name.find(fmt::format(" dv={},", spec.d_v)) != std::string::npos) == (spec.d_v != 0));
    CHECK(spec.features.has(Feature::kValueWidth) == (spec.d_v != 0));
    CHECK(spec.gap == 0);
    if (spec.d_v == 0) continue;
    CHECK(spec.d_v != spec.shape.d);
    CHECK(spec.d_v * 4 % 16 == 0);
    const Problem problem = make_problem(spec, Pass::kBackward);
    CHECK(problem.v.size() ==
          static_cast<std::size_t>(spec.shape.B * spec.shape.Hkv * spec.shape.Nk * spec.d_v));
    CHECK(problem.grad_o.size() == static_cast<std::size_t>(spec.shape.rows() * spec.d_v));
    ++narrow;
  }
  CHECK(narrow > 0);
}

/// Of a paged case: entries of the table that hold a key name a page each, the same one only where
/// sequences begin alike; the pool has their keys, and NaN elsewhere.
void check_pool(const InputSpec& spec) {
  static constexpr Step kStep{
      .id = "none", .idea = "", .forward_workspace_bytes = [](const Shape&) {
        return std::size_t{0};
      }};
  const Problem problem = make_problem(spec, Pass::kForward);
  const auto& [shape, extras] = std::tie(problem.shape, problem.extras);
  const std::int64_t P = spec.page_keys, entries = (shape.Nk + P - 1) / P;
  REQUIRE(std::ssize(extras.block_table) == shape.B * entries);
  std::map<std::int64_t, std::int64_t> users;  // of each page
  for (std::int64_t b = 0; b < shape.B; ++b) {
    const std::int64_t begin = extras.key_begin.empty() ? 0 : extras.key_begin[size(b)];
    const std::int64_t end =
        extras.key_count.empty() ? shape.Nk : begin + extras.key_count[size(b)];
    for (std::int64_t n = 0; n < entries; ++n) {
      const std::int64_t page = extras.block_table[size(b * entries + n)];
      const bool used = begin < end && n * P < end && (n + 1) * P > begin;
      CHECK(used == (page >= 0 && page < extras.pages));
      if (!used) continue;
      ++users[page];
      if ((n + 1) * P > spec.shared_keys) CHECK(users[page] == 1);
    }
  }
  CHECK(std::ssize(users) < extras.pages);  // some are nobody's

  const Chapter chapter = fake_chapter(kStep);
  const Run run(chapter, kStep, Pass::kForward, problem, {}, {}, {});
  const auto* k = static_cast<const float*>(run.forward_args().k);
  std::vector<bool> is_key(size(extras.pages * shape.Hkv * P));
  for (std::int64_t b = 0; b < shape.B; ++b) {
    const std::int64_t begin = extras.key_begin.empty() ? 0 : extras.key_begin[size(b)];
    const std::int64_t end =
        extras.key_count.empty() ? shape.Nk : begin + extras.key_count[size(b)];
    for (std::int64_t j = begin; j < end; ++j) {
      for (std::int64_t head = 0; head < shape.Hkv; ++head) {
        const std::int64_t page = extras.block_table[size(b * entries + j / P)];
        const std::int64_t row = (page * shape.Hkv + head) * P + j % P;
        is_key[size(row)] = true;
        const float* logical = problem.k.data() + ((b * shape.Hkv + head) * shape.Nk + j) * shape.d;
        CHECK(std::equal(logical, logical + shape.d, k + row * shape.d,
                         [](float a, float x) { return matches(double{a}, x, 0.0); }));
      }
    }
  }
  for (std::size_t row = 0; row < is_key.size(); ++row) {
    const float* first = k + row * size(shape.d);
    const auto is_nan = [](float x) { return std::isnan(x); };
    if (!is_key[row]) CHECK(std::all_of(first, first + shape.d, is_nan));
  }
}

TEST_CASE("keys in pages are the problem's keys, and nothing else is in the pool", "[verify]") {
  const Support support{.features = {Feature::kKeyCounts, Feature::kPages}};
  int paged = 0, shared = 0;
  for (const Case& one :
       case_table(support, kFloat32, kTileEdges, Pass::kForward, Extent::kThin, 9)) {
    CHECK((one.spec.page_keys > 0) == one.spec.features.has(Feature::kPages));
    if (one.spec.page_keys == 0) continue;
    const std::string name = to_string(one);
    CAPTURE(name);
    CHECK(name.find(fmt::format(", pages of {} keys", one.spec.page_keys)) != std::string::npos);
    check_pool(one.spec);
    ++paged;
    shared += one.spec.shared_keys > 0 ? 1 : 0;
  }
  CHECK(paged > 10);
  CHECK(shared > 2);
}

TEST_CASE("a match is only what is known to be right", "[verify]") {
  CHECK(matches(1.0, 1.0f, 0.0));
  CHECK(matches(1.0, 1.5f, 0.5));
  CHECK_FALSE(matches(1.0, 1.5f, 0.4999));
  CHECK_FALSE(matches(0.0, kNan, 1e30));
  CHECK_FALSE(matches(0.0, kInfinity, 1e30));
  CHECK_FALSE(matches(static_cast<double>(kInfinity), 0.0f, 1e30));
  CHECK_FALSE(matches(static_cast<double>(kInfinity), -kInfinity, 1e30));
  CHECK_FALSE(matches(static_cast<double>(kInfinity), kNan, 1e30));
  CHECK_FALSE(matches(static_cast<double>(kNan), 0.0f, 1e30));
  CHECK(matches(static_cast<double>(kNan), kNan, 0.0));
  CHECK(matches(static_cast<double>(-kInfinity), -kInfinity, 0.0));
  CHECK_FALSE(matches(1.0, 1.0f, static_cast<double>(kNan)));
  CHECK_FALSE(matches(0.0, -1e-30f, 0.0));
}

TEST_CASE("a comparison counts what is wrong and shows the first ten", "[verify]") {
  const Expected expected{
      "o", {1, 2, 3, 4}, std::vector<double>(24, 1.0), std::vector<double>(24, 0.1)};
  std::vector<float> got(24, 1.0f);
  CHECK(compare(expected, got).passed);
  CHECK(compare(expected, got).text.empty());
  got[17] = 2.0f;  // b=0 h=1 i=1 c=1
  const Comparison one = compare(expected, got);
  CHECK_FALSE(one.passed);
  CHECK(one.wrong == 1);
  CHECK(one.text.find("o[b=0 h=1 i=1 c=1]") != std::string::npos);
  std::fill(got.begin(), got.end(), kNan);
  const Comparison all = compare(expected, got);
  CHECK(all.wrong == 24);
  CHECK(std::count(all.text.begin(), all.text.end(), '[') == 10);
  got.pop_back();
  CHECK_FALSE(compare(expected, got).passed);
}

TEST_CASE("guard bands see one byte, on either side", "[verify]") {
  for (const std::size_t bytes : {0u, 1u, 4u, 255u, 256u, 1000u}) {
    for (const std::size_t offset : {0u, 4u, 12u}) {
      CAPTURE(bytes, offset);
      GuardedBuffer buffer(host_memory(), "array", bytes, offset);
      unsigned char* data = static_cast<unsigned char*>(buffer.data());
      CHECK(reinterpret_cast<std::uintptr_t>(data) % 256 == offset);
      buffer.fill_undefined(0x77);
      CHECK(buffer.check().empty());
      for (const std::ptrdiff_t at : {std::ptrdiff_t{-1}, static_cast<std::ptrdiff_t>(bytes)}) {
        const unsigned char before = data[at];
        data[at] = static_cast<unsigned char>(~before);
        CHECK(buffer.check().size() == 1);
        data[at] = before;
        CHECK(buffer.check().empty());
      }
    }
  }
}

}  // namespace
}  // namespace attn::verify
