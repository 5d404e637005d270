// SPDX-License-Identifier: MIT
//
// CUDA's 16-bit floating point, __half and __nv_bfloat16, and pairs of them. Arithmetic is done in
// float and rounded to nearest, which for + - * / and the square root is what one rounding gives.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/simt/cuda/cuda.hpp"

namespace attn::simt {

/// x in a sign, `exponent_bits` and `mantissa_bits`, to nearest even; a NaN stays one.
std::uint16_t encode_float16(double x, int exponent_bits, int mantissa_bits);
float decode_float16(std::uint16_t bits, int exponent_bits, int mantissa_bits);

template <int kExponentBits, int kMantissaBits>
struct Float16 {
  std::uint16_t bits;

  Float16() = default;
  ATTN_INLINE Float16(double x) : bits(encode_float16(x, kExponentBits, kMantissaBits)) {}
  ATTN_INLINE Float16(float x) : Float16(static_cast<double>(x)) {}
  ATTN_INLINE Float16(int x) : Float16(static_cast<double>(x)) {}
  ATTN_INLINE Float16(unsigned x) : Float16(static_cast<double>(x)) {}
  ATTN_INLINE operator float() const { return decode_float16(bits, kExponentBits, kMantissaBits); }
  ATTN_INLINE static Float16 from_bits(std::uint16_t bits) {
    Float16 x;
    x.bits = bits;
    return x;
  }

  ATTN_INLINE friend Float16 operator+(Float16 a, Float16 b) { return a.value() + b.value(); }
  ATTN_INLINE friend Float16 operator-(Float16 a, Float16 b) { return a.value() - b.value(); }
  ATTN_INLINE friend Float16 operator*(Float16 a, Float16 b) { return a.value() * b.value(); }
  ATTN_INLINE friend Float16 operator/(Float16 a, Float16 b) { return a.value() / b.value(); }
  ATTN_INLINE friend Float16 operator-(Float16 a) {
    return from_bits(static_cast<std::uint16_t>(a.bits ^ 0x8000u));
  }
  ATTN_INLINE Float16& operator+=(Float16 b) { return *this = *this + b; }
  ATTN_INLINE Float16& operator-=(Float16 b) { return *this = *this - b; }
  ATTN_INLINE Float16& operator*=(Float16 b) { return *this = *this * b; }
  ATTN_INLINE Float16& operator/=(Float16 b) { return *this = *this / b; }
  ATTN_INLINE friend bool operator==(Float16 a, Float16 b) { return a.value() == b.value(); }
  ATTN_INLINE friend bool operator!=(Float16 a, Float16 b) { return a.value() != b.value(); }
  ATTN_INLINE friend bool operator<(Float16 a, Float16 b) { return a.value() < b.value(); }
  ATTN_INLINE friend bool operator>(Float16 a, Float16 b) { return a.value() > b.value(); }
  ATTN_INLINE friend bool operator<=(Float16 a, Float16 b) { return a.value() <= b.value(); }
  ATTN_INLINE friend bool operator>=(Float16 a, Float16 b) { return a.value() >= b.value(); }
  ATTN_INLINE float value() const { return *this; }
};

/// Two of them in one 32-bit word.
template <class T>
struct alignas(4) Float16Pair {
  T x, y;

  Float16Pair() = default;
  ATTN_INLINE Float16Pair(T first, T second) : x(first), y(second) {}
  ATTN_INLINE friend Float16Pair operator+(Float16Pair a, Float16Pair b) {
    return {a.x + b.x, a.y + b.y};
  }
  ATTN_INLINE friend Float16Pair operator-(Float16Pair a, Float16Pair b) {
    return {a.x - b.x, a.y - b.y};
  }
  ATTN_INLINE friend Float16Pair operator*(Float16Pair a, Float16Pair b) {
    return {a.x * b.x, a.y * b.y};
  }
  ATTN_INLINE friend Float16Pair operator/(Float16Pair a, Float16Pair b) {
    return {a.x / b.x, a.y / b.y};
  }
  ATTN_INLINE Float16Pair& operator+=(Float16Pair b) { return *this = *this + b; }
  ATTN_INLINE Float16Pair& operator-=(Float16Pair b) { return *this = *this - b; }
  ATTN_INLINE Float16Pair& operator*=(Float16Pair b) { return *this = *this * b; }
};

}  // namespace attn::simt

