// SPDX-License-Identifier: MIT
#include <cmath>
#include <limits>
#include <vector>

#include "chapters/06_recompute_backward/recompute_backward.hpp"
#include "chapters/chapters.hpp"
#include "common/reference/finite_difference.hpp"
#include "common/run/run.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

#ifndef ATTN_USE_CUDA
#include "common/simt/machine/options.hpp"
#endif

namespace attn::testing {
namespace {

constexpr Mask kMasks[] = {Mask::kFull, Mask::kCausal, Mask::kCausalTopLeft};
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST_CASE("06_recompute_backward: backward is right on the case table") {
  require_right(chapters::ch06_recompute_backward(), Pass::kBackward);
}

TEST_CASE(
    "06_recompute_backward: the textbook stores a matrix, FlashAttention one number per row") {
  const Chapter& chapter = chapters::ch06_recompute_backward();
  const Shape shape = make_shape(2, 3, 512, 256, 64);
  const std::size_t rows = 2 * 3 * 512;
  const Step& textbook = find_step(chapter, "step1_textbook");
  const Step& recompute = find_step(chapter, "step2_recompute");
  CHECK(textbook.backward_workspace_bytes(shape) == (rows * 256 + rows) * sizeof(float));
  CHECK(recompute.backward_workspace_bytes(shape) == rows * sizeof(float));
}

TEST_CASE("06_recompute_backward: the tiles fit 48 KiB, hold d and share out evenly") {
  for (int d = 1; d <= 128; ++d) {
    const recompute_backward::Tiles tiles = recompute_backward::tiles_for(d);
    INFO("d=" << d);
    CHECK(tiles.D >= d);
    CHECK(tiles.floats() * sizeof(float) <= 48 * 1024);
  }
}

/// A problem in device memory, and the matrices of its backward pass in float64, (B*H, Nq, Nk): NaN
/// for hidden pairs, so that whoever reads one shows.
class Parts {
 public:
  explicit Parts(Mask mask)
      : problem_(verify::make_problem({.shape = make_shape(1, 2, 37, 50, 40),
                                       .mask = mask,
                                       .scale = default_scale(40),
                                       .seed = 20260101},
                                      Pass::kBackward)),
        truth_(verify::truth_of(problem_, Pass::kBackward)),
        step_(find_step(chapters::ch06_recompute_backward(), "step1_textbook")),
        run_(chapters::ch06_recompute_backward(), step_, Pass::kBackward, problem_, truth_.o,
             truth_.lse, {}) {
    const auto [B, H, Hkv, Nq, Nk, d] = problem_.shape;
    const auto row_dot = [&](const std::vector<float>& a, const std::vector<float>& b,
                             std::int64_t row, std::int64_t key) {
      double sum = 0;
      for (std::int64_t c = 0; c < d; ++c) {
        sum +=
            static_cast<double>(a[index(row * d + c)]) * static_cast<double>(b[index(key * d + c)]);
      }
      return sum;
    };
    for (std::int64_t row = 0; row < B * H * Nq; ++row) {
      delta.push_back(row_dot(problem_.grad_o, truth_.o, row, row));
      const std::int64_t visible = visible_keys(row % Nq, diagonal(mask, Nq, Nk), Nk);
      for (std::int64_t j = 0; j < Nk; ++j) {
        const std::int64_t key = row / Nq * Nk + j;
        const double lse = static_cast<double>(truth_.lse[index(row)]);
        const double score =
            static_cast<double>(problem_.scale) * row_dot(problem_.q, problem_.k, row, key);
        const double grad_p = row_dot(problem_.grad_o, problem_.v, row, key);
        const bool sees = j < visible;
        p.push_back(sees ? std::exp(score - lse) : kNan);
        ds.push_back(sees ? p.back() * (grad_p - delta.back()) : kNan);
      }
    }
  }

  BackwardArgs args() const { return with_element<float>(run_.backward_args()); }
  /// Device memory for delta, and for P or dS.
  float* g_delta() const { return g_matrix() + problem_.shape.rows() * problem_.shape.Nk; }
  float* g_matrix() const { return static_cast<float*>(args().workspace); }

  void write(float* to, const std::vector<double>& values) const {
    const std::vector<float> narrow = reference::narrow(values);
    device_memory().write(to, narrow.data(), narrow.size() * sizeof(float));
  }
  std::vector<float> read(const float* from, std::size_t count) const {
    std::vector<float> values(count);
    device_memory().synchronize();
    device_memory().read(values.data(), from, count * sizeof(float));
    return values;
  }
  /// What is wrong with an output, by the float64 oracle and the battery's tolerance; nothing if it
  /// is right.
  std::string wrong(const std::string& name) const {
    device_memory().synchronize();
    const Outputs outputs = run_.collect();
    for (const verify::Expected& array : truth_.arrays) {
      if (array.name != name) continue;
      const verify::Comparison result = verify::compare(array, verify::array_of(outputs, name));
      return result.text + verify::misconduct(outputs);
    }
    return "no such output";
  }

  std::vector<double> delta, p, ds;

 private:
  static std::size_t index(std::int64_t n) { return static_cast<std::size_t>(n); }

