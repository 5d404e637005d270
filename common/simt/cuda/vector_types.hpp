// SPDX-License-Identifier: MIT
//
// CUDA's built-in vector types, with CUDA's alignments.
#pragma once

struct uint3;
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}
  constexpr dim3(uint3 v);
  constexpr operator uint3() const;
};

// make_*: neither constexpr nor a call, at any optimisation level: `*p = make_float4(0, 0, 0, 0)`
// must stay one store of 16 bytes, which g++ would split after evaluating the constant.
#define ATTN_MAKE inline __attribute__((always_inline))

// The types of two and four are aligned to their size, up to 16 bytes; those of three as one.
#define ATTN_VECTOR_TYPES(name, T)                                      \
  struct name##1 {                                                      \
    T x;                                                                \
  };                                                                    \
  struct alignas(2 * sizeof(T)) name##2 {                               \
    T x, y;                                                             \
  };                                                                    \
  struct name##3 {                                                      \
    T x, y, z;                                                          \
  };                                                                    \
  struct alignas(sizeof(T) < 4 ? 4 * sizeof(T) : 16) name##4 {          \
    T x, y, z, w;                                                       \
  };                                                                    \
  ATTN_MAKE name##1 make_##name##1(T x) { return {x}; }                 \
  ATTN_MAKE name##2 make_##name##2(T x, T y) { return {x, y}; }         \
  ATTN_MAKE name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
  ATTN_MAKE name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

ATTN_VECTOR_TYPES(char, signed char)
ATTN_VECTOR_TYPES(uchar, unsigned char)
ATTN_VECTOR_TYPES(short, short)
ATTN_VECTOR_TYPES(ushort, unsigned short)
ATTN_VECTOR_TYPES(int, int)
ATTN_VECTOR_TYPES(uint, unsigned)
ATTN_VECTOR_TYPES(long, long)
ATTN_VECTOR_TYPES(ulong, unsigned long)
ATTN_VECTOR_TYPES(longlong, long long)
ATTN_VECTOR_TYPES(ulonglong, unsigned long long)
ATTN_VECTOR_TYPES(float, float)
ATTN_VECTOR_TYPES(double, double)

#undef ATTN_VECTOR_TYPES
#undef ATTN_MAKE

constexpr dim3::dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
constexpr dim3::operator uint3() const { return {x, y, z}; }
