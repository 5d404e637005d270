// SPDX-License-Identifier: MIT
//
// Taught in chapter 17: which keys of a cache are valid, and which of these the tokens see.
#pragma once

#include "common/attention.hpp"
#include "common/device/band.hpp"
#include "common/device/decode_tile.hpp"

namespace attn::decoding {

/// Tiles of valid keys: the first `sinks`, and those from `window` to `end - 1`.
struct SeenTiles {
  std::int64_t sinks, window, end;

  ATTN_HOST_DEVICE constexpr std::int64_t count() const { return sinks + end - window; }
  /// The nth of them.
  ATTN_HOST_DEVICE constexpr std::int64_t tile(std::int64_t n) const {
    return n < sinks ? n : window + n - sinks;
  }
};

/// The keys of one sequence that its tokens see: a band, and the first `sinks` keys, which the
/// lower diagonal does not hide. Counted from the first valid one.
struct SeenKeys {
  device::Band band;
  std::int64_t sinks;

  ATTN_HOST_DEVICE constexpr bool sees_none(std::int64_t i) const {
    return band.end_of_row(i) == 0 || (sinks == 0 && band.row(i).empty());
  }
  /// The tiles of which some of these tokens sees a key. There is one token at least.
  ATTN_HOST_DEVICE constexpr SeenTiles tiles(const Range& tokens) const {
    const Range window = band.some(tokens.begin, tokens.end);
    const std::int64_t end = tiles_of(window.end, kBc);
    const std::int64_t begin = window.empty() ? end : window.begin / kBc;
    const std::int64_t first = tiles_of(sinks < window.end ? sinks : window.end, kBc);
    return {first < begin ? first : begin, begin, end};
  }
};

/// A problem in the terms of a kernel.
struct Request {
  std::int64_t H, Hkv, Nq, Nk, d;
  const std::int64_t *key_begin, *key_count;  // [B]; null: 0, all from there on
  Mask mask;
  std::int64_t sinks;
  float scale;

  ATTN_HOST_DEVICE constexpr int group() const { return static_cast<int>(H / Hkv); }
  /// The keys of the cache of sequence b that hold something.
  ATTN_HOST_DEVICE constexpr Range valid(std::int64_t b) const {
    const std::int64_t begin = key_begin == nullptr ? 0 : key_begin[b];
    return {begin, key_count == nullptr ? Nk : begin + key_count[b]};
  }
  ATTN_HOST_DEVICE constexpr SeenKeys seen(const Range& valid_keys) const {
    return {device::band_of(mask, Nq, valid_keys.size()), sinks};
  }
};

/// `host`: with the host's copies of the numbers that kernels read.
inline Request request_of(const ForwardArgs& args, bool host = false) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const auto if_given = [host](const Integers& integers) -> const std::int64_t* {
    if (integers.host.empty()) return nullptr;
    return host ? integers.host.data() : integers.device;
  };
  return {.H = H,
          .Hkv = Hkv,
          .Nq = Nq,
          .Nk = Nk,
          .d = d,
          .key_begin = if_given(args.extras.key_begin),
          .key_count = if_given(args.extras.key_count),
          .mask = args.mask,
          .sinks = args.extras.sink_keys,
          .scale = args.scale};
}

/// The most tiles that the tokens of a sequence see, from the host's copies.
inline std::int64_t most_tiles(const ForwardArgs& args) {
  const Request request = request_of(args, true);
  std::int64_t most = 0;
  for (std::int64_t b = 0; b < args.shape.B; ++b) {
    const SeenKeys seen = request.seen(request.valid(b));
    most = std::max(most, seen.tiles({0, args.shape.Nq}).count());
  }
  return most;
}

}  // namespace attn::decoding
