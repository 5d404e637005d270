// SPDX-License-Identifier: MIT
//
// What dropout draws.
#include "common/philox.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <vector>

#include "tests/catch.hpp"

namespace {

using Words = std::array<std::uint32_t, 4>;

Words philox(const Words& counter, std::uint32_t key_low, std::uint32_t key_high) {
  const auto words = attn::philox({{counter[0], counter[1], counter[2], counter[3]}},
                                  std::uint64_t{key_high} << 32 | key_low);
  return {words.word[0], words.word[1], words.word[2], words.word[3]};
}

constexpr std::uint64_t kSeed = 0x299F31D0A4093822;

}  // namespace

TEST_CASE("Philox4x32-10 gives the known answers of its authors") {
  constexpr std::uint32_t kOnes = 0xFFFFFFFF;
  CHECK(philox({0, 0, 0, 0}, 0, 0) == Words{0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8});
  CHECK(philox({kOnes, kOnes, kOnes, kOnes}, kOnes, kOnes) ==
        Words{0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD});
  CHECK(philox({0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344}, 0xA4093822, 0x299F31D0) ==
        Words{0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1});
  // The last one as dropout asks for it: a quarter of the key, the row, the head, the batch.
  const std::uint32_t words[] = {0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1};
  for (std::int64_t n = 0; n < 4; ++n) {
    CHECK(attn::dropout_bits(kSeed, 0x03707344, 0x13198A2E, 0x85A308D3,
                             std::int64_t{4} * 0x243F6A88 + n) == words[n]);
  }
}

TEST_CASE("every pair draws bits of its own, and they are uniform") {
  constexpr std::int64_t kB = 3, kH = 4, kNq = 32, kNk = 256;
  constexpr double kDraws = static_cast<double>(kB * kH * kNq * kNk);  // 98,304
  std::vector<std::uint32_t> all;
  std::array<std::array<int, 256>, 4> counts{};  // of each byte's values
  for (std::int64_t b = 0; b < kB; ++b) {
    for (std::int64_t h = 0; h < kH; ++h) {
      for (std::int64_t i = 0; i < kNq; ++i) {
        for (std::int64_t j = 0; j < kNk; ++j) {
          const std::uint32_t bits = attn::dropout_bits(7, b, h, i, j);
          all.push_back(bits);
          for (std::size_t byte = 0; byte < 4; ++byte) ++counts[byte][bits >> 8 * byte & 0xFF];
        }
      }
    }
  }
  // n draws of 2^32 values have n^2 / 2^33 = 1.1 equal pairs on average; a coordinate that did not
  // count would make thousands.
  const std::set<std::uint32_t> distinct(all.begin(), all.end());
  CHECK(all.size() - distinct.size() <= 8);
  for (const auto& byte : counts) {
    double chi_square = 0;
    for (const int count : byte) {
      const double expected = kDraws / 256;
      chi_square += (count - expected) * (count - expected) / expected;
    }
    INFO("chi-square " << chi_square);  // mean 255, standard deviation sqrt(2 * 255) = 22.6
    CHECK(chi_square > 255 - 5 * 22.6);
    CHECK(chi_square < 255 + 5 * 22.6);
  }
  // Both halves of the seed count, and no coordinate stands for another.
  const auto bits = attn::dropout_bits(7, 1, 2, 3, 5);
  CHECK(bits != attn::dropout_bits(8, 1, 2, 3, 5));
  CHECK(bits != attn::dropout_bits(7 + (std::uint64_t{1} << 32), 1, 2, 3, 5));
  CHECK(bits != attn::dropout_bits(7, 2, 1, 3, 5));
  CHECK(bits != attn::dropout_bits(7, 1, 3, 2, 5));
  CHECK(bits != attn::dropout_bits(7, 1, 2, 5, 3));
}

TEST_CASE("the threshold of a probability, and the fraction that is kept") {
  CHECK(attn::dropout_threshold(0.0f) == 0);  // no bits are below it: all are kept
  CHECK(attn::dropout_threshold(std::numeric_limits<float>::denorm_min()) == 1);
  CHECK(attn::dropout_threshold(0x1p-32f) == 1);
  CHECK(attn::dropout_threshold(0x1.8p-32f) == 2);
  CHECK(attn::dropout_threshold(0.5f) == 0x80000000);
  CHECK(attn::dropout_threshold(std::nextafter(1.0f, 0.0f)) == 0xFFFFFF00);
  constexpr int kDraws = 100'000;
  for (const double p : {0.1, 0.5, 0.9}) {
    const std::uint32_t threshold = attn::dropout_threshold(static_cast<float>(p));
    int kept = 0;
    for (std::int64_t n = 0; n < kDraws; ++n) {
      kept += attn::dropout_bits(3, n % 2, n % 5, n / 320, n % 320) >= threshold ? 1 : 0;
    }
    INFO("p = " << p);
    CHECK(std::abs(kept - (1 - p) * kDraws) < 4 * std::sqrt(p * (1 - p) * kDraws));
  }
}
