// SPDX-License-Identifier: MIT
//
// The contract's own functions: which keys a mask shows, how elements round, what dropout draws,
// what is refused and in which words.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <optional>
#include <random>
#include <set>
#include <type_traits>
#include <vector>

#include "common/attention.hpp"
#include "common/philox.hpp"
#include "tests/catch.hpp"

namespace {

using attn::Element;
using attn::ErrorKind;
using attn::Extras;
using attn::Feature;
using attn::Features;
using attn::kUnbounded;
using attn::Mask;
using attn::Range;
using attn::Shape;
using attn::Support;

// ---- masks ----

using Wide = __int128;  // no sum of two bounds overflows it

/// The definition: j lies in [own - before, own + after].
bool sees(const Mask& mask, std::int64_t i, std::int64_t j, std::int64_t Nq, std::int64_t Nk) {
  const Wide own = Wide{i} + (mask.top_left ? 0 : Wide{Nk} - Nq);
  const bool above = mask.before == kUnbounded || j >= own - mask.before;
  return above && (mask.after == kUnbounded || j <= own + mask.after);
}

/// The numbers from 0 to `count - 1` for which `visible` is true, which must be neighbours.
template <class F>
Range range_of(std::int64_t count, F visible) {
  Range range;
  for (std::int64_t n = 0; n < count; ++n) {
    if (!visible(n)) continue;
    if (range.empty()) range = {n, n};
    REQUIRE(range.end == n);
    range.end = n + 1;
  }
  return range;
}

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
static_assert(kUnbounded == kMost);

std::vector<Mask> masks_with(std::initializer_list<std::int64_t> bounds) {
  std::vector<Mask> masks;
  for (const std::int64_t before : bounds) {
    for (const std::int64_t after : bounds) {
      for (const bool top_left : {false, true}) masks.push_back({before, after, top_left});
    }
  }
  return masks;
}

const std::initializer_list<std::int64_t> kBounds = {0, 1, 2, 5, kMost - 8, kMost - 1, kUnbounded};

std::string describe(const Mask& mask, std::int64_t Nq, std::int64_t Nk) {
  return fmt::format("{}, Nq={} Nk={}", to_string(mask), Nq, Nk);
}

std::string describe(const Range& range) { return fmt::format("[{}, {})", range.begin, range.end); }

}  // namespace

TEST_CASE("a mask's keys of a row and rows of a key are those of its definition") {
  for (const Mask& mask : masks_with(kBounds)) {
    for (std::int64_t Nq = 0; Nq <= 7; ++Nq) {
      for (std::int64_t Nk = 0; Nk <= 7; ++Nk) {
        INFO(describe(mask, Nq, Nk));
        for (std::int64_t i = 0; i < Nq; ++i) {
          const Range keys = range_of(Nk, [&](auto j) { return sees(mask, i, j, Nq, Nk); });
          if (keys_of_row(mask, i, Nq, Nk) == keys) continue;
          FAIL("row " << i << ": " << describe(keys_of_row(mask, i, Nq, Nk)) << ", not "
                      << describe(keys));
        }
        for (std::int64_t j = 0; j < Nk; ++j) {
          const Range rows = range_of(Nq, [&](auto i) { return sees(mask, i, j, Nq, Nk); });
          if (rows_of_key(mask, j, Nq, Nk) == rows) continue;
          FAIL("key " << j << ": " << describe(rows_of_key(mask, j, Nq, Nk)) << ", not "
                      << describe(rows));
        }
      }
    }
  }
}

TEST_CASE("a mask without a lower bound is one diagonal") {
  int prefixes = 0;
  for (const Mask& mask : masks_with(kBounds)) {
    REQUIRE(mask.is_prefix() == (mask.before == kUnbounded));
    if (!mask.is_prefix()) continue;
    ++prefixes;
    for (std::int64_t Nq = 0; Nq <= 7; ++Nq) {
      for (std::int64_t Nk = 0; Nk <= 7; ++Nk) {
        INFO(describe(mask, Nq, Nk));
        const std::int64_t diagonal = attn::diagonal(mask, Nq, Nk);
        for (std::int64_t i = 0; i < Nq; ++i) {
          const Range keys = range_of(Nk, [&](auto j) { return sees(mask, i, j, Nq, Nk); });
          for (std::int64_t j = 0; j < Nk; ++j) {
            REQUIRE((j <= i + diagonal) == sees(mask, i, j, Nq, Nk));
          }
          REQUIRE(attn::visible_keys(i, diagonal, Nk) == keys.end);
          REQUIRE(keys.begin == 0);
        }
        for (std::int64_t j = 0; j < Nk; ++j) {
          const Range rows = range_of(Nq, [&](auto i) { return sees(mask, i, j, Nq, Nk); });
          REQUIRE(attn::first_query(j, diagonal, Nq) == (rows.empty() ? Nq : rows.begin));
        }
      }
    }
  }
  CHECK(prefixes == 14);
}

TEST_CASE("sizes and bounds near the ends of 64 bits do not overflow a mask") {
  constexpr std::int64_t kHuge = (std::int64_t{1} << 61) - 1;  // the most elements of an array
  const auto clamped = [](Wide x, std::int64_t most) {
    return static_cast<std::int64_t>(x < 0 ? Wide{0} : x > most ? Wide{most} : x);
  };
  const auto between = [&](Wide own, Wide down, Wide up, std::int64_t most) {
    const Range range{clamped(own - down, most), clamped(own + up + 1, most)};
    return range.empty() ? Range{} : range;
  };
  for (const Mask& mask : masks_with({0, 1, kHuge - 1, kHuge, kMost - 1, kUnbounded})) {
    for (const auto& [Nq, Nk] : {std::pair{std::int64_t{1}, kHuge}, std::pair{kHuge, kHuge},
                                 std::pair{kHuge, std::int64_t{1}}}) {
      INFO(describe(mask, Nq, Nk));
      const Wide shift = mask.top_left ? 0 : Wide{Nk} - Nq;
      const Wide before = mask.before == kUnbounded ? Wide{kMost} * 4 : Wide{mask.before};
      const Wide after = mask.after == kUnbounded ? Wide{kMost} * 4 : Wide{mask.after};
      for (const std::int64_t i : {std::int64_t{0}, Nq / 2, Nq - 1}) {
        CHECK(keys_of_row(mask, i, Nq, Nk) == between(i + shift, before, after, Nk));
      }
      for (const std::int64_t j : {std::int64_t{0}, Nk / 2, Nk - 1}) {
        CHECK(rows_of_key(mask, j, Nq, Nk) == between(j - shift, after, before, Nq));
      }
    }
  }
  // A compiler that evaluates a constant refuses an overflow.
  static_assert(attn::keys_of_row({.before = kMost - 1, .after = kMost - 1}, 0, kHuge, 1) ==
                Range{0, 1});
  static_assert(attn::rows_of_key({.before = kMost - 1, .after = kMost - 1}, 0, 1, kHuge) ==
                Range{0, 1});
  static_assert(attn::diagonal({.after = kMost - 1}, kHuge, kHuge) == kHuge);
}

