// SPDX-License-Identifier: MIT
//
// Shuffles and votes by the rules of the CUDA C++ Programming Guide, for every mask and width.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <type_traits>
#include <utility>

#include "tests/simt/kernels.hpp"
#include "tests/simt/support.hpp"

namespace attn::simt_test {
namespace {

constexpr unsigned kFullMask = 0xFFFFFFFFu;

/// Lane whose value a lane gets, by the programming guide ("Warp Shuffle Functions").
int source_lane(Shuffle shuffle, int lane, int operand, int width) {
  const int first = lane / width * width;  // of the lane's own section
  int source = lane;
  switch (shuffle) {
    case Shuffle::kIndex:  // "srcLane modulo width", within the section
      return first + (operand % width + width) % width;
    case Shuffle::kUp:  // "will not wrap around": the lowest lanes keep their own
      source = lane - operand;
      return source < first ? lane : source;
    case Shuffle::kDown:
      source = lane + operand;
      return source >= first + width ? lane : source;
    case Shuffle::kXor:  // earlier sections can be read, later ones cannot
      source = lane ^ operand;
      return source >= first + width ? lane : source;
  }
  return lane;
}

/// Lanes of warp `warp` in a block of so many threads.
unsigned existing_lanes(unsigned threads, unsigned warp) {
  const unsigned lanes = std::min(32u, threads - 32 * warp);
  return lanes == 32 ? kFullMask : (1u << lanes) - 1;
}

bool contains(unsigned mask, int lane) { return (mask >> lane & 1u) != 0; }

/// One mask per warp of the block, of a given shape, cut to the lanes that exist; never empty.
std::vector<unsigned> masks_of_shape(const std::string& shape, unsigned threads, unsigned seed) {
  std::vector<unsigned> masks;
  const std::vector<unsigned> random = random_integers<unsigned>(32, 0, kFullMask, seed);
  for (unsigned warp = 0; warp < (threads + 31) / 32; ++warp) {
    unsigned mask = kFullMask;
    if (shape == "lower half") mask = 0x0000FFFFu;
    if (shape == "upper half") mask = 0xFFFF0000u;
    if (shape == "single") mask = 1u << (7 * warp + seed) % 32;
    if (shape == "alternating") mask = warp % 2 == 0 ? 0x55555555u : 0xAAAAAAAAu;
    if (shape == "random") mask = random[warp];
    mask &= existing_lanes(threads, warp);
    masks.push_back(mask != 0 ? mask : 1u);
  }
  return masks;
}

/// Operands for which every lane of the mask reads a lane of the mask (anything else is undefined):
/// random ones, replaced by one that makes the lane read itself where they do not fit.
std::vector<int> legal_operands(Shuffle shuffle, unsigned threads, int width,
                                const std::vector<unsigned>& masks, unsigned seed) {
  const bool any_sign = shuffle == Shuffle::kIndex;
  std::vector<int> operands = random_integers<int>(threads, any_sign ? -64 : 0, 31, seed);
  for (unsigned t = 0; t < threads; ++t) {
    const int lane = static_cast<int>(t % 32);
    const int source = source_lane(shuffle, lane, operands[t], width);
    if (!contains(masks[t / 32], source)) operands[t] = any_sign ? lane : 0;
  }
  return operands;
}

template <typename T>
void check_shuffles(unsigned threads, const std::string& shape, int width, unsigned seed) {
  const std::vector<unsigned> masks = masks_of_shape(shape, threads, seed);
  // Values that need all bits of the type.
  const std::vector<long long> raw =
      random_integers<long long>(threads, -(1ll << 52), 1ll << 52, 5);
  std::vector<T> values;
  for (const long long bits : raw) {
    values.push_back(std::is_floating_point_v<T> ? static_cast<T>(static_cast<double>(bits) / 3)
                                                 : static_cast<T>(bits * 2047));
  }
  DeviceArray<unsigned> device_masks(masks);
  DeviceArray<T> device_values(values);
  for (const Shuffle shuffle : {Shuffle::kIndex, Shuffle::kUp, Shuffle::kDown, Shuffle::kXor}) {
    const std::vector<int> operands = legal_operands(shuffle, threads, width, masks, seed);
    DeviceArray<int> device_operands(operands);
    const T untouched = static_cast<T>(-1);
    DeviceArray<T> result(threads, untouched);
    run_shuffle(shuffle, threads, device_masks.data(), width, device_values.data(),
                device_operands.data(), result.data());
    std::vector<T> expected(threads, untouched);
    for (unsigned t = 0; t < threads; ++t) {
      const int lane = static_cast<int>(t % 32);
      if (!contains(masks[t / 32], lane)) continue;
      const int source = source_lane(shuffle, lane, operands[t], width);
      expected[t] = values[t - static_cast<unsigned>(lane) + static_cast<unsigned>(source)];
    }
    CAPTURE(static_cast<int>(shuffle), threads, shape, width, seed);
    CHECK(result.read() == expected);
  }
}

TEST_CASE_METHOD(EveryMode, "shuffles: every mask shape, width, partial warp and type", "[simt]") {
  for (const unsigned threads : {1u, 20u, 32u, 33u, 64u, 100u, 1024u}) {
    for (const char* shape :
         {"full", "lower half", "upper half", "single", "alternating", "random"}) {
      for (const int width : {1, 2, 4, 8, 16, 32}) {
        const unsigned seed = threads + static_cast<unsigned>(width);
        check_shuffles<int>(threads, shape, width, seed);
        check_shuffles<double>(threads, shape, width, seed + 1);
      }
      check_shuffles<unsigned>(threads, shape, 32, 1);
      check_shuffles<long long>(threads, shape, 16, 2);
      check_shuffles<float>(threads, shape, 8, 3);
    }
  }
}

TEST_CASE_METHOD(EveryMode, "shuffles among many random masks", "[simt]") {
  for (unsigned seed = 0; seed < 100; ++seed) {
    check_shuffles<int>(256, "random", 1 << seed % 6, 1000 + seed);
  }
}

TEST_CASE_METHOD(EveryMode, "votes: every mask shape and partial warp", "[simt]") {
  for (const unsigned threads : {1u, 20u, 32u, 33u, 100u, 1024u}) {
    for (const char* shape :
         {"full", "lower half", "upper half", "single", "alternating", "random"}) {
      for (unsigned density = 0; density < 4; ++density) {  // no, all, one, random predicates
        const std::vector<unsigned> masks = masks_of_shape(shape, threads, density + threads);
        std::vector<int> predicates = random_integers<int>(threads, 0, 1, threads);
        for (std::size_t t = 0; t < threads; ++t) {
          if (density == 0) predicates[t] = 0;
          if (density == 1) predicates[t] = t % 3 == 0 ? 1024 : -5;
          if (density == 2) predicates[t] = t % 32 == 9 ? 4 : 0;
        }
        DeviceArray<unsigned> device_masks(masks);
        DeviceArray<int> device_predicates(predicates);
        DeviceArray<int> any(threads, -77), all(threads, -77);
        DeviceArray<unsigned> ballot(threads, 0xABCDEFu);
        run_votes(threads, device_masks.data(), device_predicates.data(), any.data(), all.data(),
                  ballot.data());
        const std::vector<int> anys = any.read(), alls = all.read();
        const std::vector<unsigned> ballots = ballot.read();
        CAPTURE(threads, shape, density);
        bool right = true;
        for (unsigned t = 0; t < threads; ++t) {
          const unsigned mask = masks[t / 32];
          unsigned expected = 0;
          for (unsigned lane = 0; lane < 32; ++lane) {
            const unsigned other = t / 32 * 32 + lane;
            if (contains(mask, static_cast<int>(lane)) && predicates[other] != 0) {
              expected |= 1u << lane;
            }
          }
          right = right && (contains(mask, static_cast<int>(t % 32))
                                ? ballots[t] == expected && (anys[t] != 0) == (expected != 0) &&
                                      (alls[t] != 0) == (expected == mask)
                                : ballots[t] == 0xABCDEFu && anys[t] == -77 && alls[t] == -77);
        }
        CHECK(right);
      }
    }
  }
}

TEST_CASE_METHOD(EveryMode, "a full mask in a partial warp means the lanes that exist", "[simt]") {
  for (const unsigned threads : {1u, 20u, 32u, 33u, 100u}) {
    CAPTURE(threads);
    DeviceArray<unsigned> ballot(threads), active(threads);
    run_lane_census(threads, ballot.data(), active.data());
    for (unsigned t = 0; t < threads; ++t) {
      const unsigned lanes = existing_lanes(threads, t / 32);
      CHECK(ballot.read(t) == lanes);
      // Which of them run together is up to the machine; the caller itself surely does.
      CHECK((active.read(t) & ~lanes) == 0u);
      CHECK(contains(active.read(t), static_cast<int>(t % 32)));
    }
  }
}

TEST_CASE_METHOD(EveryMode, "a full mask after lanes have exited means the lanes still here",
                 "[simt]") {
  for (const int alive : {1, 2, 16, 31, 32}) {
    CAPTURE(alive);
    DeviceArray<unsigned> ballot(32, 99u);
    DeviceArray<int> rotated(32, -1);
    run_full_mask_after_exit(alive, ballot.data(), rotated.data());
    for (int lane = 0; lane < 32; ++lane) {
      const auto i = static_cast<std::size_t>(lane);
      const unsigned here = alive == 32 ? kFullMask : (1u << alive) - 1;
      CHECK(ballot.read(i) == (lane < alive ? here : 99u));
      CHECK(rotated.read(i) == (lane < alive ? 10 * ((lane + 1) % alive) : -1));
    }
  }
}

TEST_CASE_METHOD(EveryMode, "the halves of a warp shuffle apart and meet again", "[simt]") {
  for (const auto& [low, high] : {std::pair{1, 1}, {0, 5}, {17, 2}, {40, 0}, {3, 100}}) {
    CAPTURE(low, high);
    DeviceArray<int> out(32);
    run_split_warp(low, high, out.data());
    std::vector<int> expected;
    for (int lane = 0; lane < 32; ++lane) {
      const int other = lane ^ 16;
      expected.push_back(other < 16 ? (other + low) % 16 : 16 + (other + high) % 16);
    }
    CHECK(out.read() == expected);
  }
}

TEST_CASE_METHOD(EveryMode, "a butterfly gives every lane the warp's sum", "[simt]") {
  constexpr unsigned kThreads = 512;
  std::vector<float> values(kThreads);
  for (std::size_t i = 0; i < kThreads; ++i) values[i] = i % 32 == 3 ? 1.0f : 0.0f;
  DeviceArray<float> in(values);
  DeviceArray<float> out(kThreads);
  run_butterfly(kThreads, in.data(), out.data());
  std::vector<float> expected;
  for (int thread = 0; thread < static_cast<int>(kThreads); ++thread) {
    // Warp w repeats the sum w + 1 times; from the second on it adds 32 equal numbers.
    expected.push_back(std::ldexp(1.0f, 5 * (thread / 32)));
  }
  CHECK(out.read() == expected);
}

TEST_CASE_METHOD(EveryMode, "a block's sum, for blocks with a partial last warp", "[simt]") {
  for (const unsigned threads : {1u, 20u, 32u, 33u, 64u, 100u, 1000u, 1024u}) {
    CAPTURE(threads);
    constexpr unsigned kBlocks = 5;
    const std::vector<float> values = random_integers<float>(kBlocks * threads, -100, 100, threads);
    DeviceArray<float> in(values);
    DeviceArray<float> sums(kBlocks);
    run_block_sum(kBlocks, threads, in.data(), sums.data());
    for (std::size_t block = 0; block < kBlocks; ++block) {
      const float* first = values.data() + block * threads;
      CHECK(sums.read(block) == std::accumulate(first, first + threads, 0.0f));
    }
  }
}

TEST_CASE_METHOD(EveryMode, "__syncwarp orders shared memory within its mask", "[simt]") {
  for (const unsigned threads : {32u, 64u, 1024u}) {
    for (const int group : {2, 4, 8, 16, 32}) {
      CAPTURE(threads, group);
      constexpr int kRounds = 5;
      DeviceArray<int> out(threads);
      run_syncwarp_exchange(threads, group, kRounds, out.data());
      std::vector<int> expected;
      for (int t = 0; t < static_cast<int>(threads); ++t) {
        const int first = t / group * group;
        expected.push_back(first + (t - first + kRounds + t / group) % group);
      }
      CHECK(out.read() == expected);
    }
  }
}

}  // namespace
}  // namespace attn::simt_test
