// SPDX-License-Identifier: MIT
//
// CUDA's built-in vector types, with CUDA's alignments.
#pragma once

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}
};
struct uint3 {
  unsigned x, y, z;
};

struct alignas(8) float2 {
  float x, y;
};
struct float3 {
  float x, y, z;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
struct alignas(8) int2 {
  int x, y;
};
struct int3 {
  int x, y, z;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

// Neither constexpr nor a call, at any optimisation level: `*p = make_float4(0, 0, 0, 0)` must stay
// one store of 16 bytes, which g++ would split after evaluating the constant.
#define ATTN_MAKE inline __attribute__((always_inline))

ATTN_MAKE float2 make_float2(float x, float y) { return {x, y}; }
ATTN_MAKE float3 make_float3(float x, float y, float z) { return {x, y, z}; }
ATTN_MAKE float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
ATTN_MAKE double2 make_double2(double x, double y) { return {x, y}; }
ATTN_MAKE int2 make_int2(int x, int y) { return {x, y}; }
ATTN_MAKE int3 make_int3(int x, int y, int z) { return {x, y, z}; }
ATTN_MAKE int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
ATTN_MAKE uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
ATTN_MAKE uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
ATTN_MAKE uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

#undef ATTN_MAKE
