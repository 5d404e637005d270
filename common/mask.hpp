// SPDX-License-Identifier: MIT
//
// Which keys a row of S sees by its place alone: one range, the same number of keys before and
// behind the row's own key. notes/semantics.md has it in words.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "common/host_device.hpp"

namespace attn {

/// As a bound of a mask: there is none.
inline constexpr std::int64_t kUnbounded = std::numeric_limits<std::int64_t>::max();

/// Row i's own key is j = i + (Nk - Nq), so that the last query meets the last key (bottom-right
/// aligned), or j = i if `top_left`. The row sees the keys from `before` keys before its own to
/// `after` keys behind it, both included. Its own key may lie outside 0 .. Nk - 1.
struct Mask {
  std::int64_t before = kUnbounded;  ///< 0 or more
  std::int64_t after = kUnbounded;   ///< 0 or more
  bool top_left = false;

  static const Mask kFull;           ///< all keys
  static const Mask kCausal;         ///< j <= i + (Nk - Nq)
  static const Mask kCausalTopLeft;  ///< j <= i

  bool operator==(const Mask&) const = default;

  /// Whether every row sees the first keys, up to some number of them: no lower bound.
  ATTN_HOST_DEVICE constexpr bool is_prefix() const { return before == kUnbounded; }
};
inline constexpr Mask Mask::kFull{};
inline constexpr Mask Mask::kCausal{.after = 0};
inline constexpr Mask Mask::kCausalTopLeft{.after = 0, .top_left = true};

/// "full", "causal", "causal top-left", "window 128,0", "window 128,-1 top-left"; -1: no bound.
std::string to_string(const Mask& mask);

/// The keys, or rows, from `begin` to `end - 1`.
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  ATTN_HOST_DEVICE constexpr bool empty() const { return begin >= end; }
  ATTN_HOST_DEVICE constexpr std::int64_t size() const { return empty() ? 0 : end - begin; }
  bool operator==(const Range&) const = default;
};

/// min(max(x + by, 0), most), for any `by` of 0 or more.
ATTN_HOST_DEVICE constexpr std::int64_t advanced(std::int64_t x, std::int64_t by,
                                                 std::int64_t most) {
  if (x >= most || by >= most - x) return most;
  return x + by < 0 ? 0 : x + by;
}

/// max(x - by, 0), at most `most`.
ATTN_HOST_DEVICE constexpr std::int64_t receded(std::int64_t x, std::int64_t by,
                                                std::int64_t most) {
  if (x <= 0 || by >= x) return 0;
  return x - by > most ? most : x - by;
}

/// The number of row 0's own key: Nk - Nq, or 0.
ATTN_HOST_DEVICE constexpr std::int64_t own_key_of_first_row(const Mask& mask, std::int64_t Nq,
                                                             std::int64_t Nk) {
  return mask.top_left ? 0 : Nk - Nq;
}

/// The keys that row i sees, within 0 .. Nk - 1.
ATTN_HOST_DEVICE constexpr Range keys_of_row(const Mask& mask, std::int64_t i, std::int64_t Nq,
                                             std::int64_t Nk) {
  const std::int64_t own = i + own_key_of_first_row(mask, Nq, Nk);
  const Range keys{receded(own, mask.before, Nk),
                   mask.after == kUnbounded ? Nk : advanced(own + 1, mask.after, Nk)};
  return keys.empty() ? Range{} : keys;
}

/// The rows that see key j, within 0 .. Nq - 1.
ATTN_HOST_DEVICE constexpr Range rows_of_key(const Mask& mask, std::int64_t j, std::int64_t Nq,
                                             std::int64_t Nk) {
  const std::int64_t own = j - own_key_of_first_row(mask, Nq, Nk);  // the row whose own key j is
  const Range rows{receded(own, mask.after, Nq),
                   mask.before == kUnbounded ? Nq : advanced(own + 1, mask.before, Nq)};
  return rows.empty() ? Range{} : rows;
}

/// A mask without a lower bound is one diagonal: row i sees key j if and only if
/// j <= i + diagonal.
constexpr std::int64_t diagonal(const Mask& mask, std::int64_t Nq, std::int64_t Nk) {
  const std::int64_t own = own_key_of_first_row(mask, Nq, Nk);
  return mask.after >= Nk - own ? Nk : own + mask.after;
}

/// Number of keys row i sees: always the first ones, 0 .. visible_keys - 1. Zero is a legal answer.
ATTN_HOST_DEVICE constexpr std::int64_t visible_keys(std::int64_t i, std::int64_t diagonal,
                                                     std::int64_t Nk) {
  const std::int64_t visible = i + diagonal + 1;
  return visible < 0 ? 0 : visible > Nk ? Nk : visible;
}

/// The first row that sees key j: the rows from there to Nq - 1 are those that do. Nq if none does.
ATTN_HOST_DEVICE constexpr std::int64_t first_query(std::int64_t j, std::int64_t diagonal,
                                                    std::int64_t Nq) {
  const std::int64_t first = j - diagonal;
  return first < 0 ? 0 : first > Nq ? Nq : first;
}

}  // namespace attn
