// SPDX-License-Identifier: MIT
//
// The extras of a problem (common/extras.hpp) with their arrays, in host memory.
#pragma once

#include <cstdint>
#include <vector>

#include "common/attention.hpp"

namespace attn::reference {

/// What attn::Extras points to; Real is float or double. An empty array means: not there. Arrays
/// lie in the order of the comments in attn::Extras, without gaps.
template <class Real>
struct ExtraValues {
  std::int64_t d_v = 0;
  std::vector<std::int64_t> q_offsets, k_offsets;  // [B + 1]
  std::int64_t page_keys = 0, pages = 0;
  std::vector<std::int64_t> block_table;           // [B, Extras::pages_of(Nk)]
  std::vector<std::int64_t> key_begin, key_count;  // [B]
  std::int64_t sink_keys = 0;
  int ranges_per_row = 0;
  std::vector<std::int64_t> ranges;  // [B, Nq, 2 ranges_per_row]
  std::vector<std::uint8_t> mask;
  PairShape mask_shape;
  Real softcap = 0;
  std::vector<Real> bias;
  PairShape bias_shape;
  std::vector<Real> alibi;        // [H]
  std::vector<Real> sink_logits;  // [H]
  float dropout = 0;
  std::uint64_t dropout_seed = 0;
  std::vector<Real> grad_lse;  // as LSE

  /// The same in another precision.
  template <class Other>
  ExtraValues<Other> as() const {
    const auto cast = [](const std::vector<Real>& values) {
      return std::vector<Other>(values.begin(), values.end());
    };
    return {d_v,           q_offsets,
            k_offsets,     page_keys,
            pages,         block_table,
            key_begin,     key_count,
            sink_keys,     ranges_per_row,
            ranges,        mask,
            mask_shape,    static_cast<Other>(softcap),
            cast(bias),    bias_shape,
            cast(alibi),   cast(sink_logits),
            dropout,       dropout_seed,
            cast(grad_lse)};
  }

  /// As attn::validate() and attn::sizes_of() take it: host arrays only, no pointers for kernels.
  Extras on_host() const {
    Extras extras;
    extras.d_v = d_v;
    extras.q_offsets.host = q_offsets;
    extras.k_offsets.host = k_offsets;
    extras.page_keys = page_keys;
    extras.pages = pages;
    extras.block_table.host = block_table;
    extras.key_begin.host = key_begin;
    extras.key_count.host = key_count;
    extras.sink_keys = sink_keys;
    extras.ranges_per_row = ranges_per_row;
    extras.ranges.host = ranges;
    extras.mask_shape = mask_shape;
    extras.softcap = static_cast<float>(softcap);
    extras.bias_shape = bias_shape;
    extras.dropout = dropout;
    extras.dropout_seed = dropout_seed;
    return extras;
  }
};

/// One head of one batch: how many rows and keys it has, and where they lie, counted in rows.
struct HeadRows {
  std::int64_t b = 0, h = 0;
  std::int64_t Nq = 0, Nk = 0;
  std::int64_t q_row = 0;  ///< its row 0 in Q, O and LSE
  std::int64_t k_row = 0;  ///< its key 0 in K and V
};

template <class Real>
HeadRows rows_of_head(const Shape& shape, const ExtraValues<Real>& extras, std::int64_t b,
                      std::int64_t h) {
  const std::int64_t kv = h / (shape.H / shape.Hkv);
  if (extras.q_offsets.empty()) {
    return {
        b, h, shape.Nq, shape.Nk, (b * shape.H + h) * shape.Nq, (b * shape.Hkv + kv) * shape.Nk};
  }
  const auto at = static_cast<std::size_t>(b);
  const auto& q = extras.q_offsets;
  const auto& k = extras.k_offsets;
  return {b, h, q[at + 1] - q[at], k[at + 1] - k[at], h * q.back() + q[at], kv * k.back() + k[at]};
}

/// Calls f(rows of the head) for every head of every batch.
template <class Real, class F>
void for_each_head(const Shape& shape, const ExtraValues<Real>& extras, F f) {
  for (std::int64_t b = 0; b < shape.B; ++b) {
    for (std::int64_t h = 0; h < shape.H; ++h) f(rows_of_head(shape, extras, b, h));
  }
}

/// Which keys the rows see: what mask, sink keys, counts, ranges, mask array and a bias of -inf
/// leave.
class Visibility {
 public:
  /// The arguments must outlive it.
  Visibility(const Mask& mask, const ExtraValues<double>& extras);

  /// The visible keys of row i, rising, into `keys`.
  void keys_of(const HeadRows& head, std::int64_t i, std::vector<std::int64_t>& keys) const;

  /// The key that is row i's own, for ALiBi; may lie outside the head's keys.
  std::int64_t own_key(const HeadRows& head, std::int64_t i) const;

 private:
  Range valid_keys(const HeadRows& head) const;
  bool pair_is_visible(const HeadRows& head, std::int64_t i, std::int64_t j) const;

  Mask mask_;
  const ExtraValues<double>& extras_;
  bool by_pairs_;  // whether single pairs may be hidden
};

}  // namespace attn::reference
