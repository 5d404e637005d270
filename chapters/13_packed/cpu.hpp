// SPDX-License-Identifier: MIT
//
// One head of one sequence, for the plain C++ twins.
#pragma once

#include <algorithm>
#include <vector>

#include "chapters/13_packed/ranges.hpp"
#include "chapters/13_packed/sequences.hpp"
#include "common/attention.hpp"

namespace attn::packed {

struct Head {
  std::int64_t b, Nq, Nk;
  std::int64_t q_row, k_row;  // its first row in Q, O, LSE, and its first key in K and V
  Band band;
  RangeArray ranges;

  /// number: b * H + h.
  template <class Args>
  Head(const Args& args, std::int64_t number) : b(number / args.shape.H) {
    const Shape& shape = args.shape;
    const std::int64_t h = number % shape.H;
    const Sequences queries = sequences_of(args.extras.q_offsets, shape.B, shape.H, shape.Nq);
    const Sequences keys = sequences_of(args.extras.k_offsets, shape.B, shape.H, shape.Nk);
    Nq = queries.rows(b).size();
    Nk = keys.rows(b).size();
    q_row = queries.place(queries.rows(b), h);
    k_row = keys.place(keys.rows(b), h);
    band = band_of(args.mask, Nq, Nk);
    ranges = range_array_of(args.extras, shape.Nq);
  }

  /// What the rows i0 .. i1 - 1 see.
  std::vector<RowKeys> rows(std::int64_t i0, std::int64_t i1) const {
    std::vector<RowKeys> result;
    for (std::int64_t i = i0; i < i1; ++i) result.push_back(ranges.row(b, i, band));
    return result;
  }
};

/// From the first key that one of the rows sees to the last.
inline Range hull(const std::vector<RowKeys>& rows) {
  Range all{kUnbounded, 0};
  for (const RowKeys& row : rows) {
    if (row.empty()) continue;
    all = {std::min(all.begin, row.hull().begin), std::max(all.end, row.hull().end)};
  }
  return all.empty() ? Range{} : all;
}

/// Whether one of the rows sees some of `keys`.
inline bool some_meets(const std::vector<RowKeys>& rows, const Range& keys) {
  return std::any_of(rows.begin(), rows.end(), [&](const RowKeys& row) { return row.meets(keys); });
}

}  // namespace attn::packed
