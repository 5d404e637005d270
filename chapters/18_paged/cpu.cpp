// SPDX-License-Identifier: MIT
//
// Step 2 as plain C++: chapter 17's loops over the keys of a cache in pages. Where the keys of a
// tile lie is looked up once for all its rows, and once for each page that the tile has a part of.
#include <array>

#include "chapters/18_paged/paged.hpp"
#include "chapters/18_paged/pages.hpp"
#include "common/cpu_decode.hpp"

namespace attn::decoding::paged {
namespace {

/// In floats from the begin of K or V, for each key of a tile.
struct Places {
  std::array<std::int64_t, kBc> first;

  std::int64_t operator()(std::int64_t j) const { return first[static_cast<std::size_t>(j)]; }
};

}  // namespace

void forward_cpu(const ForwardArgs& args) {
  const Pages all_pages = pages_of(args);
  cpu::forward(args, [&](std::int64_t kv_head, const Range& valid, auto width) {
    return [pages = all_pages.of_head(kv_head), valid, width](std::int64_t j0) {
      Places places{};
      const std::int64_t keys = std::min<std::int64_t>(valid.size() - j0, kBc);
      std::int64_t place = 0, left = 0;  // of the page, from this key on
      for (std::int64_t j = 0; j < keys; ++j, place += width(), --left) {
        if (left == 0) {
          const std::int64_t key = valid.begin + j0 + j;
          place = pages.row(key) * width();
          left = pages.page_keys - key % pages.page_keys;
        }
        places.first[static_cast<std::size_t>(j)] = place;
      }
      return places;
    };
  });
}

}  // namespace attn::decoding::paged
