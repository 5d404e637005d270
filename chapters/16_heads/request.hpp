// SPDX-License-Identifier: MIT
//
// All that a problem may have (common/extras.hpp), in the terms of a kernel: which keys a row sees,
// and what else a score meets. `Request` goes to kernels by value; the twin has one, too.
#pragma once

#include "chapters/16_heads/layout.hpp"
#include "common/device/band.hpp"
#include "common/device/dropout.hpp"
#include "common/device/pair_array.hpp"

namespace attn::heads {

/// Bit j: whether `keys` has key j0 + j. Of kKeys bits.
template <class Word, int kKeys>
ATTN_HOST_DEVICE constexpr Word bits_of(const Range& keys, std::int64_t j0) {
  static_assert(kKeys <= 8 * sizeof(Word));
  const std::int64_t first = keys.begin - j0, behind = keys.end - j0;
  const int begin = first < 0 ? 0 : first < kKeys ? static_cast<int>(first) : kKeys;
  const int end = behind < 0 ? 0 : behind < kKeys ? static_cast<int>(behind) : kKeys;
  if (begin >= end) return 0;
  constexpr int kBits = 8 * sizeof(Word);
  return ~Word{0} >> (kBits - (end - begin)) << begin;
}

/// The keys that a row sees by its place: those in the window or among the sink keys, and in one of
/// the two ranges. Numbers of the batch's keys.
struct RowKeys {
  Range window, sinks, first, second = {};

  /// Bit j: whether the row sees key j0 + j. Of kKeys bits.
  template <class Word, int kKeys>
  ATTN_HOST_DEVICE constexpr Word word(std::int64_t j0) const {
    return (bits_of<Word, kKeys>(window, j0) | bits_of<Word, kKeys>(sinks, j0)) &
           (bits_of<Word, kKeys>(first, j0) | bits_of<Word, kKeys>(second, j0));
  }
};

/// One batch of a problem.
struct Sequence {
  std::int64_t b, Nq, Nk;
  std::int64_t q_row, k_row;  // its first row and key in the arrays' batch
  std::int64_t valid_begin;   // its first valid key
  device::Band band;          // among the valid keys, counted from the first
  std::int64_t own;           // key of row 0, for ALiBi; counted like all keys
};

struct Request {
  std::int64_t B, H, Hkv, Nq, Nk, d, d_v;
  Layouts layouts;
  const std::int64_t *q_offsets, *k_offsets;  // null: not packed
  const std::int64_t *key_begin, *key_count;  // null: 0, all
  const std::int64_t* ranges;                 // [B, Nq, 2 ranges_per_row]
  int ranges_per_row;
  Mask mask;
  std::int64_t sink_keys;
  device::PairArray<std::uint8_t> shown;  // the mask array
  device::PairArray<float> bias;
  float scale, softcap;
  const float *slopes, *sink_logits;  // [H]; null: none
  device::Dropout dropout;

  ATTN_HOST_DEVICE constexpr int group() const { return static_cast<int>(H / Hkv); }
  /// Tiles of Br rows for the group of a K/V head, of the longest sequence.
  ATTN_HOST_DEVICE constexpr std::int64_t row_tiles(int Br) const {
    return (Nq * group() + Br - 1) / Br;
  }

  /// The rows of batch b, in the arrays' batch.
  ATTN_HOST_DEVICE constexpr Range queries_of(std::int64_t b) const {
    if (q_offsets == nullptr) return {0, Nq};
    return {q_offsets[b], q_offsets[b + 1]};
  }
  ATTN_HOST_DEVICE constexpr Sequence sequence(std::int64_t b) const {
    const Range queries = queries_of(b);
    Sequence at{};
    at.b = b;
    at.Nq = queries.size();
    at.Nk = Nk;
    at.q_row = queries.begin;
    if (k_offsets != nullptr) {
      at.k_row = k_offsets[b];
      at.Nk = k_offsets[b + 1] - at.k_row;
    }
    at.valid_begin = key_begin != nullptr ? key_begin[b] : 0;
    const std::int64_t valid = key_count != nullptr ? key_count[b] : at.Nk - at.valid_begin;
    at.band = device::band_of(mask, at.Nq, valid);
    at.own = at.valid_begin + own_key_of_first_row(mask, at.Nq, valid);
    return at;
  }

