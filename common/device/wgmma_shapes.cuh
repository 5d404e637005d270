// SPDX-License-Identifier: MIT
//
// wgmma for nvcc. The instruction has its N in its name, and names every accumulator: there is one
// function for each N, 8 to 256, told apart by the array that it takes. All are made by ATTN_WGMMA
// at the end, from two lists: the accumulators as C++ names them, and the numbers that the
// instruction calls them by. Each list is the one before it and one more tile of 64 x 8, of which a
// thread has four elements. What else the instruction takes follows the accumulators, so that its
// numbers depend on N: they stand in the last lines.
//
// No template can do this: neither the text of an asm nor its operands can be a pack.
#pragma once

#include <cstdint>

#include "common/device/element.cuh"

// clang-format off
// What the accumulators are.
#define ATTN_TILE(n) "+f"(acc[n][0]), "+f"(acc[n][1]), "+f"(acc[n][2]), "+f"(acc[n][3])
#define ATTN_TILES_1 ATTN_TILE(0)
#define ATTN_TILES_2 ATTN_TILES_1, ATTN_TILE(1)
#define ATTN_TILES_3 ATTN_TILES_2, ATTN_TILE(2)
#define ATTN_TILES_4 ATTN_TILES_3, ATTN_TILE(3)
#define ATTN_TILES_5 ATTN_TILES_4, ATTN_TILE(4)
#define ATTN_TILES_6 ATTN_TILES_5, ATTN_TILE(5)
#define ATTN_TILES_7 ATTN_TILES_6, ATTN_TILE(6)
#define ATTN_TILES_8 ATTN_TILES_7, ATTN_TILE(7)
#define ATTN_TILES_9 ATTN_TILES_8, ATTN_TILE(8)
#define ATTN_TILES_10 ATTN_TILES_9, ATTN_TILE(9)
#define ATTN_TILES_11 ATTN_TILES_10, ATTN_TILE(10)
#define ATTN_TILES_12 ATTN_TILES_11, ATTN_TILE(11)
#define ATTN_TILES_13 ATTN_TILES_12, ATTN_TILE(12)
#define ATTN_TILES_14 ATTN_TILES_13, ATTN_TILE(13)
#define ATTN_TILES_15 ATTN_TILES_14, ATTN_TILE(14)
#define ATTN_TILES_16 ATTN_TILES_15, ATTN_TILE(15)
#define ATTN_TILES_17 ATTN_TILES_16, ATTN_TILE(16)
#define ATTN_TILES_18 ATTN_TILES_17, ATTN_TILE(17)
#define ATTN_TILES_19 ATTN_TILES_18, ATTN_TILE(18)
#define ATTN_TILES_20 ATTN_TILES_19, ATTN_TILE(19)
#define ATTN_TILES_21 ATTN_TILES_20, ATTN_TILE(20)
#define ATTN_TILES_22 ATTN_TILES_21, ATTN_TILE(21)
#define ATTN_TILES_23 ATTN_TILES_22, ATTN_TILE(22)
#define ATTN_TILES_24 ATTN_TILES_23, ATTN_TILE(23)
#define ATTN_TILES_25 ATTN_TILES_24, ATTN_TILE(24)
#define ATTN_TILES_26 ATTN_TILES_25, ATTN_TILE(25)
#define ATTN_TILES_27 ATTN_TILES_26, ATTN_TILE(26)
#define ATTN_TILES_28 ATTN_TILES_27, ATTN_TILE(27)
#define ATTN_TILES_29 ATTN_TILES_28, ATTN_TILE(28)
#define ATTN_TILES_30 ATTN_TILES_29, ATTN_TILE(29)
#define ATTN_TILES_31 ATTN_TILES_30, ATTN_TILE(30)
#define ATTN_TILES_32 ATTN_TILES_31, ATTN_TILE(31)

