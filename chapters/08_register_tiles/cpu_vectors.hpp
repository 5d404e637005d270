// SPDX-License-Identifier: MIT
//
// A core's vector registers as plain C++: how many there are, how long they are, and the shapes of
// the register tiles that follow from it. GCC's and Clang's vector types have the operators of
// float, lane by lane.
#pragma once

#include <cstdint>

namespace attn::register_tiles {

#if defined(__AVX512F__)
inline constexpr int kLanes = 16, kRegisters = 32;
#elif defined(__AVX__)
inline constexpr int kLanes = 8, kRegisters = 16;
#elif defined(__aarch64__)
inline constexpr int kLanes = 4, kRegisters = 32;
#else
inline constexpr int kLanes = 4, kRegisters = 16;
#endif

/// One register of floats, or of integers; they lie in memory at any address.
using Vector [[gnu::vector_size(4 * kLanes), gnu::aligned(4), gnu::may_alias]] = float;
using Integers [[gnu::vector_size(4 * kLanes), gnu::aligned(4), gnu::may_alias]] = std::int32_t;

// A multiply-add takes 4 or 5 cycles, and a core begins two of them a cycle: fewer than 8 to 10
// sums under way would wait for each other. 12 of 16 registers, 24 of 32, hold sums; the others
// hold a step's factors. An a x b tile does a * b multiply-adds for a + b loads, of which a core
// does two or three a cycle: 12 for 7 (4 x 3) or 8 (6 x 2), against 12 for 13 if it were 12 x 1.
inline constexpr int kQueryVectors = 3;                // scores: 3 vectors of queries, times
inline constexpr int kKeys = kRegisters / 4;           //   4 or 8 keys
inline constexpr int kColumnVectors = 2;               // rows of a product: 2 vectors of columns,
inline constexpr int kRows = 3 * kRegisters / 8;       //   times 6 or 12 rows
inline constexpr int kPanel = kQueryVectors * kLanes;  // queries side by side: 24, 48 or 12
inline constexpr int kColumns = kColumnVectors * kLanes;
inline constexpr int kMaxColumns = 128;  // the largest d
static_assert(kPanel % kRows == 0 && kMaxColumns % kColumns == 0);

/// Rows of a tile in memory: d rounded up to whole register tiles.
inline std::int64_t padded_columns(std::int64_t d) {
  return (d + kColumns - 1) / kColumns * kColumns;
}

/// n rounded up to whole register tiles of rows.
inline std::int64_t padded_rows(std::int64_t n) { return (n + kRows - 1) / kRows * kRows; }

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
/// Into a register, to stay there: volatile, or g++ 12 may read memory again at every use, which
/// costs the 4 x 3 tile a quarter of its speed (16 loads for 12 multiply-adds).
inline Vector load_once(const float* from) {
  return *reinterpret_cast<const volatile Vector*>(from);
}
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

/// Replaces every lane's x by e^x, for x up to 88; 0 below -87.3, where e^x is no normal number any
/// more, and for -inf; NaN for NaN. The relative error is at most 1.5e-7 + 1.3e-8 |x|: the second
/// part is that of log2(e) as a float, and adds less than 5e-9 to a weight's share of a row, since
/// |x| e^x < 0.37.
///
/// e^x = 2^n 2^f with n = round(x log2 e): 2^n is made of bits, and 2^f with |f| <= 1/2 is a
/// polynomial, which differs from it by at most 3e-9 of its size (minimax, 2^0 = 1 kept). Each of
/// its steps waits 4 cycles for the one before; several vectors side by side fill the time: 6.5
/// cycles a vector of 8 on Zen 3, where glibc's expf for vectors takes 12 to 14.
template <int kVectors>
[[gnu::always_inline]] inline void exponentials(Vector (&x)[kVectors]) {
  constexpr float kLog2E = 1.44269504f;
  constexpr float kRound = 0x1.8p23f;  // added, it leaves no bits behind the point
  constexpr float kPolynomial[] = {
      1.54614449e-4f, 1.3400428e-3f, 9.61805694e-3f, 5.55032715e-2f, 2.40226507e-1f,
      6.93147182e-1f, 1.0f};
  Vector shifted[kVectors], f[kVectors], y[kVectors];
  for (int n = 0; n < kVectors; ++n) shifted[n] = x[n] * kLog2E + kRound;
  for (int n = 0; n < kVectors; ++n) f[n] = x[n] * kLog2E - (shifted[n] - kRound);
  for (int n = 0; n < kVectors; ++n) y[n] = Vector{} + kPolynomial[0];
#pragma GCC unroll 8
  for (int power = 1; power < 7; ++power) {
    for (int n = 0; n < kVectors; ++n) y[n] = y[n] * f[n] + kPolynomial[power];
  }
  for (int n = 0; n < kVectors; ++n) {
    const Integers bits = (reinterpret_cast<Integers>(shifted[n]) + 127) << 23;
    y[n] *= reinterpret_cast<Vector>(bits);
    x[n] = x[n] < Vector{} - 87.3f ? Vector{} : y[n];
  }
}

}  // namespace attn::register_tiles
