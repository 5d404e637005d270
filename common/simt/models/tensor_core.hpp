// SPDX-License-Identifier: MIT
//
// The CPU machine's tensor cores: what common/device/mma.cuh names. Each call is a collective of a
// whole warp.
#pragma once

#include <source_location>

#include "common/element.hpp"

namespace attn::simt {

/// Two elements in one word, rounded to nearest even, `first` in the lower half.
unsigned pack(Element element, float first, float second);

/// The offset of p in the block's dynamic shared memory, where it must lie.
unsigned shared_address(const void* p);

/// ldmatrix: `count` matrices (1, 2 or 4) of 8 x 8 16-bit elements; `row` is a shared address.
void load_matrices(unsigned* x, int count, unsigned row, bool transposed,
                   std::source_location where);

/// mma.m16n8k16: c += A B, accumulated in float32 in the order of k.
void multiply_add(Element element, float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                  std::source_location where);

}  // namespace attn::simt
