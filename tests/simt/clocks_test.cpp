// SPDX-License-Identifier: MIT
//
// The vector clocks by themselves: who has heard of what.
#include "common/simt/watch/clocks.hpp"

#include "tests/catch.hpp"

namespace attn::simt_test {
namespace {

using simt::Clocks;
using simt::Knowledge;
using simt::Time;

TEST_CASE("what was done before a block's barrier is older than its start", "[simt][clocks]") {
  Clocks clocks;
  clocks.join_all();
  Knowledge barrier{};
  clocks.sync_warp(3, ~0u);
  clocks.release(3, barrier);
  const Time before = clocks.now(3);
  CHECK(before >= clocks.start());
  clocks.join_all();
  CHECK(before < clocks.start());
  for (std::size_t warp = 0; warp < 32; ++warp) CHECK(clocks.now(warp) == clocks.start());
  Clocks another;
  another.join_all();
  CHECK(another.start() > clocks.now(0));  // no time is used twice
}

TEST_CASE("a barrier hands on what a warp did before it arrived, and no more", "[simt][clocks]") {
  Clocks clocks;
  clocks.join_all();
  Knowledge barrier{};
  const Time before = clocks.now(0);
  CHECK(clocks.first_release(0) == simt::kNever);
  clocks.release(0, barrier);
  const Time after = clocks.now(0);
  CHECK(clocks.first_release(0) == before);
  CHECK_FALSE(clocks.knows(1, 0, before));
  clocks.acquire(1, barrier);
  CHECK(clocks.knows(1, 0, before));
  CHECK_FALSE(clocks.knows(1, 0, after));
  CHECK_FALSE(clocks.knows(0, 1, before));  // the other way nothing was said
  CHECK_FALSE(clocks.knows(2, 0, before));

  Knowledge next{};  // warp 1 hands on what it has heard
  clocks.release(1, next);
  clocks.acquire(2, next);
  CHECK(clocks.knows(2, 0, before));
  CHECK(clocks.knows(2, 1, before));
  CHECK_FALSE(clocks.knows(2, 0, after));
  clocks.release(0, next);
  CHECK(clocks.first_release(0) == before);
}

TEST_CASE("a barrier that several arrive at hands on what all of them know", "[simt][clocks]") {
  Clocks clocks;
  clocks.join_all();
  Knowledge first{}, second{};
  clocks.release(0, first);
  clocks.release(1, second);
  clocks.acquire(2, first);
  clocks.acquire(3, second);
  Knowledge both{};
  clocks.release(2, both);
  clocks.release(3, both);
  clocks.acquire(4, both);
  for (const std::size_t warp : {0u, 1u, 2u, 3u}) CHECK(clocks.knows(4, warp, clocks.start()));
  CHECK_FALSE(clocks.knows(4, 5, clocks.start()));
}

TEST_CASE("lanes hear of each other in a __syncwarp, by their mask", "[simt][clocks]") {
  Clocks clocks;
  clocks.join_all();
  const Time before = clocks.now(0);
  CHECK(clocks.lanes_know(0, 1u, 1u, before));  // a lane knows what it did itself
  CHECK_FALSE(clocks.lanes_know(0, 1u, 2u, before));
  clocks.sync_warp(0, 0b0011);
  CHECK(clocks.lanes_know(0, 0b0011, 0b0011, before));
  CHECK_FALSE(clocks.lanes_know(0, 0b0011, 0b0100, before));
  CHECK_FALSE(clocks.lanes_know(0, 0b0111, 0b0001, before));
  CHECK_FALSE(clocks.lanes_know(0, 0b0010, 0b0001, clocks.now(0)));
  clocks.sync_warp(0, 0b0110);  // lane 2 hears of lane 0 from lane 1
  CHECK(clocks.lanes_know(0, 0b0100, 0b0011, before));
  CHECK_FALSE(clocks.lanes_know(0, 0b0001, 0b0100, before));
  const Time then = clocks.now(0);
  clocks.sync_warp(0, ~0u);
  CHECK(clocks.lanes_know(0, ~0u, ~0u, then));
  CHECK_FALSE(clocks.lanes_know(0, ~0u, ~0u, clocks.now(0)));
  CHECK_FALSE(clocks.lanes_know(1, ~0u, ~0u, before));  // another warp
}

TEST_CASE("who waits at a barrier hears of the other lanes, too", "[simt][clocks]") {
  Clocks clocks;
  clocks.join_all();
  const Time before = clocks.now(0);
  Knowledge barrier{};
  clocks.release(0, barrier);
  CHECK_FALSE(clocks.lanes_know(0, ~0u, ~0u, before));  // it has only arrived
  clocks.acquire(0, barrier);
  CHECK(clocks.lanes_know(0, ~0u, ~0u, before));
  CHECK_FALSE(clocks.lanes_know(0, ~0u, ~0u, clocks.now(0)));
}

}  // namespace
}  // namespace attn::simt_test