// What the instruction calls them.
#define ATTN_NUMBERS_1 "%0, %1, %2, %3"
#define ATTN_NUMBERS_2 ATTN_NUMBERS_1 ", %4, %5, %6, %7"
#define ATTN_NUMBERS_3 ATTN_NUMBERS_2 ", %8, %9, %10, %11"
#define ATTN_NUMBERS_4 ATTN_NUMBERS_3 ", %12, %13, %14, %15"
#define ATTN_NUMBERS_5 ATTN_NUMBERS_4 ", %16, %17, %18, %19"
#define ATTN_NUMBERS_6 ATTN_NUMBERS_5 ", %20, %21, %22, %23"
#define ATTN_NUMBERS_7 ATTN_NUMBERS_6 ", %24, %25, %26, %27"
#define ATTN_NUMBERS_8 ATTN_NUMBERS_7 ", %28, %29, %30, %31"
#define ATTN_NUMBERS_9 ATTN_NUMBERS_8 ", %32, %33, %34, %35"
#define ATTN_NUMBERS_10 ATTN_NUMBERS_9 ", %36, %37, %38, %39"
#define ATTN_NUMBERS_11 ATTN_NUMBERS_10 ", %40, %41, %42, %43"
#define ATTN_NUMBERS_12 ATTN_NUMBERS_11 ", %44, %45, %46, %47"
#define ATTN_NUMBERS_13 ATTN_NUMBERS_12 ", %48, %49, %50, %51"
#define ATTN_NUMBERS_14 ATTN_NUMBERS_13 ", %52, %53, %54, %55"
#define ATTN_NUMBERS_15 ATTN_NUMBERS_14 ", %56, %57, %58, %59"
#define ATTN_NUMBERS_16 ATTN_NUMBERS_15 ", %60, %61, %62, %63"
#define ATTN_NUMBERS_17 ATTN_NUMBERS_16 ", %64, %65, %66, %67"
#define ATTN_NUMBERS_18 ATTN_NUMBERS_17 ", %68, %69, %70, %71"
#define ATTN_NUMBERS_19 ATTN_NUMBERS_18 ", %72, %73, %74, %75"
#define ATTN_NUMBERS_20 ATTN_NUMBERS_19 ", %76, %77, %78, %79"
#define ATTN_NUMBERS_21 ATTN_NUMBERS_20 ", %80, %81, %82, %83"
#define ATTN_NUMBERS_22 ATTN_NUMBERS_21 ", %84, %85, %86, %87"
#define ATTN_NUMBERS_23 ATTN_NUMBERS_22 ", %88, %89, %90, %91"
#define ATTN_NUMBERS_24 ATTN_NUMBERS_23 ", %92, %93, %94, %95"
#define ATTN_NUMBERS_25 ATTN_NUMBERS_24 ", %96, %97, %98, %99"
#define ATTN_NUMBERS_26 ATTN_NUMBERS_25 ", %100, %101, %102, %103"
#define ATTN_NUMBERS_27 ATTN_NUMBERS_26 ", %104, %105, %106, %107"
#define ATTN_NUMBERS_28 ATTN_NUMBERS_27 ", %108, %109, %110, %111"
#define ATTN_NUMBERS_29 ATTN_NUMBERS_28 ", %112, %113, %114, %115"
#define ATTN_NUMBERS_30 ATTN_NUMBERS_29 ", %116, %117, %118, %119"
#define ATTN_NUMBERS_31 ATTN_NUMBERS_30 ", %120, %121, %122, %123"
#define ATTN_NUMBERS_32 ATTN_NUMBERS_31 ", %124, %125, %126, %127"

namespace attn::device {

// The instruction for one type, with A in shared memory (ss) or in registers (rs).
#define ATTN_WGMMA_SS(type, n, tiles, p0, p1, p2, p3, p4)                                     \
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #p2 ", 0;\n"                          \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type                 \
               " {" ATTN_NUMBERS_##tiles "}, %" #p0 ", %" #p1 ", add, 1, 1, %" #p3 ", %" #p4   \
               ";\n}"                                                                         \
               : ATTN_TILES_##tiles                                                           \
               : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)),                           \
                 "n"(static_cast<int>(kTransA)), "n"(static_cast<int>(kTransB))               \
               : "memory")
#define ATTN_WGMMA_RS(type, n, tiles, p0, p1, p2, p3, p4, p5, p6)                             \
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #p5 ", 0;\n"                          \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type                 \
               " {" ATTN_NUMBERS_##tiles "}, {%" #p0 ", %" #p1 ", %" #p2 ", %" #p3 "}, %" #p4  \
               ", add, 1, 1, %" #p6 ";\n}"                                                    \
               : ATTN_TILES_##tiles                                                           \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b),                          \
                 "r"(static_cast<int>(accumulate)), "n"(static_cast<int>(kTransB))            \
               : "memory")

