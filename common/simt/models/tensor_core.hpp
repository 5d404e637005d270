// SPDX-License-Identifier: MIT
//
// The CPU machine's tensor cores: what common/device/mma.cuh names. load_matrices and multiply_add
// are collectives of a whole warp. Registers go by value: an array whose address left the kernel
// would count as memory.
#pragma once

#include <source_location>

#include "common/element.hpp"

namespace attn::simt {

/// Two elements in one word, rounded to nearest even, `first` in the lower half.
unsigned pack(Element element, float first, float second);

/// The offset of p in the block's dynamic shared memory, where it must lie.
unsigned shared_address(const void* p, std::source_location where);

struct FourWords {
  unsigned x[4];
};
struct FourFloats {
  float x[4];
};

/// ldmatrix: `count` matrices (1, 2 or 4) of 8 x 8 16-bit elements; `row` is a shared address.
FourWords load_matrices(int count, unsigned row, bool transposed, std::source_location where);

/// mma.m16n8k16: A B + C, accumulated as Options::accumulation says.
FourFloats multiply_add(Element element, FourFloats c, FourWords a, unsigned b0, unsigned b1,
                        std::source_location where);

}  // namespace attn::simt