TEST_CASE("the named masks, and what masks are called") {
  CHECK(Mask{} == Mask::kFull);
  CHECK(keys_of_row(Mask::kFull, 0, 3, 5) == Range{0, 5});
  CHECK(keys_of_row(Mask::kCausal, 0, 3, 5) == Range{0, 3});
  CHECK(keys_of_row(Mask::kCausalTopLeft, 0, 3, 5) == Range{0, 1});
  CHECK(attn::keys_of_row({.before = 1, .after = 0}, 2, 3, 5) ==
        Range{3, 5});  // W = 2 keys, Mistral's
  CHECK(attn::diagonal(Mask::kFull, 3, 5) == 5);
  CHECK(attn::diagonal(Mask::kCausal, 5, 3) == -2);
  CHECK(attn::diagonal(Mask::kCausalTopLeft, 5, 3) == 0);

  CHECK(to_string(Mask::kFull) == "full");
  CHECK(to_string(Mask::kCausal) == "causal");
  CHECK(to_string(Mask::kCausalTopLeft) == "causal top-left");
  CHECK(to_string(Mask{.before = 128, .after = 0}) == "window 128,0");
  CHECK(to_string(Mask{.before = 128, .top_left = true}) == "window 128,-1 top-left");
  CHECK(to_string(Mask{.after = 3}) == "window -1,3");
}

// ---- elements ----

namespace {

/// What to_bfloat16 and to_float16 have in common, for tests of both.
struct SmallElement {
  Element element;
  std::uint16_t infinity;
  std::uint16_t (*store)(float);
  float (*load)(std::uint16_t);
};

const SmallElement kSmallElements[] = {
    {Element::kBfloat16, 0x7F80, [](float x) { return attn::to_bfloat16(x).bits; },
     [](std::uint16_t bits) { return attn::to_float32(attn::bfloat16{bits}); }},
    {Element::kFloat16, 0x7C00, [](float x) { return attn::to_float16(x).bits; },
     [](std::uint16_t bits) { return attn::to_float32(attn::float16{bits}); }},
};

/// The value of a pattern, by the definition of its format: in float64, which holds all of them.
double value_of(Element element, std::uint16_t pattern) {
  const int mantissa_bits = element == Element::kBfloat16 ? 7 : 10;
  const int exponents = element == Element::kBfloat16 ? 256 : 32;
  const int bias = exponents / 2 - 1;
  const int mantissa = pattern & ((1 << mantissa_bits) - 1);
  const int exponent = pattern >> mantissa_bits & (exponents - 1);
  const double sign = (pattern & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == exponents - 1) {
    return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN()
                         : sign * std::numeric_limits<double>::infinity();
  }
  const int whole = exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits);
  return sign * std::ldexp(whole, std::max(exponent, 1) - bias - mantissa_bits);
}

bool same_bits(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

/// The first float above or below a finite one.
float above(float x) { return std::nextafter(x, std::numeric_limits<float>::infinity()); }
float below(float x) { return std::nextafter(x, -std::numeric_limits<float>::infinity()); }

}  // namespace

TEST_CASE("every 16-bit pattern means what its format says, and is found again") {
  for (const SmallElement& small : kSmallElements) {
    int nans = 0;
    for (int n = 0; n <= 0xFFFF; ++n) {
      const auto pattern = static_cast<std::uint16_t>(n);
      const double value = value_of(small.element, pattern);
      const float loaded = small.load(pattern);
      INFO(to_string(small.element) << fmt::format(" {:#06x}", n));
      if (std::isnan(value)) {
        ++nans;
        if (!std::isnan(loaded)) FAIL("loaded as " << loaded << ", which is no NaN");
        const std::uint16_t stored = small.store(loaded);
        if (!std::isnan(value_of(small.element, stored))) FAIL("a NaN becomes a number");
        if ((stored ^ pattern) & 0x8000) FAIL("a NaN changes its sign");
      } else {
        if (!same_bits(loaded, static_cast<float>(value))) FAIL(loaded << " is not " << value);
        if (small.store(loaded) != pattern) FAIL("comes back as another pattern");
      }
    }
    CHECK(nans == 2 * (0x7FFF - small.infinity));
  }
}

TEST_CASE("floats round to the nearest element, ties to the even one") {
  for (const SmallElement& small : kSmallElements) {
    for (std::uint16_t pattern = 0; pattern < small.infinity; ++pattern) {
      const auto next = static_cast<std::uint16_t>(pattern + 1);
      const double low = value_of(small.element, pattern);
      // Beyond the largest element the next one would have the same distance.
      const double high = next == small.infinity
                              ? 2 * low - value_of(small.element, std::uint16_t(pattern - 1))
                              : value_of(small.element, next);
      const auto middle = static_cast<float>((low + high) / 2);
      REQUIRE(static_cast<double>(middle) == (low + high) / 2);  // one bit more fits a float
      const std::uint16_t even = pattern % 2 == 0 ? pattern : next;
      INFO(to_string(small.element) << fmt::format(" {:#06x}, midpoint {}", pattern, middle));
      for (const int sign : {0, 0x8000}) {
        const auto signed_bits = [&](int bits) { return bits | sign; };
        const auto signed_value = [&](float x) { return sign == 0 ? x : -x; };
        if (small.store(signed_value(middle)) != signed_bits(even)) FAIL("the tie is not even");
        if (small.store(signed_value(below(middle))) != signed_bits(pattern)) FAIL("below it");
        if (small.store(signed_value(above(middle))) != signed_bits(next)) FAIL("above it");
      }
    }
  }
}

TEST_CASE("what is too large becomes infinity, what is too small zero, and a NaN stays one") {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const SmallElement& small : kSmallElements) {
    CHECK(small.store(kInf) == small.infinity);
    CHECK(small.store(-kInf) == (small.infinity | 0x8000));
    CHECK(small.store(std::numeric_limits<float>::max()) == small.infinity);
    CHECK(small.store(0.0f) == 0);
    CHECK(small.store(-0.0f) == 0x8000);
    // Payloads whose upper half is empty must not become the infinity that is left of them.
    for (const std::uint32_t bits : {0x7F800001u, 0x7FC00000u, 0x7FFFFFFFu, 0xFF800001u}) {
      CHECK(std::isnan(small.load(small.store(std::bit_cast<float>(bits)))));
    }
  }
  CHECK(attn::to_float16(65504.0f).bits == 0x7BFF);  // the largest float16
  CHECK(attn::to_float16(below(65520.0f)).bits == 0x7BFF);
  CHECK(attn::to_float16(65520.0f).bits == 0x7C00);  // the tie, whose even neighbour would be 2^16
  CHECK(attn::to_float16(0x1p-24f).bits == 0x0001);
  CHECK(attn::to_float16(0x1p-25f).bits == 0x0000);  // a tie again
  CHECK(attn::to_float16(above(0x1p-25f)).bits == 0x0001);
  CHECK(attn::to_float16(std::numeric_limits<float>::denorm_min()).bits == 0x0000);
  CHECK(attn::to_bfloat16(std::numeric_limits<float>::denorm_min()).bits == 0x0000);
  CHECK(attn::to_bfloat16(0x1p-133f).bits == 0x0001);
}

