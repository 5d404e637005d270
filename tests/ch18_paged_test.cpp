// SPDX-License-Identifier: MIT
#include <cstring>
#include <string>
#include <vector>

#include "chapters/chapters.hpp"
#include "common/append.hpp"
#include "common/run/run.hpp"
#include "common/verify/inputs.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

constexpr std::uint64_t kSeed = 20260118;

TEST_CASE("18_paged: forward is right on the case table") {
  require_right(chapters::ch18_paged(), Pass::kForward);
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST_CASE("18_paged: pages that a window has left can be given away") {
  if (device_is_missing()) return;
  // A window of 40 at the end of 200 keys; then 128 keys, 8 pages, are no longer valid. What stands
  // in pages of nobody, and what entries without a valid key name, is NaN and no page.
  constexpr std::int64_t kPage = 16, kGone = 128;
  verify::InputSpec spec{.shape = make_shape(1, 2, 1, 200, 32),
                         .mask = {.before = 39, .after = 0},
                         .scale = default_scale(32),
                         .seed = kSeed,
                         .features = {Feature::kWindows, Feature::kKeyCounts, Feature::kPages},
                         .key_begin = {0},
                         .key_count = {200},
                         .page_keys = kPage};
  const Chapter& paged = chapters::ch18_paged();
  Problem problem = verify::make_problem(spec, Pass::kForward);
  const Outputs all = run_forward(paged, paged.steps.back(), problem);
  problem.extras.key_begin = {kGone};
  problem.extras.key_count = {200 - kGone};
  for (std::size_t entry = 0; entry < kGone / kPage; ++entry) {
    problem.extras.block_table[entry] = -1;
  }
  const Outputs left = run_forward(paged, paged.steps.back(), problem);
  CHECK(same_bits(left.o, all.o));
  CHECK(same_bits(left.lse, all.lse));
}

// ---- Append ------------------------------------------------------------------------------------

/// Pools of 7 pages with 4 keys each in the chapter's memory, two sequences with room for 10 keys
/// in them, and new rows. Sequence 0 has keys 1 to 4, sequence 1 keys 0 to 6.
struct Pool {
  static constexpr std::int64_t B = 2, Hkv = 3, Nk = 10, d = 33, kPageKeys = 4, kPages = 7;

  explicit Pool(std::int64_t new_keys)
      : N_new(new_keys),
        before(static_cast<std::size_t>(2 * kPages * Hkv * kPageKeys * d), -1.0f),
        k(array("k", kPages * Hkv * kPageKeys * d)),
        v(array("v", kPages * Hkv * kPageKeys * d)),
        new_k(array("new_k", B * Hkv * N_new * d)),
        new_v(array("new_v", B * Hkv * N_new * d)),
        begins(integers("key_begin", begin)),
        counts(integers("key_count", count)),
        entries(integers("block_table", table)) {
    for (std::size_t n = 0; n < fresh.size(); ++n) fresh[n] = static_cast<float>(n);
    k.write(before.data());
    v.write(before.data());
    new_k.write(fresh.data());
    new_v.write(fresh.data() + fresh.size() / 2);
  }
  AppendArgs args() const {
    const auto device = [](const GuardedBuffer& buffer) {
      return static_cast<const std::int64_t*>(buffer.data());
    };
    return {.B = B,
            .Hkv = Hkv,
            .N_new = N_new,
            .Nk = Nk,
            .d = d,
            .new_k = new_k.floats(),
            .new_v = new_v.floats(),
            .k = k.floats(),
            .v = v.floats(),
            .key_begin = {begin, device(begins)},
            .key_count = {count, device(counts)},
            .page_keys = kPageKeys,
            .pages = kPages,
            .block_table = {table, device(entries)}};
  }
  static GuardedBuffer array(const char* name, std::int64_t floats) {
    return {chapters::ch18_paged().memory(), name, static_cast<std::size_t>(floats) * sizeof(float),
            0};
  }
  static GuardedBuffer integers(const char* name, const std::vector<std::int64_t>& values) {
    GuardedBuffer buffer(chapters::ch18_paged().memory(), name, values.size() * 8, 0, 8);
    buffer.write(values.data());
    return buffer;
  }
  /// K, and behind it V.
  std::vector<float> contents() const {
    std::vector<float> result(before.size());
    k.read(result.data());
    v.read(result.data() + result.size() / 2);
    return result;
  }
  /// The same with these new rows where they belong.
  std::vector<float> expected() const {
    std::vector<float> result = before;
    std::size_t next = 0;
    for (const std::int64_t half : {0, 1}) {
      for (std::int64_t head = 0; head < B * Hkv; ++head) {
        const std::int64_t b = head / Hkv;
        for (std::int64_t n = 0; n < N_new; ++n) {
          const std::int64_t key = (b == 0 ? 1 + 4 : 0 + 7) + n;
          const std::int64_t page = table[static_cast<std::size_t>(b * 3 + key / kPageKeys)];
          const std::int64_t row =
              ((half * kPages + page) * Hkv + head % Hkv) * kPageKeys + key % kPageKeys;
          for (std::int64_t c = 0; c < d; ++c) {
            result[static_cast<std::size_t>(row * d + c)] = fresh[next++];
          }
        }
      }
    }
    return result;
  }

  std::int64_t N_new;
  std::vector<float> before;
  std::vector<float> fresh = std::vector<float>(static_cast<std::size_t>(2 * B * Hkv * N_new * d));
  std::vector<std::int64_t> begin = {1, 0}, count = {4, 7};
  std::vector<std::int64_t> table = {5, 2, -1, 0, 6, 3};  // [B, 3]
  GuardedBuffer k, v, new_k, new_v, begins, counts, entries;
};

TEST_CASE("18_paged: append writes behind the valid keys of each sequence, and nothing else") {
  if (device_is_missing()) return;
  for (const std::int64_t N_new : {0, 1, 3}) {
    INFO(N_new << " new keys");
    const Pool pool(N_new);
    const std::vector<std::int64_t> counts = append(chapters::ch18_paged(), pool.args());
    CHECK(counts == std::vector<std::int64_t>{4 + N_new, 7 + N_new});
    CHECK(pool.contents() == pool.expected());
    for (const GuardedBuffer* buffer : {&pool.k, &pool.v, &pool.new_k, &pool.new_v}) {
      CHECK(buffer->check().empty());
    }
  }
}

TEST_CASE("18_paged: append refuses what it cannot do in one line, before it writes") {
  if (device_is_missing()) return;
  const auto why = [](const Pool& pool, const AppendArgs& args) {
    std::string message;
    try {
      append(chapters::ch18_paged(), args);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kBadArgument);
      message = error.what();
    }
    CHECK(pool.contents() == pool.before);
    return message;
  };
  const Pool four(4), three(3);
  CHECK(why(four, four.args()) ==
        "key_count[1] = 7: from key_begin = 0 on there is room for 10 keys, with 4 new ones");
  const auto with_table = [&](const std::vector<std::int64_t>& table) {
    AppendArgs args = three.args();
    args.block_table.host = table;
    return why(three, args);
  };
  // Sequence 0 writes its entry 1, sequence 1 its entries 1 and 2.
  CHECK(with_table({5, 2, -1, 0, 6, 7}) == "block_table[1][2] = 7: allowed: 0 to pages - 1 = 6");
  CHECK(with_table({5, -1, -1, 0, 6, 3}) == "block_table[0][1] = -1: allowed: 0 to pages - 1 = 6");
  const std::string copy =
      ", too; allowed: a page to be written is of one sequence alone, "
      "copy it first";
  CHECK(with_table({5, 6, -1, 0, 6, 3}) == "block_table[0][1] = 6: it is block_table[1][1]" + copy);
  CHECK(with_table({3, 2, -1, 0, 6, 3}) == "block_table[1][2] = 3: it is block_table[0][0]" + copy);
  CHECK(with_table({5, 2, -1, 0, 6, 6}) == "block_table[1][1] = 6: it is block_table[1][2]" + copy);
  CHECK(with_table({5, 2, 0, 6, 3}) ==
        "block_table has 5 numbers: allowed: B * 3 pages for Nk = 10 keys");
  AppendArgs args = three.args();
  args.block_table.device = nullptr;
  CHECK(why(three, args) == "block_table = null on the device");
  args = three.args();
  args.page_keys = -1;
  CHECK(why(three, args) == "page_keys = -1: allowed: 0 or more");
  // A full page of a common prefix is only read; what an entry without a key names does not count.
  const std::vector<std::int64_t> prefix{0, 2, 6, 0, 6, 3};
  args = three.args();
  args.block_table.host = prefix;
  CHECK_NOTHROW(append(chapters::ch18_paged(), args));
}

}  // namespace
}  // namespace attn::testing
