// SPDX-License-Identifier: MIT
//
// What both passes of the twin ask about the rows that meet one head of K and V.
#pragma once

#include <bit>
#include <cmath>
#include <vector>

#include "chapters/16_heads/request.hpp"
#include "common/cpu_tiles.hpp"
#include "common/device/group.hpp"

namespace attn::heads {

/// Rows of a stretch: their O, 128 KiB at d = 64, stays within an L2 cache.
template <int kD>
constexpr std::int64_t kRows = kD <= 128 ? 512 : 256;

inline constexpr std::uint64_t kWholeTile = ~std::uint64_t{0};

/// Token i of query head h.
struct Row {
  std::int64_t i, h;
  RowKeys keys;
};

/// A head of K and V of one batch, and query heads that read it: those of its group, or one alone.
struct Group {
  const Request& request;
  Sequence at;
  std::int64_t kv_head, first_head;
  int heads;

  /// number: b * Hkv + K/V head.
  Group(const Request& r, std::int64_t number)
      : request(r),
        at(r.sequence(number / r.Hkv)),
        kv_head(number % r.Hkv),
        first_head(kv_head * r.group()),
        heads(r.group()) {}
  Group(const Request& r, std::int64_t b, std::int64_t head)
      : request(r), at(r.sequence(b)), kv_head(head / r.group()), first_head(head), heads(1) {}

  std::int64_t size() const { return at.Nq * heads; }

  /// The rows R0 .. R1 - 1.
  std::vector<Row> rows(std::int64_t R0, std::int64_t R1) const {
    std::vector<Row> result;
    for (std::int64_t R = R0; R < R1; ++R) {
      const device::GroupRow row = device::group_row(R, heads);
      result.push_back({row.token, first_head + row.head, request.row_keys(at, row.token)});
    }
    return result;
  }
  /// Their tokens.
  Range tokens(std::int64_t R0, std::int64_t R1) const {
    return {R0 / heads, (R1 - 1) / heads + 1};
  }
  /// Where the row begins in an array that lies so.
  std::int64_t place(const Layout& layout, const Row& row) const {
    return layout.at(at.b, row.h, at.q_row + row.i);
  }
  /// Where key j begins.
  std::int64_t key_place(const Layout& layout, std::int64_t j) const {
    return layout.at(at.b, kv_head, at.k_row + j);
  }

  /// Bit j: whether the row sees key j0 + j.
  std::uint64_t word(const Row& row, std::int64_t j0) const {
    std::uint64_t word = row.keys.word<std::uint64_t, cpu::kKeys>(j0);
    if (!request.hides_pairs()) return word;
    for (std::uint64_t left = word; left != 0; left &= left - 1) {
      const int j = std::countr_zero(left);
      if (!request.shows(at.b, row.h, row.i, j0 + j)) word &= ~(std::uint64_t{1} << j);
    }
    return word;
  }
  /// The words of all of `rows`, which stand for `tokens`. False if none of them sees any.
  bool words(const std::vector<Row>& rows, const Range& tokens, std::int64_t j0,
             std::uint64_t* words) const {
    const Range every = at.band.every(tokens.begin, tokens.end);
    const std::int64_t first = j0 - at.valid_begin;  // counted from the first valid key
    if (request.ranges_per_row == 0 && !request.hides_pairs() && every.begin <= first &&
        first + cpu::kKeys <= every.end) {
      std::fill_n(words, rows.size(), kWholeTile);
      return true;
    }
    std::uint64_t some = 0;
    for (const Row& row : rows) some |= * words++ = word(row, j0);
    return some != 0;
  }

  /// Whether something is done to scores.
  bool changes() const { return request.softcap > 0 || request.adds(); }
  /// Does it to the score of a row and key j. Returns the derivative by what it was.
  float change(const Row& row, std::int64_t j, float& s) const {
    float derivative = 1.0f;
    if (request.softcap > 0) {
      const float squeezed = std::tanh(s / request.softcap);
      s = request.softcap * squeezed;
      derivative = 1.0f - squeezed * squeezed;
    }
    if (request.bias.given()) s += request.bias.at(at.b, row.h, row.i, j);
    if (request.slopes != nullptr) {
      s -= request.slopes[row.h] * static_cast<float>(std::abs(at.own + row.i - j));
    }
    return derivative;
  }
  /// What dropout multiplies the weight by.
  float factor(const Row& row, std::int64_t j) const {
    const device::Dropout& dropout = request.dropout;
    const bool kept = dropout_bits(dropout.seed, at.b, row.h, row.i, j) >= dropout.threshold;
    return kept ? dropout.factor : 0.0f;
  }
};

/// Calls work(begin, end) for every run of set bits.
template <class Work>
void for_each_run(std::uint64_t bits, Work work) {
  while (bits != 0) {
    const int begin = std::countr_zero(bits);
    const int end = begin + std::countr_one(bits >> begin);
    work(begin, end);
    if (end == cpu::kKeys) return;
    bits = bits >> end << end;
  }
}

/// The heads of K and V as for_each_stretch takes them, with `rows` of a group or keys each.
inline Shape kv_heads_with(const Request& request, std::int64_t rows) {
  return {.B = request.B, .H = request.Hkv, .Hkv = request.Hkv, .Nq = rows, .Nk = 0, .d = 0};
}

}  // namespace attn::heads