#if defined(__FLT16_MANT_DIG__) || defined(__BFLT16_MANT_DIG__)
TEST_CASE("floats round as the compiler's own 16-bit types do") {
  std::mt19937 engine(1);
  const auto agree = [&](const SmallElement& small, auto convert) {
    for (int n = 0; n < 2'000'000; ++n) {
      const auto x = std::bit_cast<float>(static_cast<std::uint32_t>(engine()));
      if (std::isnan(x)) continue;
      const std::uint16_t expected = convert(x);
      if (small.store(x) == expected) continue;
      FAIL(to_string(small.element)
           << fmt::format(" of {}: {:#06x}, not {:#06x}", x, small.store(x), expected));
    }
  };
#ifdef __BFLT16_MANT_DIG__
  agree(kSmallElements[0],
        [](float x) { return std::bit_cast<std::uint16_t>(static_cast<__bf16>(x)); });
#endif
#ifdef __FLT16_MANT_DIG__
  agree(kSmallElements[1],
        [](float x) { return std::bit_cast<std::uint16_t>(static_cast<_Float16>(x)); });
#endif
}
#endif

TEST_CASE("arrays of elements: encode, decode, their sizes and their names") {
  const std::vector<float> values = {0.0f, 1.0f, -2.5f, 1.0f / 3, 65504.0f, 1e-7f, -70000.0f};
  const double unit[] = {0x1p-24, 0x1p-8, 0x1p-11};
  for (const Element element : attn::kAllElements) {
    INFO(to_string(element));
    // One byte aside, so that nothing relies on an alignment, and a byte to keep behind.
    const std::size_t bytes = values.size() * attn::bytes_of(element);
    std::vector<unsigned char> store(bytes + 2, 0xA5);
    attn::encode(element, values, store.data() + 1);
    std::vector<float> back(values.size(), -1.0f);
    attn::decode(element, store.data() + 1, back);
    for (std::size_t e = 0; e < values.size(); ++e) {
      CHECK(same_bits(back[e], attn::rounded_to(element, values[e])));
    }
    CHECK(store.front() == 0xA5);
    CHECK(store.back() == 0xA5);
    CHECK(attn::unit_roundoff(element) == unit[static_cast<int>(element)]);
    // The unit roundoff is reached, at the middle of the first gap above 1, and not passed.
    const auto half_gap = static_cast<float>(attn::unit_roundoff(element));
    if (element != Element::kFloat32) CHECK(attn::rounded_to(element, 1 + half_gap) == 1);
    CHECK(attn::rounded_to(element, 1 + 2 * half_gap) == 1 + 2 * half_gap);
  }
  CHECK(attn::rounded_to(Element::kFloat32, 1.0f / 3) == 1.0f / 3);
  CHECK(attn::rounded_to(Element::kBfloat16, 1.0f / 3) == 0x1.56p-2f);
  CHECK(attn::rounded_to(Element::kFloat16, 1.0f / 3) == 0x1.554p-2f);
  CHECK(to_string(Element::kFloat32) == "float32");
  CHECK(to_string(Element::kBfloat16) == "bfloat16");
  CHECK(to_string(Element::kFloat16) == "float16");
  CHECK(attn::kElementOf<float> == Element::kFloat32);
  CHECK(attn::kElementOf<attn::bfloat16> == Element::kBfloat16);
  CHECK(attn::kElementOf<attn::float16> == Element::kFloat16);
  attn::encode(Element::kFloat32, {}, nullptr);  // nothing to do, and no pointer to do it to
  attn::decode(Element::kFloat32, nullptr, {});
}

// ---- dropout's numbers ----

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
  CHECK(attn::dropout_threshold(below(1.0f)) == 0xFFFFFF00);
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

// ---- small parts of the contract ----

TEST_CASE("a pair's element in an array that is broadcast as NumPy does it") {
  constexpr std::int64_t kB = 2, kH = 3, kNq = 4, kNk = 5;
  for (int ones = 0; ones < 16; ++ones) {  // bit n set: axis n has size 1
    const attn::PairShape shape{ones & 1 ? 1 : kB, ones & 2 ? 1 : kH, ones & 4 ? 1 : kNq,
                                ones & 8 ? 1 : kNk};
    CHECK(shape.elements() == shape.B * shape.H * shape.Nq * shape.Nk);
    const std::int64_t strides[] = {ones & 1 ? 0 : shape.H * shape.Nq * shape.Nk,
                                    ones & 2 ? 0 : shape.Nq * shape.Nk, ones & 4 ? 0 : shape.Nk,
                                    ones & 8 ? 0 : 1};
    for (std::int64_t b = 0; b < kB; ++b) {
      for (std::int64_t h = 0; h < kH; ++h) {
        for (std::int64_t i = 0; i < kNq; ++i) {
          for (std::int64_t j = 0; j < kNk; ++j) {
            REQUIRE(shape.index(b, h, i, j) ==
                    b * strides[0] + h * strides[1] + i * strides[2] + j * strides[3]);
          }
        }
      }
    }
  }
}

TEST_CASE("sets of features") {
  Features features{Feature::kWindows, Feature::kBias};
  CHECK(features.has(Feature::kWindows));
  CHECK(features.has(Feature::kBias));
  CHECK_FALSE(features.has(Feature::kDropout));
  features.add(Feature::kDropout);
  CHECK(features == Features{Feature::kDropout, Feature::kBias, Feature::kWindows});
  features.remove(Feature::kBias);
  CHECK(features == Features{Feature::kDropout, Feature::kWindows});
  CHECK(Features{}.empty());
  CHECK_FALSE(features.empty());
  std::set<std::string_view> names;
  for (int n = 0; n < attn::kFeatures; ++n) {
    CHECK(Features::all().has(static_cast<Feature>(n)));
    names.insert(to_string(static_cast<Feature>(n)));
  }
  CHECK(names.size() == static_cast<std::size_t>(attn::kFeatures));
}

TEST_CASE("sizes count the width of V and packed sequences") {
  const Shape shape{.B = 2, .H = 6, .Hkv = 2, .Nq = 5, .Nk = 7, .d = 3};
  Extras extras;
  CHECK(attn::value_width(shape, extras) == 3);
  extras.d_v = 4;
  CHECK(attn::value_width(shape, extras) == 4);
  attn::Sizes sizes = sizes_of(shape, extras);
  CHECK(sizes.q == 2 * 6 * 5 * 3);
  CHECK(sizes.k == 2 * 2 * 7 * 3);
  CHECK(sizes.v == 2 * 2 * 7 * 4);
  CHECK(sizes.o == 2 * 6 * 5 * 4);
  CHECK(sizes.rows == 2 * 6 * 5);
  const std::int64_t q_offsets[] = {0, 5, 8};
  const std::int64_t k_offsets[] = {0, 4, 11};
  extras.q_offsets.host = q_offsets;
  extras.k_offsets.host = k_offsets;
  sizes = sizes_of(shape, extras);
  CHECK(sizes.q == 6 * 8 * 3);
  CHECK(sizes.k == 2 * 11 * 3);
  CHECK(sizes.v == 2 * 11 * 4);
  CHECK(sizes.o == 6 * 8 * 4);
  CHECK(sizes.rows == 6 * 8);
}

// ---- passes ----

