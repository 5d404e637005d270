// SPDX-License-Identifier: MIT
//
// Register tiles on a core. A GPU's warp keeps a tile of the product in the registers of its 32
// threads; here a core keeps one in its vector registers. Either way the sums stay where they are
// made, and each number that is loaded takes part in many multiply-adds.
//
// Scores are stored transposed, (keys, queries), with queries along the vectors: a key's numbers
// are then used one by one, a copy in every lane, so that K is read as it lies; only Q is
// transposed, once, and is met by all keys. Maximum and sum of a row need no step across lanes.
#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <cstdint>

#include "chapters/08_register_tiles/cpu_vectors.hpp"
#include "common/attention.hpp"

namespace attn::register_tiles {

// ---- Tiles --------------------------------------------------------------------------------------

/// sum[r][n] += a[r][0] * b[0][n] + a[r][1] * b[1][n] + ..., `steps` terms in that order. a[r][k]
/// is a[r * a_row + k * a_step], and b[k] are kVectors vectors at b + k * b_step.
template <int kTileRows, int kVectors>
[[gnu::always_inline]] inline void multiply_add(Vector (&sum)[kTileRows][kVectors], const float* a,
                                                std::int64_t a_row, std::int64_t a_step,
                                                const float* b, std::int64_t b_step,
                                                std::int64_t steps) {
#pragma GCC unroll 4
  for (std::int64_t k = 0; k < steps; ++k) {
    Vector row[kVectors];
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) row[n] = load_once(b + k * b_step + n * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kTileRows; ++r) {
      const float factor = a[r * a_row + k * a_step];
#pragma GCC unroll 4
      for (int n = 0; n < kVectors; ++n) sum[r][n] += factor * row[n];
    }
  }
}

/// The most rows of a register tile of `products`.
inline constexpr int kLeastRows = 2 * kKeys;

/// The register tile of `products`: rows [j, j + kTileRows) of the result.
template <int kTileRows, int kVectors>
[[gnu::noinline]] void product_tile(const float* a, std::int64_t d, const float* bt, float scale,
                                    float* s, std::int64_t s_row) {
  Vector sum[kTileRows][kVectors] = {};
  multiply_add(sum, a, d, 1, bt, kPanel, d);
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) store(s + r * s_row + n * kLanes, scale * sum[r][n]);
  }
}

/// s[j][i] = scale * a_j . b_i for `keys` rows of d floats (K or V) and a panel of kVectors vectors
/// of rows (Q or dO), transposed. Every dot product is added up in the order of its d terms, by
/// multiply-adds that round once, whatever the tile: both passes get the same S. s has room for
/// kLeastRows rows, and those beyond `keys` may become anything.
template <int kVectors>
void products(const float* a, std::int64_t keys, std::int64_t d, const float* bt, float scale,
              float* s, std::int64_t s_row) {
  constexpr int kTileRows = kVectors == 1 ? 2 * kKeys : kKeys;  // enough sums even if one vector
  if (keys < kTileRows) {
    float whole[kTileRows * kMaxColumns] = {};
    std::copy_n(a, keys * d, whole);
    product_tile<kTileRows, kVectors>(whole, d, bt, scale, s, s_row);
    return;
  }
  for (std::int64_t j = 0; j < keys; j += kTileRows) {
    const std::int64_t at = std::min(j, keys - kTileRows);  // the last tile may repeat some rows
    product_tile<kTileRows, kVectors>(a + at * d, d, bt, scale, s + at * s_row, s_row);
  }
}

/// Calls `run.operator()<kVectors>()` with the vectors that `rows` rows of a panel, at most kPanel,
/// fill.
template <class Run>
void with_vectors(std::int64_t rows, Run run) {
  if (rows <= kLanes) return run.template operator()<1>();
  if (rows <= 2 * kLanes) return run.template operator()<2>();
  run.template operator()<3>();
}

/// `count` rows of d floats as blocks of kColumns columns, each block (kBlockRows, kColumns);
/// columns beyond d are zero. A column of register tiles then reads its block from front to back,
/// and no two of its rows fall into the same lines of the first cache, as rows 512 bytes apart do.
template <int kBlockRows>
void pack_columns(const float* rows, std::int64_t count, std::int64_t d, float* blocks) {
  const std::int64_t whole = d / kColumns * kColumns;
  for (std::int64_t r = 0; r < count; ++r) {
    const float* row = rows + r * d;
    float* to = blocks + r * kColumns;
    for (std::int64_t c = 0; c < whole; c += kColumns, to += kBlockRows * kColumns) {
      for (int n = 0; n < kColumns; n += kLanes) store(to + n, load(row + c + n));
    }
    if (whole == d) continue;
    std::copy(row + whole, row + d, to);
    std::fill_n(to + (d - whole), kColumns - (d - whole), 0.0f);
  }
}

