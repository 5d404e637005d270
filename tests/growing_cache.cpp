// SPDX-License-Identifier: MIT
//
// Decoding as a model does it: chapter 17's append puts the keys and values of new tokens into a
// cache, and its last step computes the tokens' rows with what the cache then holds, compared with
// the oracle, which is given the cache as it should be. The battery knows no append. Exit status: 0
// right, 1 wrong.
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <vector>

#include "chapters/chapters.hpp"
#include "common/append.hpp"
#include "common/run/run.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"

namespace attn::testing {
namespace {

constexpr std::int64_t kB = 3, kHkv = 2, kNk = 45, kD = 40;

GuardedBuffer on_device(const char* name, const void* values, std::size_t bytes, std::size_t each) {
  GuardedBuffer buffer(chapters::ch17_decode().memory(), name, bytes, 0, each);
  buffer.write(values);
  return buffer;
}
GuardedBuffer on_device(const char* name, const std::vector<float>& values) {
  return on_device(name, values.data(), values.size() * sizeof(float), sizeof(float));
}
GuardedBuffer on_device(const char* name, const std::vector<std::int64_t>& values) {
  return on_device(name, values.data(), values.size() * sizeof(std::int64_t), sizeof(std::int64_t));
}

/// One append and the decode after it, of a problem whose new keys are the last valid ones.
/// problem.k and v hold all keys; `before`: how many were there already.
bool step_is_right(const Problem& problem, const std::vector<std::int64_t>& before) {
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
  const GuardedBuffer k = on_device("k", cache.k), v = on_device("v", cache.v);
  const GuardedBuffer gNewK = on_device("new_k", new_k), gNewV = on_device("new_v", new_v);
  const GuardedBuffer begins = on_device("key_begin", begin),
                      counts = on_device("key_count", before);
  const std::vector<std::int64_t> after =
      append(chapters::ch17_decode(),
             {.B = kB,
              .Hkv = kHkv,
              .N_new = N_new,
              .Nk = kNk,
              .d = kD,
              .new_k = gNewK.floats(),
              .new_v = gNewV.floats(),
              .k = k.floats(),
              .v = v.floats(),
              .key_begin = {begin, static_cast<const std::int64_t*>(begins.data())},
              .key_count = {before, static_cast<const std::int64_t*>(counts.data())}});
  if (after != problem.extras.key_count) {
    fmt::print("append returns other counts\n");
    return false;
  }
  k.read(cache.k.data());
  v.read(cache.v.data());
  const Chapter& chapter = chapters::ch17_decode();
  const verify::Verdict verdict =
      verify::judge(verify::truth_of(problem, Pass::kForward),
                    run_forward(chapter, find_step(chapter, ""), cache));
  fmt::print("{}", verdict.text);
  return verdict.passed;
}

bool all_right() {
  bool good = true;
  std::vector<std::int64_t> count{0, 5, 31};
  for (const std::int64_t N_new : {1, 1, 4, 1, 2}) {  // tokens of a step
    const std::vector<std::int64_t> before = count;
    for (std::int64_t& keys : count) keys += N_new;
    const Problem problem = verify::make_problem(
        {.shape = {.B = kB, .H = 6, .Hkv = kHkv, .Nq = N_new, .Nk = kNk, .d = kD},
         .mask = Mask::kCausal,
         .scale = default_scale(kD),
         .seed = 20260117 + static_cast<std::uint64_t>(count[0]),
         .features = {Feature::kGroupedHeads, Feature::kKeyCounts},
         .key_begin = {3, 0, 2},
         .key_count = count},
        Pass::kForward);
    if (step_is_right(problem, before)) continue;
    fmt::print("{} new tokens behind {} keys: wrong\n", N_new, before[0]);
    good = false;
  }
  return good;
}

}  // namespace
}  // namespace attn::testing

int main() {
  try {
    return attn::testing::all_right() ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
