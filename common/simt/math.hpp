// SPDX-License-Identifier: MIT
//
// CUDA's math beyond <cmath>. Functions that a GPU computes on its special-function unit are
// counted, one per call and thread; which ones those are is read off nvcc's PTX (expf holds one
// ex2.approx; logf, and the operator /, are built from multiply-adds and not counted).
#pragma once

#include <cmath>
#include <cstdint>

namespace attn::simt {

float special_exp(float x);
float special_exp2(float x);
float special_log2(float x);
float special_rsqrt(float x);
float special_reciprocal(float x);

}  // namespace attn::simt

#define expf(x) (::attn::simt::special_exp(x))
#define exp2f(x) (::attn::simt::special_exp2(x))

inline float __expf(float x) { return attn::simt::special_exp(x); }
inline float __logf(float x) { return attn::simt::special_log2(x) * 0.693147180559945309f; }
inline float __log2f(float x) { return attn::simt::special_log2(x); }
inline float rsqrtf(float x) { return attn::simt::special_rsqrt(x); }
inline float __fdividef(float x, float y) { return x * attn::simt::special_reciprocal(y); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __fmaf_rn(float x, float y, float z) { return std::fma(x, y, z); }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline long min(long a, long b) { return a < b ? a : b; }
inline long max(long a, long b) { return a > b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline long long max(long long a, long long b) { return a > b ? a : b; }
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __clzll(long long x) {
  return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x));
}
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; ++bit) reversed |= ((x >> bit) & 1u) << (31 - bit);
  return reversed;
}

inline unsigned __float_as_uint(float x) {
  unsigned bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline int __float_as_int(float x) { return static_cast<int>(__float_as_uint(x)); }
inline float __uint_as_float(unsigned bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}
inline float __int_as_float(int bits) { return __uint_as_float(static_cast<unsigned>(bits)); }

/// A load through the read-only cache; here a load like any other.
template <class T>
__attribute__((always_inline)) inline T __ldg(const T* address) {
  return *address;
}
