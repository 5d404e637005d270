// SPDX-License-Identifier: MIT
//
// A small case, written out with pencil and paper in mind.
#pragma once

#include <string>
#include <vector>

#include "common/exercise/compare.hpp"

namespace attn::exercise {

/// A matrix to be printed, with a title over it.
struct Matrix {
  std::string title;
  std::int64_t rows = 0, columns = 0;
  std::vector<float> values;
};

/// Matrices side by side, row by row; "." for a number that was never written.
std::string side_by_side(const std::vector<Matrix>& matrices);

/// "1.368", "-inf", "nan", "." where it was never written.
std::string short_text(float value);

/// "2 queries, 4 keys, d = 2, scale = 0.5, full mask, tiles of 2 queries and 2 keys".
std::string setting(const Case& one);

/// Q and K, and the tiles that were seen of them.
std::string tiles_by_hand(const Case& one, const Seen& yours);

/// Q, K, S as it should be and as it is, and score (i, j) worked out.
std::string scores_by_hand(const Case& one, const Seen& wanted, const Seen& yours, std::int64_t i,
                           std::int64_t j);

/// S (and V), m, l (and O) of row i after each tile, as they should be and as `run` computes them
/// when there are no more keys; and the first tile that is wrong worked out.
std::string row_by_hand(const Case& one, Runner run, std::int64_t i, bool with_o);

/// "LSE[0] = m + log(l) = 0.5 + log(1.607) = 0.974".
std::string lse_by_hand(const Case& one, const Seen& wanted, std::int64_t i);

/// Whether the case is small enough to be written out.
bool fits_on_paper(const Case& one);

/// Equal but for roundings. NaN equals NaN, unless one of them was never written.
bool is_close(float a, float b);

}  // namespace attn::exercise
