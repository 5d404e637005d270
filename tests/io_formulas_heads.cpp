// SPDX-License-Identifier: MIT
//
// Chapter 16: what groups of heads, rows of V of another length and all features together move, from
// what the oracle says that each row of each head sees.
#include <algorithm>
#include <optional>
#include <set>
#include <vector>

#include "common/reference/extra_values.hpp"
#include "tests/io_formulas.hpp"

namespace attn::testing {
namespace {

constexpr std::int64_t kThreads = 128;

/// Rows and keys.
struct TileSize {
  std::int64_t Br, Bc;
};

TileSize forward_tile(std::int64_t widest) {
  return widest <= 64 ? TileSize{64, 32} : widest <= 128 ? TileSize{32, 16} : TileSize{16, 8};
}

/// What hides keys of a problem: their place, single pairs of the mask array, a bias of -inf.
class Pairs {
 public:
  explicit Pairs(const Problem& problem)
      : all_(problem.extras.as<double>()), place_(all_), shown_(all_) {
    shown_.bias.clear();
    place_.bias.clear();
    place_.mask.clear();
    by_place_.emplace(problem.mask, place_);
    by_mask_.emplace(problem.mask, shown_);
    by_all_.emplace(problem.mask, all_);
  }

  /// Keys that row i sees by its place; without those that the mask array hides; and without those
  /// that the bias hides, too.
  struct Keys {
    std::vector<std::int64_t> by_place, shown, visible;
  };
  Keys keys_of(const reference::HeadRows& head, std::int64_t i) const {
    Keys keys;
    by_place_->keys_of(head, i, keys.by_place);
    by_mask_->keys_of(head, i, keys.shown);
    by_all_->keys_of(head, i, keys.visible);
    return keys;
  }

 private:
  reference::ExtraValues<double> all_, place_, shown_;
  std::optional<reference::Visibility> by_place_, by_mask_, by_all_;
};

/// Sums up what is asked for, and remembers which elements these were.
struct Asked {
  std::int64_t loads = 0;
  std::set<std::int64_t> distinct;

  void add(std::int64_t element, std::int64_t times = 1) {
    loads += times;
    distinct.insert(element);
  }
  /// `times` for each of them, where each stands for this many floats.
  Io io(std::int64_t floats = 1) const {
    return {.loads = floats * loads, .reads = floats * static_cast<std::int64_t>(distinct.size())};
  }
  Io bytes() const {
    return {.load_bytes = loads, .read_bytes = static_cast<std::int64_t>(distinct.size())};
  }
};

/// What all blocks of a launch ask for beside Q, K, V and outputs.
struct Features {
  Asked offsets, begins, counts, ranges, mask, bias, slopes, sinks;

