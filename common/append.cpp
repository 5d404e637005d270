// SPDX-License-Identifier: MIT
#include "common/append.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "common/overlap.hpp"

namespace attn {
namespace {

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorKind::kBadArgument, message);
}

/// So many numbers, `allowed`, on either side.
void check_numbers(const char* name, const Integers& numbers, std::int64_t wanted,
                   const std::string& allowed) {
  const auto size = static_cast<std::int64_t>(numbers.host.size());
  if (size != wanted) refuse(fmt::format("{} has {} numbers: allowed: {}", name, size, allowed));
  if (wanted > 0 && numbers.device == nullptr) refuse(fmt::format("{} = null on the device", name));
}

/// The new keys of a sequence.
Range new_keys(const AppendArgs& args, std::size_t b) {
  const std::int64_t begin = args.key_begin.host.empty() ? 0 : args.key_begin.host[b];
  const std::int64_t first = begin + args.key_count.host[b];
  return {first, first + args.N_new};
}

/// There is room for them in every sequence. Returns the counts behind it.
std::vector<std::int64_t> check_room(const AppendArgs& args) {
  std::vector<std::int64_t> counts;
  for (std::size_t b = 0; b < args.key_count.host.size(); ++b) {
    const std::int64_t begin = args.key_begin.host.empty() ? 0 : args.key_begin.host[b];
    const std::int64_t count = args.key_count.host[b];
    if (begin < 0 || begin > args.Nk) {
      refuse(fmt::format("key_begin[{}] = {}: allowed: 0 to Nk = {}", b, begin, args.Nk));
    }
    const std::int64_t room = args.Nk - begin;
    if (count < 0 || count > room || args.N_new > room - count) {
      refuse(
          fmt::format("key_count[{}] = {}: from key_begin = {} on there is room for {} keys, "
                      "with {} new ones",
                      b, count, begin, room, args.N_new));
    }
    counts.push_back(count + args.N_new);
  }
  return counts;
}

/// Where a table names a page whose keys count, old or new ones.
struct Entry {
  std::int64_t page;
  std::size_t b;
  std::int64_t n;
  bool written;
};

/// No page to be written holds anything else.
void check_apart(std::vector<Entry>& entries) {
  const auto of_page = [](const Entry& x, const Entry& y) { return x.page < y.page; };
  std::stable_sort(entries.begin(), entries.end(), of_page);
  for (std::size_t e = 0; e + 1 < entries.size(); ++e) {
    const Entry *entry = &entries[e], *other = &entries[e + 1];
    if (entry->page != other->page || !(entry->written || other->written)) continue;
    if (!entry->written) std::swap(entry, other);
    refuse(
        fmt::format("block_table[{}][{}] = {}: it is block_table[{}][{}], too; allowed: a page "
                    "to be written is of one sequence alone, copy it first",
                    entry->b, entry->n, entry->page, other->b, other->n));
  }
}

/// The table of a paged cache.
void check_pages(const AppendArgs& args) {
  const Extras pages{.page_keys = args.page_keys};
  const std::int64_t columns = pages.pages_of(args.Nk);
  std::int64_t wanted = 0;
  if (__builtin_mul_overflow(args.B, columns, &wanted)) wanted = -1;
  check_numbers("block_table", args.block_table, wanted,
                fmt::format("B * {} pages for Nk = {} keys", columns, args.Nk));
  std::vector<Entry> entries;
  for (std::size_t b = 0; b < args.key_count.host.size(); ++b) {
    const Range fresh = new_keys(args, b);
    const std::int64_t begin = args.key_begin.host.empty() ? 0 : args.key_begin.host[b];
    if (begin == fresh.end) continue;
    const std::int64_t end = pages.pages_of(fresh.end);
    for (std::int64_t n = begin / args.page_keys; n < end; ++n) {
      const auto at = b * static_cast<std::size_t>(columns) + static_cast<std::size_t>(n);
      const std::int64_t page = args.block_table.host[at];
      const bool written = !fresh.empty() && n >= fresh.begin / args.page_keys;
      if (written && (page < 0 || page >= args.pages)) {
        refuse(fmt::format("block_table[{}][{}] = {}: allowed: 0 to pages - 1 = {}", b, n, page,
                           args.pages - 1));
      }
      entries.push_back({page, b, n, written});
    }
  }
  check_apart(entries);
}

