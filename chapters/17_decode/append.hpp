// SPDX-License-Identifier: MIT
//
// A cache of keys and values, and what a new token puts into it.
#pragma once

#include <vector>

#include "common/attention.hpp"

namespace attn::decoding {

/// New keys and values of every sequence, as many of each, and the cache that they go to. Pointers
/// live where kernels run.
struct AppendArgs {
  std::int64_t B = 0, Hkv = 0, N_new = 0, Nk = 0, d = 0;  // Nk: keys that the cache has room for
  const float *new_k = nullptr, *new_v = nullptr;         // [B, Hkv, N_new, d]
  float *k = nullptr, *v = nullptr;                       // [B, Hkv, Nk, d]
  Integers key_begin = {};                                // [B] first valid key; none: 0
  Integers key_count = {};                                // [B] valid keys; needed
};

/// Writes the new keys and values of sequence b as those from key_begin[b] + key_count[b] on, and
/// nothing else. Returns the new counts; key_count is as before. Throws Error(kBadArgument), in one
/// line and before anything is written, where a size is negative, an array is missing, a number of
/// sequences is not B, or a cache has no room left.
std::vector<std::int64_t> append(const AppendArgs& args);
/// The launch in it, of at least one row (append.cu).
void copy_rows(const AppendArgs& args);

}  // namespace attn::decoding