namespace {

struct Called {
  int calls = 0;
  Element element = Element::kFloat32;
  attn::ForwardArgsOf<void> forward;
  attn::BackwardArgsOf<void> backward;
};
Called called;

template <class T>
void remember_forward(const attn::ForwardArgsOf<T>& args) {
  ++called.calls;
  called.element = attn::kElementOf<T>;
  called.forward = without_element(args);
}
template <class T>
void remember_backward(const attn::BackwardArgsOf<T>& args) {
  ++called.calls;
  called.element = attn::kElementOf<T>;
  called.backward = without_element(args);
}

using ForwardPass = attn::PassOf<attn::ForwardArgsOf>;
using BackwardPass = attn::PassOf<attn::BackwardArgsOf>;
template <class T>
constexpr auto* kForward = remember_forward<T>;
template <class T>
constexpr auto* kBackward = remember_backward<T>;

}  // namespace

TEST_CASE("a pass takes the elements that it has functions for, and calls the right one") {
  const struct {
    ForwardPass pass;
    bool takes[3];  // float32, bfloat16, float16
  } cases[] = {
      {{}, {false, false, false}},
      {nullptr, {false, false, false}},
      {remember_forward<float>, {true, false, false}},
      {kForward<attn::bfloat16>, {false, true, false}},
      {kForward<attn::float16>, {false, false, true}},
      {{kForward<attn::bfloat16>, kForward<attn::float16>}, {false, true, true}},
      {{kForward<attn::float16>, kForward<float>}, {true, false, true}},
      {{kForward<float>, kForward<attn::bfloat16>, kForward<attn::float16>}, {true, true, true}},
  };
  for (const auto& [pass, takes] : cases) {
    CHECK(bool(pass) == (takes[0] || takes[1] || takes[2]));
    CHECK((pass == nullptr) == !bool(pass));
    for (const Element element : attn::kAllElements) {
      REQUIRE(pass.takes(element) == takes[static_cast<int>(element)]);
      if (!pass.takes(element)) continue;
      called = {};
      attn::ForwardArgsOf<void> args;
      args.scale = 0.5f;
      pass(element, args);
      CHECK(called.calls == 1);
      CHECK(called.element == element);
      CHECK(called.forward.scale == 0.5f);
    }
  }
}

TEST_CASE("arguments come through a pass as they went in, whatever the element") {
  char memory[16];
  const auto at = [&](int n) { return static_cast<void*>(memory + n); };
  const Shape shape{.B = 2, .H = 6, .Hkv = 2, .Nq = 3, .Nk = 4, .d = 5};
  const Mask mask{.before = 3, .after = 1, .top_left = true};
  float lse[2];
  Extras extras;
  extras.softcap = 2;
  for (const Element element : attn::kAllElements) {
    INFO(to_string(element));
    const ForwardPass forward{kForward<float>, kForward<attn::bfloat16>, kForward<attn::float16>};
    forward(element, {shape, mask, 0.5f, at(0), at(1), at(2), at(3), lse, at(4), 99, extras});
    const auto& f = called.forward;
    CHECK((f.shape == shape && f.mask == mask && f.scale == 0.5f && f.extras.softcap == 2.0f));
    CHECK((f.q == at(0) && f.k == at(1) && f.v == at(2) && f.o == at(3) && f.lse == lse));
    CHECK((f.workspace == at(4) && f.workspace_bytes == 99));

    const BackwardPass backward{kBackward<float>, kBackward<attn::bfloat16>,
                                kBackward<attn::float16>};
    backward(element, {shape, mask, 0.5f, at(0), at(1), at(2), at(3), lse, at(4), at(5), at(6),
                       at(7), at(8), 98, extras});
    const auto& b = called.backward;
    CHECK((b.shape == shape && b.mask == mask && b.scale == 0.5f && b.extras.softcap == 2.0f));
    CHECK((b.q == at(0) && b.k == at(1) && b.v == at(2) && b.o == at(3) && b.lse == lse));
    CHECK((b.grad_o == at(4) && b.grad_q == at(5) && b.grad_k == at(6) && b.grad_v == at(7)));
    CHECK((b.workspace == at(8) && b.workspace_bytes == 98));
  }
}

// ---- what is refused ----

namespace {

/// Host memory that claims to be a GPU.
class FakeMemory : public attn::Memory {
 public:
  int compute = 0;

