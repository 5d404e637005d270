// SPDX-License-Identifier: MIT
//
// How much global memory each step of each chapter moves, worked out by hand from the algorithm for
// any shape, mask and ranges of keys. Independent of the kernels and of what the lessons say;
// io_formulas_test.cpp holds the tracer's count against it.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/attention.hpp"
#include "common/run/problem.hpp"

namespace attn::testing {

/// 32-bit elements (float) of global memory, summed over a step's launches; and bytes of what has
/// other elements, apart from these.
struct Io {
  std::int64_t loads = 0;  // what the threads ask for
  std::int64_t stores = 0;
  std::int64_t reads = 0;  // distinct elements, counted once per launch
  std::int64_t writes = 0;
  std::int64_t atomics = 0;  // apart from loads and stores; each reads and writes its element
  std::int64_t load_bytes = 0, store_bytes = 0;
  std::int64_t read_bytes = 0, write_bytes = 0;
  std::int64_t async_bytes = 0;        // by asynchronous copies, apart from loads
  std::int64_t async_store_bytes = 0;  // and apart from stores
};

inline Io operator+(const Io& a, const Io& b) {
  return {a.loads + b.loads,
          a.stores + b.stores,
          a.reads + b.reads,
          a.writes + b.writes,
          a.atomics + b.atomics,
          a.load_bytes + b.load_bytes,
          a.store_bytes + b.store_bytes,
          a.read_bytes + b.read_bytes,
          a.write_bytes + b.write_bytes,
          a.async_bytes + b.async_bytes,
          a.async_store_bytes + b.async_store_bytes};
}

/// The traffic of n that move the same.
inline Io operator*(std::int64_t n, const Io& io) {
  return {n * io.loads,       n * io.stores,           n * io.reads,
          n * io.writes,      n * io.atomics,          n * io.load_bytes,
          n * io.store_bytes, n * io.read_bytes,       n * io.write_bytes,
          n * io.async_bytes, n * io.async_store_bytes};
}

/// Of a problem only its sizes, its mask and its extras count.
using IoFormula = Io (*)(const Problem&);

/// Of chapter 14, in io_formulas_masks.cpp.
Io mask_bytes_forward(const Problem& problem);
Io mask_bits_forward(const Problem& problem);
Io mask_tiles_forward(const Problem& problem);
Io mask_tiles_backward(const Problem& problem);
/// Of chapter 16, in io_formulas_heads.cpp.
Io groups_forward(const Problem& problem);
Io pack_forward(const Problem& problem);
Io all_features_backward(const Problem& problem);
/// Of chapters 17 and 18, in io_formulas_decode.cpp.
Io one_query_forward(const Problem& problem);
Io split_forward(const Problem& problem);
Io group_forward(const Problem& problem);
Io cache_forward(const Problem& problem);
Io lookup_forward(const Problem& problem);
Io pages_forward(const Problem& problem);

/// Of chapter 10, in io_formulas_async.cpp.
Io swizzled_forward(const Problem& problem);
Io async_forward(const Problem& problem);
Io async_backward_atomics(const Problem& problem);
Io async_backward_deterministic(const Problem& problem);

/// Of chapter 11, in io_formulas_hopper.cpp.
Io warpgroup_forward(const Problem& problem);
Io tensor_copy_forward(const Problem& problem);
/// Bytes that the blocks announce to their mbarriers: of whole tiles, with the rows that Q, K and V
/// do not have.
std::int64_t announced_bytes(const Problem& problem);
/// Multiplications and additions of whole tiles.
std::int64_t warpgroup_flops(const Problem& problem);

/// The formula of a step's pass; null if there is none yet.
IoFormula find_io_formula(std::string_view chapter, std::string_view step, Pass pass);

}  // namespace attn::testing
