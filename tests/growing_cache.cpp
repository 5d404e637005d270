// SPDX-License-Identifier: MIT
//
// Decoding as a model does it: append puts the keys and values of new tokens into a cache, and the
// chapter's last step computes the tokens' rows with what the cache then holds, compared with the
// oracle, which is given the cache as it should be. In chapter 17 it is one array, in chapter 18 a
// pool of pages. The battery knows no append. Exit status: 0 right, 1 wrong.
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <vector>

#include "chapters/chapters.hpp"
#include "common/append.hpp"
#include "common/run/pages.hpp"
#include "common/run/run.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"

namespace attn::testing {
namespace {

constexpr std::int64_t kB = 3, kHkv = 2, kNk = 45, kD = 40;

GuardedBuffer on_device(const Chapter& chapter, const char* name, const void* values,
                        std::size_t bytes, std::size_t each) {
  GuardedBuffer buffer(chapter.memory(), name, bytes, 0, each);
  buffer.write(values);
  return buffer;
}
GuardedBuffer on_device(const Chapter& chapter, const char* name,
                        const std::vector<float>& values) {
  return on_device(chapter, name, values.data(), values.size() * sizeof(float), sizeof(float));
}

/// Numbers on either side.
struct Numbers {
  Numbers(const Chapter& chapter, const char* name, const std::vector<std::int64_t>& values)
      : host(values), device(on_device(chapter, name, values.data(), values.size() * 8, 8)) {}
  operator Integers() const { return {host, static_cast<const std::int64_t*>(device.data())}; }

  const std::vector<std::int64_t>& host;
  GuardedBuffer device;
};

/// K or V in the chapter's memory, as it lies there: of a pool every valid key has its row.
class Cache {
 public:
  Cache(const Chapter& chapter, const char* name, const Problem& problem,
        const std::vector<float>& rows)
      : problem_(problem), buffer_(on_device(chapter, name, laid_out(rows))) {}

  float* floats() const { return buffer_.floats(); }
  /// What it holds, as rows [B, Hkv, Nk, d].
  std::vector<float> rows() const {
    std::vector<float> all(buffer_.bytes() / sizeof(float));
    buffer_.read(all.data());
    if (problem_.extras.page_keys == 0) return all;
    std::vector<float> rows(problem_.k.size(), -99.0f);
    for_each_paged_row(problem_.shape, problem_.extras, [&](std::int64_t to, std::int64_t from) {
      std::copy_n(all.begin() + from * kD, kD, rows.begin() + to * kD);
    });
    return rows;
  }

 private:
  std::vector<float> laid_out(const std::vector<float>& rows) const {
    const auto& extras = problem_.extras;
    if (extras.page_keys == 0) return rows;
    const std::int64_t floats = extras.pages * kHkv * extras.page_keys * kD;
    std::vector<float> pool(static_cast<std::size_t>(floats), -99.0f);
    for_each_paged_row(problem_.shape, extras, [&](std::int64_t from, std::int64_t to) {
      std::copy_n(rows.begin() + from * kD, kD, pool.begin() + to * kD);
    });
    return pool;
  }

  const Problem& problem_;
  GuardedBuffer buffer_;
};

/// One append and the decode after it, of a problem whose new keys are the last valid ones.
/// problem.k and v hold all keys; `before`: how many were there already.
bool step_is_right(const Chapter& chapter, const Problem& problem,
                   const std::vector<std::int64_t>& before) {
  const std::int64_t N_new = problem.shape.Nq;
  const std::vector<std::int64_t>& begin = problem.extras.key_begin;
  // The cache without the new keys, and these apart.
  Problem cache = problem;
  std::vector<float> new_k, new_v;
  for (std::int64_t head = 0; head < kB * kHkv; ++head) {
    const auto b = static_cast<std::size_t>(head / kHkv);
    const std::int64_t at = (head * kNk + begin[b] + before[b]) * kD;
    for (const auto& [all, fresh] : {std::pair(&cache.k, &new_k), {&cache.v, &new_v}}) {
      fresh->insert(fresh->end(), all->begin() + at, all->begin() + at + N_new * kD);
      std::fill_n(all->begin() + at, N_new * kD, -99.0f);
    }
  }
  const Cache k(chapter, "k", problem, cache.k), v(chapter, "v", problem, cache.v);
  const GuardedBuffer gNewK = on_device(chapter, "new_k", new_k),
                      gNewV = on_device(chapter, "new_v", new_v);
  const Numbers begins(chapter, "key_begin", begin), counts(chapter, "key_count", before),
      table(chapter, "block_table", problem.extras.block_table);
  const std::vector<std::int64_t> after = append(chapter, {.B = kB,
                                                           .Hkv = kHkv,
                                                           .N_new = N_new,
                                                           .Nk = kNk,
                                                           .d = kD,
                                                           .new_k = gNewK.floats(),
                                                           .new_v = gNewV.floats(),
                                                           .k = k.floats(),
                                                           .v = v.floats(),
                                                           .key_begin = begins,
                                                           .key_count = counts,
                                                           .page_keys = problem.extras.page_keys,
                                                           .pages = problem.extras.pages,
                                                           .block_table = table});
  if (after != problem.extras.key_count) {
    fmt::print("append returns other counts\n");
    return false;
  }
  cache.k = k.rows();
  cache.v = v.rows();
  const verify::Verdict verdict =
      verify::judge(verify::truth_of(problem, Pass::kForward),
                    run_forward(chapter, find_step(chapter, ""), cache));
  fmt::print("{}", verdict.text);
  return verdict.passed;
}

/// `page_keys`: 0 for a cache that is one array.
bool all_right(const Chapter& chapter, std::int64_t page_keys) {
  bool good = true;
  std::vector<std::int64_t> count{0, 5, 31};
  for (const std::int64_t N_new : {1, 1, 4, 1, 2}) {  // tokens of a step
    const std::vector<std::int64_t> before = count;
    for (std::int64_t& keys : count) keys += N_new;
    verify::InputSpec spec{.shape = {.B = kB, .H = 6, .Hkv = kHkv, .Nq = N_new, .Nk = kNk, .d = kD},
                           .mask = Mask::kCausal,
                           .scale = default_scale(kD),
                           .seed = 20260117 + static_cast<std::uint64_t>(count[0]),
                           .features = {Feature::kGroupedHeads, Feature::kKeyCounts},
                           .key_begin = {3, 0, 2},
                           .key_count = count,
                           .page_keys = page_keys};
    if (page_keys > 0) spec.features.add(Feature::kPages);
    if (step_is_right(chapter, verify::make_problem(spec, Pass::kForward), before)) continue;
    fmt::print("{}: {} new tokens behind {} keys: wrong\n", chapter.id, N_new, before[0]);
    good = false;
  }
  return good;
}

}  // namespace
}  // namespace attn::testing

int main() {
  try {
    using namespace attn;
    const bool arrays = testing::all_right(chapters::ch17_decode(), 0);
    const bool pages = testing::all_right(chapters::ch18_paged(), 8);
    return arrays && pages ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
