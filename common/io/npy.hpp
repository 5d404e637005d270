// SPDX-License-Identifier: MIT
//
// NumPy's .npy files: what `attn run` reads and writes. The format is documented in NumPy's
// reference, "numpy.lib.format" (versions 1.0, 2.0 and 3.0).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/io/output_file.hpp"

namespace attn::io {

/// An array in C order. `shape` is empty for a scalar; the product of its sizes is values.size().
struct NpyArray {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

/// Reads float32 or float64 (rounded to float32), little-endian, C order. Anything else, and any
/// file whose size is not exactly what its header promises, throws Error(kBadArgument) that names
/// the file, what is wrong and what is allowed. Sizes are checked before memory is asked for.
NpyArray read_npy(const std::string& path);

/// Like read_npy, for an array of attention: [B,H,N,d], or [N,d], which is one head. Returns the
/// shape as it stands in the file.
NpyArray read_heads(const std::string& path);

/// Writes a float32 file, version 1.0, data aligned to 64 bytes, under a temporary name; commit()
/// of the result puts it in place. Throws Error(kBadArgument).
OutputFile stage_npy(const std::string& path, std::span<const std::int64_t> shape,
                     std::span<const float> values);

/// Writes one file, whole or not at all.
void write_npy(const std::string& path, std::span<const std::int64_t> shape,
               std::span<const float> values);

}  // namespace attn::io
