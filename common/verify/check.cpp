// SPDX-License-Identifier: MIT
#include "common/verify/check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <set>
#include <span>
#include <utility>

#include "common/run/run.hpp"
#include "common/verify/cases.hpp"
#include "common/verify/oracle.hpp"
#include "common/verify/pattern.hpp"
#include "common/verify/properties.hpp"

namespace attn::verify {
namespace {

/// Switches the detectors for as long as it lives.
class Watch {
 public:
  Watch(Memory& memory, bool on) : memory_(memory) { memory_.watch(on); }
  ~Watch() { memory_.watch(false); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  Memory& memory_;
};

/// A problem of many heads is about the size of a grid, and what can be wrong of it shows in its
/// first and its last blocks: where the machine can, no others run. Of the heads in those blocks
/// fewer are judged, for a head may have some blocks.
class OnlyEnds {
 public:
  OnlyEnds(Memory& memory, bool on) : memory_(memory), on_(on && memory.run_only_ends(64)) {}
  ~OnlyEnds() {
    if (on_) memory_.run_only_ends(0);
  }
  OnlyEnds(const OnlyEnds&) = delete;
  OnlyEnds& operator=(const OnlyEnds&) = delete;

  /// Puts what is expected where no block need have run. The arrays begin with a problem's heads.
  void leave_out_others(const Truth& truth, std::int64_t heads, Outputs& outputs) const {
    if (!on_) return;
    for (const Expected& array : truth.arrays) {
      std::vector<float>& got = array_of(outputs, array.name);
      const std::size_t of_ends = got.size() / static_cast<std::size_t>(heads) * kHeads;
      for (std::size_t e = of_ends; e + of_ends < got.size(); ++e) {
        got[e] = static_cast<float>(array.values[e]);
      }
    }
  }

 private:
  static constexpr std::size_t kHeads = 8;  // that are judged, at either end
  Memory& memory_;
  bool on_;
};

/// The first array in which two runs differ in a bit; NaNs of different payload count as equal.
std::string bitwise_difference(const Truth& truth, const Outputs& a, const Outputs& b) {
  for (const Expected& array : truth.arrays) {
    const std::vector<float>& first = array_of(a, array.name);
    const std::vector<float>& second = array_of(b, array.name);
    for (std::size_t e = 0; e < first.size(); ++e) {
      const bool both_nan = first[e] != first[e] && second[e] != second[e];
      if (both_nan || std::memcmp(&first[e], &second[e], sizeof(float)) == 0) continue;
      return fmt::format(
          "  a second run on the same inputs, with other rubbish in the workspace, differs:\n"
          "    {}: {}, then {}\n",
          element_text(array, e), number_text(static_cast<double>(first[e])),
          number_text(static_cast<double>(second[e])));
    }
  }
  return {};
}

/// 0 to n - 1, each once: in order, or in strides that soon have been everywhere.
std::vector<std::size_t> visiting_order(std::size_t n, bool scattered) {
  std::size_t stride = 1;
  if (scattered) {
    stride = n * 618 / 1000;  // the golden ratio: no visit comes close to those before
    while (std::gcd(stride, n) != 1) ++stride;
  }
  std::vector<std::size_t> order(n);
  for (std::size_t k = 0; k < n; ++k) order[k] = k * stride % n;
  return order;
}

class Checker {
 public:
  Checker(const Subject& subject, std::vector<Element> elements, const CheckOptions& options)
      : subject_(subject), elements_(std::move(elements)), options_(options) {
    if (!options.mask) return;
    const Support support = support_of(subject.chapter, subject.step);
    const Element element = elements_.front();
    const Shape shape = make_shape(1, 1, 1, 1, supported_d(support, element, 1));
    const std::string why = why_unsupported(element, shape, *options.mask, {}, support);
    if (!why.empty()) throw Error(ErrorKind::kUnsupported, why);
  }