  Problem problem_;
  verify::Truth truth_;
  const Step& step_;
  Run run_;
};

/// Elements that are not `expected`; hidden pairs (NaN) are not looked at. The sums have 40 terms
/// and the exponents stay below 10, so errors stay below 100 roundings of the largest value.
int wrong_elements(const std::vector<float>& got, const std::vector<double>& expected) {
  double largest = 0;
  for (const double x : expected) largest = std::max(largest, std::isnan(x) ? 0.0 : std::abs(x));
  int wrong = 0;
  for (std::size_t e = 0; e < got.size(); ++e) {
    if (std::isnan(expected[e])) continue;
    const double error = std::abs(static_cast<double>(got[e]) - expected[e]);
    wrong += error <= 100 * 0x1p-24 * largest ? 0 : 1;
  }
  return wrong;
}

TEST_CASE("06_recompute_backward: delta alone") {
  if (device_is_missing()) return;
  const Parts parts(Mask::kCausal);
  recompute_backward::delta(parts.args(), parts.g_delta());
  CHECK(wrong_elements(parts.read(parts.g_delta(), parts.delta.size()), parts.delta) == 0);
}

TEST_CASE("06_recompute_backward: P alone") {
  if (device_is_missing()) return;
  for (const Mask mask : kMasks) {
    const Parts parts(mask);
    recompute_backward::probabilities(parts.args(), parts.g_matrix());
    CHECK(wrong_elements(parts.read(parts.g_matrix(), parts.p.size()), parts.p) == 0);
  }
}

TEST_CASE("06_recompute_backward: dP and dS alone, given P and delta") {
  if (device_is_missing()) return;
  for (const Mask mask : kMasks) {
    const Parts parts(mask);
    parts.write(parts.g_matrix(), parts.p);
    parts.write(parts.g_delta(), parts.delta);
    recompute_backward::score_gradients(parts.args(), parts.g_delta(), parts.g_matrix());
    CHECK(wrong_elements(parts.read(parts.g_matrix(), parts.ds.size()), parts.ds) == 0);
  }
}

TEST_CASE("06_recompute_backward: dV alone, given P; hidden pairs hold NaN") {
  if (device_is_missing()) return;
  for (const Mask mask : kMasks) {
    const Parts parts(mask);
    parts.write(parts.g_matrix(), parts.p);
    recompute_backward::value_gradients(parts.args(), parts.g_matrix());
    CHECK(parts.wrong("dv") == "");
    CHECK(parts.wrong("dk") != "");  // nobody has written it
  }
}

TEST_CASE("06_recompute_backward: dQ and dK alone, given dS; hidden pairs hold NaN") {
  if (device_is_missing()) return;
  for (const Mask mask : kMasks) {
    const Parts parts(mask);
    parts.write(parts.g_matrix(), parts.ds);
    recompute_backward::query_gradients(parts.args(), parts.g_matrix());
    CHECK(parts.wrong("dq") == "");
    recompute_backward::key_gradients(parts.args(), parts.g_matrix());
    CHECK(parts.wrong("dk") == "");
  }
}

TEST_CASE("06_recompute_backward: both steps against finite differences of the forward pass") {
  if (device_is_missing()) return;
  const Problem problem = verify::make_problem({.shape = make_shape(1, 1, 5, 7, 4),
                                                .mask = Mask::kCausal,
                                                .scale = default_scale(4),
                                                .seed = 20260101},
                                               Pass::kBackward);
  const verify::Truth truth = verify::truth_of(problem, Pass::kBackward);
  const reference::Gradients differences =
      reference::finite_differences(verify::inputs_of(problem));
  for (const Step& step : chapters::ch06_recompute_backward().steps) {
    const Outputs got =
        run_backward(chapters::ch06_recompute_backward(), step, problem, truth.o, truth.lse);
    const reference::Gradients gradients{reference::widen(got.grad_q),
                                         reference::widen(got.grad_k),
                                         reference::widen(got.grad_v),
                                         {},
                                         {}};
    INFO(step.id);
    CHECK(reference::relative_error(gradients, differences) < 1e-5);  // float32
  }
}

#ifndef ATTN_USE_CUDA  // a GPU does not let itself be told the order
TEST_CASE("06_recompute_backward: the same bits in every order of blocks, warps and threads") {
  const Problem problem = verify::make_problem({.shape = make_shape(2, 2, 70, 133, 40),
                                                .mask = Mask::kCausal,
                                                .scale = default_scale(40),
                                                .seed = 20260101},
                                               Pass::kBackward);
  const verify::Truth truth = verify::truth_of(problem, Pass::kBackward);
  const simt::Options before = simt::options();
  for (const Step& step : chapters::ch06_recompute_backward().steps) {
    const auto run = [&](simt::Order order) {
      simt::options().workers = 1;
      simt::options().order = order;
      const Outputs outputs =
          run_backward(chapters::ch06_recompute_backward(), step, problem, truth.o, truth.lse);
      simt::options() = before;
      return outputs;
    };
    const Outputs first = run(simt::Order::kForward);
    for (const simt::Order order : {simt::Order::kReversed, simt::Order::kShuffled}) {
      const Outputs other = run(order);
      INFO(step.id);
      CHECK(other.grad_q == first.grad_q);
      CHECK(other.grad_k == first.grad_k);
      CHECK(other.grad_v == first.grad_v);
    }
  }
}
#endif

}  // namespace
}  // namespace attn::testing