  Io io() const {
    constexpr std::int64_t kInteger = 2;  // of 64 bits
    return offsets.io(kInteger) + begins.io(kInteger) + counts.io(kInteger) + ranges.io(kInteger) +
           mask.bytes() + bias.io() + slopes.io() + sinks.io();
  }
};

/// All threads of a block read where its sequence begins and ends, and its valid keys.
void ask_for_sequence(const Problem& problem, std::int64_t b, Features& asked) {
  const auto& extras = problem.extras;
  if (!extras.q_offsets.empty()) {
    const auto B = static_cast<std::int64_t>(extras.q_offsets.size());
    for (const std::int64_t at : {b, b + 1, B + b, B + b + 1}) asked.offsets.add(at, kThreads);
  }
  if (!extras.key_begin.empty()) asked.begins.add(b, kThreads);
  if (!extras.key_count.empty()) asked.counts.add(b, kThreads);
}

/// The thread that owns row i reads its ranges.
void ask_for_ranges(const Problem& problem, std::int64_t b, std::int64_t i, Features& asked) {
  const std::int64_t bounds = 2 * problem.extras.ranges_per_row;
  for (std::int64_t n = 0; n < bounds; ++n) {
    asked.ranges.add((b * problem.shape.Nq + i) * bounds + n);
  }
}

/// A byte of the mask for each pair that its place shows; the bias of each of these that is shown,
/// and, to be added, of each that is visible.
void ask_for_pairs(const Problem& problem, const reference::HeadRows& head, std::int64_t i,
                   const Pairs::Keys& keys, Features& asked) {
  const auto& extras = problem.extras;
  if (!extras.mask.empty()) {
    for (const std::int64_t j : keys.by_place) {
      asked.mask.add(extras.mask_shape.index(head.b, head.h, i, j));
    }
  }
  if (extras.bias.empty()) return;
  for (const std::vector<std::int64_t>* list : {&keys.shown, &keys.visible}) {
    for (const std::int64_t j : *list) {
      asked.bias.add(extras.bias_shape.index(head.b, head.h, i, j));
    }
  }
}

/// Chapter 07's forward pass with blocks that own Br rows, of `heads` query heads in turn: row R is
/// token R / heads of head R % heads. Without a mask, one group of G heads that share K and V,
/// d_v = d, N a multiple of Br: 2 G N d + G N + T 2 N d elements, with T = G ceil(N / Br) tiles of
/// rows, whether heads = G or 1. With Nq <= Br / G a group loads K and V once if heads = G, and G
/// times otherwise.
Io forward(const Problem& problem, bool packs) {
  const Shape& shape = problem.shape;
  const auto& extras = problem.extras;
  const std::int64_t d = shape.d, d_v = extras.d_v == 0 ? d : extras.d_v;
  const TileSize tile = forward_tile(std::max(d, d_v));
  const std::int64_t group = shape.H / shape.Hkv, heads = packs ? group : 1;
  const std::int64_t blocks_of_heads = (shape.Nq * heads + tile.Br - 1) / tile.Br;
  const Pairs pairs(problem);
  Features asked;
  std::set<std::int64_t> keys_read;
  Io io;
  for (std::int64_t b = 0; b < shape.B; ++b) {
    for (std::int64_t first = 0; first < shape.H; first += heads) {
      for (std::int64_t n = 0; n < blocks_of_heads; ++n) ask_for_sequence(problem, b, asked);
      const reference::HeadRows at = reference::rows_of_head(shape, extras, b, first);
      const std::int64_t rows = at.Nq * heads;
      io = io + Io{.loads = rows * d,
                   .stores = rows * (d_v + 1),
                   .reads = rows * d,
                   .writes = rows * (d_v + 1)};
      for (std::int64_t R0 = 0; R0 < rows; R0 += tile.Br) {
        std::set<std::int64_t> needed;  // tiles of keys
        for (std::int64_t R = R0; R < std::min(R0 + tile.Br, rows); ++R) {
          const std::int64_t i = R / heads;
          const auto head = reference::rows_of_head(shape, extras, b, first + R % heads);
          const Pairs::Keys keys = pairs.keys_of(head, i);
          for (const std::int64_t j : keys.visible) needed.insert(j / tile.Bc);
          ask_for_ranges(problem, b, i, asked);
          ask_for_pairs(problem, head, i, keys, asked);
          if (!extras.alibi.empty()) asked.slopes.add(head.h);
          if (!extras.sink_logits.empty()) asked.sinks.add(head.h, 32);
        }
        for (const std::int64_t J : needed) {
          const std::int64_t keys = std::min(tile.Bc, at.Nk - J * tile.Bc);
          io.loads += keys * (d + d_v);
          for (std::int64_t j = 0; j < keys; ++j) keys_read.insert(at.k_row + J * tile.Bc + j);
        }
      }
    }
  }
  io.reads += static_cast<std::int64_t>(keys_read.size()) * (d + d_v);
  return io + asked.io();
}

}  // namespace

Io groups_forward(const Problem& problem) { return forward(problem, false); }
Io pack_forward(const Problem& problem) { return forward(problem, true); }
Io all_features_forward(const Problem& problem) { return forward(problem, true); }

}  // namespace attn::testing