/// What attn::forward would refuse of such a cache, too.
void check_support(const Chapter& chapter, const AppendArgs& args) {
  const auto unsupported = [](const std::string& why) {
    throw Error(ErrorKind::kUnsupported, why);
  };
  if (chapter.append == nullptr) {
    unsupported(fmt::format("append: {} has no cache to append to", chapter.id));
  }
  const Shape shape{args.B, args.Hkv, args.Hkv, args.N_new, args.Nk, args.d};
  const Extras extras{.page_keys = args.page_keys, .pages = args.pages};
  const std::string why =
      why_unsupported(Element::kFloat32, shape, Mask::kFull, extras, chapter.support);
  if (!why.empty()) unsupported(why);
}

bool nothing_new(const AppendArgs& args) {
  return args.B == 0 || args.Hkv == 0 || args.N_new == 0 || args.d == 0;
}

/// All four are there, and what is written overlaps nothing.
void check_arrays(const AppendArgs& args) {
  for (const auto& [name, array] : {std::pair<const char*, const float*>("new_k", args.new_k),
                                    {"new_v", args.new_v},
                                    {"k", args.k},
                                    {"v", args.v}}) {
    if (array == nullptr) refuse(fmt::format("{} = null", name));
  }
  const bool paged = args.page_keys > 0;
  const auto view = [&](const float* array, std::int64_t batches, std::int64_t keys) {
    const std::int64_t floats = batches * args.Hkv * keys * args.d;
    return View{array, static_cast<std::size_t>(floats) * sizeof(float), {}};
  };
  const auto cache = [&](const float* array) {
    return view(array, paged ? args.pages : args.B, paged ? args.page_keys : args.Nk);
  };
  const std::array<std::pair<const char*, View>, 4> views{
      {{"new_k", view(args.new_k, args.B, args.N_new)},
       {"new_v", view(args.new_v, args.B, args.N_new)},
       {"k", cache(args.k)},
       {"v", cache(args.v)}}};
  for (std::size_t written = 2; written < views.size(); ++written) {
    for (std::size_t other = 0; other < written; ++other) {
      if (!share_bytes(views[written].second, views[other].second)) continue;
      refuse(fmt::format("{}: it overlaps {}; allowed: a cache apart from all other arrays",
                         views[written].first, views[other].first));
    }
  }
}

}  // namespace

std::vector<std::int64_t> check_append(const Chapter& chapter, const AppendArgs& args) {
  for (const auto& [name, size] : {std::pair("B", args.B),
                                   {"Hkv", args.Hkv},
                                   {"N_new", args.N_new},
                                   {"Nk", args.Nk},
                                   {"d", args.d},
                                   {"page_keys", args.page_keys},
                                   {"pages", args.pages}}) {
    if (size < 0) refuse(fmt::format("{} = {}: allowed: 0 or more", name, size));
  }
  check_support(chapter, args);
  const std::string one_each = fmt::format("B = {}", args.B);
  if (!args.key_begin.host.empty()) check_numbers("key_begin", args.key_begin, args.B, one_each);
  check_numbers("key_count", args.key_count, args.B, one_each);
  std::vector<std::int64_t> counts = check_room(args);
  if (args.page_keys > 0) check_pages(args);
  if (!nothing_new(args)) check_arrays(args);
  return counts;
}

std::vector<std::int64_t> append(const Chapter& chapter, const AppendArgs& args) {
  std::vector<std::int64_t> counts = check_append(chapter, args);
  if (!nothing_new(args)) chapter.append(args);
  return counts;
}

std::vector<std::int64_t> append_on_host(const Chapter& chapter, const AppendArgs& args) {
  std::vector<std::int64_t> counts = check_append(chapter, args);
  if (nothing_new(args)) return counts;
  const std::int64_t page_keys = args.page_keys > 0 ? args.page_keys : args.Nk;  // one page each
  const std::int64_t columns =
      args.page_keys > 0 ? Extras{.page_keys = page_keys}.pages_of(args.Nk) : 1;
  for (std::int64_t b = 0; b < args.B; ++b) {
    const Range fresh = new_keys(args, static_cast<std::size_t>(b));
    for (std::int64_t key = fresh.begin; key < fresh.end; ++key) {
      const auto at = static_cast<std::size_t>(b * columns + key / page_keys);
      const std::int64_t page = args.page_keys > 0 ? args.block_table.host[at] : b;
      for (std::int64_t h = 0; h < args.Hkv; ++h) {
        const std::int64_t from = ((b * args.Hkv + h) * args.N_new + key - fresh.begin) * args.d;
        const std::int64_t to = ((page * args.Hkv + h) * page_keys + key % page_keys) * args.d;
        std::copy_n(args.new_k + from, args.d, args.k + to);
        std::copy_n(args.new_v + from, args.d, args.v + to);
      }
    }
  }
  return counts;
}

}  // namespace attn
