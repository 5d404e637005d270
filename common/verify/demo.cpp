// SPDX-License-Identifier: MIT
#include "common/verify/demo.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/attention.hpp"
#include "common/io/table.hpp"
#include "common/reference/reference.hpp"
#include "common/run/run.hpp"
#include "common/verify/check.hpp"

namespace attn {
namespace {

using Values = std::vector<float>;

/// What one pass computed, with what it took.
struct Result : Outputs {
  std::size_t workspace_bytes = 0;
  double seconds = 0;
};

/// Only what runs on the host itself is timed: the CPU machine's time says nothing about a GPU.
bool is_timed(const Chapter& chapter) { return &chapter.memory() == &host_memory(); }

/// Wall-clock seconds of the fastest of three calls; of one call where time is of no interest.
double fastest_seconds(const Chapter& chapter, const Run& run) {
  double fastest = std::numeric_limits<double>::infinity();
  for (int i = 0; i < (is_timed(chapter) ? 3 : 1); ++i) {
    const auto start = std::chrono::steady_clock::now();
    run.call();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    fastest = std::min(fastest, elapsed.count());
  }
  return fastest;
}

/// The numbers as the element holds them.
std::vector<double> rounded(Element element, std::vector<double> values) {
  for (double& x : values) x = double{rounded_to(element, static_cast<float>(x))};
  return values;
}
reference::Inputs rounded(Element element, reference::Inputs inputs) {
  for (std::vector<double>* array : {&inputs.q, &inputs.k, &inputs.v, &inputs.grad_o}) {
    *array = rounded(element, std::move(*array));
  }
  return inputs;
}

/// A backward pass gets O and LSE from `expected`, so that it alone is judged.
Result run(const Chapter& chapter, const Step& step, Pass pass, Element element,
           const reference::Inputs& inputs, const reference::Forward& expected) {
  Problem problem;
  problem.element = element;
  problem.shape = inputs.shape;
  problem.mask = inputs.mask;
  problem.scale = static_cast<float>(inputs.scale);
  problem.q = reference::narrow(inputs.q);
  problem.k = reference::narrow(inputs.k);
  problem.v = reference::narrow(inputs.v);
  problem.grad_o = reference::narrow(inputs.grad_o);
  problem.extras = inputs.extras.as<float>();
  const Values o = reference::narrow(expected.o);
  const Values lse = reference::narrow(expected.lse);
  const Run prepared(chapter, step, pass, problem, o, lse, {});
  Result result;
  result.seconds = fastest_seconds(chapter, prepared);
  static_cast<Outputs&>(result) = prepared.collect();
  for (const std::string& damage : result.damage) throw Error(ErrorKind::kDeviceFailure, damage);
  result.workspace_bytes = workspace_bytes(step, pass, inputs.shape);
  return result;
}

Result run_forward(const Chapter& chapter, const Step& step, Element element,
                   const reference::Inputs& inputs) {
  return run(chapter, step, Pass::kForward, element, inputs, {});
}

Result run_backward(const Chapter& chapter, const Step& step, Element element,
                    const reference::Inputs& inputs, const reference::Forward& expected) {
  return run(chapter, step, Pass::kBackward, element, inputs, expected);
}

// ---- what is shown ------------------------------------------------------------------------------

constexpr int kTiny = 4;  // N and d of the tiny problem

/// A mask, packed sequences, a mask array, or what is done to the scores of the only head.
struct Look {
  Mask mask = Mask::kFull;
  std::vector<std::int64_t> offsets = {};  // [B + 1]
  std::vector<std::uint8_t> array = {};    // [kTiny, kTiny], repeated as often as it takes
  std::vector<double> alibi = {}, sink = {};
  double softcap = 0;

