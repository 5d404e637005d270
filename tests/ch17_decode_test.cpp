// SPDX-License-Identifier: MIT
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "chapters/17_decode/decode.hpp"
#include "chapters/chapters.hpp"
#include "common/append.hpp"
#include "common/device/cache.hpp"
#include "common/device/splits.hpp"
#include "common/reference/extra_values.hpp"
#include "common/run/run.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

constexpr std::uint64_t kSeed = 20260117;

TEST_CASE("17_decode: forward is right on the case table") {
  require_right(chapters::ch17_decode(), Pass::kForward);
}

TEST_CASE("17_decode: as many runs as fill the GPU twice, and no more than there are tiles") {
  using decoding::splits_for;
  CHECK(splits_for(8, 132, 128) == 32);    // Llama 3 8B on an H100: 256 blocks of 264
  CHECK(splits_for(32, 132, 128) == 8);    // without groups
  CHECK(splits_for(8, 132, 20) == 20);     // 640 keys
  CHECK(splits_for(200, 132, 128) == 1);   // a second one would make a third wave
  CHECK(splits_for(1000, 132, 128) == 1);  // enough blocks as they are
  CHECK(splits_for(8, 40, 128) == 10);     // a T4
  CHECK(splits_for(8, 132, 0) == 1);       // the merge still writes O = 0
  CHECK(splits_for(0, 132, 128) >= 1);
  CHECK(splits_for(64, 100'000, 128) == splits_for(64, decoding::kMostMultiprocessors, 128));
  bool right = true;
  for (std::int64_t blocks = 1; blocks < 600; ++blocks) {
    for (const int multiprocessors : {1, 40, 132, 256}) {
      for (const std::int64_t tiles : {0, 1, 7, 32, 33, 4000}) {
        const int splits = splits_for(blocks, multiprocessors, tiles);
        right = right && splits >= 1 && splits <= decoding::kMaxSplits;
        right = right && (splits == 1 || splits <= tiles);
        right = right && (splits == 1 || splits * blocks <= 2 * multiprocessors);
        // The workspace is made for the largest GPU and all keys.
        right = right && splits <= splits_for(blocks, decoding::kMostMultiprocessors, tiles + 5);
      }
    }
  }
  CHECK(right);
}

TEST_CASE("17_decode: runs have all tiles, each once, and differ by one") {
  for (const std::int64_t tiles : {0, 1, 7, 31, 32, 33, 1000}) {
    for (int splits = 1; splits <= decoding::kMaxSplits; ++splits) {
      INFO(tiles << " tiles, " << splits << " runs");
      std::int64_t end = 0;
      bool right = true;
      for (int split = 0; split < splits; ++split) {
        const Range run = decoding::run_of(tiles, split, splits);
        right = right && run.begin == end && run.end >= run.begin;
        right = right && (run.size() == tiles / splits || run.size() == tiles / splits + 1);
        end = run.end;
      }
      CHECK(right);
      CHECK(end == tiles);
    }
  }
}

/// Whether the tiles of a request are those in which the oracle lets some token see a key.
void check_tiles(const Shape& shape, const Mask& mask,
                 const reference::ExtraValues<double>& values) {
  const Extras extras = values.on_host();
  const decoding::Request request = decoding::request_of(
      ForwardArgs{.shape = shape, .mask = mask, .scale = 1.0f, .extras = extras}, true);
  const reference::Visibility visibility(mask, values);
  bool right = true;
  std::vector<std::int64_t> keys;
  for (std::int64_t b = 0; b < shape.B; ++b) {
    const reference::HeadRows head = reference::rows_of_head(shape, values, b, 0);
    const Range valid = request.valid(b);
    const decoding::SeenKeys seen = request.seen(valid);
    for (std::int64_t i0 = 0; i0 < shape.Nq; ++i0) {
      for (const std::int64_t i1 : {i0 + 1, std::min(i0 + 3, shape.Nq), shape.Nq}) {
        std::vector<std::int64_t> expected, got;
        for (std::int64_t i = i0; i < i1; ++i) {
          visibility.keys_of(head, i, keys);
          right = right && keys.empty() == seen.sees_none(i);
          for (const std::int64_t j : keys) expected.push_back((j - valid.begin) / decoding::kBc);
        }
        std::sort(expected.begin(), expected.end());
        expected.erase(std::unique(expected.begin(), expected.end()), expected.end());
        const decoding::SeenTiles tiles = seen.tiles({i0, i1});
        for (std::int64_t n = 0; n < tiles.count(); ++n) got.push_back(tiles.tile(n));
        right = right && got == expected;
      }
    }
  }
  INFO(to_string(shape) << ", " << to_string(mask) << ", " << values.sink_keys << " sink keys");
  CHECK(right);
}

TEST_CASE("17_decode: the tiles of a sequence are those that one of its tokens sees") {
  const Mask masks[] = {Mask::kFull,
                        Mask::kCausal,
                        Mask::kCausalTopLeft,
                        {.before = 31, .after = 0},
                        {.before = 70, .after = 3},
                        {.before = 0, .after = 0, .top_left = true},
                        {.before = 2, .after = kUnbounded}};
  for (const Mask& mask : masks) {
    for (const std::int64_t sinks :
         {std::int64_t{0}, std::int64_t{1}, std::int64_t{33}, kUnbounded}) {
      for (const auto& [Nq, Nk] :
           {std::pair<std::int64_t, std::int64_t>{1, 200}, {9, 170}, {50, 7}}) {
        reference::ExtraValues<double> values;
        values.sink_keys = sinks;
        const Shape shape = make_shape(2, 1, Nq, Nk, 1);
        check_tiles(shape, mask, values);
        values.key_begin = {3, Nk};
        check_tiles(shape, mask, values);
        values.key_begin = {5, 0};
        values.key_count = {Nk - 6, 2};
        check_tiles(shape, mask, values);
        values.key_begin = {};
        check_tiles(shape, mask, values);
      }
    }
  }
}

TEST_CASE("17_decode: a workspace has what every run leaves of every row") {
  const Chapter& chapter = chapters::ch17_decode();
  const Shape shape{.B = 3, .H = 8, .Hkv = 2, .Nq = 5, .Nk = 100, .d = 64};
  const std::size_t one_run = 3 * 8 * 5 * (64 + 2) * sizeof(float);
  CHECK(decoding::partial_bytes(shape, 7) == 7 * one_run);
  const auto bytes = [&](std::string_view step, const Shape& of) {
    return find_step(chapter, step).forward_workspace_bytes(of);
  };
  CHECK(bytes("step1_one_query", shape) == 0);
  for (const Step& step : chapter.steps.subspan(1)) {  // 4 tiles of keys
    CHECK(step.forward_workspace_bytes(shape) == 4 * one_run);
    CHECK(step.forward_workspace_bytes(make_shape(0, 2, 5, 5, 8)) == 0);
    CHECK(step.forward_workspace_bytes(make_shape(2, 0, 5, 5, 8)) == 0);
  }
  CHECK(chapter.twin->forward_workspace_bytes(shape) == 4 * one_run);
  // A prompt has blocks enough: one run, which leaves O and two numbers more for a row.
  const Shape prompt = make_shape(1, 32, 8192, 8192, 128);
  CHECK(bytes("step4_cache", prompt) == decoding::partial_bytes(prompt, 1));
}

/// A problem with everything that the chapter takes, and rows of two tiles.
Problem with_everything(std::int64_t Nq, std::int64_t Nk) {
  return verify::make_problem({.shape = {.B = 2, .H = 6, .Hkv = 2, .Nq = Nq, .Nk = Nk, .d = 40},
                               .mask = {.before = 90, .after = 1},
                               .scale = default_scale(40),
                               .kind = verify::InputKind::kHiddenPoison,
                               .seed = kSeed,
                               .features = {Feature::kGroupedHeads, Feature::kWindows,
                                            Feature::kSinkKeys, Feature::kKeyCounts},
                               .sink_keys = 3,
                               .key_begin = {2, Nk / 3},
                               .key_count = {Nk - 5, Nk / 4}},
                              Pass::kForward);
}

/// The last step with so many runs in place of its own number.
template <int kSplits>
constexpr Step kWithSplits{
    .id = "splits",
    .idea = "",
    .forward = [](const ForwardArgs& args) { decoding::forward_with_splits(args, kSplits); },
    .forward_workspace_bytes =
        [](const Shape& shape) { return decoding::partial_bytes(shape, kSplits); }};

template <int... kLess>
void check_splits(const Problem& problem, std::integer_sequence<int, kLess...>) {
  const verify::Truth truth = verify::truth_of(problem, Pass::kForward);
  const auto check = [&](const Step& step, int splits) {
    const verify::Verdict verdict =
        verify::judge(truth, run_forward(chapters::ch17_decode(), step, problem));
    INFO(splits << " runs\n" << verdict.text);
    CHECK(verdict.passed);
  };
  (check(kWithSplits<kLess + 1>, kLess + 1), ...);
}

TEST_CASE("17_decode: any number of runs gives the same, more than there are tiles too") {
  if (device_is_missing()) return;
  check_splits(with_everything(7, 300), std::make_integer_sequence<int, 17>());
  check_splits(with_everything(1, 40), std::make_integer_sequence<int, 17>());
  // One row of 13 tiles, and none of any.
  const auto plain = [](std::int64_t Nk, const Mask& mask) {
    return verify::make_problem({.shape = make_shape(1, 2, 1, Nk, 128),
                                 .mask = mask,
                                 .scale = default_scale(128),
                                 .seed = kSeed},
                                Pass::kForward);
  };
  check_splits(plain(400, Mask::kFull), std::make_integer_sequence<int, 17>());
  check_splits(plain(0, Mask::kFull), std::integer_sequence<int, 0, 4>());
}

TEST_CASE("17_decode: runs are merged in any order") {
  if (device_is_missing()) return;
  // 12 runs of a tile each, in every one of which the maximum is another.
  constexpr std::int64_t kTiles = 12, d = 32;
  Problem problem = verify::make_problem({.shape = make_shape(1, 1, 1, kTiles * decoding::kBc, d),
                                          .scale = default_scale(d),
                                          .kind = verify::InputKind::kRising,
                                          .seed = kSeed},
                                         Pass::kForward);
  const verify::Truth truth = verify::truth_of(problem, Pass::kForward);
  const auto check = [&] {
    const verify::Verdict verdict =
        verify::judge(truth, run_forward(chapters::ch17_decode(), kWithSplits<kTiles>, problem));
    INFO(verdict.text);
    CHECK(verdict.passed);
  };
  check();
  for (const std::int64_t shift : {1, 5, 11}) {  // tiles to the left, then all backwards
    for (std::vector<float>* array : {&problem.k, &problem.v}) {
      std::rotate(array->begin(), array->begin() + shift * decoding::kBc * d, array->end());
    }
    check();
  }
  for (std::vector<float>* array : {&problem.k, &problem.v}) {
    for (std::int64_t tile = 0; tile < kTiles / 2; ++tile) {
      std::swap_ranges(array->begin() + tile * decoding::kBc * d,
                       array->begin() + (tile + 1) * decoding::kBc * d,
                       array->begin() + (kTiles - 1 - tile) * decoding::kBc * d);
    }
  }
  check();
}

TEST_CASE("17_decode: a number of runs, or a workspace, that does not do is refused") {
  ForwardArgs args{.shape = make_shape(1, 1, 1, 8, 8), .scale = 1.0f};
  const auto why = [&](int splits) {
    try {
      decoding::forward_with_splits(args, splits);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(why(0) == "splits = 0: allowed: 1 to 32");
  CHECK(why(33) == "splits = 33: allowed: 1 to 32");
  args.workspace_bytes = 79;
  CHECK(why(2) == "workspace_bytes = 79: 2 splits take 80");
}

// ---- The cache ---------------------------------------------------------------------------------

/// A cache in the chapter's memory, and new rows for it.
struct Cache {
  static constexpr std::int64_t B = 2, Hkv = 3, Nk = 10, d = 33;

  explicit Cache(std::int64_t new_keys)
      : N_new(new_keys),
        before(static_cast<std::size_t>(2 * B * Hkv * Nk * d), -1.0f),
        k(array("k", B * Hkv * Nk * d)),
        v(array("v", B * Hkv * Nk * d)),
        new_k(array("new_k", B * Hkv * N_new * d)),
        new_v(array("new_v", B * Hkv * N_new * d)),
        begins(integers("key_begin", begin)),
        counts(integers("key_count", count)) {
    for (std::size_t n = 0; n < fresh.size(); ++n) fresh[n] = static_cast<float>(n);
    k.write(before.data());
    v.write(before.data());
    new_k.write(fresh.data());
    new_v.write(fresh.data() + fresh.size() / 2);
  }
  AppendArgs args() const {
    return {.B = B,
            .Hkv = Hkv,
            .N_new = N_new,
            .Nk = Nk,
            .d = d,
            .new_k = new_k.floats(),
            .new_v = new_v.floats(),
            .k = k.floats(),
            .v = v.floats(),
            .key_begin = {begin, static_cast<const std::int64_t*>(begins.data())},
            .key_count = {count, static_cast<const std::int64_t*>(counts.data())}};
  }
  static GuardedBuffer array(const char* name, std::int64_t floats) {
    return {chapters::ch17_decode().memory(), name,
            static_cast<std::size_t>(floats) * sizeof(float), 0};
  }
  static GuardedBuffer integers(const char* name, const std::vector<std::int64_t>& values) {
    GuardedBuffer buffer(chapters::ch17_decode().memory(), name, values.size() * 8, 0, 8);
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

  std::int64_t N_new;
  std::vector<float> before;
  std::vector<float> fresh = std::vector<float>(static_cast<std::size_t>(2 * B * Hkv * N_new * d));
  std::vector<std::int64_t> begin = {1, 0}, count = {4, 7};
  GuardedBuffer k, v, new_k, new_v, begins, counts;
};

TEST_CASE("17_decode: append writes behind the valid keys of each sequence, and nothing else") {
  if (device_is_missing()) return;
  for (const std::int64_t N_new : {0, 1, 3}) {
    for (const bool padded : {true, false}) {
      INFO(N_new << " new keys" << (padded ? ", padding before them" : ""));
      const Cache cache(N_new);
      AppendArgs args = cache.args();
      if (!padded) args.key_begin = {};
      const std::vector<std::int64_t> counts = append(chapters::ch17_decode(), args);
      CHECK(counts == std::vector<std::int64_t>{4 + N_new, 7 + N_new});
      std::vector<float> expected = cache.before;
      std::size_t next = 0;
      for (const std::int64_t half : {0, 1}) {
        for (std::int64_t head = 0; head < Cache::B * Cache::Hkv; ++head) {
          const auto b = static_cast<std::size_t>(head / Cache::Hkv);
          const std::int64_t first = (padded ? cache.begin[b] : 0) + cache.count[b];
          for (std::int64_t n = 0; n < N_new * Cache::d; ++n) {
            const std::int64_t row = (half * Cache::B * Cache::Hkv + head) * Cache::Nk + first;
            expected[static_cast<std::size_t>(row * Cache::d + n)] = cache.fresh[next++];
          }
        }
      }
      CHECK(cache.contents() == expected);
      for (const GuardedBuffer* buffer : {&cache.k, &cache.v, &cache.new_k, &cache.new_v}) {
        CHECK(buffer->check().empty());
      }
    }
  }
}

TEST_CASE("17_decode: append refuses what it cannot do in one line, before it writes") {
  if (device_is_missing()) return;
  const auto why = [](const Cache& cache, const AppendArgs& args) {
    std::string message;
    try {
      append(chapters::ch17_decode(), args);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kBadArgument);
      message = error.what();
    }
    CHECK(cache.contents() == cache.before);
    return message;
  };
  const Cache four(4), one(1);
  CHECK(why(four, four.args()) ==
        "key_count[1] = 7: from key_begin = 0 on there is room for 10 keys, with 4 new ones");
  const auto with = [&](auto change) {
    AppendArgs args = one.args();
    change(args);
    return why(one, args);
  };
  CHECK(with([](auto& a) { a.B = -1; }) == "B = -1: allowed: 0 or more");
  CHECK(with([](auto& a) { a.N_new = -1; }) == "N_new = -1: allowed: 0 or more");
  CHECK(with([](auto& a) { a.key_count = {}; }) == "key_count has 0 numbers: allowed: B = 2");
  CHECK(with([](auto& a) { a.key_begin.host = a.key_begin.host.first(1); }) ==
        "key_begin has 1 numbers: allowed: B = 2");
  CHECK(with([](auto& a) { a.key_count.device = nullptr; }) == "key_count = null on the device");
  CHECK(with([](auto& a) { a.new_k = nullptr; }) == "new_k = null");
  CHECK(with([](auto& a) { a.v = nullptr; }) == "v = null");
  CHECK(with([](auto& a) { a.new_v = a.k; }) ==
        "k: it overlaps new_v; allowed: a cache apart from all other arrays");
  CHECK(with([](auto& a) { a.v = a.k; }) ==
        "v: it overlaps k; allowed: a cache apart from all other arrays");
  const std::vector<std::int64_t> negative{-1, 0}, far{10, 0};
  CHECK(with([&](auto& a) { a.key_count.host = negative; }) ==
        "key_count[0] = -1: from key_begin = 1 on there is room for 9 keys, with 1 new ones");
  CHECK(with([&](auto& a) { a.key_begin.host = far; }) ==
        "key_count[0] = 4: from key_begin = 10 on there is room for 0 keys, with 1 new ones");
  const std::vector<std::int64_t> beyond{11, 0};
  CHECK(with([&](auto& a) { a.key_begin.host = beyond; }) ==
        "key_begin[0] = 11: allowed: 0 to Nk = 10");
}

}  // namespace
}  // namespace attn::testing
