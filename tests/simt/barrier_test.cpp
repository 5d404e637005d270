// SPDX-License-Identifier: MIT
//
// __syncthreads and its reductions: loops, early returns, blocks of every size.
#include <algorithm>
#include <numeric>

#include "tests/simt/kernels.hpp"
#include "tests/simt/support.hpp"

namespace attn::simt_test {
namespace {

TEST_CASE_METHOD(EveryMode, "threads that returned early do not count at a barrier", "[simt]") {
  for (const unsigned threads : {1u, 2u, 20u, 32u, 33u, 64u, 100u, 1024u}) {
    for (const unsigned alive : {1u, threads / 3 + 1, threads - threads / 4, threads}) {
      CAPTURE(threads, alive);
      std::vector<int> values = random_integers<int>(threads, -99, 99, threads);
      DeviceArray<int> in(values);
      DeviceArray<int> out(threads, -1000);
      run_reverse_survivors(threads, alive, in.data(), out.data());
      std::reverse(values.begin(), values.begin() + alive);
      std::fill(values.begin() + alive, values.end(), -1000);
      CHECK(out.read() == values);
    }
  }
}

TEST_CASE_METHOD(EveryMode, "a barrier counts who is left, round after round", "[simt]") {
  for (const unsigned threads : {1u, 31u, 32u, 50u, 129u}) {
    CAPTURE(threads);
    DeviceArray<int> counts(std::size_t{threads} * threads, -1);
    run_leave_one_by_one(threads, counts.data());
    std::vector<int> expected(std::size_t{threads} * threads, -1);
    for (unsigned round = 0; round < threads; ++round) {
      for (unsigned t = round; t < threads; ++t) {
        expected[std::size_t{round} * threads + t] = static_cast<int>(threads - round);
      }
    }
    CHECK((counts.read() == expected));
  }
}

TEST_CASE_METHOD(EveryMode, "barriers in a loop order shared memory", "[simt]") {
  for (const unsigned threads : {1u, 3u, 32u, 33u, 100u, 256u, 1000u, 1024u}) {
    constexpr unsigned kBlocks = 9;
    CAPTURE(threads);
    const std::vector<int> values = random_integers<int>(kBlocks * threads, -50, 50, threads);
    DeviceArray<int> in(values);
    DeviceArray<int> out(values.size());
    run_scan(kBlocks, threads, in.data(), out.data());
    std::vector<int> expected(values.size());
    for (std::size_t block = 0; block < kBlocks; ++block) {
      const auto first = static_cast<std::ptrdiff_t>(block * threads);
      std::partial_sum(values.begin() + first, values.begin() + first + threads,
                       expected.begin() + first);
    }
    CHECK(out.read() == expected);
  }
}

TEST_CASE_METHOD(EveryMode, "blocks may pass a barrier different numbers of times", "[simt]") {
  constexpr unsigned kBlocks = 40, kThreads = 70;
  DeviceArray<int> out(kBlocks * kThreads);
  run_rounds_by_block(kBlocks, kThreads, out.data());
  std::vector<int> expected;
  for (unsigned block = 0; block < kBlocks; ++block) {
    expected.insert(expected.end(), kThreads, static_cast<int>(block * (block - 1) / 2));
  }
  CHECK(out.read() == expected);
}

TEST_CASE_METHOD(EveryMode, "barriers in a condition that the whole block shares", "[simt]") {
  constexpr unsigned kBlocks = 6, kThreads = 96;
  DeviceArray<int> out(kBlocks * kThreads);
  run_uniform_branches(kBlocks, kThreads, out.data());
  std::vector<int> expected;
  for (int block = 0; block < static_cast<int>(kBlocks); ++block) {
    for (int t = 0; t < static_cast<int>(kThreads); ++t) {
      const int next = (t + 1) % static_cast<int>(kThreads);
      expected.push_back(block % 2 == 0 ? next : 11 * next);
    }
  }
  CHECK(out.read() == expected);
}

TEST_CASE_METHOD(EveryMode, "__syncthreads_count, _and, _or over the threads still here",
                 "[simt]") {
  constexpr int kRounds = 24;
  for (const unsigned threads : {1u, 20u, 32u, 33u, 100u, 512u}) {
    for (const unsigned alive : {threads, threads - threads / 3}) {
      CAPTURE(threads, alive);
      // Rounds: all zero, all set, one set, one zero, then random; any non-zero value is true.
      std::vector<int> predicates = random_integers<int>(kRounds * threads, 0, 1, threads);
      for (std::size_t t = 0; t < threads; ++t) {
        predicates[t] = 0;
        predicates[threads + t] = t % 2 == 0 ? 256 : -1;
        predicates[2 * threads + t] = t == alive / 2 ? 2 : 0;
        predicates[3 * threads + t] = t == alive - 1 ? 0 : 1 << 30;
      }
      DeviceArray<int> in(predicates);
      DeviceArray<int> count(predicates.size(), -1);
      DeviceArray<int> all(predicates.size(), -1);
      DeviceArray<int> any(predicates.size(), -1);
      run_barrier_reductions(threads, alive, kRounds, in.data(), count.data(), all.data(),
                             any.data());

      const std::vector<int> counts = count.read(), alls = all.read(), anys = any.read();
      for (std::size_t round = 0; round < kRounds; ++round) {
        const int* row = predicates.data() + round * threads;
        const auto expected =
            static_cast<int>(std::count_if(row, row + alive, [](int p) { return p != 0; }));
        bool right = true;
        for (std::size_t t = 0; t < threads; ++t) {
          const std::size_t i = round * threads + t;
          right =
              right && (t >= alive ? counts[i] == -1 && alls[i] == -1 && anys[i] == -1
                                   : counts[i] == expected &&
                                         (alls[i] != 0) == (expected == static_cast<int>(alive)) &&
                                         (anys[i] != 0) == (expected > 0));
        }
        CAPTURE(round, expected);
        CHECK(right);
      }
    }
  }
}

TEST_CASE_METHOD(EveryMode, "barriers order global memory within a block", "[simt]") {
  constexpr unsigned kBlocks = 12, kThreads = 130;
  constexpr int kRounds = 45;
  std::vector<int> values = random_integers<int>(kBlocks * kThreads, 0, 1 << 20, 3);
  DeviceArray<int> data(values);
  run_rotate_in_place(kBlocks, kThreads, kRounds, data.data());
  for (unsigned block = 0; block < kBlocks; ++block) {
    const auto first = values.begin() + block * kThreads;
    std::rotate(first, first + kRounds, first + kThreads);
  }
  CHECK(data.read() == values);
}

}  // namespace
}  // namespace attn::simt_test
