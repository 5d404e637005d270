// SPDX-License-Identifier: MIT
#include "tests/simt/tma_cases.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "tests/simt/support.hpp"
#include "tests/simt/tma_kernels.hpp"

namespace attn::simt_test {
namespace {

constexpr std::size_t kColumns = kRingColumns;

/// `rows` rows, and zeros where the last tile reaches beyond them.
std::vector<float> tiles_of(const std::vector<float>& in, int tiles) {
  std::vector<float> out(static_cast<std::size_t>(tiles) * kRingRows * kColumns, 0.0f);
  std::copy(in.begin(), in.end(), out.begin());
  return out;
}

/// Where chunk `chunk` (16 bytes) of row `row` lies in a box whose rows have so many bytes, as the
/// tables of the PTX ISA show it ("Swizzle modes").
std::size_t place(Swizzle swizzle, std::size_t row, std::size_t chunk, std::size_t row_bytes) {
  switch (swizzle) {
    case Swizzle::k32:
      return row * 32 + 16 * (chunk ^ row / 4 % 2);
    case Swizzle::k64:
      return row * 64 + 16 * (chunk ^ row / 2 % 4);
    case Swizzle::k128:
      return row * 128 + 16 * (chunk ^ row % 8);
    default:
      return row * row_bytes + 16 * chunk;
  }
}

struct Box {
  TensorLayout layout;
  std::array<int, 4> corner;
};

/// What a box must look like in shared memory, element by element.
std::vector<unsigned char> expected_box(const Box& box, const std::vector<unsigned char>& memory) {
  const TensorLayout& layout = box.layout;
  const std::size_t size = bytes_of(layout.element);
  const auto extent = [&](std::size_t i) {
    return i < static_cast<std::size_t>(layout.rank) ? layout.box[i] : 1u;
  };
  std::vector<unsigned char> out(box_bytes(layout), 0);
  std::size_t row = 0;
  for (std::uint32_t w = 0; w < extent(3); ++w) {
    for (std::uint32_t z = 0; z < extent(2); ++z) {
      for (std::uint32_t y = 0; y < extent(1); ++y, ++row) {
        for (std::uint32_t x = 0; x < extent(0); ++x) {
          const std::array<std::int64_t, 4> at = {
              box.corner[0] + std::int64_t{x}, box.corner[1] + std::int64_t{y},
              box.corner[2] + std::int64_t{z}, box.corner[3] + std::int64_t{w}};
          std::int64_t from = at[0] * static_cast<std::int64_t>(size);
          bool inside = true;
          for (std::size_t i = 0; i < static_cast<std::size_t>(layout.rank); ++i) {
            inside = inside && at[i] >= 0 && at[i] < static_cast<std::int64_t>(layout.sizes[i]);
            if (i > 0) from += at[i] * static_cast<std::int64_t>(layout.strides[i - 1]);
          }
          if (!inside) continue;
          const std::size_t byte = x * size;
          const std::size_t to =
              place(layout.swizzle, row, byte / 16, layout.box[0] * size) + byte % 16;
          std::copy_n(memory.begin() + from, size, out.begin() + static_cast<std::ptrdiff_t>(to));
        }
      }
    }
  }
  return out;
}

}  // namespace

std::vector<float> tma_numbers(std::size_t count) {
  return random_integers<float>(count, 1, 1000, 13);
}

void check_rings() {
  for (const Ring variant : {Ring::kRight, Ring::kWritten, Ring::kBlockBarrier}) {
    for (const auto& [stages, consumers, tiles, rows] :
         {std::array{2, 2, 5, 75}, std::array{3, 1, 7, 112}, std::array{1, 3, 2, 17}}) {
      CAPTURE(static_cast<int>(variant), stages, consumers, tiles, rows);
      const std::vector<float> values = tma_numbers(static_cast<std::size_t>(rows) * kColumns);
      DeviceArray<float> in(values);
      DeviceArray<float> out(static_cast<std::size_t>(tiles) * kRingRows * kColumns, 7.0f);
      run_ring(variant, stages, consumers, tiles, rows, in.data(), out.data());
      CHECK(out.read() == tiles_of(values, tiles));
    }
  }
}

void check_boxes() {
  const std::vector<unsigned char> memory = random_integers<unsigned char>(1 << 16, 1, 255, 3);
  DeviceArray<unsigned char> in(memory);
  const auto bf16 = Element::kBfloat16;
  const Box boxes[] = {
      // 40 x 50 floats, rows of 48.
      {{Element::kFloat32, in.data(), 2, {40, 50}, {192}, {8, 24}, Swizzle::k32}, {8, 10}},
      {{Element::kFloat32, in.data(), 2, {40, 50}, {192}, {16, 24}, Swizzle::k64}, {30, 40}},
      {{Element::kFloat32, in.data(), 2, {40, 50}, {192}, {32, 24}, Swizzle::k128}, {-3, -5}},
      {{Element::kFloat32, in.data(), 2, {40, 50}, {192}, {12, 7}, Swizzle::kNone}, {33, 1}},
      {{Element::kFloat32, in.data(), 2, {40, 50}, {192}, {40, 7}, Swizzle::kNone}, {90, -90}},
      // bfloat16 [head][row][column]: 3 heads of 37 rows of 72.
      {{bf16, in.data(), 3, {72, 37, 3}, {144, 144 * 37}, {64, 16, 2}, Swizzle::k128}, {5, 30, 2}},
      {{bf16, in.data(), 3, {72, 37, 3}, {144, 144 * 37}, {32, 9, 1}, Swizzle::k64}, {64, 0, 0}},
      // A tile of 128 columns in two panels of 64: [head][panel][row][64], strides that descend.
      {{bf16, in.data(), 4, {64, 37, 2, 3}, {256, 128, 256 * 37}, {64, 24, 2, 1}, Swizzle::k128},
       {0, 24, 0, 2}},
      {{bf16, in.data(), 4, {64, 37, 2, 3}, {256, 128, 256 * 37}, {16, 4, 2, 2}, Swizzle::k32},
       {56, 2, 1, -1}},
  };
  int number = 0;
  for (const Box& box : boxes) {
    for (const unsigned to : {0u, 1024u}) {
      CAPTURE(++number, to);
      const std::vector<unsigned char> expected = expected_box(box, memory);
      DeviceArray<unsigned> out(expected.size() / 4, 0xDEADBEEFu);
      run_box(box.layout, box.corner, to, true, out.data());
      const std::vector<unsigned> words = out.read();
      const auto* bytes = reinterpret_cast<const unsigned char*>(words.data());
      CHECK(std::equal(expected.begin(), expected.end(), bytes));
    }
  }
}

void check_stores() {
  constexpr int kRows = 40;
  for (const int first : {0, 7, 30, -4}) {
    CAPTURE(first);
    DeviceArray<float> out(kRows * kColumns, -1.0f);
    run_store(Store::kRight, first, kRows, out.data());
    std::vector<float> expected(kRows * kColumns, -1.0f);
    for (int row = std::max(first, 0); row < std::min(first + kRingRows, kRows); ++row) {
      for (int column = 0; column < kRingColumns; ++column) {
        expected[static_cast<std::size_t>(row * kRingColumns + column)] =
            static_cast<float>(100 * (row - first) + column);
      }
    }
    CHECK(out.read() == expected);
  }
}

void check_arrivals() {
  for (const Arrival variant : {Arrival::kAllLanes, Arrival::kOneLane}) {
    CAPTURE(static_cast<int>(variant));
    DeviceArray<float> out(32, -1.0f);
    run_arrival(variant, out.data());
    for (std::size_t t = 0; t < 32; ++t) CHECK(out.read(t) == static_cast<float>(31 - t));
  }
}

}  // namespace attn::simt_test