// acc = A B, or acc += A B if `accumulate`: see wgmma.cuh.
#define ATTN_WGMMA(n, tiles, p0, p1, p2, p3, p4, p5, p6)                                      \
  static_assert(n == 8 * tiles && p0 == 4 * tiles && p6 == p0 + 6);                           \
  template <class T, bool kTransA = false, bool kTransB = false>                              \
  __device__ __forceinline__ void wgmma_ss(float (&acc)[tiles][4], std::uint64_t a,           \
                                           std::uint64_t b, bool accumulate) {                \
    if constexpr (kElementOf<T> == Element::kBfloat16) {                                      \
      ATTN_WGMMA_SS("bf16", n, tiles, p0, p1, p2, p3, p4);                                    \
    } else {                                                                                  \
      ATTN_WGMMA_SS("f16", n, tiles, p0, p1, p2, p3, p4);                                     \
    }                                                                                         \
  }                                                                                           \
  template <class T, bool kTransB = false>                                                    \
  __device__ __forceinline__ void wgmma_rs(float (&acc)[tiles][4], const unsigned (&a)[4],    \
                                           std::uint64_t b, bool accumulate) {                \
    if constexpr (kElementOf<T> == Element::kBfloat16) {                                      \
      ATTN_WGMMA_RS("bf16", n, tiles, p0, p1, p2, p3, p4, p5, p6);                            \
    } else {                                                                                  \
      ATTN_WGMMA_RS("f16", n, tiles, p0, p1, p2, p3, p4, p5, p6);                             \
    }                                                                                         \
  }

ATTN_WGMMA(8, 1, 4, 5, 6, 7, 8, 9, 10)
ATTN_WGMMA(16, 2, 8, 9, 10, 11, 12, 13, 14)
ATTN_WGMMA(24, 3, 12, 13, 14, 15, 16, 17, 18)
ATTN_WGMMA(32, 4, 16, 17, 18, 19, 20, 21, 22)
ATTN_WGMMA(40, 5, 20, 21, 22, 23, 24, 25, 26)
ATTN_WGMMA(48, 6, 24, 25, 26, 27, 28, 29, 30)
ATTN_WGMMA(56, 7, 28, 29, 30, 31, 32, 33, 34)
ATTN_WGMMA(64, 8, 32, 33, 34, 35, 36, 37, 38)
ATTN_WGMMA(72, 9, 36, 37, 38, 39, 40, 41, 42)
ATTN_WGMMA(80, 10, 40, 41, 42, 43, 44, 45, 46)
ATTN_WGMMA(88, 11, 44, 45, 46, 47, 48, 49, 50)
ATTN_WGMMA(96, 12, 48, 49, 50, 51, 52, 53, 54)
ATTN_WGMMA(104, 13, 52, 53, 54, 55, 56, 57, 58)
ATTN_WGMMA(112, 14, 56, 57, 58, 59, 60, 61, 62)
ATTN_WGMMA(120, 15, 60, 61, 62, 63, 64, 65, 66)
ATTN_WGMMA(128, 16, 64, 65, 66, 67, 68, 69, 70)
ATTN_WGMMA(136, 17, 68, 69, 70, 71, 72, 73, 74)
ATTN_WGMMA(144, 18, 72, 73, 74, 75, 76, 77, 78)
ATTN_WGMMA(152, 19, 76, 77, 78, 79, 80, 81, 82)
ATTN_WGMMA(160, 20, 80, 81, 82, 83, 84, 85, 86)
ATTN_WGMMA(168, 21, 84, 85, 86, 87, 88, 89, 90)
ATTN_WGMMA(176, 22, 88, 89, 90, 91, 92, 93, 94)
ATTN_WGMMA(184, 23, 92, 93, 94, 95, 96, 97, 98)
ATTN_WGMMA(192, 24, 96, 97, 98, 99, 100, 101, 102)
ATTN_WGMMA(200, 25, 100, 101, 102, 103, 104, 105, 106)
ATTN_WGMMA(208, 26, 104, 105, 106, 107, 108, 109, 110)
ATTN_WGMMA(216, 27, 108, 109, 110, 111, 112, 113, 114)
ATTN_WGMMA(224, 28, 112, 113, 114, 115, 116, 117, 118)
ATTN_WGMMA(232, 29, 116, 117, 118, 119, 120, 121, 122)
ATTN_WGMMA(240, 30, 120, 121, 122, 123, 124, 125, 126)
ATTN_WGMMA(248, 31, 124, 125, 126, 127, 128, 129, 130)
ATTN_WGMMA(256, 32, 128, 129, 130, 131, 132, 133, 134)
// clang-format on

#undef ATTN_WGMMA
#undef ATTN_WGMMA_RS
#undef ATTN_WGMMA_SS

}  // namespace attn::device
