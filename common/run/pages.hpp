// SPDX-License-Identifier: MIT
//
// Where the keys of a problem lie in a pool of pages (common/extras.hpp, block_table).
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/reference/extra_values.hpp"

namespace attn {

/// The valid keys of sequence b, of arrays that need not be checked yet.
template <class Real>
Range valid_keys(const Shape& shape, const reference::ExtraValues<Real>& extras, std::int64_t b) {
  const auto at = static_cast<std::size_t>(b);
  const auto up_to = [at](const std::vector<std::int64_t>& of, std::int64_t most,
                          std::int64_t otherwise) {
    return at < of.size() ? std::clamp<std::int64_t>(of[at], 0, most) : otherwise;
  };
  const std::int64_t begin = up_to(extras.key_begin, shape.Nk, 0);
  const std::int64_t room = shape.Nk - begin;
  return {begin, begin + up_to(extras.key_count, room, room)};
}

/// Entries of the table that a sequence has.
template <class Real>
std::int64_t pages_of_sequence(const Shape& shape, const reference::ExtraValues<Real>& extras) {
  return Extras{.page_keys = extras.page_keys}.pages_of(shape.Nk);
}

/// Whether a page that an entry of the table [B, pages_of_sequence()] stands for has a valid key.
template <class Real>
bool holds_a_key(const Shape& shape, const reference::ExtraValues<Real>& extras,
                 std::int64_t entry) {
  const std::int64_t entries = pages_of_sequence(shape, extras);
  const Range valid = valid_keys(shape, extras, entry / entries);
  const std::int64_t begin = entry % entries * extras.page_keys;
  return !valid.empty() && begin < valid.end && begin + extras.page_keys > valid.begin;
}

/// Calls f(row of K or V [B, Hkv, Nk], row of its pool [pages, Hkv, page_keys]) for every valid key
/// of every head. Leaves out pages that are not there.
template <class Real, class F>
void for_each_paged_row(const Shape& shape, const reference::ExtraValues<Real>& extras, F f) {
  const std::int64_t entries = pages_of_sequence(shape, extras);
  for (std::int64_t b = 0; b < shape.B; ++b) {
    const Range valid = valid_keys(shape, extras, b);
    for (std::int64_t j = valid.begin; j < valid.end; ++j) {
      const std::int64_t entry = b * entries + j / extras.page_keys;
      const std::int64_t page = extras.block_table[static_cast<std::size_t>(entry)];
      if (page < 0 || page >= extras.pages) continue;
      for (std::int64_t head = 0; head < shape.Hkv; ++head) {
        f((b * shape.Hkv + head) * shape.Nk + j,
          (page * shape.Hkv + head) * extras.page_keys + j % extras.page_keys);
      }
    }
  }
}

}  // namespace attn
