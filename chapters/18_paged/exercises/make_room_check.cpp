// SPDX-License-Identifier: MIT
//
// Checks chapter 18's exercise on some forks of prompts: the tables first, then, in a pool, that
// the copies and chapter 18's append leave every key of every sequence where its table says. The
// goal: pages are copied only where they are written; and for gold no page is taken that need not
// be. Exit status: 0 right and goal met, 1 not, 2 what was thrown.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "chapters/18_paged/exercises/make_room.hpp"
#include "chapters/chapters.hpp"
#include "common/append.hpp"
#include "common/run/buffers.hpp"
#include "common/verify/goals.hpp"

namespace attn::decoding::paged {
namespace {

constexpr std::int64_t kHkv = 2, kD = 8;
constexpr std::int64_t kFree = 64;  // more than the untouched exercise takes

/// Sequences of `count` keys, of which sequence b has those of sequence `of[b]` up to its own
/// count, and so its pages; one that is its own prompt (of[b] = b) has pages for itself.
struct Batch {
  std::int64_t page_keys;
  std::vector<std::int64_t> count;
  std::vector<std::size_t> of;
  std::int64_t N_new;
};
const Batch kBatches[] = {
    {16, {44}, {0}, 36},                      // alone
    {16, {40, 40, 40, 40}, {0, 0, 0, 0}, 1},  // four answers to a prompt
    {16, {48, 48, 48}, {0, 0, 0}, 1},         // which ends where a page does
    {16, {40, 40, 20, 20}, {0, 0, 2, 2}, 3},  // of two prompts
    {16, {64, 24, 24}, {0, 0, 0}, 2},         // back into another's full page
    {16, {40, 34, 34}, {0, 0, 0}, 20},        // and into its last one, and beyond
    {4, {9, 9, 0, 3}, {0, 0, 2, 3}, 11}};     // many pages, and a sequence without any

std::string to_string(const Batch& batch) {
  return fmt::format("{} new keys behind {}, which begin as sequences {} do, {} to a page",
                     batch.N_new, fmt::join(batch.count, ", "), fmt::join(batch.of, ", "),
                     batch.page_keys);
}

std::int64_t pages_of(const Batch& batch, std::int64_t keys) {
  return (keys + batch.page_keys - 1) / batch.page_keys;
}

Tables tables_of(const Batch& batch) {
  Tables tables{batch.page_keys, {}, batch.count, {}};
  std::int64_t pages = 0;
  for (std::size_t b = 0; b < batch.count.size(); ++b) {
    std::vector<std::int64_t>& own = tables.pages.emplace_back();
    for (std::int64_t n = 0; n < pages_of(batch, batch.count[b]); ++n) {
      const auto at = static_cast<std::size_t>(n);
      own.push_back(batch.of[b] == b ? pages++ : tables.pages[batch.of[b]][at]);
    }
  }
  for (std::int64_t n = 0; n < kFree; ++n) tables.free.push_back(pages + n);
  return tables;
}

/// Pages that must be taken; with `each`, if every sequence copies what others name, too.
std::int64_t least_pages(const Batch& batch, const Tables& before, bool each) {
  struct Users {
    std::int64_t writers = 0, readers = 0;
  };
  std::map<std::int64_t, Users> users;
  std::int64_t least = 0;
  for (std::size_t b = 0; b < batch.count.size(); ++b) {
    const std::int64_t keys = batch.count[b];
    least += pages_of(batch, keys + batch.N_new) - pages_of(batch, keys);
    for (std::size_t n = 0; n < before.pages[b].size(); ++n) {
      const bool last = n + 1 == before.pages[b].size();
      const bool writes = last && keys % batch.page_keys != 0;
      Users& of_page = users[before.pages[b][n]];
      ++(writes ? of_page.writers : of_page.readers);
    }
  }
  for (const auto& [page, of_page] : users) {
    const bool keeps = of_page.readers == 0 && of_page.writers > 0;
    const bool shared = of_page.writers + of_page.readers > 1;
    if (shared) least += of_page.writers - (keeps && !each ? 1 : 0);
  }
  return least;
}

/// What is wrong with the tables; empty if nothing.
std::string check_tables(const Batch& batch, const Tables& before, const Tables& after,
                         const std::vector<Copy>& copies) {
  if (after.count != batch.count || after.pages.size() != batch.count.size()) {
    return "the counts, or the number of tables, are no longer those from before";
  }
  std::set<std::int64_t> taken(before.free.begin(), before.free.end());
  for (const std::int64_t page : after.free) taken.erase(page);
  if (taken.size() + after.free.size() != before.free.size()) {
    return "a page in `free` was not there before, or stands there twice";
  }
  std::set<std::int64_t> target;
  for (const Copy& copy : copies) {
    if (!taken.count(copy.to) || !target.insert(copy.to).second) {
      return fmt::format("page {} is copied to page {}: allowed: one taken from `free`, once",
                         copy.from, copy.to);
    }
    if (copy.from < 0 || copy.from >= before.free.front()) {
      return fmt::format("page {} is copied, and holds nothing", copy.from);
    }
  }
  for (std::size_t b = 0; b < batch.count.size(); ++b) {
    const std::int64_t wanted = pages_of(batch, batch.count[b] + batch.N_new);
    if (static_cast<std::int64_t>(after.pages[b].size()) != wanted) {
      return fmt::format("sequence {} has {} pages: allowed: {}", b, after.pages[b].size(), wanted);
    }
    for (const std::int64_t page : after.pages[b]) {
      if (page >= 0 && page < before.free.front() + kFree &&
          !std::count(after.free.begin(), after.free.end(), page))
        continue;
      return fmt::format("sequence {} has page {}, which is in `free`, or nowhere", b, page);
    }
  }
  return {};
}

/// A pool, K or V, in the chapter's memory and here.
class Pool {
 public:
  Pool(const char* name, std::int64_t pages, std::int64_t page_keys)
      : page_keys_(page_keys),
        floats_(static_cast<std::size_t>(pages * kHkv * page_keys * kD), -1.0f),
        buffer_(chapters::ch18_paged().memory(), name, floats_.size() * sizeof(float), 0) {}

