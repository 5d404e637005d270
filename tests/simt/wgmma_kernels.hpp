// SPDX-License-Identifier: MIT
//
// Kernels of a warpgroup that multiplies, right and with one bug each; and of warpgroups that hand
// registers to each other.
#pragma once

#include <cstdint>
#include <string>

#include "common/element.hpp"

namespace attn::simt_test {

/// This file's name as the compiler sees it; line_of() looks up the marked lines in it.
const char* wgmma_kernels_file();

/// One wgmma on shared memory as it is: `image` has `bytes` bytes of it, and the descriptors count
/// from its start. Thread t has 4 N / 8 accumulators, c[4 (N / 8) t + i], and, where A is in
/// registers, a[4 t + r].
struct OneWgmma {
  Element element;
  int n;  // 8, 40, 128, 176, 256
  bool a_in_registers;
  bool a_mn_major, b_mn_major;  // N = 128 only
  bool accumulate;
};
void run_wgmma(const OneWgmma& shape, const unsigned* image, int bytes, std::uint64_t a,
               std::uint64_t b, const unsigned* registers, float* c);

/// The puzzle: one tile, O = (Q K^T) V with S rounded to T; all matrices are 64 x 64.
void run_one_tile(Element element, const std::uint16_t* q, const std::uint16_t* k,
                  const std::uint16_t* v, float* o);

/// acc[n] = M[0] M[n]^T for n = 0 and 1, two groups, the second of one product, the first 16
/// columns of M; matrices: M, [2][64][64]. `first` gets acc[0][0][0] of each thread when one group
/// may be under way, `last` acc[1][0][0] when none may.
void run_two_products(const std::uint16_t* matrices, float* first, float* last);

/// run_one_tile with one bug; `k` has room for another tile, and o for 128 numbers more, which get
/// what somebody reads too early. See the kernel. (On the CPU machine.)
void run_wgmma_misuse(const std::string& name, const std::uint16_t* q, const std::uint16_t* k,
                      const std::uint16_t* v, float* o);

/// s[2][64][64] = Q K^T for two tiles of K, which TMA brings to one place, each when the consumers
/// have released the one before.
enum class Tma {
  kRight,
  kSwizzle,       // K's tensor map names another swizzle than its descriptors
  kNoWait,        // the products do not wait for K
  kReleasesEarly  // K is released before the products that read it have been waited for
};
void run_tma_tiles(Tma variant, const std::uint16_t* q, const std::uint16_t* k, float* s);

/// A warpgroup gives registers back, two others take them: out[t] = registers of thread t's
/// warpgroup.
void run_setmaxnreg(int* out);
/// With one bug. (On the CPU machine.)
void run_setmaxnreg_misuse(const std::string& name, int* out);

}  // namespace attn::simt_test
