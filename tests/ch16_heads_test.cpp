// SPDX-License-Identifier: MIT
#include <algorithm>
#include <bit>
#include <string_view>
#include <vector>

#include "chapters/07_v2_loop_order/v2_loop_order.hpp"
#include "chapters/16_heads/heads.hpp"
#include "chapters/16_heads/request.hpp"
#include "chapters/chapters.hpp"
#include "common/device/group.hpp"
#include "common/reference/extra_values.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

TEST_CASE("16_heads: forward is right on the case table") {
  require_right(chapters::ch16_heads(), Pass::kForward);
}

TEST_CASE("16_heads: backward is right on the case table") {
  require_right(chapters::ch16_heads(), Pass::kBackward);
}

TEST_CASE("16_heads: forward needs no workspace, backward one number per row") {
  const Chapter& chapter = chapters::ch16_heads();
  Shape shape = make_shape(3, 6, 7, 11, 64);
  shape.Hkv = 2;
  const auto check = [&](const Step& step) {
    if (step.forward != nullptr) CHECK(step.forward_workspace_bytes(shape) == 0);
    if (step.backward != nullptr) {
      CHECK(step.backward_workspace_bytes(shape) == std::size_t{3 * 6 * 7} * sizeof(float));
    }
  };
  for (const Step& step : chapter.steps) check(step);
  check(*chapter.twin);
}

TEST_CASE("16_heads: the tiles are chapter 07's, with no more keys than a word has bits") {
  for (int d = 1; d <= 128; ++d) {
    INFO("d=" << d);
    const heads::Tiles tiles = heads::tiles_for(d);
    const v2_loop_order::Tiles before = v2_loop_order::tiles_for(d);
    CHECK(tiles.D == before.D);
    CHECK(tiles.Br == before.Br);
    CHECK(tiles.Bc == std::min(before.Bc, 32));
  }
  for (int d = 129; d <= 256; ++d) {
    CHECK(heads::tiles_for(d).D == 256);
    CHECK(heads::backward_tiles_for(d).D == 256);
  }
}

TEST_CASE("16_heads: every token of every head of a group is one row of one tile") {
  for (const int group : {1, 2, 3, 6, 8}) {
    for (const std::int64_t Nq : {0, 1, 5, 16}) {
      for (const int Br : {4, 16}) {
        INFO("group " << group << ", Nq " << Nq << ", Br " << Br);
        const std::int64_t kv_head = 2;
        std::vector<int> seen(static_cast<std::size_t>(Nq * group), 0);
        bool right = true;
        std::int64_t last_token = 0;
        for (std::int64_t R0 = 0; R0 < Nq * group; R0 += Br) {
          const device::RowTile tile = device::row_tile(R0, Br, Nq, kv_head, group);
          right = right && tile.rows >= 1 && tile.rows <= Br;
          const Range tokens = tile.tokens();
          for (int r = 0; r < tile.rows; ++r) {
            const std::int64_t token = tile.i0 + tile.token(r), head = tile.head(r);
            right = right && token == device::group_row(R0 + r, group).token;
            right = right && head == kv_head * group + device::group_row(R0 + r, group).head;
            right = right && tokens.begin <= token && token < tokens.end && last_token <= token;
            last_token = token;
            ++seen.at(static_cast<std::size_t>(token * group + head - kv_head * group));
          }
        }
        CHECK(right);
        CHECK(std::count(seen.begin(), seen.end(), 1) == Nq * group);
      }
    }
  }
  CHECK(device::row_tile(8, 4, 2, 0, 4).rows <= 0);
}

TEST_CASE("16_heads: a word has the keys of a range that lie in a tile") {
  bool right = true;
  for (std::int64_t begin = 0; begin < 20; ++begin) {
    for (std::int64_t end = 0; end < 20; ++end) {
      for (std::int64_t j0 = 0; j0 < 24; j0 += 8) {
        const auto word = heads::bits_of<unsigned, 8>({begin, end}, j0);
        for (int j = 0; j < 32; ++j) {
          const bool has = j < 8 && begin <= j0 + j && j0 + j < end;
          right = right && ((word >> j & 1u) != 0) == has;
        }
      }
    }
  }
  CHECK(right);
  CHECK(heads::bits_of<unsigned, 32>({0, 99}, 32) == ~0u);
  CHECK(heads::bits_of<std::uint64_t, 64>({0, 99}, 0) == ~std::uint64_t{0});
  CHECK(heads::bits_of<std::uint64_t, 64>({63, 64}, 0) == std::uint64_t{1} << 63);
}

/// Of a problem without arrays over pairs whether a Request says what the oracle does.
void check_places(const Shape& shape, const Mask& mask,
                  const reference::ExtraValues<double>& values) {
  constexpr int kKeys = 8;
  Extras extras = values.on_host();
  for (Integers* integers : {&extras.q_offsets, &extras.k_offsets, &extras.key_begin,
                             &extras.key_count, &extras.ranges}) {
    integers->device = integers->host.data();
  }
  const heads::Request request =
      heads::request_of(ForwardArgs{.shape = shape, .mask = mask, .scale = 1.0f, .extras = extras});
  const reference::Visibility visibility(mask, values);
  std::vector<std::int64_t> keys;
  bool right = true;
  for (std::int64_t b = 0; b < shape.B; ++b) {
    const reference::HeadRows at = reference::rows_of_head(shape, values, b, 0);
    const heads::Sequence sequence = request.sequence(b);
    right = right && sequence.Nq == at.Nq && sequence.Nk == at.Nk;
    for (std::int64_t i = 0; i < at.Nq; ++i) {
      visibility.keys_of(at, i, keys);
      right = right && sequence.own + i == visibility.own_key(at, i);
      const Range some = request.keys_of(sequence, {i, i + 1});
      for (std::int64_t j = 0; j < at.Nk; ++j) {
        const bool sees = std::find(keys.begin(), keys.end(), j) != keys.end();
        const auto word = request.row_keys(sequence, i).word<unsigned, kKeys>(j / kKeys * kKeys);
        right = right && ((word >> j % kKeys & 1u) != 0) == sees;
        const Range rows = request.rows_of(sequence, j / kKeys * kKeys, j / kKeys * kKeys + kKeys);
        right = right && (!sees || (some.begin <= j && j < some.end));
        right = right && (!sees || (rows.begin <= i && i < rows.end));
      }
    }
  }
  INFO(to_string(shape) << ", " << to_string(mask) << ", " << values.sink_keys << " sink keys");
  CHECK(right);
}

