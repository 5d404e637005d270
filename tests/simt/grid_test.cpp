// SPDX-License-Identifier: MIT
//
// Index variables, grids and blocks of every shape, threads beyond the data, kernel parameters.
#include "tests/simt/kernels.hpp"
#include "tests/simt/support.hpp"

namespace attn::simt_test {
namespace {

void check_identity(Extent grid, Extent block) {
  CAPTURE(grid.x, grid.y, grid.z, block.x, block.y, block.z);
  const std::size_t threads = grid.count() * block.count();
  DeviceArray<unsigned> words(threads * kIdentityWords, 0xDEADu);
  run_identity(grid, block, words.data());

  std::vector<unsigned> expected;
  expected.reserve(threads * kIdentityWords);
  Extent b, t;
  for (b.z = 0; b.z < grid.z; ++b.z)
    for (b.y = 0; b.y < grid.y; ++b.y)
      for (b.x = 0; b.x < grid.x; ++b.x)
        for (t.z = 0; t.z < block.z; ++t.z)
          for (t.y = 0; t.y < block.y; ++t.y)
            for (t.x = 0; t.x < block.x; ++t.x)
              expected.insert(expected.end(), {t.x, t.y, t.z, b.x, b.y, b.z, block.x, block.y,
                                               block.z, grid.x, grid.y, grid.z, 32});
  CHECK((words.read() == expected));
}

TEST_CASE_METHOD(EveryMode, "every thread knows its place, in one to three dimensions", "[simt]") {
  check_identity({1, 1, 1}, {1, 1, 1});
  check_identity({5, 1, 1}, {32, 1, 1});
  check_identity({3, 2, 1}, {8, 4, 1});
  check_identity({2, 3, 4}, {4, 3, 2});
  check_identity({4, 3, 2}, {5, 3, 7});
  check_identity({1, 7, 3}, {1, 33, 2});
  check_identity({1, 1, 9}, {1, 1, 64});
  check_identity({2, 1, 1}, {1, 1024, 1});
  check_identity({1, 2, 1}, {16, 16, 4});
}

TEST_CASE_METHOD(EveryMode, "grids may be large in every dimension the device allows", "[simt]") {
  for (const Extent grid : {Extent{1, 65535, 1}, Extent{1, 1, 65535}, Extent{70000, 1, 1}}) {
    check_identity(grid, {1, 1, 1});
  }
}

TEST_CASE_METHOD(EveryMode, "of a grid only the blocks at either end run, if asked", "[simt]") {
  for (const unsigned blocks : {1u, 3u, 4u, 5u, 10u}) {
    CAPTURE(blocks);
    DeviceArray<unsigned> words(blocks * kIdentityWords, 0xDEADu);
    simt::options().end_blocks = 2;
    run_identity({blocks, 1, 1}, {1, 1, 1}, words.data());
    simt::options().end_blocks = 0;
    const std::vector<unsigned> got = words.read();
    for (unsigned block = 0; block < blocks; ++block) {
      const bool at_an_end = block < 2 || block + 2 >= blocks;
      CHECK((got[block * kIdentityWords + 3] == block) == at_an_end);
      CHECK((got[block * kIdentityWords] == 0xDEADu) == !at_an_end);
    }
  }
}

TEST_CASE_METHOD(EveryMode, "warps are 32 threads in a row, x fastest, in a block of any shape",
                 "[simt]") {
  for (const Extent block : {Extent{32, 1, 1}, Extent{64, 2, 1}, Extent{8, 4, 3}, Extent{5, 3, 4},
                             Extent{1, 33, 1}, Extent{7, 1, 9}, Extent{1, 1, 50}}) {
    CAPTURE(block.x, block.y, block.z);
    DeviceArray<unsigned> leaders(block.count());
    run_warp_leaders(block, leaders.data());
    std::vector<unsigned> expected;
    for (unsigned thread = 0; thread < block.count(); ++thread) {
      expected.push_back(thread / 32 * 32);
    }
    CHECK(leaders.read() == expected);
  }
}

TEST_CASE_METHOD(EveryMode, "a last block that is not full touches nothing beyond the end",
                 "[simt]") {
  for (const unsigned threads : {1u, 31u, 32u, 33u, 100u, 256u, 1024u}) {
    for (const std::size_t n : {1u, 2u, 31u, 32u, 33u, 255u, 256u, 257u, 1025u}) {
      CAPTURE(threads, n);
      const std::vector<int> values = random_integers<int>(n, -1000, 1000, 1);
      DeviceArray<int> in(values);
      DeviceArray<int> out(n + 40, -7);
      run_double(in.data(), out.data(), static_cast<std::int64_t>(n), threads);
      std::vector<int> expected(n + 40, -7);
      for (std::size_t i = 0; i < n; ++i) expected[i] = 2 * values[i];
      CHECK(out.read() == expected);
    }
  }
}

TEST_CASE_METHOD(EveryMode, "65,536 blocks run once each, and so do 1,024 threads", "[simt]") {
  DeviceArray<unsigned> many_blocks(65536 * 32, 5u);
  run_increment(65536, 32, many_blocks.data());
  CHECK((many_blocks.read() == std::vector<unsigned>(65536 * 32, 6u)));

  DeviceArray<unsigned> many_threads(300 * 1024, 5u);
  run_increment(300, 1024, many_threads.data());
  CHECK((many_threads.read() == std::vector<unsigned>(300 * 1024, 6u)));
}

TEST_CASE_METHOD(EveryMode, "each launch sees what the one before it wrote", "[simt]") {
  DeviceArray<unsigned> counts(7 * 96, 0u);
  for (int launch = 0; launch < 200; ++launch) run_increment(7, 96, counts.data());
  CHECK(counts.read() == std::vector<unsigned>(7 * 96, 200u));
}

TEST_CASE_METHOD(EveryMode, "kernel parameters are each thread's own copy", "[simt]") {
  for (const unsigned threads : {1u, 32u, 77u, 1024u}) {
    DeviceArray<int> out(threads);
    run_private_parameters(threads, 1000, out.data());
    std::vector<int> expected;
    for (unsigned t = 0; t < threads; ++t) expected.push_back(1000 + static_cast<int>(t));
    CHECK(out.read() == expected);
  }
}

TEST_CASE_METHOD(EveryMode, "template kernels and struct parameters", "[simt]") {
  DeviceArray<int> integers(70);
  run_affine(70, {2.0, -3}, integers.data());
  DeviceArray<double> reals(70);
  run_affine(70, {0.5, 4}, reals.data());
  for (std::size_t i = 0; i < 70; ++i) {
    CHECK(integers.read(i) == 2 * static_cast<int>(i) - 3);
    CHECK(reals.read(i) == 0.5 * static_cast<double>(i) + 4);
  }
}

}  // namespace
}  // namespace attn::simt_test
