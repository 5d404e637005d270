// SPDX-License-Identifier: MIT
//
// Exercise: four answers to one prompt. Their tables name the same pages, and each is about to
// write its own next key: append refuses to write into a page that another sequence needs. See
// "Exercises" in the lesson. As it stands every key is where it belongs, but each sequence has the
// whole prompt for itself, and nothing is shared any more:
//   cmake --build build --target ch18_exercise && ./build/ch18_exercise
#include "chapters/18_paged/exercises/make_room.hpp"

namespace attn::decoding::paged {
namespace {

std::int64_t take_page(Tables& tables) {
  const std::int64_t page = tables.free.back();
  tables.free.pop_back();
  return page;
}

}  // namespace

std::vector<Copy> make_room(Tables& tables, std::int64_t N_new) {
  // Yours. So far every page is copied for every sequence.
  std::vector<Copy> copies;
  for (std::size_t b = 0; b < tables.pages.size(); ++b) {
    const std::int64_t keys = tables.count[b] + N_new;
    for (std::int64_t& page : tables.pages[b]) {
      copies.push_back({page, take_page(tables)});
      page = copies.back().to;
    }
    while (static_cast<std::int64_t>(tables.pages[b].size()) * tables.page_keys < keys) {
      tables.pages[b].push_back(take_page(tables));
    }
  }
  return copies;
}

}  // namespace attn::decoding::paged
