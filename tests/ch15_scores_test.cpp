// SPDX-License-Identifier: MIT
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "chapters/07_v2_loop_order/v2_loop_order.hpp"
#include "chapters/15_scores/bias.hpp"
#include "chapters/15_scores/scores.hpp"
#include "chapters/chapters.hpp"
#include "common/run/run.hpp"
#include "common/verify/inputs.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kLowest = std::numeric_limits<float>::lowest();

TEST_CASE("15_scores: forward is right on the case table") {
  require_right(chapters::ch15_scores(), Pass::kForward);
}

TEST_CASE("15_scores: backward is right on the case table") {
  require_right(chapters::ch15_scores(), Pass::kBackward);
}

TEST_CASE("15_scores: forward needs no workspace, backward one number per row") {
  const Chapter& chapter = chapters::ch15_scores();
  const Shape shape = make_shape(3, 5, 7, 11, 64);
  const auto check = [&](const Step& step) {
    if (step.forward != nullptr) CHECK(step.forward_workspace_bytes(shape) == 0);
    if (step.backward != nullptr) {
      CHECK(step.backward_workspace_bytes(shape) == std::size_t{3 * 5 * 7} * sizeof(float));
    }
  };
  for (const Step& step : chapter.steps) check(step);
  check(*chapter.twin);
}

TEST_CASE("15_scores: the tiles are chapter 07's, with keys for the bits of a word") {
  for (int d = 1; d <= 128; ++d) {
    INFO("d=" << d);
    const scores::Tiles tiles = scores::tiles_for(d);
    const v2_loop_order::Tiles before = v2_loop_order::tiles_for(d);
    CHECK(tiles.D == before.D);
    CHECK(tiles.Br == before.Br);
    CHECK(tiles.Bc == (before.Bc < 32 ? before.Bc : 32));
    CHECK(scores::backward_tiles_for(d).Br == (d <= 64 ? 32 : 16));
    CHECK(scores::backward_tiles_for(d).Bc == (d <= 64 ? 32 : 16));
  }
}

TEST_CASE("15_scores: a bias is found wherever it is broadcast") {
  constexpr std::int64_t B = 2, H = 3, Nq = 4, Nk = 5;
  std::vector<float> numbers(B * H * Nq * Nk);
  for (std::size_t n = 0; n < numbers.size(); ++n) numbers[n] = static_cast<float>(n);
  for (int rank = 0; rank < 16; ++rank) {
    const PairShape shape{(rank & 1) != 0 ? B : 1, (rank & 2) != 0 ? H : 1,
                          (rank & 4) != 0 ? Nq : 1, (rank & 8) != 0 ? Nk : 1};
    const scores::BiasArray bias{numbers.data(), shape};
    bool right = true;
    for (std::int64_t n = 0; n < B * H * Nq * Nk; ++n) {
      const std::int64_t j = n % Nk, i = n / Nk % Nq, h = n / (Nk * Nq) % H, b = n / (Nk * Nq * H);
      const auto expected = static_cast<float>(shape.index(b, h, i, j));
      right = right && bias.head(b, h).at(i, j) == expected;
      right = right && bias.head(b, h).from(i, 0).at(0, j) == expected;
      right = right && bias.head(b, h).from(i / 2, j / 2).at(i - i / 2, j - j / 2) == expected;
    }
    INFO("rank " << rank);
    CHECK(right);
  }
}

/// 40 rows, 50 keys, one head.
Problem small_problem(Pass pass) {
  return verify::make_problem(
      {.shape = make_shape(1, 1, 40, 50, 8), .scale = default_scale(8), .seed = 15}, pass);
}

/// Calls check(outputs) for every forward pass that takes these features of the problem.
template <class Check>
void for_each_forward(const Problem& problem, const Features& features, Check check) {
  const Chapter& chapter = chapters::ch15_scores();
  const auto run = [&](const Step& step) {
    Features missing = features;
    missing.remove(support_of(chapter, step).features);
    INFO(step.id);
    if (step.forward != nullptr && missing.empty()) check(run_forward(chapter, step, problem));
  };
  for (const Step& step : chapter.steps) run(step);
  run(*chapter.twin);
}

