// SPDX-License-Identifier: MIT
//
// A solution of chapter 18's exercise. Only one page of a sequence is written that it has already:
// the last, if its keys end within it. It is copied if another table names it, and then one less
// does: the last of those that write it finds it its own, and keeps it.
#include "chapters/18_paged/exercises/make_room.hpp"

#include <algorithm>

namespace attn::decoding::paged {
namespace {

std::int64_t take_page(Tables& tables) {
  const std::int64_t page = tables.free.back();
  tables.free.pop_back();
  return page;
}

/// How many tables name it.
std::int64_t owners(const Tables& tables, std::int64_t page) {
  return std::count_if(tables.pages.begin(), tables.pages.end(), [page](const auto& pages) {
    return std::find(pages.begin(), pages.end(), page) != pages.end();
  });
}

}  // namespace

std::vector<Copy> make_room(Tables& tables, std::int64_t N_new) {
  std::vector<Copy> copies;
  for (std::size_t b = 0; b < tables.pages.size(); ++b) {
    std::vector<std::int64_t>& pages = tables.pages[b];
    const bool writes_the_last = tables.count[b] % tables.page_keys != 0;
    if (writes_the_last && owners(tables, pages.back()) > 1) {
      copies.push_back({pages.back(), take_page(tables)});
      pages.back() = copies.back().to;
    }
    const std::int64_t keys = tables.count[b] + N_new;
    while (static_cast<std::int64_t>(pages.size()) * tables.page_keys < keys) {
      pages.push_back(take_page(tables));
    }
  }
  return copies;
}

}  // namespace attn::decoding::paged
