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

TEST_CASE("a lane that arrives alone hands on what it has done, and what it knows of the others",
          "[simt][clocks]") {
  Clocks clocks;
  clocks.join_all();
  const Time before = clocks.now(0);
  clocks.sync_warp(0, ~0u);
  const Time after = clocks.now(0);
  Knowledge barrier{};
  clocks.release(0, barrier, 1u);
  clocks.acquire(1, barrier);
  CHECK(clocks.knows(1, 0, before, ~0u));
  CHECK(clocks.knows(1, 0, after, 1u));
  CHECK_FALSE(clocks.knows(1, 0, after, 3u));
  CHECK_FALSE(clocks.knows(1, 0, clocks.now(0), 1u));
  // Lanes that have left the kernel need not be known.
  Knowledge alone{};
  clocks.release(0, alone, 1u, 1u);
  clocks.acquire(2, alone);
  CHECK(clocks.knows(2, 0, after, 3u));
  // The other lanes arrive, too: then all is known.
  clocks.release(0, barrier, ~1u);
  clocks.acquire(1, barrier);
  CHECK(clocks.knows(1, 0, after, 3u));
}

TEST_CASE("phases are known to the lanes that have seen them, and to whoever they tell",
          "[simt][clocks]") {
  Clocks clocks;
  clocks.begin_block();
  clocks.see_phases(0, 0b01, 5, 2);
  CHECK(clocks.know_phases(0, 0b01, 5, 2));
  CHECK(clocks.know_phases(0, 0b10, 5, 1));  // of older phases by the lane's warp
  CHECK_FALSE(clocks.know_phases(0, 0b10, 5, 2));
  CHECK_FALSE(clocks.know_phases(0, 0b01, 5, 3));
  CHECK_FALSE(clocks.know_phases(0, 0b01, 4, 1));
  clocks.sync_warp(0, 0b11);
  CHECK(clocks.know_phases(0, 0b11, 5, 2));
  CHECK_FALSE(clocks.know_phases(0, 0b100, 5, 2));
  Knowledge barrier{};
  clocks.release(0, barrier);
  CHECK_FALSE(clocks.know_phases(1, 1u, 5, 1));
  clocks.acquire(1, barrier);
  CHECK(clocks.know_phases(1, ~0u, 5, 2));
  CHECK_FALSE(clocks.know_phases(2, 1u, 5, 2));
  clocks.join_all();
  CHECK(clocks.know_phases(2, ~0u, 5, 2));
  CHECK(clocks.anyone_knows_phases(5, 2));
  clocks.begin_block();
  CHECK_FALSE(clocks.anyone_knows_phases(5, 1));
}

TEST_CASE("a fence counts for what a lane did before it", "[simt][clocks]") {
  Clocks clocks;
  clocks.begin_block();
  const Time before = clocks.now(0);
  CHECK(clocks.fence_since(0, 3, before) == simt::kNever);
  clocks.fence(0, 0b1000);
  const Time after = clocks.now(0);
  CHECK(clocks.fence_since(0, 3, before) == before);
  CHECK(clocks.fence_since(0, 2, before) == simt::kNever);
  CHECK(clocks.fence_since(0, 3, after) == simt::kNever);
  clocks.fence(0, 0b1000);
  CHECK(clocks.fence_since(0, 3, after) == after);
  CHECK(clocks.fence_since(0, 3, before) == before);  // the first one since
}

}  // namespace
}  // namespace attn::simt_test
