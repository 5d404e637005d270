// SPDX-License-Identifier: MIT
//
// The pairs of one head, 64 at a time, for the plain C++ twins.
#pragma once

#include <algorithm>
#include <bit>

#include "chapters/14_masks/mask_array.hpp"
#include "common/cpu_tiles.hpp"

namespace attn::masks {

/// Which of 64 keys a row sees, or which of 64 rows see a key.
struct Seen {
  std::uint64_t bits = 0;

  bool none() const { return bits == 0; }
  bool all() const { return bits == ~std::uint64_t{0}; }
  bool has(int n) const { return (bits >> n & 1u) != 0; }
  /// Nothing before `begin` is seen, nor anything from `end` on; for Seen that is not none().
  int begin() const { return std::countr_zero(bits); }
  int end() const { return 64 - std::countl_zero(bits); }
  bool has_gaps() const { return end() - begin() > std::popcount(bits); }
};
static_assert(cpu::kKeys == 64);

/// One head, and the one of the array that it sees by.
struct Head {
  std::int64_t number, Nq, Nk;
  Pairs pairs;
  std::int64_t mask_head;

  /// head: b * H + h.
  template <class Args>
  Head(const Args& args, std::int64_t head)
      : number(head),
        Nq(args.shape.Nq),
        Nk(args.shape.Nk),
        pairs(pairs_of(args)),
        mask_head(pairs.array.head_of(head / args.shape.H, head % args.shape.H)) {}

  /// The keys from j0 on that row i sees.
  Seen keys(std::int64_t i, std::int64_t j0) const {
    const TileBytes bytes = pairs.array.in_tile(mask_head, i, j0);
    return seen_of(pairs.band.row(i), j0, bytes, [&](int n) { return bytes.sees(0, n); });
  }
  /// The rows from i0 on that see key j.
  Seen rows(std::int64_t j, std::int64_t i0) const {
    const TileBytes bytes = pairs.array.in_tile(mask_head, i0, j);
    return seen_of(pairs.band.rows(j, j + 1, Nq), i0, bytes,
                   [&](int n) { return bytes.sees(n, 0); });
  }

 private:
  /// Of the 64 from `first` on, those within `range` of which `sees` is true.
  template <class Sees>
  static Seen seen_of(const Range& range, std::int64_t first, const TileBytes& bytes, Sees sees) {
    const auto begin = static_cast<int>(std::clamp<std::int64_t>(range.begin - first, 0, 64));
    const auto end = static_cast<int>(std::clamp<std::int64_t>(range.end - first, 0, 64));
    if (begin >= end) return {};
    Seen seen{~std::uint64_t{0} >> (64 - (end - begin)) << begin};
    if (bytes.corner == nullptr) return seen;
    for (int n = begin; n < end; ++n) {
      if (!sees(n)) seen.bits &= ~(std::uint64_t{1} << n);
    }
    return seen;
  }
};

/// The sum over what is seen of p[n] * tile.v[n].
// Apart from its caller, for the reasons that KeyTile has.
template <int kD>
[[gnu::noinline]] void weighted_sum(const cpu::KeyTile<kD>& tile, const float* p, Seen seen,
                                    float (&result)[kD]) {
  float sum[kD] = {};
  for (; !seen.none(); seen.bits &= seen.bits - 1) {
    const int n = seen.begin();
    for (int c = 0; c < kD; ++c) sum[c] += p[n] * tile.v[n][c];
  }
  std::copy(sum, sum + kD, result);
}

/// o = rescale * o + that sum; o has d floats.
template <int kD>
void add_weighted(const cpu::KeyTile<kD>& tile, const float* p, const Seen& seen, float rescale,
                  float* o, std::int64_t d) {
  if (!seen.has_gaps()) return tile.add_weighted(p, seen.begin(), seen.end(), rescale, o, d);
  float sum[kD];
  weighted_sum(tile, p, seen, sum);
  for (std::int64_t c = 0; c < d; ++c) o[c] = rescale * o[c] + sum[c];
}

/// Puts `value` where nothing is seen, whatever stood there.
inline void hide(float (&s)[cpu::kKeys], const Seen& seen, float value) {
  for (int n = 0; n < cpu::kKeys; ++n) s[n] = seen.has(n) ? s[n] : value;
}

}  // namespace attn::masks
