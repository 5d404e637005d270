// SPDX-License-Identifier: MIT
#include "tests/simt/wgmma_cases.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/simt/support.hpp"

namespace attn::simt_test {
namespace {

constexpr unsigned kRows = 64, kDepth = 16, kThreads = 128, kSide = 64;

std::uint16_t bits_of(Element element, float x) {
  return element == Element::kBfloat16 ? to_bfloat16(x).bits : to_float16(x).bits;
}

// The PTX ISA's figures ("Register Fragments" of wgmma.m64nNk16): element i of thread t.
struct Position {
  unsigned row, column;
};
Position of_a(unsigned t, unsigned i) {
  return {16 * (t / 32) + t % 32 / 4 + 8 * (i / 2 % 2), t % 4 * 2 + (i & 1) + 8 * (i / 4)};
}
Position of_d(unsigned t, unsigned i) {
  return {16 * (t / 32) + t % 32 / 4 + 8 * (i / 2 % 2), 8 * (i / 4) + t % 4 * 2 + (i & 1)};
}

/// Where the PTX ISA's figures of the canonical layouts have element (mn, k) of a tile with 16 or
/// more k, in bytes; each as drawn, none by a formula for all.
struct Tile {
  Layout layout;
  unsigned mn_count, k_count;

  unsigned leading() const {
    if (layout.width == 1) return layout.mn_major ? 128 * (mn_count / 8) : 128 * (mn_count / 8);
    return layout.mn_major ? panel_bytes() : 16;  // not used if K-major
  }
  unsigned stride() const { return 128 * layout.width; }
  unsigned bytes() const { return 2 * mn_count * k_count; }
  unsigned panel_bytes() const { return k_count * 16 * layout.width; }