  CheckReport run() {
    const Watch watch(memory(), options_.detectors);
    const Chapter& chapter = subject_.chapter;
    const std::vector<Case> cases = table(options_.extent);
    const std::vector<Property> properties = all_properties();
    total_ = static_cast<int>(cases.size() + properties.size());
    std::vector<std::size_t> order = visiting_order(cases.size(), options_.scattered);
    if (options_.scattered) {  // what takes a minute comes last: few bugs need it to be seen
      std::stable_partition(order.begin(), order.end(),
                            [&](std::size_t k) { return !is_crowded(cases[k]); });
    }
    std::vector<Case> failing, passing;
    const auto run_all = [&](std::span<const std::size_t> some) {
      for (const std::size_t k : some) {
        const int before = report_.failed;
        const bool go_on = attempt(to_string(cases[k]), [&] { return run_case(cases[k]); });
        (report_.failed > before ? failing : passing).push_back(cases[k]);
        if (!go_on) return false;
      }
      return true;
    };
    if (!run_all(order)) {
      const auto done = static_cast<std::ptrdiff_t>(failing.size() + passing.size());
      order.erase(order.begin(), order.begin() + done);
      run_all(sample(order));
      report_.pattern = describe_pattern(failing, passing, chapter.tile_edges);
      return report_;
    }
    memory().watch(options_.detectors);
    for (const Property& property : properties) {
      const std::string name = fmt::format("{}, seed={}", property.name, subject_.seed);
      if (!attempt(name, [&] { return run_property(property); })) break;
    }
    report_.pattern = describe_pattern(failing, passing, chapter.tile_edges);
    return report_;
  }

  /// A few problems with plain inputs, from the smallest to the largest, until one does not end.
  std::optional<CheckReport> look_for_endless() {
    const Watch watch(memory(), options_.detectors);
    constexpr std::size_t kLooks = 6;
    std::vector<Case> plain = table(Extent::kThin);
    std::erase_if(plain, [](const Case& one) {
      const Shape& shape = one.spec.shape;
      return one.spec.kind != InputKind::kNormal || !one.watched || shape.rows() * shape.Nk == 0;
    });
    for (std::size_t look = 0; look < kLooks && !endless_; ++look) {
      const Case& one = plain[look * (plain.size() - 1) / (kLooks - 1)];
      attempt(to_string(one), [&] { return run_case(one); });
    }
    return endless_ ? std::optional(report_) : std::nullopt;
  }

 private:
  Memory& memory() const { return memory_of(subject_.chapter, subject_.step); }

  std::vector<Case> table(Extent extent) const {
    const Chapter& chapter = subject_.chapter;
    std::vector<Case> cases =
        case_table(support_of(chapter, subject_.step), elements_, chapter.tile_edges, subject_.pass,
                   extent, options_.seed, options_.mask);
    if (!options_.crowded) std::erase_if(cases, &is_crowded);
    return cases;
  }

  std::vector<Property> all_properties() const {
    std::vector<Property> list =
        subject_.pass == Pass::kForward ? forward_properties() : backward_properties();
    for (Property& property : common_properties()) list.push_back(std::move(property));
    return list;
  }

  /// Runs one case; false once all failures that shall be described are there.
  template <typename Body>
  bool attempt(const std::string& name, Body body) {
    std::string text;
    take_uses();
    try {
      text = body();
    } catch (const std::exception& error) {
      // A detector that stops a launch says more than the error does.
      text = detections();
      if (text.empty()) text = fmt::format("  threw: {}\n", error.what());
    }
    ++report_.cases;
    if (text.empty()) {
      add(report_.goals, take_uses(), name);
    } else {
      ++report_.failed;
      if (!surveying_) report_.failures.push_back({name, text});
    }
    if (options_.progress) options_.progress(report_.cases, total_);
    if (endless_) return false;
    return surveying_ ||
           static_cast<int>(report_.failures.size()) < std::max(1, options_.max_failures);
  }

  /// Cases from all over what is left, for the survey; none if a kernel never ends, which would
  /// take its time in each of them.
  std::vector<std::size_t> sample(const std::vector<std::size_t>& left) {
    surveying_ = true;
    std::vector<std::size_t> some;
    const std::vector<std::size_t> order = visiting_order(left.size(), /*scattered=*/true);
    const auto most = static_cast<std::size_t>(endless_ ? 0 : options_.survey);
    for (std::size_t k = 0; k < std::min(most, left.size()); ++k) some.push_back(left[order[k]]);
    return some;
  }

  /// Every report but warnings, which are kept, each once.
  std::string detections() {
    std::string text;
    for (const Detection& detection : memory().take_detections()) {
      endless_ = endless_ || detection.kind == kEndlessKernel;
      if (detection.warning) {
        warn(detection);
      } else {
        text += fmt::format("{}\n", to_string(detection));
      }
    }
    return text;
  }

  void warn(const Detection& detection) {
    if (!warned_.insert({detection.file, detection.line}).second) return;
    report_.warnings.push_back(to_string(detection));
  }