  std::string name() const override { return "fake GPU"; }
  int compute_capability() const override { return compute; }
  void* allocate(std::size_t bytes, std::string_view label) override {
    return attn::host_memory().allocate(bytes, label);
  }
  void release(void* pointer) noexcept override { attn::host_memory().release(pointer); }
  void write(void* to, const void* from, std::size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  void read(void* to, const void* from, std::size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  void fill_undefined(void*, unsigned char, std::size_t) override {}
  void synchronize() override {}
  std::size_t allocated_bytes() const override { return 0; }
};
FakeMemory fake_memory;

std::size_t no_workspace(const Shape&) { return 0; }

const attn::Step kEveryElement{
    .id = "every",
    .idea = "takes every element",
    .forward = {kForward<float>, kForward<attn::bfloat16>, kForward<attn::float16>},
    .forward_workspace_bytes = no_workspace,
    .backward = {kBackward<float>, kBackward<attn::bfloat16>, kBackward<attn::float16>},
    .backward_workspace_bytes = no_workspace};

attn::Chapter chapter_with(const Support& support) {
  return {.id = "99_fake",
          .title = "Fake",
          .idea = "remembers its arguments",
          .memory = []() -> attn::Memory& { return fake_memory; },
          .steps = {&kEveryElement, 1},
          .support = support};
}

/// A legal problem with arrays of every extra at hand. What is wanted of them goes into `args`.
class Request {
 public:
  static constexpr std::int64_t kB = 2, kH = 6, kNq = 4, kNk = 8, kD = 8;

  Request() {
    args.shape = attn::make_shape(kB, kH, kNq, kNk, kD);
    args.scale = 0.5f;
    // 64 KiB for each array, so that strides and more heads fit.
    std::vector<void*> arrays;
    for (int n = 0; n < 20; ++n) arrays.push_back(memory_.data() + n * kEach);
    args.q = arrays[0];
    args.k = arrays[1];
    args.v = arrays[2];
    args.o = arrays[3];
    args.lse = static_cast<float*>(arrays[4]);
    args.grad_o = arrays[5];
    args.grad_q = arrays[6];
    args.grad_k = arrays[7];
    args.grad_v = arrays[8];
    mask = static_cast<std::uint8_t*>(arrays[9]);
    bias = static_cast<float*>(arrays[10]);
    alibi = static_cast<float*>(arrays[11]);
    sink_logits = static_cast<float*>(arrays[12]);
    grad_lse = static_cast<float*>(arrays[13]);
    grad_bias = static_cast<float*>(arrays[14]);
    grad_sink_logits = static_cast<float*>(arrays[15]);
  }

  /// For either pass: `integers` stand on the device as on the host.
  attn::Integers integers(std::vector<std::int64_t> values) {
    lists_.push_back(std::move(values));
    return {lists_.back(), lists_.back().data()};
  }
  void set_packed(std::vector<std::int64_t> q, std::vector<std::int64_t> k) {
    args.extras.q_offsets = integers(std::move(q));
    args.extras.k_offsets = integers(std::move(k));
  }

  attn::ForwardArgsOf<void> forward_args() const {
    return {args.shape, args.mask, args.scale, args.q,
            args.k,     args.v,    output_o(), const_cast<float*>(args.lse),
            nullptr,    0,         args.extras};
  }

  void poison() { std::fill(memory_.begin(), memory_.end(), std::byte{0xA5}); }
  bool untouched() const {
    return std::all_of(memory_.begin(), memory_.end(),
                       [](std::byte b) { return b == std::byte{0xA5}; });
  }

  attn::BackwardArgsOf<void> args;
  Element element = Element::kFloat32;
  std::uint8_t* mask;
  float *bias, *alibi, *sink_logits, *grad_lse, *grad_bias, *grad_sink_logits;

 private:
  static constexpr std::size_t kEach = std::size_t{1} << 16;

  void* output_o() const { return const_cast<void*>(args.o); }

  struct alignas(256) Line {
    std::byte bytes[256];
  };
  std::vector<Line> lines_ = std::vector<Line>(20 * kEach / sizeof(Line));
  std::span<std::byte> memory_{lines_.front().bytes, 20 * kEach};
  std::deque<std::vector<std::int64_t>> lists_;
};

using Change = std::function<void(Request&)>;

/// The error of one pass on a request, or nothing.
struct Answer {
  std::string message;
  ErrorKind kind = ErrorKind::kDeviceFailure;
};

Answer answer(Request& request, attn::Pass pass, const attn::Chapter& chapter) {
  called = {};
  request.poison();
  Answer result;
  try {
    if (pass == attn::Pass::kForward) {
      forward(chapter, kEveryElement, request.element, request.forward_args());
    } else {
      backward(chapter, kEveryElement, request.element, request.args);
    }
  } catch (const attn::Error& error) {
    result = {error.what(), error.kind()};
  }
  CHECK(called.calls == (result.message.empty() ? 1 : 0));
  CHECK(request.untouched());
  return result;
}

bool begins_with(const std::string& text, std::string_view start) {
  return text.compare(0, start.size(), start) == 0;
}

constexpr auto kForwardOnly = attn::Pass::kForward;
constexpr auto kBackwardOnly = attn::Pass::kBackward;
constexpr attn::Pass kPasses[] = {attn::Pass::kForward, attn::Pass::kBackward};
const Support kEverything{.features = Features::all()};

/// One thing wrong: both passes refuse it in words that begin so, and take the next request.
struct Bad {
  std::string_view begins;
  Change change;
  ErrorKind kind = ErrorKind::kBadArgument;
  std::optional<attn::Pass> only = {};
};

void check_refused(const std::vector<Bad>& table, const Support& support) {
  const attn::Chapter chapter = chapter_with(support);
  for (const Bad& bad : table) {
    for (const attn::Pass pass : kPasses) {
      if (bad.only && *bad.only != pass) continue;
      INFO("expected of " << to_string(pass) << ": " << bad.begins);
      Request request;
      bad.change(request);
      const Answer refused = answer(request, pass, chapter);
      INFO("answer: " << refused.message);
      CHECK(begins_with(refused.message, bad.begins));
      CHECK(refused.kind == bad.kind);
      CHECK(refused.message.find('\n') == std::string::npos);
      Request good;
      CHECK(answer(good, pass, chapter).message.empty());
    }
  }
}

attn::Strides strides_of(std::int64_t batch, std::int64_t head, std::int64_t row) {
  return {batch, head, row};
}

}  // namespace

TEST_CASE("bad numbers are refused") {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::vector<Bad> table = {
      {"Hkv = 0:", [](Request& r) { r.args.shape.Hkv = 0; }},
      {"Hkv = 4: allowed: a divisor of H = 6", [](Request& r) { r.args.shape.Hkv = 4; }},
      {"Hkv = 12:", [](Request& r) { r.args.shape.Hkv = 12; }},
      {"mask = window -2,0: -2;", [](Request& r) { r.args.mask = {.before = -2, .after = 0}; }},
      {"mask = window -1,-1: -1;", [](Request& r) { r.args.mask = {.before = -1}; }},
      {"mask = window -1,-5: -5;", [](Request& r) { r.args.mask = {.after = -5}; }},
      {"d_v = -1: allowed: 0 or more", [](Request& r) { r.args.extras.d_v = -1; }},
      {"sink_keys = -1: allowed: 0 or more", [](Request& r) { r.args.extras.sink_keys = -1; }},
      {"softcap = -0.5: allowed: 0", [](Request& r) { r.args.extras.softcap = -0.5f; }},
      {"softcap = nan", [&](Request& r) { r.args.extras.softcap = kNan; }},
      {"softcap = inf", [&](Request& r) { r.args.extras.softcap = kInf; }},
      {"dropout = 1: allowed: from 0", [](Request& r) { r.args.extras.dropout = 1.0f; }},
      {"dropout = -0.1", [](Request& r) { r.args.extras.dropout = -0.1f; }},
      {"dropout = nan", [&](Request& r) { r.args.extras.dropout = kNan; }},
      {"ranges_per_row = -1: allowed: 0, 1, 2",
       [](Request& r) { r.args.extras.ranges_per_row = -1; }},
      {"ranges_per_row = 3: allowed: 0, 1, 2",
       [](Request& r) { r.args.extras.ranges_per_row = 3; }},
  };
  check_refused(table, kEverything);
}

TEST_CASE("bad counts, offsets and ranges are refused by what they hold") {
  const auto counts = [](std::vector<std::int64_t> begin, std::vector<std::int64_t> count) {
    return [=](Request& r) {
      if (!begin.empty()) r.args.extras.key_begin = r.integers(begin);
      if (!count.empty()) r.args.extras.key_count = r.integers(count);
    };
  };
  const auto packed = [](std::vector<std::int64_t> q, std::vector<std::int64_t> k) {
    return [=](Request& r) { r.set_packed(q, k); };
  };
  // Two batches of four rows: all see everything, but for one pair of bounds.
  const auto ranges = [](int per_row, std::int64_t begin, std::int64_t end, int which = 4) {
    return [=](Request& r) {
      std::vector<std::int64_t> all;
      for (int n = 0; n < 8 * per_row; ++n) {
        all.push_back(n == which ? begin : 0);
        all.push_back(n == which ? end : 8);
      }
      r.args.extras.ranges_per_row = per_row;
      r.args.extras.ranges = r.integers(all);
    };
  };
  const auto with = [](Change first, Change second) {
    return [=](Request& r) {
      first(r);
      second(r);
    };
  };
  const Change good_packed = packed({0, 4, 6}, {0, 3, 11});
  check_refused(
      {
          {"key_begin[1] = -1: allowed: 0 to 8", counts({0, -1}, {})},
          {"key_begin[0] = 9: allowed: 0 to 8", counts({9, 0}, {})},
          {"key_begin: 1 of them; allowed: B = 2", counts({0}, {})},
          {"key_begin = null",
           [](Request& r) {
             r.args.extras.key_begin = r.integers({0, 0});
             r.args.extras.key_begin.device = nullptr;
           }},
          {"key_count[0] = -1: allowed: 0 to 8", counts({}, {-1, 8})},
          {"key_count[1] = 9: allowed: 0 to 8", counts({}, {8, 9})},
          {"key_count[1] = 7: allowed: 0 to 6", counts({0, 2}, {8, 7})},
          {"key_count: 3 of them; allowed: B = 2", counts({}, {1, 2, 3})},
          {"key_count = null",
           [](Request& r) {
             r.args.extras.key_count = r.integers({8, 8});
             r.args.extras.key_count.device = nullptr;
           }},
          {"q_offsets: 2 of them; allowed: 3, one more than B", packed({0, 4}, {0, 3, 11})},
          {"q_offsets: 0 of them", packed({}, {0, 3, 11})},
          {"q_offsets[0] = 1: allowed: 0", packed({1, 5, 7}, {0, 3, 11})},
          {"q_offsets[2] = 3: allowed: at least 4", packed({0, 4, 3}, {0, 3, 11})},
          {"q_offsets: the longest sequence has 5 rows; allowed: 4", packed({0, 5, 6}, {0, 3, 11})},
          {"k_offsets: 0 of them", packed({0, 4, 6}, {})},
          {"k_offsets: 4 of them; allowed: 3", packed({0, 4, 6}, {0, 3, 11, 11})},
          {"k_offsets[1] = -3: allowed: at least 0", packed({0, 4, 6}, {0, -3, 5})},
          {"k_offsets: the longest sequence has 7 rows; allowed: 8", packed({0, 4, 6}, {0, 7, 9})},
          {"key_count[0] = 4: allowed: 0 to 3", with(good_packed, counts({}, {4, 8}))},
          {"mask: given with packed sequences",
           with(good_packed, [](Request& r) { r.args.extras.mask = r.mask; })},
          {"bias: given with packed sequences",
           with(good_packed, [](Request& r) { r.args.extras.bias = r.bias; })},
          {"ranges: given with packed sequences", with(good_packed, ranges(1, 0, 8))},
          {"strides: given with packed sequences",
           with(good_packed, [](Request& r) { r.args.extras.k = strides_of(384, 64, 8); })},
          {"ranges[4] = -1, 8: allowed: 0 <= begin <= end <= Nk = 8", ranges(1, -1, 8)},
          {"ranges[4] = 5, 4: allowed", ranges(1, 5, 4)},
          {"ranges[4] = 5, 9: allowed", ranges(1, 5, 9)},
          {"ranges[7] = 5, 9: allowed", ranges(1, 5, 9, 7)},
          {"ranges[15] = 0, -1: allowed", ranges(2, 0, -1, 15)},
          {"ranges: 16 numbers; allowed: 32, B * Nq * 4",
           [&](Request& r) {
             ranges(1, 0, 8)(r);
             r.args.extras.ranges_per_row = 2;
           }},
          {"ranges = null",
           [&](Request& r) {
             ranges(1, 0, 8)(r);
             r.args.extras.ranges.device = nullptr;
           }},
      },
      kEverything);
}

TEST_CASE("bad arrays of an extra are refused") {
  const auto bias = [](attn::PairShape shape) {
    return [=](Request& r) {
      r.args.extras.bias = r.bias;
      r.args.extras.bias_shape = shape;
    };
  };
  const auto misaligned = [](auto* pointer) {
    return reinterpret_cast<decltype(pointer)>(reinterpret_cast<std::uintptr_t>(pointer) + 2);
  };
  const auto strides = [](attn::Strides Extras::*array, attn::Strides values) {
    return [=](Request& r) { r.args.extras.*array = values; };
  };
  constexpr std::int64_t kFar = std::int64_t{1} << 61;
  check_refused(
      {
          {"bias_shape B = 3: allowed: 1 or 2", bias({3, 6, 4, 8})},
          {"bias_shape H = 2: allowed: 1 or 6", bias({2, 2, 4, 8})},
          {"bias_shape Nq = 8: allowed: 1 or 4", bias({2, 6, 8, 4})},
          {"bias_shape Nk = 0: allowed: 1 or 8", bias({2, 6, 4, 0})},
          {"mask_shape H = 3: allowed: 1 or 6",
           [](Request& r) {
             r.args.extras.mask = r.mask;
             r.args.extras.mask_shape = {2, 3, 4, 8};
           }},
          {"bias = 0x", [&](Request& r) { r.args.extras.bias = misaligned(r.bias); }},
          {"alibi = 0x", [&](Request& r) { r.args.extras.alibi = misaligned(r.alibi); }},
          {"sink_logits = 0x",
           [&](Request& r) { r.args.extras.sink_logits = misaligned(r.sink_logits); }},
          {"o = 0x", [](Request& r) { r.args.extras.bias = static_cast<const float*>(r.args.o); },
           ErrorKind::kBadArgument, kForwardOnly},
          {"grad_lse = 0x", [&](Request& r) { r.args.extras.grad_lse = misaligned(r.grad_lse); },
           ErrorKind::kBadArgument, kBackwardOnly},
          {"grad_bias: given without a bias",
           [](Request& r) { r.args.extras.grad_bias = r.grad_bias; }},
          {"grad_sink_logits: given without sink_logits",
           [](Request& r) { r.args.extras.grad_sink_logits = r.grad_sink_logits; }},
          {"grad_bias = 0x",
           [](Request& r) {
             r.args.extras.bias = r.bias;
             r.args.extras.grad_bias = r.bias;  // an output on an input
           },
           ErrorKind::kBadArgument, kBackwardOnly},
          {"grad_sink_logits = 0x",
           [](Request& r) {
             r.args.extras.sink_logits = r.sink_logits;
             r.args.extras.grad_sink_logits = r.sink_logits + 5;
           },
           ErrorKind::kBadArgument, kBackwardOnly},
          {"q strides: -8; allowed: 0 or more", strides(&Extras::q, {192, 32, -8})},
          {"k strides: ", strides(&Extras::k, {kFar, kFar, kFar})},
          {"v: its sizes", strides(&Extras::v, {kFar, 64, 8})},
          // Rows of O must lie apart: a row of 8 elements every 4, all heads at one place.
          {"o strides: 4, and 8 elements lie between", strides(&Extras::o, {192, 32, 4}),
           ErrorKind::kBadArgument, kForwardOnly},
          {"o strides: 0, and 8 elements", strides(&Extras::o, {32, 0, 8}), ErrorKind::kBadArgument,
           kForwardOnly},
          // dQ lies as Q does, and is written; Q itself may be one row over and over.
          {"grad_q strides: 0, and 8 elements", strides(&Extras::q, {192, 32, 0}),
           ErrorKind::kBadArgument, kBackwardOnly},
          {"dropout: Nq = 4, Nk = 4294967297",
           [](Request& r) {
             r.args.extras.dropout = 0.5f;
             r.args.shape.Nk = (std::int64_t{1} << 32) + 1;
           }},
      },
      kEverything);
}

namespace {

/// A legal request that needs one feature, and how its refusal begins.
struct Need {
  Feature feature;
  std::string_view begins;
  Change change;
};

const std::vector<Need>& needs() {
  static const std::vector<Need> table = {
      {Feature::kGroupedHeads, "Hkv = 2:", [](Request& r) { r.args.shape.Hkv = 2; }},
      {Feature::kValueWidth, "d_v = 4:", [](Request& r) { r.args.extras.d_v = 4; }},
      {Feature::kStrides, "strides:", [](Request& r) { r.args.extras.q = strides_of(192, 8, 48); }},
      {
          Feature::kStrides,
          "strides:",
          [](Request& r) { r.args.extras.k = strides_of(0, 0, 8); },
      },
      {Feature::kStrides, "strides:", [](Request& r) { r.args.extras.v = strides_of(384, 8, 48); }},
      {Feature::kStrides, "strides:", [](Request& r) { r.args.extras.o = strides_of(192, 8, 48); }},
      {Feature::kPacked, "q_offsets:",
       [](Request& r) {
         r.set_packed({0, 0, 4}, {0, 8, 8});
       }},
      {Feature::kWindows,
       "mask = window 3,0:", [](Request& r) { r.args.mask = {.before = 3, .after = 0}; }},
      {Feature::kSinkKeys, "sink_keys = 2:", [](Request& r) { r.args.extras.sink_keys = 2; }},
      {Feature::kKeyCounts, "key_begin:",
       [](Request& r) {
         r.args.extras.key_begin = r.integers({0, 8});
       }},
      {Feature::kKeyCounts, "key_count:",
       [](Request& r) {
         r.args.extras.key_count = r.integers({0, 8});
       }},
      {Feature::kRanges, "ranges:",
       [](Request& r) {
         r.args.extras.ranges_per_row = 1;
         r.args.extras.ranges = r.integers({0, 8, 8, 8, 0, 0, 2, 3, 0, 8, 8, 8, 0, 0, 2, 3});
       }},
      {Feature::kMaskArray, "mask: an array",
       [](Request& r) {
         r.args.extras.mask = r.mask + 1;  // bytes lie anywhere
         r.args.extras.mask_shape = {2, 1, 4, 8};
       }},
      {Feature::kBias, "bias:",
       [](Request& r) {
         r.args.extras.bias = r.bias;
         r.args.extras.grad_bias = r.grad_bias;
         r.args.extras.bias_shape = {1, 6, 1, 8};
       }},
      {Feature::kAlibi, "alibi:", [](Request& r) { r.args.extras.alibi = r.alibi; }},
      {Feature::kSoftcap, "softcap = 30:", [](Request& r) { r.args.extras.softcap = 30; }},
      {Feature::kSinkLogits, "sink_logits:",
       [](Request& r) {
         r.args.extras.sink_logits = r.sink_logits;
         r.args.extras.grad_sink_logits = r.grad_sink_logits;
       }},
      {Feature::kDropout, "dropout = 0.25:", [](Request& r) { r.args.extras.dropout = 0.25f; }},
      {Feature::kGradLse, "grad_lse:", [](Request& r) { r.args.extras.grad_lse = r.grad_lse; }},
  };
  return table;
}

}  // namespace

TEST_CASE("a feature that a record lacks is refused by name, and taken where it has it") {
  Features covered;
  for (const Need& need : needs()) {
    covered.add(need.feature);
    Features others = Features::all();
    others.remove(need.feature);
    for (const attn::Pass pass : kPasses) {
      INFO(to_string(pass) << ", " << to_string(need.feature) << ", " << need.begins);
      Request request;
      need.change(request);
      // K and V may be one row over and over, dK and dV may not.
      const bool shared = request.args.extras.k == strides_of(0, 0, 8);
      if (shared && pass == attn::Pass::kBackward) continue;
      CHECK(answer(request, pass, chapter_with(kEverything)).message.empty());
      CHECK(answer(request, pass, chapter_with({.features = {need.feature}})).message.empty());
      for (const Features& features : {others, Features{}}) {
        const Answer refused = answer(request, pass, chapter_with({.features = features}));
        INFO("answer: " << refused.message);
        CHECK(begins_with(refused.message, need.begins));
        CHECK(refused.message.find(fmt::format("this chapter does not take {}",
                                               to_string(need.feature))) != std::string::npos);
        CHECK(refused.kind == ErrorKind::kUnsupported);
      }
    }
  }
  CHECK(covered == Features::all());
}

TEST_CASE("defaults and bounds that hide nothing need no feature") {
  const attn::Chapter chapter = chapter_with({});
  const std::vector<Change> plain = {
      [](Request&) {},
      [](Request& r) { r.args.mask = Mask::kCausal; },
      [](Request& r) { r.args.mask = Mask::kCausalTopLeft; },
      [](Request& r) { r.args.mask = {.after = 3}; },  // a prefix still
      [](Request& r) { r.args.extras.d_v = Request::kD; },
      [](Request& r) { r.args.extras.dropout_seed = 5; },
      [](Request& r) { r.args.extras.softcap = 0; },
      [](Request& r) { r.args.extras.dropout = 0; },
      [](Request& r) {
        r.args.extras.mask_shape = {9, 9, 9, 9};
      },  // of an array that is not there
  };
  for (std::size_t n = 0; n < plain.size(); ++n) {
    for (const attn::Pass pass : kPasses) {
      Request request;
      plain[n](request);
      INFO("change " << n << ", " << to_string(pass));
      CHECK(answer(request, pass, chapter).message.empty());
    }
  }
}

TEST_CASE("what a record says of d, of alignment and of N is held") {
  static constexpr std::int64_t kOnly[] = {8, 64};
  constexpr auto kNo = ErrorKind::kUnsupported;
  check_refused(
      {{"d = 16: this chapter supports 8, 64", [](Request& r) { r.args.shape.d = 16; }, kNo},
       {"d_v = 7: this chapter supports 8, 64", [](Request& r) { r.args.extras.d_v = 7; }, kNo},
       {"d = 129: this chapter supports 1 <= d <= 128", [](Request& r) { r.args.shape.d = 129; },
        kNo},
       {"d_v = 129: this chapter supports 1 <= d <= 128",
        [](Request& r) { r.args.extras.d_v = 129; }, kNo}},
      {.features = Features::all(), .only_d = kOnly});
  check_refused(
      {{"Nq = 9: this chapter supports at most 8", [](Request& r) { r.args.shape.Nq = 9; }, kNo},
       {"Nk = 9: this chapter supports at most 8", [](Request& r) { r.args.shape.Nk = 9; }, kNo}},
      {.max_n = 8});

  const auto shifted = [](const void* pointer, std::size_t by) {
    return static_cast<void*>(const_cast<char*>(static_cast<const char*>(pointer)) + by);
  };
  const Support wide{.features = Features::all(), .alignment = 16};
  check_refused(
      {
          {"d = 6: rows of 24 bytes; this chapter supports multiples of 16",
           [](Request& r) { r.args.shape.d = 6; }, kNo},
          {"d_v = 3: rows of 12 bytes", [](Request& r) { r.args.extras.d_v = 3; }, kNo},
          {"d = 4: rows of 8 bytes",
           [](Request& r) {
             r.args.shape.d = 4;  // 16 bytes of float32, and 8 of bfloat16
             r.element = Element::kBfloat16;
           },
           kNo},
          {"q = 0x", [&](Request& r) { r.args.q = shifted(r.args.q, 8); }, kNo},
          {"k = 0x", [&](Request& r) { r.args.k = shifted(r.args.k, 4); }, kNo},
          {"v = 0x", [&](Request& r) { r.args.v = shifted(r.args.v, 4); }, kNo},
          {"o = 0x", [&](Request& r) { r.args.o = shifted(r.args.o, 4); }, kNo},
          {"grad_o = 0x", [&](Request& r) { r.args.grad_o = shifted(r.args.grad_o, 4); }, kNo,
           kBackwardOnly},
          {"grad_q = 0x", [&](Request& r) { r.args.grad_q = shifted(r.args.grad_q, 4); }, kNo,
           kBackwardOnly},
          {"k strides: 10; this chapter supports multiples of 16 bytes",
           [](Request& r) { r.args.extras.k = strides_of(640, 80, 10); }, kNo},
          // An address that no float may have is bad for every chapter.
          {"q = 0x", [&](Request& r) { r.args.q = shifted(r.args.q, 2); }},
          // A 16-bit element may have it, but not an odd one.
          {"q = 0x",
           [&](Request& r) {
             r.args.q = shifted(r.args.q, 1);
             r.element = Element::kFloat16;
           }},
      },
      wide);
  // Without a wish of the record, what the element needs is enough; LSE and extras have no wish.
  for (const attn::Pass pass : kPasses) {
    Request half;
    half.element = Element::kFloat16;
    half.args.q = shifted(half.args.q, 2);
    CHECK(answer(half, pass, chapter_with({})).message.empty());
    Request request;
    request.args.lse += 1;
    request.args.extras.alibi = request.alibi + 1;
    CHECK(answer(request, pass, chapter_with(wide)).message.empty());
  }
}

TEST_CASE("what a device cannot run is refused, and so is an element that a pass lacks") {
  static const attn::Step kHalfOnly{.id = "half",
                                    .idea = "float16 alone",
                                    .forward = kForward<attn::float16>,
                                    .forward_workspace_bytes = no_workspace};
  attn::Chapter chapter = chapter_with({.min_compute = 90});
  Request request;
  const auto refusal = [&](const attn::Step& step, Element element, attn::Pass pass) {
    called = {};
    try {
      if (pass == attn::Pass::kForward) {
        forward(chapter, step, element, request.forward_args());
      } else {
        backward(chapter, step, element, request.args);
      }
    } catch (const attn::Error& error) {
      CHECK(error.kind() == ErrorKind::kUnsupported);
      CHECK(called.calls == 0);
      return std::string(error.what());
    }
    CHECK(called.calls == 1);
    return std::string();
  };
  for (const attn::Pass pass : kPasses) {
    for (const int compute : {0, 90, 100}) {  // 0: no such limit, as on the CPU machine
      fake_memory.compute = compute;
      CHECK(refusal(kEveryElement, Element::kFloat32, pass).empty());
    }
    for (const int compute : {80, 89}) {
      fake_memory.compute = compute;
      CHECK(refusal(kEveryElement, Element::kFloat32, pass) ==
            fmt::format("device = fake GPU: its compute capability is 8.{}; 99_fake needs 9.0",
                        compute % 10));
      chapter.twin = &kEveryElement;  // on host memory, which has no such limit
      CHECK(refusal(kEveryElement, Element::kFloat32, pass).empty());
      chapter.twin = nullptr;
    }
    fake_memory.compute = 0;
  }
  CHECK(refusal(kHalfOnly, Element::kFloat16, attn::Pass::kForward).empty());
  CHECK(refusal(kHalfOnly, Element::kFloat32, attn::Pass::kForward) ==
        "element = float32: 99_fake half takes float16");
  CHECK(refusal(kHalfOnly, Element::kFloat16, attn::Pass::kBackward) ==
        "pass = backward: 99_fake half has none");
}

TEST_CASE("sizes that no memory holds are refused at once") {
  constexpr std::int64_t kHuge = std::int64_t{1} << 40;
  check_refused(
      {
          {"q: its sizes multiply", [](Request& r) { r.args.shape.B = kMost; }},
          {"q_offsets: 3 of them",
           [](Request& r) {
             r.set_packed({0, 4, 6}, {0, 8, 9});
             r.args.shape.B = kMost;
           }},
          {"the score matrix: its sizes multiply",
           [](Request& r) {
             r.args.shape.Nq = kHuge;
             r.args.shape.Nk = kHuge;
             r.args.extras.bias = r.bias;
             r.args.extras.bias_shape = {2, 6, kHuge, kHuge};
           }},
          {"the score matrix: its sizes multiply",
           [](Request& r) {
             r.args.shape.Nq = kHuge;
             r.args.shape.Nk = kHuge;
             r.args.extras.mask = r.mask;
             r.args.extras.mask_shape = {2, 6, kHuge, kHuge};
           }},
          {"B * H = 4294967296 * 6: supported",
           [](Request& r) { r.args.shape.B = std::int64_t{1} << 32; }, ErrorKind::kUnsupported},
      },
      kEverything);
}

TEST_CASE("without rows the gradients that rows would add to are zeros, and nothing runs") {
  using Half = attn::float16;
  const std::int64_t Nk = 3, d = 4, d_v = 2, heads = 2, row_k = 10, row_v = 8;
  const Shape shape{.B = 1, .H = 4, .Hkv = heads, .Nq = 0, .Nk = Nk, .d = d};
  std::vector<Half> k(64, Half{0x3C00}), v(64, Half{0x3C00}), grad_k(64, Half{0x7E00}),
      grad_v(64, Half{0x7E00});
  std::vector<float> bias(4 * 3), sinks(4), grad_bias(4 * 3, -1.0f), grad_sinks(4, -1.0f);
  attn::BackwardArgsOf<Half> args{.shape = shape, .k = k.data(), .v = v.data()};
  args.grad_k = grad_k.data();
  args.grad_v = grad_v.data();
  args.extras.d_v = d_v;
  args.extras.k = {.batch = 64, .head = 30, .row = row_k};
  args.extras.v = {.batch = 64, .head = 24, .row = row_v};
  args.extras.bias = bias.data();
  args.extras.bias_shape = {1, 4, 1, 3};
  args.extras.grad_bias = grad_bias.data();
  args.extras.sink_logits = sinks.data();
  args.extras.grad_sink_logits = grad_sinks.data();
  called = {};
  backward(chapter_with(kEverything), kEveryElement, args);
  CHECK(called.calls == 0);
  CHECK(grad_bias == std::vector<float>(12, 0.0f));
  CHECK(grad_sinks == std::vector<float>(4, 0.0f));
  const auto zeros = [&](const std::vector<Half>& array, std::int64_t head, std::int64_t row,
                         std::int64_t width) {
    bool right = true;
    for (std::int64_t e = 0; e < 64; ++e) {
      const bool inside = e / head < heads && e % head / row < Nk && e % head % row < width;
      right = right && array[static_cast<std::size_t>(e)].bits == (inside ? 0 : 0x7E00);
    }
    return right;
  };
  CHECK(zeros(grad_k, 30, row_k, d));
  CHECK(zeros(grad_v, 24, row_v, d_v));
}
