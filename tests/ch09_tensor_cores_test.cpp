// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "chapters/chapters.hpp"
#include "common/run/run.hpp"
#include "common/verify/check.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

#ifndef ATTN_USE_CUDA
#include "common/simt/machine/options.hpp"
#endif

namespace attn::testing {
namespace {

TEST_CASE("09_tensor_cores: forward is right on the case table") {
  require_right(chapters::ch09_tensor_cores(), Pass::kForward);
}

TEST_CASE("09_tensor_cores: backward is right on the case table") {
  require_right(chapters::ch09_tensor_cores(), Pass::kBackward);
}

/// Calls f(step, pass) for every step of the chapter.
template <class F>
void for_each_step(F f) {
  for (const Step& step : chapters::ch09_tensor_cores().steps) {
    f(step, step.forward != nullptr ? Pass::kForward : Pass::kBackward);
  }
}

/// Runs the step on the problem and compares with the oracle.
void require_right(const Step& step, Pass pass, const Problem& problem) {
  const Chapter& chapter = chapters::ch09_tensor_cores();
  INFO(step.id << ", " << to_string(problem.shape) << ", " << to_string(problem.mask) << ", "
               << to_string(problem.element));
  const verify::Truth truth = verify::truth_of(problem, pass, chapter.support.reach);
  const Outputs outputs = pass == Pass::kForward
                              ? run_forward(chapter, step, problem)
                              : run_backward(chapter, step, problem, truth.o, truth.lse);
  const verify::Verdict verdict = verify::judge(truth, outputs);
  INFO(verdict.text);
  CHECK(verdict.passed);
}

/// Tiles hold keys that no row sees, rows that see no key, and zeros for rows that do not exist.
/// NaN in all that takes no part, and in one row or key beside it.
TEST_CASE("09_tensor_cores: what takes no part stays 0 beside a NaN") {
  if (device_is_missing()) return;
  using verify::InputKind;
  for_each_step([&](const Step& step, Pass pass) {
    for (const InputKind kind : {InputKind::kHiddenPoison, InputKind::kNanInSharedK,
                                 InputKind::kNanInQuery, InputKind::kNanInGradO}) {
      for (const auto& [Nq, Nk, mask] :
           {std::tuple{7, 67, Mask::kCausalTopLeft}, {67, 7, Mask::kCausal}}) {
        INFO(to_string(kind));
        require_right(step, pass,
                      verify::make_problem({.shape = make_shape(1, 1, Nq, Nk, 16),
                                            .mask = mask,
                                            .scale = 0.25f,
                                            .kind = kind,
                                            .seed = 20260101,
                                            .element = Element::kBfloat16},
                                           pass));
      }
    }
  });
}

#ifndef ATTN_USE_CUDA

/// Sets the machine's options for as long as it lives.
class Machine {
 public:
  explicit Machine(const simt::Options& options) { simt::options() = options; }
  ~Machine() { simt::options() = before_; }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