using __half = attn::simt::Float16<5, 10>;
using __nv_bfloat16 = attn::simt::Float16<8, 7>;
using __half2 = attn::simt::Float16Pair<__half>;
using __nv_bfloat162 = attn::simt::Float16Pair<__nv_bfloat16>;
using half = __half;
using half2 = __half2;
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

// CUDA's functions: T is __half or __nv_bfloat16, T2 the pair of it.
#define ATTN_FLOAT16(T, T2)                                                                        \
  ATTN_INLINE T __hadd(T a, T b) { return a + b; }                                                 \
  ATTN_INLINE T __hsub(T a, T b) { return a - b; }                                                 \
  ATTN_INLINE T __hmul(T a, T b) { return a * b; }                                                 \
  ATTN_INLINE T __hdiv(T a, T b) { return a / b; }                                                 \
  ATTN_INLINE T __hfma(T a, T b, T c) {                                                            \
    return std::fma(static_cast<double>(a.value()), static_cast<double>(b.value()),                \
                    static_cast<double>(c.value()));                                               \
  }                                                                                                \
  ATTN_INLINE T __hneg(T a) { return -a; }                                                         \
  ATTN_INLINE T __habs(T a) { return T::from_bits(static_cast<std::uint16_t>(a.bits & 0x7FFFu)); } \
  ATTN_INLINE T __hmax(T a, T b) { return std::fmax(a.value(), b.value()); }                       \
  ATTN_INLINE T __hmin(T a, T b) { return std::fmin(a.value(), b.value()); }                       \
  ATTN_INLINE bool __heq(T a, T b) { return a == b; }                                              \
  ATTN_INLINE bool __hne(T a, T b) { return a != b; }                                              \
  ATTN_INLINE bool __hlt(T a, T b) { return a < b; }                                               \
  ATTN_INLINE bool __hle(T a, T b) { return a <= b; }                                              \
  ATTN_INLINE bool __hgt(T a, T b) { return a > b; }                                               \
  ATTN_INLINE bool __hge(T a, T b) { return a >= b; }                                              \
  ATTN_INLINE bool __hisnan(T a) { return std::isnan(a.value()); }                                 \
  ATTN_INLINE int __hisinf(T a) { return !std::isinf(a.value()) ? 0 : a.value() > 0.0f ? 1 : -1; } \
  ATTN_INLINE T hexp(T a) { return ::expf(a.value()); }                                            \
  ATTN_INLINE T hexp2(T a) { return ::exp2f(a.value()); }                                          \
  ATTN_INLINE T hlog(T a) { return __logf(a.value()); }                                            \
  ATTN_INLINE T hlog2(T a) { return __log2f(a.value()); }                                          \
  ATTN_INLINE T hsin(T a) { return __sinf(a.value()); }                                            \
  ATTN_INLINE T hcos(T a) { return __cosf(a.value()); }                                            \
  ATTN_INLINE T hsqrt(T a) { return std::sqrt(a.value()); }                                        \
  ATTN_INLINE T hrsqrt(T a) { return rsqrtf(a.value()); }                                          \
  ATTN_INLINE T hrcp(T a) { return attn::simt::special_reciprocal(a.value()); }                    \
  ATTN_INLINE T2 __hadd2(T2 a, T2 b) { return a + b; }                                             \
  ATTN_INLINE T2 __hsub2(T2 a, T2 b) { return a - b; }                                             \
  ATTN_INLINE T2 __hmul2(T2 a, T2 b) { return a * b; }                                             \
  ATTN_INLINE T2 __h2div(T2 a, T2 b) { return a / b; }                                             \
  ATTN_INLINE T2 __hfma2(T2 a, T2 b, T2 c) {                                                       \
    return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};                                         \
  }                                                                                                \
  ATTN_INLINE T2 __hneg2(T2 a) { return {-a.x, -a.y}; }                                            \
  ATTN_INLINE T2 __hmax2(T2 a, T2 b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }              \
  ATTN_INLINE T2 __hmin2(T2 a, T2 b) { return {__hmin(a.x, b.x), __hmin(a.y, b.y)}; }              \
  ATTN_INLINE T2 h2exp(T2 a) { return {hexp(a.x), hexp(a.y)}; }                                    \
  ATTN_INLINE float __low2float(T2 a) { return a.x.value(); }                                      \
  ATTN_INLINE float __high2float(T2 a) { return a.y.value(); }                                     \
  T atomicAdd(T* address, T value);                                                                \
  T2 atomicAdd(T2* address, T2 value); /* each component by itself */

