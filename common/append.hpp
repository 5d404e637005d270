// SPDX-License-Identifier: MIT
//
// A cache of keys and values, and what a new token puts into it.
#pragma once

#include <vector>

#include "common/attention.hpp"

namespace attn {

/// New keys and values of every sequence, as many of each, and the cache that they go to. Pointers
/// live where the chapter computes (`Chapter::memory`).
struct AppendArgs {
  std::int64_t B = 0, Hkv = 0, N_new = 0, Nk = 0, d = 0;  // Nk: keys that a sequence has room for
  const float *new_k = nullptr, *new_v = nullptr;         // [B, Hkv, N_new, d]
  float *k = nullptr, *v = nullptr;                       // [B, Hkv, Nk, d], or pools of pages
  Integers key_begin = {};                                // [B] first valid key; none: 0
  Integers key_count = {};                                // [B] valid keys; needed
  // A paged cache, as in Extras: k and v are [pages, Hkv, page_keys, d].
  std::int64_t page_keys = 0, pages = 0;
  Integers block_table = {};  // [B, ceil(Nk / page_keys)]
};

/// Writes the new keys and values of sequence b as those from key_begin[b] + key_count[b] on, and
/// nothing else. Returns the new counts; key_count is as before. Throws Error, in one line and
/// before anything is written: kUnsupported where the chapter has no cache, or not such a one;
/// kBadArgument where a size is negative, an array is missing, a number of numbers is wrong, or a
/// cache has no room left, or overlaps another array, and of a paged one where a page to be written
/// is not among the pool's, or also holds other keys of some sequence: what is shared is to be
/// copied first.
std::vector<std::int64_t> append(const Chapter& chapter, const AppendArgs& args);

/// The same as plain C++ loops, on host pointers, whichever of the chapters has the cache.
std::vector<std::int64_t> append_on_host(const Chapter& chapter, const AppendArgs& args);

/// What both refuse, and what they return; touches no array.
std::vector<std::int64_t> check_append(const Chapter& chapter, const AppendArgs& args);

}  // namespace attn
