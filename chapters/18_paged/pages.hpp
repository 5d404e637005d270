// SPDX-License-Identifier: MIT
//
// Where the keys of a cache lie that is a pool of pages.
#pragma once

#include "common/append.hpp"

namespace attn::decoding::paged {

/// The pages of one sequence, and in each of them the rows of one head.
struct HeadPages {
  const std::int64_t* table;  // the sequence's pages; null: there is one, `page`
  std::int64_t page, page_keys, Hkv, head;

  /// Which row of the pool, of all pages and heads, key `key` is.
  ATTN_HOST_DEVICE constexpr std::int64_t row(std::int64_t key) const {
    const std::int64_t of_key = table == nullptr ? page : table[key / page_keys];
    return (of_key * Hkv + head) * page_keys + key % page_keys;
  }
};

/// The pages of all sequences.
struct Pages {
  const std::int64_t* table;  // [B, columns]; null: sequence b is page b
  std::int64_t columns, page_keys, Hkv;

  /// `kv_head`: of all batches.
  ATTN_HOST_DEVICE constexpr HeadPages of_head(std::int64_t kv_head) const {
    const std::int64_t b = kv_head / Hkv;
    return {table == nullptr ? nullptr : table + b * columns, b, page_keys, Hkv, kv_head % Hkv};
  }
};

/// Of the arguments of a forward pass or an append. An array [B, Hkv, Nk, d] is a pool, too: each
/// sequence has a page of Nk keys.
inline Pages pages_of(std::int64_t page_keys, const std::int64_t* table, std::int64_t Nk,
                      std::int64_t Hkv) {
  if (page_keys == 0) return {nullptr, 1, Nk, Hkv};
  return {table, Extras{.page_keys = page_keys}.pages_of(Nk), page_keys, Hkv};
}
inline Pages pages_of(const ForwardArgs& args) {
  return pages_of(args.extras.page_keys, args.extras.block_table.device, args.shape.Nk,
                  args.shape.Hkv);
}

}  // namespace attn::decoding::paged
