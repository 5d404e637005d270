// SPDX-License-Identifier: MIT
#include "chapters/05_fused_forward/fused_forward.hpp"
#include "chapters/07_v2_loop_order/v2_loop_order.hpp"
#include "chapters/chapters.hpp"
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

TEST_CASE("07_v2_loop_order: forward is right on the case table") {
  require_right(chapters::ch07_v2_loop_order(), Pass::kForward);
}

TEST_CASE("07_v2_loop_order: backward is right on the case table") {
  require_right(chapters::ch07_v2_loop_order(), Pass::kBackward);
}

TEST_CASE("07_v2_loop_order: forward needs no workspace, backward one number per row") {
  const Chapter& chapter = chapters::ch07_v2_loop_order();
  const Shape shape = make_shape(3, 5, 7, 11, 64);
  CHECK(chapter.twin->forward_workspace_bytes(shape) == 0);
  for (const Step& step : chapter.steps) {
    if (step.forward != nullptr) CHECK(step.forward_workspace_bytes(shape) == 0);
    if (step.backward != nullptr) {
      CHECK(step.backward_workspace_bytes(shape) == std::size_t{3 * 5 * 7} * sizeof(float));
    }
  }
}

TEST_CASE("07_v2_loop_order: the tiles are chapter 05's") {
  for (int d = 1; d <= 128; ++d) {
    const v2_loop_order::Tiles tiles = v2_loop_order::tiles_for(d);
    const fused_forward::Tiles before = fused_forward::tiles_for(d);
    INFO("d=" << d);
    CHECK(tiles.D == before.D);
    CHECK(tiles.Br == before.Br);
    CHECK(tiles.Bc == before.Bc);
    CHECK(tiles.floats() == before.floats());
  }
}

/// Backward passes on one problem, for which dQ is a sum over five K/V tiles.
class Backward {
 public:
  explicit Backward(std::string_view step)
      : problem_(verify::make_problem({.shape = make_shape(1, 2, 70, 133, 40),
                                       .mask = Mask::kCausal,
                                       .scale = default_scale(40),
                                       .seed = 20260101},
                                      Pass::kBackward)),
        truth_(verify::truth_of(problem_, Pass::kBackward)),
        step_(find_step(chapters::ch07_v2_loop_order(), step)) {}

  Outputs run() const {
    return run_backward(chapters::ch07_v2_loop_order(), step_, problem_, truth_.o, truth_.lse);
  }

 private:
  Problem problem_;
  verify::Truth truth_;
  const Step& step_;
};

bool same_bits(const Outputs& a, const Outputs& b) {
  return a.grad_q == b.grad_q && a.grad_k == b.grad_k && a.grad_v == b.grad_v;
}

TEST_CASE("07_v2_loop_order: the deterministic backward repeats itself in 100 runs") {
  if (device_is_missing()) return;
  const Backward backward("step5_deterministic");
  const Outputs first = backward.run();
  for (int n = 1; n < 100; ++n) CHECK(same_bits(backward.run(), first));
}

#ifndef ATTN_USE_CUDA  // a GPU does not let itself be told the order
/// The machine with another order of blocks, warps and threads, for as long as it lives.
class Ordered {
 public:
  Ordered(simt::Order order, std::uint64_t seed) : before_(simt::options()) {
    simt::options().workers = 1;
    simt::options().order = order;
    simt::options().shuffle_seed = seed;
  }
  ~Ordered() { simt::options() = before_; }
  Ordered(const Ordered&) = delete;
  Ordered& operator=(const Ordered&) = delete;

 private:
  simt::Options before_;
};

/// Of 17 orders, in how many the result is not that of the first.
int different_orders(std::string_view step) {
  const Backward backward(step);
  const auto run = [&](simt::Order order, std::uint64_t seed) {
    const Ordered ordered(order, seed);
    return backward.run();
  };
  const Outputs first = run(simt::Order::kForward, 1);
  int different = same_bits(run(simt::Order::kReversed, 1), first) ? 0 : 1;
  for (std::uint64_t seed = 1; seed <= 15; ++seed) {
    different += same_bits(run(simt::Order::kShuffled, seed), first) ? 0 : 1;
  }
  return different;
}

TEST_CASE("07_v2_loop_order: only the atomics depend on the order of the blocks") {
  CHECK(different_orders("step5_deterministic") == 0);
  CHECK(different_orders("step4_backward") > 0);
}
#endif

}  // namespace
}  // namespace attn::testing