  bool plain() const { return name() == to_string(Mask::kFull); }
  std::string name() const {
    if (!array.empty()) return "mask array";
    if (!alibi.empty()) return fmt::format("ALiBi slope {}", alibi.front());
    if (softcap > 0) return fmt::format("softcap {}", softcap);
    if (!sink.empty()) return fmt::format("sink logit {}", sink.front());
    if (offsets.empty()) return to_string(mask);
    std::string text = "sequences of";
    for (std::size_t b = 1; b < offsets.size(); ++b) {
      text += fmt::format("{}{}", b == 1 ? " " : ", ", offsets[b] - offsets[b - 1]);
    }
    return text;
  }
  /// Of a problem with as many rows in one sequence.
  void set(reference::Inputs& inputs) const {
    inputs.mask = mask;
    inputs.extras.alibi = alibi;
    inputs.extras.softcap = softcap;
    inputs.extras.sink_logits = sink;
    inputs.extras.q_offsets = inputs.extras.k_offsets = offsets;
    inputs.extras.mask.clear();
    if (!array.empty()) {
      inputs.extras.mask_shape = {1, 1, inputs.shape.Nq, inputs.shape.Nk};
      for (std::int64_t i = 0; i < inputs.shape.Nq; ++i) {
        for (std::int64_t j = 0; j < inputs.shape.Nk; ++j) {
          const std::int64_t at = i % kTiny * kTiny + j % kTiny;
          inputs.extras.mask.push_back(array[static_cast<std::size_t>(at)]);
        }
      }
    }
    if (offsets.empty()) return;
    Shape& shape = inputs.shape;
    shape.B = static_cast<std::int64_t>(offsets.size()) - 1;
    shape.Nq = 0;
    for (std::size_t b = 1; b < offsets.size(); ++b) {
      shape.Nq = std::max(shape.Nq, offsets[b] - offsets[b - 1]);
    }
    shape.Nk = shape.Nq;
  }
};

/// No mask, a causal one, and this window, these sequences, and the rest where the chapter takes
/// such.
std::vector<Look> looks_of(const Chapter& chapter, const Mask& window,
                           const std::vector<std::int64_t>& offsets) {
  std::vector<Look> looks{{Mask::kFull}, {Mask::kCausal}};
  const Features& taken = chapter.support.features;
  if (taken.has(Feature::kWindows)) looks.push_back({window});
  if (taken.has(Feature::kPacked)) looks.push_back({.offsets = offsets});
  if (taken.has(Feature::kMaskArray)) {
    looks.push_back({.array = {1, 0, 1, 0,  //
                               0, 0, 0, 0,  //
                               0, 1, 0, 1,  //
                               1, 1, 1, 0}});
  }
  if (taken.has(Feature::kAlibi)) looks.push_back({.alibi = {0.5}});
  if (taken.has(Feature::kSoftcap)) looks.push_back({.softcap = 1});
  if (taken.has(Feature::kSinkLogits)) looks.push_back({.sink = {1}});
  return looks;
}

// ---- a tiny problem, shown in full --------------------------------------------------------------

/// Keys that a person can follow: a query that fits a key scores 2 with it, and 0 with the others.
reference::Inputs tiny_problem() {
  return {.shape = make_shape(1, 1, kTiny, kTiny, kTiny),
          .scale = 0.5,
          .q = {2, 0, 0, 0,  //
                0, 0, 0, 2,  //
                2, 2, 0, 0,  //
                0, 0, 4, 0},
          .k = {2, 0, 0, 0,  //
                0, 2, 0, 0,  //
                0, 0, 2, 0,  //
                0, 0, 0, 2},
          .v = {1, 0, 0, 1,  //
                0, 1, 0, 2,  //
                0, 0, 1, 3,  //
                0, 0, 0, 4},
          .grad_o = {}};
}

/// P from what the chapter returned: exp(S - LSE) for the keys a row sees, NaN for the others.
std::vector<double> weights(const reference::Inputs& inputs, const Values& lse) {
  std::vector<double> p(kTiny * kTiny, std::numeric_limits<double>::quiet_NaN());
  const reference::Visibility visibility(inputs.mask, inputs.extras);
  std::vector<std::int64_t> keys;
  reference::for_each_head(inputs.shape, inputs.extras, [&](const reference::HeadRows& at) {
    for (std::int64_t row = 0; row < at.Nq; ++row) {
      visibility.keys_of(at, row, keys);
      const auto i = static_cast<std::size_t>(at.q_row + row);
      for (const std::int64_t key : keys) {
        const auto j = static_cast<std::size_t>(at.k_row + key);
        double dot = 0;
        for (std::size_t c = 0; c < kTiny; ++c)
          dot += inputs.q[i * kTiny + c] * inputs.k[j * kTiny + c];
        double s = inputs.scale * dot;
        const double cap = inputs.extras.softcap;
        if (cap > 0) s = cap * std::tanh(s / cap);
        if (!inputs.extras.alibi.empty()) {
          const std::int64_t distance = std::abs(visibility.own_key(at, row) - key);
          s -= inputs.extras.alibi.front() * static_cast<double>(distance);
        }
        p[i * kTiny + j] = std::exp(s - double{lse[i]});
      }
    }
  });
  return p;
}

struct Matrix {
  std::string title;
  std::vector<double> values;  // (kTiny, kTiny); NaN is shown as a masked cell
  int decimals;
};

/// Three matrices side by side, each 28 columns wide.
void print(const std::array<Matrix, 3>& matrices) {
  const auto& [first, second, third] = matrices;
  fmt::print("   {:<28}    {:<28}    {}\n", first.title, second.title, third.title);
  for (std::size_t i = 0; i < kTiny; ++i) {
    std::string line = fmt::format("{:>3}", i);
    for (const Matrix& m : matrices) {
      if (&m != &first) line += "    ";
      for (std::size_t c = 0; c < kTiny; ++c) {
        const double value = m.values[i * kTiny + c];
        line += std::isnan(value) ? "      ." : fmt::format("{:7.{}f}", value, m.decimals);
      }
    }
    fmt::print("{}\n", line);
  }
  fmt::print("\n");
}

void show_tiny_problem(const Chapter& chapter, const Step& step) {
  const Element element = verify::elements_of(step, Pass::kForward).front();
  const Shape shape = tiny_problem().shape;
  if (!why_unsupported(element, shape, {}, {}, support_of(chapter, step)).empty()) return;
  fmt::print(
      "A tiny problem: N = 4, d = 4, scale = 1/sqrt(4) = 0.5. Query 0 fits key 0, query 1 key 3,\n"
      "query 2 keys 0 and 1, query 3 key 2, twice as well. P is exp(S - LSE).\n\n");
  const reference::Inputs inputs = tiny_problem();
  print({{{"Q", inputs.q, 0}, {"K", inputs.k, 0}, {"V", inputs.v, 0}}});
  for (const Look& look : looks_of(chapter, {.before = 1, .after = 0}, {0, 1, kTiny})) {
    reference::Inputs masked = inputs;
    look.set(masked);
    const Result result = run_forward(chapter, step, element, masked);
    const std::string with = look.plain() ? "" : ", " + look.name();
    print({{{"P" + with, weights(masked, result.lse), 3},
            {"O" + with, reference::widen(result.o), 3},
            {"the oracle's O, in float64", reference::forward(masked).o, 3}}});
  }
}

// ---- a real problem, compared with the oracle ---------------------------------------------------

/// Numbers in [-2, 2), as float32 values.
std::vector<double> random_values(std::int64_t count, std::mt19937& generator) {
  std::vector<double> values(static_cast<std::size_t>(count));
  for (double& value : values) value = static_cast<double>(generator() >> 8) * 0x1p-22 - 2;
  return values;
}

/// Largest difference, none where both are -Inf; NaN where anything is NaN.
double max_error(const Values& got, const std::vector<double>& expected) {
  double largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double error = got[i] == expected[i] ? 0 : std::abs(double{got[i]} - expected[i]);
    if (!(error <= largest)) largest = error;
    if (std::isnan(largest)) break;
  }
  return largest;
}

/// One comparison: which array, what the chapter computed, what is right; float32, or rounded when
/// it was stored.
struct Comparison {
  std::string_view name;
  const Values& got;
  const std::vector<double>& expected;
  Element element;

