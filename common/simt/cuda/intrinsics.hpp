// SPDX-License-Identifier: MIT
//
// CUDA's integer, bit and conversion intrinsics, and its loads and stores with a cache hint.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "common/simt/cuda/math.hpp"

ATTN_INLINE int __popc(unsigned x) { return __builtin_popcount(x); }
ATTN_INLINE int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
ATTN_INLINE int __ffs(int x) { return __builtin_ffs(x); }
ATTN_INLINE int __ffsll(long long x) { return __builtin_ffsll(x); }
ATTN_INLINE int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
ATTN_INLINE int __clzll(long long x) {
  return std::countl_zero(static_cast<unsigned long long>(x));
}
ATTN_INLINE unsigned __brev(unsigned x) {
  x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
  x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
  x = (x >> 4 & 0x0F0F0F0Fu) | (x & 0x0F0F0F0Fu) << 4;
  return __builtin_bswap32(x);
}
ATTN_INLINE unsigned long long __brevll(unsigned long long x) {
  return static_cast<unsigned long long>(__brev(static_cast<unsigned>(x))) << 32 |
         __brev(static_cast<unsigned>(x >> 32));
}
/// Byte i of the result is byte (selector >> 4i & 7) of y:x, or its sign if bit 4i + 3 is set.
ATTN_INLINE unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const std::uint64_t both = std::uint64_t{y} << 32 | x;
  unsigned result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned select = selector >> (4 * i);
    unsigned byte = static_cast<unsigned>(both >> (8 * (select & 7u))) & 0xFFu;
    if ((select & 8u) != 0) byte = (byte & 0x80u) != 0 ? 0xFFu : 0u;
    result |= byte << (8 * i);
  }
  return result;
}
ATTN_INLINE unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) << (shift & 31u) >> 32);
}
ATTN_INLINE unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) >> (shift & 31u));
}

namespace attn::simt {

/// The low 24 bits, as a signed number.
ATTN_INLINE int low24(int x) { return static_cast<int>(static_cast<unsigned>(x) << 8) >> 8; }

/// Sum of a and the four products of the bytes of x and y.
template <class Byte, class T>
ATTN_INLINE T dot4(T x, T y, T a) {
  unsigned sum = static_cast<unsigned>(a);
  for (int i = 0; i < 32; i += 8) {
    sum += static_cast<unsigned>(static_cast<Byte>(x >> i) * static_cast<Byte>(y >> i));
  }
  return static_cast<T>(sum);
}

/// A number that has been rounded to an integer, as T: beyond T's range its end, 0 for a NaN, as
/// PTX's cvt has it.
template <class T>
ATTN_INLINE T saturate(double rounded) {
  if (!(rounded == rounded)) return 0;
  constexpr double kEnd = 2.0 * static_cast<double>(std::numeric_limits<T>::max() / 2 + 1);
  if (rounded >= kEnd) return std::numeric_limits<T>::max();
  if (rounded <= static_cast<double>(std::numeric_limits<T>::min())) {
    return std::numeric_limits<T>::min();
  }
  return static_cast<T>(rounded);
}

}  // namespace attn::simt

ATTN_INLINE int __mul24(int x, int y) {
  const std::int64_t product = std::int64_t{attn::simt::low24(x)} * attn::simt::low24(y);
  return static_cast<int>(static_cast<unsigned>(product));
}
ATTN_INLINE unsigned __umul24(unsigned x, unsigned y) { return (x & 0xFFFFFFu) * (y & 0xFFFFFFu); }
ATTN_INLINE int __mulhi(int x, int y) { return static_cast<int>(std::int64_t{x} * y >> 32); }
ATTN_INLINE unsigned __umulhi(unsigned x, unsigned y) {
  return static_cast<unsigned>(std::uint64_t{x} * y >> 32);
}
ATTN_INLINE long long __mul64hi(long long x, long long y) {
  return static_cast<long long>(static_cast<__int128>(x) * y >> 64);
}
ATTN_INLINE unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(x) * y >> 64);
}
ATTN_INLINE unsigned __usad(unsigned x, unsigned y, unsigned z) {
  return (x > y ? x - y : y - x) + z;
}
ATTN_INLINE unsigned __sad(int x, int y, unsigned z) {
  const std::int64_t difference = std::int64_t{x} - y;
  return static_cast<unsigned>(difference < 0 ? -difference : difference) + z;
}
ATTN_INLINE int __hadd(int x, int y) { return static_cast<int>((std::int64_t{x} + y) >> 1); }
ATTN_INLINE int __rhadd(int x, int y) { return static_cast<int>((std::int64_t{x} + y + 1) >> 1); }
ATTN_INLINE unsigned __uhadd(unsigned x, unsigned y) {
  return static_cast<unsigned>((std::uint64_t{x} + y) >> 1);
}
ATTN_INLINE int __dp4a(int x, int y, int a) { return attn::simt::dot4<std::int8_t>(x, y, a); }
ATTN_INLINE unsigned __dp4a(unsigned x, unsigned y, unsigned a) {
  return attn::simt::dot4<std::uint8_t>(x, y, a);
}

