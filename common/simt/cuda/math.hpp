// SPDX-License-Identifier: MIT
//
// CUDA's math beyond <math.h>. Functions that a GPU computes on its special-function unit are
// counted, once per call, thread and instruction; which ones those are is read off nvcc's PTX (expf
// holds one ex2.approx, tanhf one ex2.approx and one rcp.approx; logf, and the operator /, are
// built from multiply-adds and not counted).
#pragma once

#include <cmath>
#include <cstdint>

// After <cmath>: these put the float overloads of abs, exp, sqrt... into the global namespace,
// where CUDA has them. Without them, abs(-0.5f) is ::abs(int).
#include <math.h>
#include <stdlib.h>

#define ATTN_INLINE inline __attribute__((always_inline))

namespace attn::simt {

float special_log2(float x);
float special_sin(float x);
float special_cos(float x);
float special_tanh(float x);
float special_rsqrt(float x);
float special_reciprocal(float x);

}  // namespace attn::simt

// The same functions as ever, under names that math.cpp defines: so a call is counted whether a
// kernel says expf(x), exp(x) or std::exp(x).
extern "C" {
float expf(float x) noexcept __asm__("attn_special_expf");
float exp2f(float x) noexcept __asm__("attn_special_exp2f");
float exp10f(float x) noexcept __asm__("attn_special_exp10f");
float expm1f(float x) noexcept __asm__("attn_special_expm1f");
float tanhf(float x) noexcept __asm__("attn_special_tanhf");
float coshf(float x) noexcept __asm__("attn_special_coshf");
float powf(float x, float y) noexcept __asm__("attn_special_powf");
}

// Approximations with an instruction of their own.
ATTN_INLINE float __expf(float x) { return ::expf(x); }
ATTN_INLINE float __exp10f(float x) { return ::exp10f(x); }
ATTN_INLINE float __logf(float x) { return attn::simt::special_log2(x) * 0.693147180559945309f; }
ATTN_INLINE float __log2f(float x) { return attn::simt::special_log2(x); }
ATTN_INLINE float __log10f(float x) { return attn::simt::special_log2(x) * 0.301029995663981195f; }
ATTN_INLINE float __sinf(float x) { return attn::simt::special_sin(x); }
ATTN_INLINE float __cosf(float x) { return attn::simt::special_cos(x); }
ATTN_INLINE float __tanf(float x) {
  return attn::simt::special_sin(x) * attn::simt::special_reciprocal(attn::simt::special_cos(x));
}
ATTN_INLINE float __tanhf(float x) { return attn::simt::special_tanh(x); }
ATTN_INLINE void __sincosf(float x, float* sine, float* cosine) {
  *sine = attn::simt::special_sin(x);
  *cosine = attn::simt::special_cos(x);
}
ATTN_INLINE float __powf(float x, float y) { return ::exp2f(y * attn::simt::special_log2(x)); }
ATTN_INLINE float __fdividef(float x, float y) { return x * attn::simt::special_reciprocal(y); }
ATTN_INLINE float fdividef(float x, float y) { return x / y; }
ATTN_INLINE float rsqrtf(float x) { return attn::simt::special_rsqrt(x); }
ATTN_INLINE float rsqrt(float x) { return attn::simt::special_rsqrt(x); }
ATTN_INLINE double rsqrt(double x) { return 1.0 / std::sqrt(x); }
ATTN_INLINE float normcdff(float x) { return 0.5f * std::erfc(-0.707106781186547524f * x); }
ATTN_INLINE double normcdf(double x) { return 0.5 * std::erfc(-0.707106781186547524 * x); }
ATTN_INLINE float sinpif(float x) { return static_cast<float>(std::sin(3.14159265358979324 * x)); }
ATTN_INLINE float cospif(float x) { return static_cast<float>(std::cos(3.14159265358979324 * x)); }
ATTN_INLINE float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

// Rounded to nearest.
ATTN_INLINE float __fadd_rn(float x, float y) { return x + y; }
ATTN_INLINE float __fsub_rn(float x, float y) { return x - y; }
ATTN_INLINE float __fmul_rn(float x, float y) { return x * y; }
ATTN_INLINE float __fdiv_rn(float x, float y) { return x / y; }
ATTN_INLINE float __fmaf_rn(float x, float y, float z) { return std::fma(x, y, z); }
ATTN_INLINE float __frcp_rn(float x) { return 1.0f / x; }
ATTN_INLINE float __fsqrt_rn(float x) { return std::sqrt(x); }
ATTN_INLINE float __frsqrt_rn(float x) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(x)));
}
ATTN_INLINE double __dadd_rn(double x, double y) { return x + y; }
ATTN_INLINE double __dsub_rn(double x, double y) { return x - y; }
ATTN_INLINE double __dmul_rn(double x, double y) { return x * y; }
ATTN_INLINE double __ddiv_rn(double x, double y) { return x / y; }
ATTN_INLINE double __drcp_rn(double x) { return 1.0 / x; }
ATTN_INLINE double __dsqrt_rn(double x) { return std::sqrt(x); }
ATTN_INLINE double __fma_rn(double x, double y, double z) { return std::fma(x, y, z); }

// min and max as CUDA overloads them: signed with unsigned compares as unsigned.
#define ATTN_MIN_MAX(A, B, R)                                                             \
  ATTN_INLINE R min(A a, B b) {                                                           \
    return static_cast<R>(a) < static_cast<R>(b) ? static_cast<R>(a) : static_cast<R>(b); \
  }                                                                                       \
  ATTN_INLINE R max(A a, B b) {                                                           \
    return static_cast<R>(a) > static_cast<R>(b) ? static_cast<R>(a) : static_cast<R>(b); \
  }
#define ATTN_MIN_MAX_INTEGERS(T)                   \
  ATTN_MIN_MAX(T, T, T)                            \
  ATTN_MIN_MAX(unsigned T, unsigned T, unsigned T) \
  ATTN_MIN_MAX(T, unsigned T, unsigned T)          \
  ATTN_MIN_MAX(unsigned T, T, unsigned T)
ATTN_MIN_MAX_INTEGERS(int)
ATTN_MIN_MAX_INTEGERS(long)
ATTN_MIN_MAX_INTEGERS(long long)
#undef ATTN_MIN_MAX_INTEGERS
#undef ATTN_MIN_MAX
// Of a number and a NaN, the number.
ATTN_INLINE float min(float a, float b) { return std::fmin(a, b); }
ATTN_INLINE float max(float a, float b) { return std::fmax(a, b); }
ATTN_INLINE double min(double a, double b) { return std::fmin(a, b); }
ATTN_INLINE double max(double a, double b) { return std::fmax(a, b); }
ATTN_INLINE double min(float a, double b) { return std::fmin(static_cast<double>(a), b); }
ATTN_INLINE double max(float a, double b) { return std::fmax(static_cast<double>(a), b); }
ATTN_INLINE double min(double a, float b) { return std::fmin(a, static_cast<double>(b)); }
ATTN_INLINE double max(double a, float b) { return std::fmax(a, static_cast<double>(b)); }
ATTN_INLINE unsigned umin(unsigned a, unsigned b) { return min(a, b); }
ATTN_INLINE unsigned umax(unsigned a, unsigned b) { return max(a, b); }