  /// Keys among which are all that the rows `tokens` see by their place, ranges aside.
  ATTN_HOST_DEVICE constexpr Range keys_of(const Sequence& at, const Range& tokens) const {
    Range keys = at.band.some(tokens.begin, tokens.end);
    if (sink_keys > 0) keys.begin = 0;
    return {at.valid_begin + keys.begin, at.valid_begin + keys.end};
  }
  /// The rows, of which some may see some of the keys j0 .. j1 - 1.
  ATTN_HOST_DEVICE constexpr Range rows_of(const Sequence& at, std::int64_t j0,
                                           std::int64_t j1) const {
    // Counted from the first valid key. Nobody sees those before it.
    const std::int64_t first = j0 < at.valid_begin ? 0 : j0 - at.valid_begin;
    Range rows = at.band.rows(first, j1 - at.valid_begin, at.Nq);
    if (j1 > at.valid_begin && first < sink_keys && first < at.band.Nk) {
      rows = {first < at.band.upper ? 0 : first - at.band.upper, at.Nq};
    }
    return rows;
  }

  /// What row i sees by its place.
  ATTN_HOST_DEVICE constexpr RowKeys row_keys(const Sequence& at, std::int64_t i) const {
    const std::int64_t begin = at.valid_begin, end = begin + at.band.end_of_row(i);
    RowKeys keys{.window = {begin + at.band.begin_of_row(i), end},
                 .sinks = {begin, sink_keys < end - begin ? begin + sink_keys : end},
                 .first = {0, at.Nk}};
    if (ranges_per_row == 0) return keys;
    const std::int64_t* bounds = ranges + (at.b * Nq + i) * 2 * ranges_per_row;
    keys.first = {bounds[0], bounds[1]};
    if (ranges_per_row == 2) keys.second = {bounds[2], bounds[3]};
    return keys;
  }

  /// Whether pairs may be hidden one by one.
  ATTN_HOST_DEVICE constexpr bool hides_pairs() const { return shown.given() || bias.given(); }
  /// Whether this one is not.
  ATTN_HOST_DEVICE_INLINE constexpr bool shows(std::int64_t b, std::int64_t h, std::int64_t i,
                                               std::int64_t j) const {
    if (shown.given() && shown.at(b, h, i, j) == 0) return false;
    return !bias.given() || bias.at(b, h, i, j) != -INFINITY;
  }
  /// Whether something is added to scores.
  ATTN_HOST_DEVICE_INLINE constexpr bool adds() const { return bias.given() || slopes != nullptr; }
};

template <class Args>
Request request_of(const Args& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const Extras& extras = args.extras;
  const auto if_given = [](const Integers& integers) {
    return integers.host.empty() ? nullptr : integers.device;
  };
  return {.B = B,
          .H = H,
          .Hkv = Hkv,
          .Nq = Nq,
          .Nk = Nk,
          .d = d,
          .d_v = value_width(args.shape, extras),
          .layouts = layouts_of(args.shape, extras),
          .q_offsets = if_given(extras.q_offsets),
          .k_offsets = if_given(extras.k_offsets),
          .key_begin = if_given(extras.key_begin),
          .key_count = if_given(extras.key_count),
          .ranges = if_given(extras.ranges),
          .ranges_per_row = extras.ranges_per_row,
          .mask = args.mask,
          .sink_keys = extras.sink_keys,
          .shown = device::pair_array_of(extras.mask, extras.mask_shape),
          .bias = device::pair_array_of(extras.bias, extras.bias_shape),
          .scale = args.scale,
          .softcap = extras.softcap,
          .slopes = extras.alibi,
          .sink_logits = extras.sink_logits,
          .dropout = device::dropout_of(extras)};
}

}  // namespace attn::heads
