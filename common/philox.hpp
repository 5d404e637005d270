// SPDX-License-Identifier: MIT
//
// The random numbers of dropout. Forward, backward and the oracle must draw the same number for a
// pair of query and key, whatever their tiles: so it is a function of the pair and of a seed, and
// no stream. Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
// 1, 2, 3" (SC 2011): ten rounds of multiplications scramble a counter of 128 bits under a key of
// 64 bits into four words of 32.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.hpp"

namespace attn {

struct PhiloxWords {
  std::uint32_t word[4];
};

ATTN_HOST_DEVICE constexpr std::uint32_t low_word(std::uint64_t x) {
  return static_cast<std::uint32_t>(x);
}
ATTN_HOST_DEVICE constexpr std::uint32_t high_word(std::uint64_t x) {
  return static_cast<std::uint32_t>(x >> 32);
}

/// Ten rounds on `counter` under the key {low word, high word of `key`}.
ATTN_HOST_DEVICE constexpr PhiloxWords philox(PhiloxWords counter, std::uint64_t key) {
  std::uint32_t key0 = low_word(key);
  std::uint32_t key1 = high_word(key);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter.word[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter.word[2];
    counter = {{high_word(b) ^ counter.word[1] ^ key0, low_word(b),
                high_word(a) ^ counter.word[3] ^ key1, low_word(a)}};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

/// The random bits of four neighbouring keys, 4 quad to 4 quad + 3, which share a counter: batch b,
/// query head h, row i, each below 2^32.
ATTN_HOST_DEVICE constexpr PhiloxWords dropout_bits_of_four(std::uint64_t seed, std::int64_t b,
                                                            std::int64_t h, std::int64_t i,
                                                            std::int64_t quad) {
  const PhiloxWords counter{{static_cast<std::uint32_t>(quad), static_cast<std::uint32_t>(i),
                             static_cast<std::uint32_t>(h), static_cast<std::uint32_t>(b)}};
  return philox(counter, seed);
}

/// The 32 random bits of a pair: of key j, below 2^32, and the row.
ATTN_HOST_DEVICE constexpr std::uint32_t dropout_bits(std::uint64_t seed, std::int64_t b,
                                                      std::int64_t h, std::int64_t i,
                                                      std::int64_t j) {
  return dropout_bits_of_four(seed, b, h, i, j / 4).word[j % 4];
}

/// A pair is kept if its bits are at least this: 2^32 * probability, rounded up. 0 <= probability
/// < 1.
inline std::uint32_t dropout_threshold(float probability) {
  return static_cast<std::uint32_t>(std::ceil(static_cast<double>(probability) * 0x1p32));
}

}  // namespace attn