  unsigned place(unsigned mn, unsigned k) const {
    const unsigned row = layout.mn_major ? k : mn, along = layout.mn_major ? mn : k;
    if (layout.width == 1) {  // core matrices of 8 rows, those of 8 k behind each other
      return row % 8 * 16 + along % 8 * 2 + 128 * (mn / 8) + 128 * (mn_count / 8) * (k / 8);
    }
    const unsigned chunk = along / 8 % layout.width, panel = along / 8 / layout.width;
    const unsigned changed = layout.width == 8   ? chunk ^ row % 8
                             : layout.width == 4 ? chunk ^ row / 2 % 4
                                                 : chunk ^ row / 4 % 2;
    const unsigned rows = layout.mn_major ? k_count : mn_count;
    return panel * rows * 16 * layout.width + row * 16 * layout.width + changed * 16 +
           along % 8 * 2;
  }
  /// Of 16 k from 16 step on, of a tile that begins at byte `start`.
  std::uint64_t descriptor(unsigned start, unsigned step) const {
    const unsigned code = layout.width == 1 ? 0 : layout.width == 8 ? 1 : layout.width == 4 ? 2 : 3;
    if (layout.width == 1) {
      start += step * 2 * leading();
    } else {
      start += layout.mn_major ? step * 16 * 16 * layout.width : step * 32;
    }
    return std::uint64_t{start / 16} | std::uint64_t{leading() / 16} << 16 |
           std::uint64_t{stride() / 16} << 32 | std::uint64_t{code} << 62;
  }
};

}  // namespace

std::vector<std::uint16_t> Matrix::bits(Element element) const {
  std::vector<std::uint16_t> all;
  for (const float value : values) all.push_back(bits_of(element, value));
  return all;
}

Matrix integers(unsigned rows, unsigned columns, unsigned seed) {
  return {columns, random_integers<float>(std::size_t{rows} * columns, -4, 4, seed)};
}

Matrix multiply(const WgmmaCase& one, const Matrix& a, const Matrix& b, const Matrix& c) {
  const auto n = static_cast<unsigned>(one.shape.n);
  // As many k as a row has, or two steps.
  const auto tile_of = [](Layout layout, unsigned mn_count) {
    return Tile{layout, mn_count, layout.mn_major ? 32 : std::max(16u, 8 * layout.width)};
  };
  const Tile tile_a = tile_of(one.a, kRows), tile_b = tile_of(one.b, n);
  const unsigned start_b = (tile_a.bytes() + 1023) / 1024 * 1024;
  std::vector<std::uint16_t> image((start_b + tile_b.bytes()) / 2, 0x7FFF);  // NaN
  const auto put = [&](const Tile& tile, unsigned start, const Matrix& values) {
    for (unsigned mn = 0; mn < tile.mn_count; ++mn) {
      for (unsigned k = 0; k < kDepth; ++k) {
        image[(start + tile.place(mn, k + 16 * one.step)) / 2] =
            bits_of(one.shape.element, values.at(mn, k));
      }
    }
  };
  if (!one.shape.a_in_registers) put(tile_a, 0, a);
  put(tile_b, start_b, b);
  std::vector<unsigned> words(image.size() / 2), registers(4 * kThreads);
  std::memcpy(words.data(), image.data(), 4 * words.size());
  std::vector<float> fragments(kThreads * n / 2);
  for (unsigned t = 0; t < kThreads; ++t) {
    for (unsigned i = 0; i < 8; ++i) {
      const auto [row, column] = of_a(t, i);
      registers[4 * t + i / 2] |= unsigned{bits_of(one.shape.element, a.at(row, column))}
                                  << 16 * (i % 2);
    }
    for (unsigned i = 0; i < n / 2; ++i) {
      fragments[t * n / 2 + i] = c.at(of_d(t, i).row, of_d(t, i).column);
    }
  }
  DeviceArray<unsigned> device_image(words), device_a(registers);
  DeviceArray<float> device_c(fragments);
  run_wgmma(one.shape, device_image.data(), static_cast<int>(4 * words.size()),
            tile_a.descriptor(0, one.step), tile_b.descriptor(start_b, one.step), device_a.data(),
            device_c.data());
  fragments = device_c.read();
  Matrix d = c;
  for (unsigned t = 0; t < kThreads; ++t) {
    for (unsigned i = 0; i < n / 2; ++i) {
      d.at(of_d(t, i).row, of_d(t, i).column) = fragments[t * n / 2 + i];
    }
  }
  return d;
}

namespace {

/// Elements of d that are not [c +] A B, of integers so small that every sum is exact.
int wrong_elements(const WgmmaCase& one, const Matrix& a, const Matrix& b, const Matrix& c) {
  const Matrix d = multiply(one, a, b, c);
  int wrong = 0;
  for (unsigned row = 0; row < kRows; ++row) {
    for (unsigned column = 0; column < d.columns; ++column) {
      float expected = one.shape.accumulate ? c.at(row, column) : 0.0f;
      for (unsigned k = 0; k < kDepth; ++k) expected += a.at(row, k) * b.at(column, k);
      wrong += d.at(row, column) == expected ? 0 : 1;
    }
  }
  return wrong;
}

}  // namespace

void check_layouts() {
  const Matrix a = integers(kRows, kDepth, 1), b = integers(128, kDepth, 2);
  const Matrix c = integers(kRows, 128, 3);
  for (const unsigned width_a : {1u, 2u, 4u, 8u}) {
    for (const unsigned width_b : {1u, 2u, 4u, 8u}) {
      for (const bool a_mn_major : {false, true}) {
        for (const bool b_mn_major : {false, true}) {
          WgmmaCase one{kSquare, {width_a, a_mn_major}, {width_b, b_mn_major}};
          one.shape.a_mn_major = a_mn_major;
          one.shape.b_mn_major = b_mn_major;
          CAPTURE(width_a, a_mn_major, width_b, b_mn_major);
          CHECK(wrong_elements(one, a, b, c) == 0);
        }
      }
    }
  }
}

void check_steps() {
  const Matrix a = integers(kRows, kDepth, 4), b = integers(128, kDepth, 5);
  const Matrix c = integers(kRows, 128, 6);
  const auto check = [&](unsigned width, bool mn_major, unsigned step) {
    WgmmaCase one{kSquare, {width, mn_major}, {width, mn_major}, step};
    one.shape.a_mn_major = one.shape.b_mn_major = mn_major;
    CAPTURE(width, mn_major, step);
    CHECK(wrong_elements(one, a, b, c) == 0);
  };
  check(4, false, 1);
  for (const unsigned step : {1u, 2u, 3u}) check(8, false, step);
  for (const unsigned width : {1u, 2u, 4u, 8u}) check(width, true, 1);
}

void check_shapes() {
  constexpr Layout kWide{8, false}, kWideColumns{8, true};
  const auto with = [](Element element, int n, bool registers) {
    OneWgmma shape = kSquare;
    shape.element = element;
    shape.n = n;
    shape.a_in_registers = registers;
    return shape;
  };
  WgmmaCase cases[] = {{with(Element::kBfloat16, 8, false), kWide, kWide},
                       {with(Element::kBfloat16, 40, true), kWide, kWide},
                       {with(Element::kBfloat16, 128, true), kWide, kWide},
                       {with(Element::kBfloat16, 128, true), kWide, kWideColumns},
                       {with(Element::kBfloat16, 176, false), kWide, kWide},
                       {with(Element::kBfloat16, 256, true), kWide, kWide},
                       {with(Element::kFloat16, 128, false), kWide, kWide},
                       {with(Element::kFloat16, 128, true), kWide, kWide}};
  for (WgmmaCase& one : cases) {
    const auto n = static_cast<unsigned>(one.shape.n);
    one.shape.b_mn_major = one.b.mn_major;
    const Matrix a = integers(kRows, kDepth, 7), b = integers(n, kDepth, 8);
    const Matrix c = integers(kRows, n, 9);
    for (const bool accumulate : {false, true}) {
      one.shape.accumulate = accumulate;
      CAPTURE(to_string(one.shape.element), n, one.shape.a_in_registers, accumulate);
      CHECK(wrong_elements(one, a, b, c) == 0);
    }
  }
}

Operands::Operands()
    : q(integers(kSide, kSide, 11)),
      k(integers(2 * kSide, kSide, 12)),
      v(integers(kSide, kSide, 13)) {
  for (float& value : q.values) value = std::remainder(value, 2.0f);  // keeps S below 256
}

std::vector<float> Operands::scores() const {
  std::vector<float> s(2 * kSide * kSide);
  for (unsigned key = 0; key < 2 * kSide; ++key) {
    for (unsigned row = 0; row < kSide; ++row) {
      float& sum = s[key / kSide * kSide * kSide + row * kSide + key % kSide];
      for (unsigned x = 0; x < kSide; ++x) sum += q.at(row, x) * k.at(key, x);
    }
  }
  return s;
}

std::vector<float> Operands::result() const {
  std::vector<float> o(kSide * kSide);
  for (unsigned row = 0; row < kSide; ++row) {
    for (unsigned key = 0; key < kSide; ++key) {
      float s = 0;
      for (unsigned x = 0; x < kSide; ++x) s += q.at(row, x) * k.at(key, x);
      for (unsigned x = 0; x < kSide; ++x) o[row * kSide + x] += s * v.at(key, x);
    }
  }
  return o;
}

void check_one_tile() {
  const Operands operands;
  for (const Element element : {Element::kBfloat16, Element::kFloat16}) {
    CAPTURE(to_string(element));
    DeviceArray<std::uint16_t> q(operands.q.bits(element)), k(operands.k.bits(element));
    DeviceArray<std::uint16_t> v(operands.v.bits(element));
    DeviceArray<float> o(kSide * kSide, std::nanf(""));
    run_one_tile(element, q.data(), k.data(), v.data(), o.data());
    CHECK((o.read() == operands.result()));
  }
}

void check_two_products() {
  Matrix diagonals{kSide, std::vector<float>(2 * kSide * kSide)};
  for (unsigned i = 0; i < kSide; ++i) {
    diagonals.at(i, i) = 1;
    diagonals.at(kSide + i, i) = 2;
  }
  DeviceArray<std::uint16_t> matrices(diagonals.bits(Element::kBfloat16));
  DeviceArray<float> first(kThreads, 7.0f), last(kThreads, 7.0f);
  run_two_products(matrices.data(), first.data(), last.data());
  const std::vector<float> ones = first.read(), twos = last.read();
  for (unsigned t = 0; t < kThreads; ++t) {
    const float diagonal = of_d(t, 0).row == of_d(t, 0).column ? 1.0f : 0.0f;
    CHECK(ones[t] == diagonal);
    CHECK(twos[t] == 2 * diagonal);
  }
}

void check_tma_tiles() {
  const Operands operands;
  DeviceArray<std::uint16_t> q(operands.q.bits(Element::kBfloat16));
  DeviceArray<std::uint16_t> k(operands.k.bits(Element::kBfloat16));
  DeviceArray<float> s(2 * kSide * kSide, std::nanf(""));
  run_tma_tiles(Tma::kRight, q.data(), k.data(), s.data());
  CHECK((s.read() == operands.scores()));
}

void check_setmaxnreg() {
  DeviceArray<int> out(3 * kThreads, 0);
  run_setmaxnreg(out.data());
  for (unsigned t = 0; t < 3 * kThreads; ++t) CHECK(out.read(t) == (t < kThreads ? 24 : 240));
}

}  // namespace attn::simt_test
