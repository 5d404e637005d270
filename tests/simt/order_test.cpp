// SPDX-License-Identifier: MIT
//
// Counters are the same whatever the order in which threads, warps and blocks get their turns.
#include "common/simt/machine/options.hpp"
#include "tests/catch.hpp"
#include "tests/simt/scenarios.hpp"

namespace attn::simt_test {
namespace {

using simt::Order;

std::vector<Scenario> run_in_order(Order order, std::uint64_t seed) {
  const simt::Options before = simt::options();
  simt::options().order = order;
  simt::options().shuffle_seed = seed;
  std::vector<Scenario> scenarios = run_scenarios();
  simt::options() = before;
  return scenarios;
}

TEST_CASE("counters do not depend on the order of threads, warps and blocks", "[simt][tracer]") {
  const std::vector<Scenario> forward = run_in_order(Order::kForward, 1);
  const std::pair<Order, std::uint64_t> others[] = {{Order::kReversed, 1},
                                                    {Order::kShuffled, 20260101}};
  for (const auto& [order, seed] : others) {
    CAPTURE(order == Order::kReversed, seed);
    const std::vector<Scenario> other = run_in_order(order, seed);
    REQUIRE(other.size() == forward.size());
    for (std::size_t i = 0; i < forward.size(); ++i) {
      CHECK(to_text(other[i]) == to_text(forward[i]));
    }
  }
}

}  // namespace
}  // namespace attn::simt_test