  float* row(std::int64_t page, std::int64_t head, std::int64_t key) {
    return floats_.data() + ((page * kHkv + head) * page_keys_ + key % page_keys_) * kD;
  }
  /// Those of a page lie side by side. `from`: as it was before any of the copies.
  void copy(const std::vector<float>& from, const Copy& copy) {
    const std::int64_t floats = kHkv * page_keys_ * kD;
    std::copy_n(from.begin() + copy.from * floats, floats, floats_.begin() + copy.to * floats);
  }
  const std::vector<float>& contents() const { return floats_; }
  float* upload() {
    buffer_.write(floats_.data());
    return buffer_.floats();
  }
  void download() { buffer_.read(floats_.data()); }

 private:
  std::int64_t page_keys_;
  std::vector<float> floats_;
  GuardedBuffer buffer_;
};

/// The number that stands all over a row: of key `key` of the prompt, or new in, sequence b.
float number(std::size_t b, std::int64_t head, std::int64_t key) {
  return static_cast<float>((static_cast<std::int64_t>(b) * kHkv + head) * 1000 + key);
}

GuardedBuffer on_device(const char* name, const void* values, std::size_t bytes, std::size_t each) {
  GuardedBuffer buffer(chapters::ch18_paged().memory(), name, bytes, 0, each);
  buffer.write(values);
  return buffer;
}

/// Copies, then appends. Returns which key is not where it belongs; empty if all are.
std::string check_keys(const Batch& batch, const Tables& before, const Tables& after,
                       const std::vector<Copy>& copies) {
  const auto B = static_cast<std::int64_t>(batch.count.size());
  const std::int64_t pages = before.free.front() + kFree;
  Pool k("k", pages, batch.page_keys), v("v", pages, batch.page_keys);
  std::vector<float> fresh;
  std::int64_t Nk = 0;
  for (std::size_t b = 0; b < batch.count.size(); ++b) {
    Nk = std::max(Nk, batch.count[b] + batch.N_new);
    for (std::int64_t head = 0; head < kHkv; ++head) {
      for (std::int64_t key = 0; key < batch.count[b]; ++key) {
        if (batch.of[b] != b) continue;  // its prompt stands there already
        const std::int64_t page = before.pages[b][static_cast<std::size_t>(key / batch.page_keys)];
        std::fill_n(k.row(page, head, key), kD, number(b, head, key));
        std::fill_n(v.row(page, head, key), kD, -number(b, head, key));
      }
      for (std::int64_t key = batch.count[b]; key < batch.count[b] + batch.N_new; ++key) {
        fresh.insert(fresh.end(), kD, number(b, head, key));
      }
    }
  }
  for (Pool* pool : {&k, &v}) {
    const std::vector<float> old = pool->contents();
    for (const Copy& copy : copies) pool->copy(old, copy);
  }

  const std::int64_t columns = pages_of(batch, Nk);
  std::vector<std::int64_t> table(static_cast<std::size_t>(B * columns), -1);
  for (std::size_t b = 0; b < batch.count.size(); ++b) {
    std::copy(after.pages[b].begin(), after.pages[b].end(),
              table.begin() + static_cast<std::int64_t>(b) * columns);
  }
  std::vector<float> negative = fresh;
  for (float& x : negative) x = -x;
  const GuardedBuffer new_k = on_device("new_k", fresh.data(), fresh.size() * 4, 4),
                      new_v = on_device("new_v", negative.data(), negative.size() * 4, 4),
                      counts =
                          on_device("key_count", batch.count.data(), batch.count.size() * 8, 8),
                      entries = on_device("block_table", table.data(), table.size() * 8, 8);
  const auto integers = [](const std::vector<std::int64_t>& host, const GuardedBuffer& device) {
    return Integers{host, static_cast<const std::int64_t*>(device.data())};
  };
  try {
    append(chapters::ch18_paged(), {.B = B,
                                    .Hkv = kHkv,
                                    .N_new = batch.N_new,
                                    .Nk = Nk,
                                    .d = kD,
                                    .new_k = new_k.floats(),
                                    .new_v = new_v.floats(),
                                    .k = k.upload(),
                                    .v = v.upload(),
                                    .key_count = integers(batch.count, counts),
                                    .page_keys = batch.page_keys,
                                    .pages = pages,
                                    .block_table = integers(table, entries)});
  } catch (const Error& error) {
    return fmt::format("append refuses: {}", error.what());
  }
  k.download();
  v.download();

  for (std::size_t b = 0; b < batch.count.size(); ++b) {
    for (std::int64_t key = 0; key < batch.count[b] + batch.N_new; ++key) {
      const std::int64_t page = after.pages[b][static_cast<std::size_t>(key / batch.page_keys)];
      const std::size_t writer = key < batch.count[b] ? batch.of[b] : b;
      for (std::int64_t head = 0; head < kHkv; ++head) {
        const float expected = number(writer, head, key);
        if (*k.row(page, head, key) == expected && *v.row(page, head, key) == -expected) continue;
        return fmt::format("key {} of sequence {} is not in its page {}", key, b, page);
      }
    }
  }
  return {};
}

/// What is wrong with one batch; empty if nothing.
std::string check(const Batch& batch) {
  const Tables before = tables_of(batch);
  Tables after = before;
  const std::vector<Copy> copies = make_room(after, batch.N_new);
  std::string wrong = check_tables(batch, before, after, copies);
  if (wrong.empty()) wrong = check_keys(batch, before, after, copies);
  if (!wrong.empty()) return wrong;
  const auto taken = static_cast<std::int64_t>(before.free.size() - after.free.size());
  verify::hold_to(verify::Medal::kSilver, "pages taken", taken, least_pages(batch, before, true));
  verify::hold_to(verify::Medal::kGold, "pages taken", taken, least_pages(batch, before, false));
  return {};
}

int check_all() {
  std::vector<verify::Goal> goals;
  for (const Batch& batch : kBatches) {
    const std::string wrong = check(batch);
    if (!wrong.empty()) {
      fmt::print("18_exercise make_room: WRONG\n\n  {}\n  {}\n", to_string(batch), wrong);
      return 1;
    }
    verify::add(goals, verify::take_uses(), to_string(batch));
  }
  fmt::print("18_exercise make_room: right in all {} batches{}\n{}", std::size(kBatches),
             verify::reached(goals) ? "" : ", but the goal is not met;", verify::describe(goals));
  return verify::reached(goals) ? 0 : 1;
}

}  // namespace
}  // namespace attn::decoding::paged

int main() {
  try {
    return attn::decoding::paged::check_all();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
