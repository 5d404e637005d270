// SPDX-License-Identifier: MIT
//
// How elements round, and how arrays of them are stored.
#include "common/element.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/catch.hpp"

namespace {

using attn::Element;

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