/// The register tile of `add_product`.
template <int kTileRows, int kARow, int kAStep>
[[gnu::noinline]] void add_product_tile(float* c, std::int64_t columns, const float* a,
                                        const float* b, std::int64_t steps) {
  // What is added to may come from far away; it arrives while the sums are made.
  for (int r = 0; r < kTileRows; ++r) __builtin_prefetch(c + r * columns, 1);
  Vector sum[kTileRows][kColumnVectors] = {};
  multiply_add(sum, a, kARow, kAStep, b, kColumns, steps);
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < kColumnVectors; ++n) {
      float* to = c + r * columns + n * kLanes;
      store(to, load(to) + sum[r][n]);
    }
  }
}

/// c[r] += sum over k in range(r) of a[r][k] * b[k], for `rows` rows of `columns` floats; a[r][k]
/// is a[r * kARow + k * kAStep], and b lies as pack_columns leaves it. From row to row a range's
/// begin may rise, or its end; never both, and neither falls. What lies outside of it is multiplied
/// into no sum: behind a mask there may be a NaN.
template <int kARow, int kAStep, int kBlockRows, class RangeOf>
void add_product(float* c, std::int64_t rows, std::int64_t columns, const float* a, const float* b,
                 RangeOf range) {
  /// All k that these rows have in common, then those that one row has for itself.
  const auto add_rows = [&]<int kTileRows>(float* tile, const float* block, std::int64_t r0) {
    const std::int64_t begin = range(r0 + kTileRows - 1).begin, end = range(r0).end;
    add_product_tile<kTileRows, kARow, kAStep>(tile, columns, a + r0 * kARow + begin * kAStep,
                                               block + begin * kColumns, end - begin);
    const auto add_one = [&](std::int64_t r, std::int64_t k) {
      add_product_tile<1, kARow, kAStep>(
          tile + r * columns, columns, a + (r0 + r) * kARow + k * kAStep, block + k * kColumns, 1);
    };
    if (range(r0).begin == begin && range(r0 + kTileRows - 1).end == end) return;
    for (std::int64_t r = 0; r < kTileRows; ++r) {
      const Range own = range(r0 + r);
      for (std::int64_t k = own.begin; k < begin; ++k) add_one(r, k);
      for (std::int64_t k = end; k < own.end; ++k) add_one(r, k);
    }
  };
  for (std::int64_t column = 0; column < columns; column += kColumns, b += kBlockRows * kColumns) {
    for (std::int64_t r = 0; r < rows;) {
      float* tile = c + r * columns + column;
      if (rows - r >= kRows) {
        add_rows.template operator()<kRows>(tile, b, r);
        r += kRows;
      } else if (rows - r >= kRows / 2) {
        add_rows.template operator()<kRows / 2>(tile, b, r);
        r += kRows / 2;
      } else {
        add_rows.template operator()<1>(tile, b, r);
        r += 1;
      }
    }
  }
}

/// `rows` rows of d floats, at most kPanel, as a panel: transposed, rows beyond the last one zero.
inline void transpose(const float* rows, std::int64_t count, std::int64_t d, float* panel) {
  for (std::int64_t c = 0; c < d; ++c) {
    for (std::int64_t r = 0; r < count; ++r) panel[c * kPanel + r] = rows[r * d + c];
    for (std::int64_t r = count; r < kPanel; ++r) panel[c * kPanel + r] = 0.0f;
  }
}

// ---- Tasks --------------------------------------------------------------------------------------

/// Threads that a parallel region gets.
inline std::int64_t cores() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

/// Panels of queries in a task, at most `most`: as many as let `threads` threads finish `heads`
/// heads of `panels` panels first, where a panel takes 16 units of time, and a task `extra` more.
inline std::int64_t panels_per_task(std::int64_t heads, std::int64_t panels, std::int64_t threads,
                                    std::int64_t extra, std::int64_t most) {
  const auto time = [&](std::int64_t height) {
    const std::int64_t tasks = heads * ((panels + height - 1) / height);
    return (tasks + threads - 1) / threads * (16 * height + extra);
  };
  std::int64_t best = 1;
  for (std::int64_t height = 2; height <= most; ++height) {
    if (time(height) < time(best)) best = height;
  }
  return best;
}

}  // namespace attn::register_tiles