  std::string run_case(const Case& one) {
    memory().watch(options_.detectors && one.watched);
    const Problem problem = make_problem(one.spec, subject_.pass);
    const Truth truth =
        truth_of(problem, subject_.pass, support_of(subject_.chapter, subject_.step).reach);
    const auto call = [&](unsigned char dirt) {
      return run_step(subject_.chapter, subject_.step, subject_.pass, problem, truth.o, truth.lse,
                      {.offset = one.offset, .only = one.only, .dirt = dirt});
    };
    const OnlyEnds ends(memory(), is_crowded(one) && options_.extent != Extent::kFull);
    Outputs outputs = call(0xFF);  // NaNs
    ends.leave_out_others(truth, one.spec.shape.heads(), outputs);
    for (const Detection& detection : outputs.detections) {
      if (detection.warning) warn(detection);
    }
    const Verdict verdict = judge(truth, outputs);
    if (!verdict.passed) return verdict.text;
    report_.worst = std::max(report_.worst, verdict.worst);
    const bool reproducible =
        subject_.pass == Pass::kForward || subject_.step.deterministic_backward;
    if (!one.repeat || !reproducible) return {};
    Outputs again = call(0x7E);  // 8.45e37
    ends.leave_out_others(truth, one.spec.shape.heads(), again);
    const std::string text = misconduct(again);
    return text.empty() ? bitwise_difference(truth, outputs, again) : text;
  }

  std::string run_property(const Property& property) {
    const std::string text = property.check(subject_);
    return text.empty() ? detections() : text;
  }

  Subject subject_;
  std::vector<Element> elements_;
  CheckOptions options_;
  CheckReport report_;
  int total_ = 0;
  bool surveying_ = false;
  bool endless_ = false;
  std::set<std::pair<std::string, int>> warned_;
};

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && std::string_view(value) == "1";
}

}  // namespace

CheckOptions options_from_environment() {
  CheckOptions options;
  if (is_set("ATTN_THIN")) options.extent = Extent::kThin;
  if (is_set("ATTN_FULL")) options.extent = Extent::kFull;
  options.scattered = is_set("ATTN_SCATTERED");
  if (options.scattered) {
    options.max_failures = 1;
    options.survey = 0;
  }
  if (const char* seed = std::getenv("ATTN_SEED")) options.seed = std::strtoull(seed, nullptr, 10);
  return options;
}

Extent extent_of_step(const Chapter& chapter, const Step& step, Pass pass, Extent asked) {
  const bool leading = &step == default_step(chapter, pass) || &step == chapter.twin;
  return leading || asked == Extent::kFull ? asked : Extent::kThin;
}

std::string describe(const CheckReport& report) {
  std::string text;
  for (const std::string& warning : report.warnings) text += fmt::format("\n{}\n", warning);
  for (const Failure& failure : report.failures) {
    text += fmt::format("\n  {}\n{}", failure.name, failure.text);
  }
  if (!report.pattern.empty()) text += fmt::format("\n  In common: {}.\n", report.pattern);
  if (report.right()) text += describe(report.goals);
  return text;
}

std::vector<Element> elements_of(const Step& step, Pass pass) {
  std::vector<Element> elements;
  for (const Element element : kAllElements) {
    const bool taken =
        pass == Pass::kForward ? step.forward.takes(element) : step.backward.takes(element);
    if (taken) elements.push_back(element);
  }
  return elements;
}

CheckReport check(const Chapter& chapter, const Step& step, Pass pass,
                  const CheckOptions& options) {
  std::vector<Element> elements = elements_of(step, pass);
  if (elements.empty()) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("pass = {}: {} {} has none", to_string(pass), chapter.id, step.id));
  }
  if (options.element) {
    if (std::find(elements.begin(), elements.end(), *options.element) == elements.end()) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("element = {}: {} {} does not take it", to_string(*options.element),
                              chapter.id, step.id));
    }
    elements = {*options.element};
  }
  return Checker({chapter, step, pass, options.seed, elements.front()}, elements, options).run();
}

std::optional<Endless> find_endless(const Chapter& chapter, std::span<const Step* const> steps,
                                    std::optional<Pass> only, std::optional<Mask> mask) {
  for (const Step* step : steps) {
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      const std::vector<Element> elements = elements_of(*step, pass);
      if (elements.empty() || (only && *only != pass)) continue;
      CheckOptions options;
      options.mask = mask;
      Checker checker({chapter, *step, pass, options.seed, elements.front()}, elements, options);
      if (std::optional<CheckReport> report = checker.look_for_endless()) {
        return Endless{step, pass, std::move(*report)};
      }
    }
  }
  return {};
}

}  // namespace attn::verify