// Floating point to integer in the four rounding modes, and integer to float.
#define ATTN_TO_INTEGER(from, From, to, To)                                  \
  ATTN_INLINE To __##from##2##to##_rn(From x) {                              \
    return attn::simt::saturate<To>(std::nearbyint(static_cast<double>(x))); \
  }                                                                          \
  ATTN_INLINE To __##from##2##to##_rz(From x) {                              \
    return attn::simt::saturate<To>(std::trunc(static_cast<double>(x)));     \
  }                                                                          \
  ATTN_INLINE To __##from##2##to##_ru(From x) {                              \
    return attn::simt::saturate<To>(std::ceil(static_cast<double>(x)));      \
  }                                                                          \
  ATTN_INLINE To __##from##2##to##_rd(From x) {                              \
    return attn::simt::saturate<To>(std::floor(static_cast<double>(x)));     \
  }
ATTN_TO_INTEGER(float, float, int, int)
ATTN_TO_INTEGER(float, float, uint, unsigned)
ATTN_TO_INTEGER(float, float, ll, long long)
ATTN_TO_INTEGER(float, float, ull, unsigned long long)
ATTN_TO_INTEGER(double, double, int, int)
ATTN_TO_INTEGER(double, double, uint, unsigned)
ATTN_TO_INTEGER(double, double, ll, long long)
ATTN_TO_INTEGER(double, double, ull, unsigned long long)
#undef ATTN_TO_INTEGER
ATTN_INLINE float __int2float_rn(int x) { return static_cast<float>(x); }
ATTN_INLINE float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
ATTN_INLINE float __ll2float_rn(long long x) { return static_cast<float>(x); }
ATTN_INLINE float __ull2float_rn(unsigned long long x) { return static_cast<float>(x); }
ATTN_INLINE double __int2double_rn(int x) { return x; }
ATTN_INLINE double __uint2double_rn(unsigned x) { return x; }
ATTN_INLINE double __ll2double_rn(long long x) { return static_cast<double>(x); }
ATTN_INLINE float __double2float_rn(double x) { return static_cast<float>(x); }

ATTN_INLINE unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
ATTN_INLINE int __float_as_int(float x) { return std::bit_cast<int>(x); }
ATTN_INLINE float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
ATTN_INLINE float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
ATTN_INLINE long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
ATTN_INLINE double __longlong_as_double(long long bits) { return std::bit_cast<double>(bits); }
ATTN_INLINE int __double2loint(double x) { return static_cast<int>(__double_as_longlong(x)); }
ATTN_INLINE int __double2hiint(double x) { return static_cast<int>(__double_as_longlong(x) >> 32); }
ATTN_INLINE double __hiloint2double(int high, int low) {
  return std::bit_cast<double>(std::uint64_t{static_cast<unsigned>(high)} << 32 |
                               static_cast<unsigned>(low));
}

// Loads and stores that tell a GPU's caches what to keep; here they are like any other.
#define ATTN_LOAD(name)                  \
  template <class T>                     \
  ATTN_INLINE T name(const T* address) { \
    return *address;                     \
  }
ATTN_LOAD(__ldg)
ATTN_LOAD(__ldca)
ATTN_LOAD(__ldcg)
ATTN_LOAD(__ldcs)
ATTN_LOAD(__ldlu)
ATTN_LOAD(__ldcv)
#undef ATTN_LOAD
#define ATTN_STORE(name)                                             \
  template <class T>                                                 \
  ATTN_INLINE void name(T* address, std::type_identity_t<T> value) { \
    *address = value;                                                \
  }
ATTN_STORE(__stwb)
ATTN_STORE(__stcg)
ATTN_STORE(__stcs)
ATTN_STORE(__stwt)
#undef ATTN_STORE

ATTN_INLINE void __nanosleep(unsigned) {}