  /// In float32 rounding alone leaves about 1e-6 at this size. In 16 bits factors and results err
  /// by up to u of their size.
  double allowed() const {
    if (element == Element::kFloat32) return 1e-4;
    double largest = 0;
    for (const double x : expected) largest = std::max(largest, std::abs(x));
    return 2 * unit_roundoff(element) * largest;
  }
};

/// The elements that a chapter takes.
std::vector<Element> elements_of(const Chapter& chapter) {
  const Step* forward = default_step(chapter, Pass::kForward);
  const Step* backward = default_step(chapter, Pass::kBackward);
  return forward != nullptr ? verify::elements_of(*forward, Pass::kForward)
                            : verify::elements_of(*backward, Pass::kBackward);
}

/// Runs both passes, where the chapter has them, with each mask; true if all is right.
bool show_real_problem(const Chapter& chapter) {
  const Step* forward = default_step(chapter, Pass::kForward);
  const Step* backward = default_step(chapter, Pass::kBackward);
  constexpr unsigned kSeed = 1;
  const std::vector<Element> elements = elements_of(chapter);
  const bool narrow = elements.front() != Element::kFloat32;
  std::mt19937 generator(kSeed);
  reference::Inputs whole;  // one sequence
  whole.shape = make_shape(1, 1, 512, 512, 64);
  whole.scale = default_scale(whole.shape.d);
  whole.q = random_values(whole.shape.q_elements(), generator);
  whole.k = random_values(whole.shape.kv_elements(), generator);
  whole.v = random_values(whole.shape.kv_elements(), generator);
  whole.grad_o = random_values(whole.shape.q_elements(), generator);
  fmt::print("A real problem: {}, random numbers (seed {}).\n\n", to_string(whole.shape), kSeed);

  io::Table table({{"pass"},
                   {"mask"},
                   {"largest error against float64"},
                   {"workspace", io::Table::Align::kRight},
                   {is_timed(chapter) ? "time" : "", io::Table::Align::kRight}});
  bool right = true;
  std::string shown;
  const auto add_row = [&](Pass pass, Element element, const Result& result,
                           std::span<const Comparison> arrays) {
    std::string errors;
    for (const Comparison& one : arrays) {
      const double error = max_error(one.got, one.expected);
      right = right && error <= one.allowed();  // false for NaN
      errors += fmt::format("{:<4}{:<10.1e}", one.name, error);
    }
    const std::string of = narrow ? fmt::format(", {}", to_string(element)) : "";
    table.add_row({fmt::format("{}{}", to_string(pass), of), shown, errors,
                   io::human_bytes(result.workspace_bytes),
                   is_timed(chapter) ? io::human_seconds(result.seconds) : ""});
  };
  const auto compare = [&](Element element, const reference::Inputs& inputs) {
    const reference::Forward expected = reference::forward(inputs);
    if (forward != nullptr) {
      const Result result = run_forward(chapter, *forward, element, inputs);
      add_row(Pass::kForward, element, result,
              std::array<Comparison, 2>{{{"O", result.o, expected.o, element},
                                         {"LSE", result.lse, expected.lse, Element::kFloat32}}});
    }
    if (backward != nullptr) {
      reference::Forward given = expected;
      if (narrow) given.o = rounded(element, std::move(given.o));
      const reference::Gradients gradients = reference::backward(inputs, given);
      const Result result = run_backward(chapter, *backward, element, inputs, given);
      add_row(Pass::kBackward, element, result,
              std::array<Comparison, 3>{{{"dQ", result.grad_q, gradients.grad_q, element},
                                         {"dK", result.grad_k, gradients.grad_k, element},
                                         {"dV", result.grad_v, gradients.grad_v, element}}});
    }
  };
  for (const Element element : elements) {
    for (const Look& look : looks_of(chapter, {.before = 127, .after = 0}, {0, 300, 512})) {
      reference::Inputs inputs = rounded(element, whole);
      look.set(inputs);
      shown = look.name();
      compare(element, inputs);
    }
  }
  fmt::print("{}\n{}\n", table.to_string(),
             !right ? "WRONG: this is more than rounding."
             : narrow
                 ? "Right: bfloat16 keeps 8 bits of a number and float16 11, so an error of a "
                   "256th or a 2048th is rounding."
                 : "Right: float32 keeps about seven digits, so errors near 1e-6 are rounding.");
  return right;
}

}  // namespace

int run_demo(const Chapter& chapter, std::span<const char* const> arguments) {
  if (arguments.size() > 1) {
    const std::string_view argument = arguments[1];
    const bool help = arguments.size() == 2 && (argument == "--help" || argument == "-h");
    fmt::print(help ? stdout : stderr,
               "{}{}: the demo of {}; allowed: no arguments, for it always shows the same\n",
               arguments[0], help ? "" : fmt::format(": {}", argument), chapter.id);
    return help ? 0 : 2;
  }
  try {
    const Step* forward = default_step(chapter, Pass::kForward);
    const std::string_view idea = (forward != nullptr ? *forward : chapter.steps.back()).idea;
    fmt::print("{}: {}\nruns on: {}\n\n", chapter.id, idea, chapter.memory().name());
    if (forward != nullptr) show_tiny_problem(chapter, *forward);
    return show_real_problem(chapter) ? 0 : 1;
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}

}  // namespace attn