 private:
  simt::Options before_ = simt::options();
};

std::vector<Problem> a_dozen(Pass pass) {
  std::vector<Problem> problems;
  for (const Element element : {Element::kBfloat16, Element::kFloat16}) {
    for (const Mask& mask : {Mask::kFull, Mask::kCausal}) {
      // Whole tiles; a row and a key more and less; columns of the wider tiles.
      for (const auto& [Nq, Nk, d] : {std::array{64, 64, 16}, {65, 129, 40}, {40, 31, 72}}) {
        problems.push_back(verify::make_problem({.shape = make_shape(1, 1, Nq, Nk, d),
                                                 .mask = mask,
                                                 .scale = default_scale(d),
                                                 .seed = 20260101 + problems.size(),
                                                 .element = element},
                                                pass));
      }
    }
  }
  return problems;
}

TEST_CASE("09_tensor_cores: right in any order of threads, and as the hardware adds up") {
  const simt::Options machines[] = {
      {.order = simt::Order::kReversed, .completion = simt::Completion::kEager},
      {.order = simt::Order::kShuffled, .shuffle_seed = 9, .completion = simt::Completion::kRandom},
      {.accumulation = simt::Accumulation::kA100},
      {.accumulation = simt::Accumulation::kH100}};
  for_each_step([&](const Step& step, Pass pass) {
    for (const simt::Options& options : machines) {
      const Machine machine(options);
      INFO("order " << static_cast<int>(options.order) << ", completion "
                    << to_string(options.completion) << ", accumulation "
                    << to_string(options.accumulation));
      for (const Problem& problem : a_dozen(pass)) require_right(step, pass, problem);
    }
  });
}

/// As many keys as the drift of sums that are cut off, not rounded, needs to show: P V adds up a
/// thousand numbers of one sign.
TEST_CASE("09_tensor_cores: sums of a thousand keys, as the hardware adds up") {
  for (const auto accumulation : {simt::Accumulation::kA100, simt::Accumulation::kH100}) {
    const Machine machine({.accumulation = accumulation});
    INFO(to_string(accumulation));
    Problem problem = verify::make_problem({.shape = make_shape(1, 1, 3, 1024, 64),
                                            .scale = default_scale(64),
                                            .seed = 20260101,
                                            .element = Element::kFloat16},
                                           Pass::kForward);
    for (float& x : problem.v) x = std::abs(x);
    require_right(*default_step(chapters::ch09_tensor_cores(), Pass::kForward), Pass::kForward,
                  problem);
  }
}

#endif

/// Logits of ten million, and the largest that there are: nothing may overflow or be rounded before
/// the maximum is taken off, in float16 either, whose numbers end at 65,504.
TEST_CASE("09_tensor_cores: large logits, forward and then backward on the forward's LSE") {
  if (device_is_missing()) return;
  const Chapter& chapter = chapters::ch09_tensor_cores();
  const Step& backward = *default_step(chapter, Pass::kBackward);
  for (const Element element : {Element::kBfloat16, Element::kFloat16}) {
    for (const float factor : {1000.0f, 14000.0f}) {  // of 4 deviations, 56,000
      Problem problem = verify::make_problem({.shape = make_shape(1, 2, 48, 48, 40),
                                              .scale = default_scale(40),
                                              .seed = 20260101,
                                              .element = element},
                                             Pass::kBackward);
      for (std::vector<float>* array : {&problem.q, &problem.k}) {
        for (float& x : *array) x = std::clamp(x, -4.0f, 4.0f) * factor;
      }
      round_to_element(problem);
      const reference::Inputs inputs = verify::inputs_of(problem);
      const reference::Forward truth = reference::forward(inputs);
      const reference::Gradients gradients = reference::backward(inputs, truth);
      for (const Step& step : chapter.steps) {
        if (step.forward == nullptr) continue;
        INFO(step.id << ", " << to_string(element) << ", times " << factor);
        const Outputs given = run_forward(chapter, step, problem);
        const Outputs outputs = run_backward(chapter, backward, problem, given.o, given.lse);
        // One key holds each row: O is its V, and dV the sum of the rows' dO that it holds.
        double o_error = 0, v_error = 0, most = 0;
        for (std::size_t e = 0; e < given.o.size(); ++e) {
          o_error = std::max(o_error, std::abs(static_cast<double>(given.o[e]) - truth.o[e]));
        }
        for (std::size_t e = 0; e < gradients.grad_v.size(); ++e) {
          const double right = gradients.grad_v[e];
          v_error = std::max(v_error, std::abs(static_cast<double>(outputs.grad_v[e]) - right));
          most = std::max(most, std::abs(right));
        }
        CHECK(o_error <= 1e-6);
        CHECK(v_error <= 1.01 * unit_roundoff(element) * most);
        const auto finite = [](const std::vector<float>& all) {
          return std::all_of(all.begin(), all.end(), [](float x) { return std::isfinite(x); });
        };
        CHECK((finite(given.lse) && finite(outputs.grad_q) && finite(outputs.grad_k)));
      }
    }
  }
}

TEST_CASE("09_tensor_cores: forward needs no workspace, backward one number per row") {
  const Shape shape = make_shape(3, 5, 7, 11, 64);
  for_each_step([&](const Step& step, Pass pass) {
    if (pass == Pass::kForward) CHECK(step.forward_workspace_bytes(shape) == 0);
    if (pass == Pass::kBackward) {
      CHECK(step.backward_workspace_bytes(shape) == std::size_t{3 * 5 * 7} * sizeof(float));
    }
  });
}

}  // namespace
}  // namespace attn::testing