ATTN_FLOAT16(__half, __half2)
ATTN_FLOAT16(__nv_bfloat16, __nv_bfloat162)
#undef ATTN_FLOAT16

ATTN_INLINE __half __float2half(float x) { return x; }
ATTN_INLINE __half __float2half_rn(float x) { return x; }
ATTN_INLINE __half __double2half(double x) { return x; }
ATTN_INLINE __half __int2half_rn(int x) { return x; }
ATTN_INLINE __half __uint2half_rn(unsigned x) { return x; }
ATTN_INLINE float __half2float(__half x) { return x.value(); }
ATTN_INLINE int __half2int_rn(__half x) { return __float2int_rn(x.value()); }
ATTN_INLINE int __half2int_rz(__half x) { return __float2int_rz(x.value()); }
ATTN_INLINE unsigned short __half_as_ushort(__half x) { return x.bits; }
ATTN_INLINE __half __ushort_as_half(unsigned short bits) { return __half::from_bits(bits); }
ATTN_INLINE __half2 make_half2(__half x, __half y) { return {x, y}; }
ATTN_INLINE __half2 __halves2half2(__half x, __half y) { return {x, y}; }
ATTN_INLINE __half2 __half2half2(__half x) { return {x, x}; }
ATTN_INLINE __half2 __float2half2_rn(float x) { return {x, x}; }
ATTN_INLINE __half2 __floats2half2_rn(float x, float y) { return {x, y}; }
ATTN_INLINE __half2 __float22half2_rn(float2 x) { return {x.x, x.y}; }
ATTN_INLINE float2 __half22float2(__half2 x) { return {x.x.value(), x.y.value()}; }
ATTN_INLINE __half __low2half(__half2 x) { return x.x; }
ATTN_INLINE __half __high2half(__half2 x) { return x.y; }

ATTN_INLINE __nv_bfloat16 __float2bfloat16(float x) { return x; }
ATTN_INLINE __nv_bfloat16 __float2bfloat16_rn(float x) { return x; }
ATTN_INLINE __nv_bfloat16 __double2bfloat16(double x) { return x; }
ATTN_INLINE __nv_bfloat16 __int2bfloat16_rn(int x) { return x; }
ATTN_INLINE float __bfloat162float(__nv_bfloat16 x) { return x.value(); }
ATTN_INLINE unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
ATTN_INLINE __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  return __nv_bfloat16::from_bits(bits);
}
ATTN_INLINE __nv_bfloat162 make_bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
ATTN_INLINE __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
ATTN_INLINE __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 x) { return {x, x}; }
ATTN_INLINE __nv_bfloat162 __float2bfloat162_rn(float x) { return {x, x}; }
ATTN_INLINE __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {x, y}; }
ATTN_INLINE __nv_bfloat162 __float22bfloat162_rn(float2 x) { return {x.x, x.y}; }
ATTN_INLINE float2 __bfloat1622float2(__nv_bfloat162 x) { return {x.x.value(), x.y.value()}; }
ATTN_INLINE __nv_bfloat16 __low2bfloat16(__nv_bfloat162 x) { return x.x; }
ATTN_INLINE __nv_bfloat16 __high2bfloat16(__nv_bfloat162 x) { return x.y; }
