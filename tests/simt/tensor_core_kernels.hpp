// SPDX-License-Identifier: MIT
//
// Kernels of one warp that use the tensor cores' instructions, right and with one bug each. A
// matrix is row-major, its elements 16 bits each.
#pragma once

#include <cstdint>
#include <string>

#include "common/element.hpp"

namespace attn::simt_test {

/// This file's name as the compiler sees it; line_of() looks up the marked lines in it.
const char* tensor_core_kernels_file();

/// ldmatrix_x4 of the four 8 x 8 matrices that a 32 x 8 matrix is made of: out[4 l + j] is what
/// lane l gets of matrix j.
void run_load_matrices(bool transposed, const std::uint16_t* in, unsigned* out);

/// ldmatrix of the first `count` of them, 1 or 2, likewise: out[4 l + j]. (On the CPU machine.)
void run_load_few(int count, const std::uint16_t* in, unsigned* out);

/// One mma on fragments as they are: lane l has a[4 l + r], b[2 l + r] and c[4 l + i].
void run_multiply_add(Element element, const unsigned* a, const unsigned* b, float* c);

/// C += A B in `steps` mma, A of 16 x 16 steps, B of 16 steps x 8, C of 16 x 8: fragments come by
/// ldmatrix, B's transposed, from rows that are padded by 16 bytes.
void run_product(Element element, int steps, const std::uint16_t* a, const std::uint16_t* b,
                 float* c);

/// words[l] is lane l's 2 l-th and (2 l + 1)-th value, packed.
void run_pack(Element element, const float* values, unsigned* words);

/// A tile of 8 rows x 64 elements is stored and read by ldmatrix, 16 elements of each row at a
/// time; out gets what lane l reads of the last of them.
enum class Rows { kPlain, kPadded, kSwizzled, kPairs };  // kPairs: padded, each even row twice
void run_rows(Rows rows, const std::uint16_t* in, unsigned* out);

/// A kernel with a bug; two blocks' worth of warps, 64 threads.
void run_tensor_misuse(const std::string& name, unsigned* out);

}  // namespace attn::simt_test