TEST_CASE("16_heads: a row sees by its place what the oracle lets it see") {
  const Mask masks[] = {Mask::kFull,
                        Mask::kCausal,
                        Mask::kCausalTopLeft,
                        {.before = 3, .after = 1},
                        {.before = 0, .after = 0, .top_left = true},
                        {.before = kUnbounded, .after = 2}};
  for (const Mask& mask : masks) {
    for (const std::int64_t sinks : {std::int64_t{0}, std::int64_t{3}, kUnbounded}) {
      reference::ExtraValues<double> plain;
      plain.sink_keys = sinks;
      for (const auto& [Nq, Nk] : {std::pair<std::int64_t, std::int64_t>{7, 21}, {21, 7}}) {
        const Shape shape = make_shape(2, 1, Nq, Nk, 1);
        check_places(shape, mask, plain);
        auto padded = plain;
        padded.key_begin = {7, 3};
        check_places(shape, mask, padded);
        padded.key_begin = {2, 0};
        padded.key_count = {4, 7};
        check_places(shape, mask, padded);
        auto ranges = plain;
        ranges.ranges_per_row = 2;
        for (std::int64_t row = 0; row < 2 * Nq; ++row) {
          for (const std::int64_t bound : {row % 3, row % 3 + row % 4, Nk - row % 4, Nk}) {
            ranges.ranges.push_back(bound);
          }
        }
        check_places(shape, mask, ranges);
      }
      auto packed = plain;
      packed.q_offsets = {0, 9, 9, 11};
      packed.k_offsets = {0, 4, 16, 22};
      packed.key_begin = {1, 0, 2};
      check_places(make_shape(3, 1, 9, 12, 1), mask, packed);
    }
  }
}

TEST_CASE("16_heads: a layout is strides, the order [B, H, N, d], or packed sequences") {
  Shape shape = make_shape(2, 6, 5, 7, 16);
  shape.Hkv = 3;
  const heads::Layouts plain = heads::layouts_of(shape, {.d_v = 4});
  CHECK(plain.q.at(1, 2, 3) == ((1 * 6 + 2) * 5 + 3) * 16);
  CHECK(plain.k.at(1, 2, 3) == ((1 * 3 + 2) * 7 + 3) * 16);
  CHECK(plain.v.at(1, 2, 3) == ((1 * 3 + 2) * 7 + 3) * 4);
  CHECK(plain.o.at(1, 2, 3) == ((1 * 6 + 2) * 5 + 3) * 4);
  CHECK(plain.lse.at(1, 2, 3) == (1 * 6 + 2) * 5 + 3);
  const heads::Layouts strided = heads::layouts_of(shape, {.q = {1000, 20, 130}});
  CHECK(strided.q.at(1, 2, 3) == 1000 + 2 * 20 + 3 * 130);
  CHECK(strided.lse.at(1, 2, 3) == plain.lse.at(1, 2, 3));
  Extras packed;
  const std::int64_t q_offsets[] = {0, 5, 8}, k_offsets[] = {0, 7, 9};
  packed.q_offsets.host = q_offsets;
  packed.k_offsets.host = k_offsets;
  const heads::Layouts sequences = heads::layouts_of(shape, packed);
  CHECK(sequences.q.at(1, 2, 6) == (2 * 8 + 6) * 16);
  CHECK(sequences.v.at(1, 2, 6) == (2 * 9 + 6) * 16);
  CHECK(sequences.lse.at(1, 2, 6) == 2 * 8 + 6);
}

TEST_CASE("16_heads: a step refuses by name what only later steps take") {
  const Chapter& chapter = chapters::ch16_heads();
  Shape shape = make_shape(1, 6, 4, 4, 8);
  shape.Hkv = 2;
  const auto why = [&](std::string_view step, const Extras& extras) {
    return why_unsupported(Element::kFloat32, shape, {.before = 2}, extras,
                           support_of(chapter, find_step(chapter, step)));
  };
  for (const Step& step : chapter.steps) CHECK(why(step.id, {}).empty());
  CHECK(why("step2_pack", {.d_v = 4}) ==
        "d_v = 4: d = 8; this step does not take rows of V of another length");
  CHECK(why("step1_groups", {.q = {1, 1, 1}}) == "strides: given; this step does not take strides");
  CHECK(why("step3_layout", {.d_v = 4, .q = {1, 1, 1}}).empty());
  CHECK(why("step3_layout", {.softcap = 2}) ==
        "softcap = 2: given; this step does not take a softcap");
  CHECK(why("step4_all", {.d_v = 4, .q = {1, 1, 1}, .sink_keys = 3, .softcap = 2}).empty());
}

}  // namespace
}  // namespace attn::testing
