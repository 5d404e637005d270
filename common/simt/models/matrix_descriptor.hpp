// SPDX-License-Identifier: MIT
//
// How wgmma is told where in shared memory a matrix of 16-bit elements lies: 64 bits, the same as
// on the chip (PTX ISA, "Matrix Descriptor Format" and "Strides").
//
// The matrix is cut into chunks of 16 bytes, 8 elements that are neighbours along one of its two
// directions: along k, the direction of the sum (K-major), or along the other one (MN-major). A row
// of the layout has W chunks side by side: 1 without a swizzle, or 2, 4, 8 with one of 32, 64, 128
// bytes. Eight such rows, one below the other, are a block of 128 W bytes. The descriptor says how
// far apart blocks are.
#pragma once

#include <cstdint>

#include "common/tensor_layout.hpp"

namespace attn::simt {

struct MatrixDescriptor {
  unsigned start;        // bytes from the start of shared memory
  unsigned leading;      // bytes: "leading dimension byte offset"
  unsigned stride;       // bytes: "stride dimension byte offset"
  unsigned base_offset;  // 0 where blocks start at multiples of their size
  Swizzle swizzle;
};

MatrixDescriptor decode_descriptor(std::uint64_t bits);

/// The byte of shared memory at which the chunk of element (mn, k) starts; mn counts along the
/// other direction than k. A multiple of 16.
unsigned chunk_address(const MatrixDescriptor& matrix, int mn, int k, bool mn_major);

}  // namespace attn::simt
