// SPDX-License-Identifier: MIT
//
// NumPy's .npy files: what `attn run` reads and writes. The format is documented in NumPy's
// reference, "numpy.lib.format" (versions 1.0, 2.0 and 3.0).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/io/output_file.hpp"

namespace attn::io {

/// An array in C order. `shape` is empty for a scalar; the product of its sizes is values.size().
template <class T>
struct NpyArrayOf {
  std::vector<std::int64_t> shape;
  std::vector<T> values;
  std::string type;  // as the file has it: "<f4"
};
using NpyArray = NpyArrayOf<float>;

/// All of these read little-endian files in C order. Anything else, and any file whose size is not
/// exactly what its header promises, throws Error(kBadArgument) that names the file, what is wrong
/// and what is allowed. Sizes are checked before memory is asked for.
///
/// T = float: float32, or float64, which is rounded; T = double: both, exactly. float16 too, if
/// `halves`.
template <class T>
NpyArrayOf<T> read_floats(const std::string& path, bool halves = false);
inline NpyArray read_npy(const std::string& path) { return read_floats<float>(path); }

/// bool or uint8, where 0 is false.
NpyArrayOf<std::uint8_t> read_booleans(const std::string& path);

/// int32 or int64.
NpyArrayOf<std::int64_t> read_integers(const std::string& path);

/// Like read_floats, for an array of attention: [B,H,N,d], or [N,d], which is one head. Returns the
/// shape as it stands in the file.
NpyArray read_heads(const std::string& path);

/// Writes a file of T (float, double, or bool as bytes of 0 and 1), version 1.0, data aligned to 64
/// bytes, under a temporary name; commit() of the result puts it in place. Throws
/// Error(kBadArgument).
OutputFile stage_npy(const std::string& path, std::span<const std::int64_t> shape,
                     std::span<const float> values);
OutputFile stage_npy(const std::string& path, std::span<const std::int64_t> shape,
                     std::span<const double> values);
OutputFile stage_npy(const std::string& path, std::span<const std::int64_t> shape,
                     std::span<const std::uint8_t> values);

/// Integers as int64, or as int32 where `type` is "<i4" and every value fits.
OutputFile stage_npy(const std::string& path, std::span<const std::int64_t> shape,
                     std::span<const std::int64_t> values, std::string_view type);

/// Writes one file, whole or not at all.
void write_npy(const std::string& path, std::span<const std::int64_t> shape,
               std::span<const float> values);

}  // namespace attn::io