/// The outputs of the default step.
Outputs outputs_of(const Problem& problem) {
  const Chapter& chapter = chapters::ch15_scores();
  return run_forward(chapter, *default_step(chapter, Pass::kForward), problem);
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST_CASE("15_scores: a row of -inf is empty, and one of the lowest number is the mean of V") {
  Problem problem = small_problem(Pass::kForward);
  problem.extras.bias_shape = {1, 1, 40, 50};
  problem.extras.bias.assign(40 * 50, 0.0f);
  std::fill_n(problem.extras.bias.begin() + 7 * 50, 50, -kInf);
  std::fill_n(problem.extras.bias.begin() + 8 * 50, 50, kLowest);
  for_each_forward(problem, {Feature::kBias}, [&](const Outputs& outputs) {
    for (int c = 0; c < 8; ++c) {
      float mean = 0.0f;
      for (int j = 0; j < 50; ++j) mean += problem.v[static_cast<std::size_t>(j * 8 + c)] / 50;
      CHECK(outputs.o[static_cast<std::size_t>(7 * 8 + c)] == 0.0f);
      CHECK(std::abs(outputs.o[static_cast<std::size_t>(8 * 8 + c)] - mean) < 1e-5f);
    }
    CHECK(outputs.lse[7] == -kInf);
    CHECK(outputs.lse[8] == kLowest);
  });
  problem.extras.sink_logits = {3.0f};  // the empty row's LSE, and nearly all of the other's weight
  for_each_forward(problem, {Feature::kBias, Feature::kSinkLogits}, [&](const Outputs& outputs) {
    for (int c = 0; c < 8; ++c) CHECK(outputs.o[static_cast<std::size_t>(7 * 8 + c)] == 0.0f);
    CHECK(outputs.lse[7] == 3.0f);
    CHECK(outputs.lse[8] == 3.0f);
  });
}

TEST_CASE("15_scores: a sink far below changes no bit, and one far above takes everything") {
  Problem problem = small_problem(Pass::kForward);
  const Outputs without = outputs_of(problem);
  for (const float sink : {-kInf, kLowest, -1e4f}) {
    problem.extras.sink_logits = {sink};
    const Outputs with = outputs_of(problem);
    INFO("sink " << sink);
    CHECK(same_bits(with.o, without.o));
    CHECK(same_bits(with.lse, without.lse));
  }
  for (const float sink : {1e4f, -kLowest}) {
    problem.extras.sink_logits = {sink};
    for_each_forward(problem, {Feature::kSinkLogits}, [&](const Outputs& outputs) {
      INFO("sink " << sink);
      CHECK(outputs.o == std::vector<float>(40 * 8, 0.0f));
      CHECK(outputs.lse == std::vector<float>(40, sink));
    });
  }
}

TEST_CASE("15_scores: dropout of 0 changes no bit, whatever the seed; weights have the mean 1") {
  Problem problem = small_problem(Pass::kForward);
  const Outputs plain = outputs_of(problem);
  problem.extras.dropout_seed = 99;
  CHECK(same_bits(outputs_of(problem).o, plain.o));
  // With V of ones, O is the sum of a row's weights; over all rows and seeds it is 1.
  std::fill(problem.v.begin(), problem.v.end(), 1.0f);
  problem.extras.dropout = 0.4f;
  double sum = 0;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    problem.extras.dropout_seed = seed;
    const Outputs dropped = outputs_of(problem);
    CHECK(same_bits(dropped.lse, plain.lse));
    for (std::size_t i = 0; i < 40; ++i) sum += static_cast<double>(dropped.o[i * 8]);
  }
  CHECK(std::abs(sum / (50 * 40) - 1) < 0.02);
}

TEST_CASE("15_scores: gradients that are not wanted are not written, and the others are the same") {
  const Chapter& chapter = chapters::ch15_scores();
  Problem problem = small_problem(Pass::kBackward);
  problem.extras.bias_shape = {1, 1, 1, 50};
  problem.extras.bias.assign(50, 0.5f);
  problem.extras.sink_logits = {0.25f};
  const Outputs forward = outputs_of(problem);
  for (const Step* step : {default_step(chapter, Pass::kBackward), chapter.twin}) {
    INFO(step->id);
    const Run all(chapter, *step, Pass::kBackward, problem, forward.o, forward.lse, {});
    all.call();
    CHECK(all.touched_outputs() == std::vector<std::string>{"dbias", "dsink", "dq", "dk", "dv"});
    const Run few(chapter, *step, Pass::kBackward, problem, forward.o, forward.lse, {});
    BackwardArgsOf<void> args = few.backward_args();
    args.extras.grad_bias = nullptr;
    args.extras.grad_sink_logits = nullptr;
    backward(chapter, *step, Element::kFloat32, args);
    CHECK(few.touched_outputs() == std::vector<std::string>{"dq", "dk", "dv"});
    CHECK(same_bits(few.collect().grad_q, all.collect().grad_q));
    CHECK(same_bits(few.collect().grad_v, all.collect().grad_v));
  }
}

TEST_CASE("15_scores: a step refuses by name what only later steps take") {
  const Chapter& chapter = chapters::ch15_scores();
  const float numbers[16] = {};
  Extras bias, sinks, alibi;
  bias.bias = numbers;
  bias.bias_shape = {1, 1, 4, 4};
  sinks.sink_logits = numbers;
  alibi.alibi = numbers;
  const Extras softcap{.softcap = 30}, dropout{.dropout = 0.5f};
  const auto why = [&](std::string_view step, const Extras& extras) {
    return why_unsupported(Element::kFloat32, make_shape(1, 1, 4, 4, 4), {.before = 2}, extras,
                           support_of(chapter, find_step(chapter, step)));
  };
  CHECK(why("step1_alibi", bias) == "bias: given; this step does not take a bias");
  CHECK(why("step2_bias", softcap) == "softcap = 30: given; this step does not take a softcap");
  CHECK(why("step2_bias", sinks) == "sink_logits: given; this step does not take sink logits");
  CHECK(why("step3_softcap_sink", dropout) ==
        "dropout = 0.5: given; this step does not take dropout");
  for (const Step& step : chapter.steps) CHECK(why(step.id, alibi).empty());
  for (const std::string_view step : {"step4_dropout", "step5_backward"}) {
    for (const Extras& extras : {bias, sinks, softcap, dropout}) CHECK(why(step, extras).empty());
  }
  CHECK(why("step4_dropout", {.sink_keys = 2}) ==
        "sink_keys = 2: given; this chapter does not take sink keys");
}

}  // namespace
}  // namespace attn::testing
