// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <vector>

namespace attn::decoding::paged {

/// The pages of some sequences, which may share some: what a server knows of its cache.
struct Tables {
  std::int64_t page_keys;
  std::vector<std::vector<std::int64_t>> pages;  // of each sequence, as many as its keys take
  std::vector<std::int64_t> count;               // keys of each sequence
  std::vector<std::int64_t> free;                // pages of nobody, plenty of them
};

/// What stands in one page, into another.
struct Copy {
  std::int64_t from, to;
};

/// Makes `tables` ready for N_new (1 or more) keys more of every sequence, which attn::append then
/// writes behind its count[b]: each sequence gets a page for each key that it will have, and no
/// page that is written is in the table of another. New pages are taken from `free`, and none is
/// put there. `count` stays as it is. Returns which pages are to be copied before, all of them at
/// once. Written by the reader.
std::vector<Copy> make_room(Tables& tables, std::int64_t N_new);

}  // namespace attn::decoding::paged
