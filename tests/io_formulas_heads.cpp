// SPDX-License-Identifier: MIT
//
// Chapter 16: what groups of heads, rows of V of another length and all features together move,
// from what the oracle says that each row of each head sees.
#include <algorithm>
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
TileSize backward_tile(std::int64_t widest) {
  const std::int64_t T = widest <= 64 ? 32 : widest <= 128 ? 16 : 8;
  return {T, T};
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// A row, and the keys that it sees: by its place, ranges or no ranges; without those that the mask
/// array hides; and without those that a bias of -inf hides, too.
struct Row {
  reference::HeadRows head;
  std::int64_t i = 0;
  std::vector<std::int64_t> in_band = {}, by_place = {}, shown = {}, visible = {};
};

/// The part of some rising numbers that lies in [begin, end).
std::vector<std::int64_t> part(const std::vector<std::int64_t>& keys, std::int64_t begin,
                               std::int64_t end) {
  return {std::lower_bound(keys.begin(), keys.end(), begin),
          std::lower_bound(keys.begin(), keys.end(), end)};
}

/// A problem with all its rows.
struct Pairs {
  const Problem& problem;
  std::int64_t d, d_v, group;
  std::vector<std::vector<Row>> rows_of_heads;  // [B * H]

  explicit Pairs(const Problem& it)
      : problem(it),
        d(it.shape.d),
        d_v(it.extras.d_v == 0 ? d : it.extras.d_v),
        group(it.shape.H / it.shape.Hkv) {
    const auto visible = it.extras.as<double>();
    auto shown = visible;
    shown.bias.clear();
    auto by_place = shown;
    by_place.mask.clear();
    auto in_band = by_place;
    in_band.ranges_per_row = 0;
    in_band.ranges.clear();
    const reference::Visibility band(it.mask, in_band), place(it.mask, by_place),
        mask(it.mask, shown), all(it.mask, visible);
    reference::for_each_head(it.shape, it.extras, [&](const reference::HeadRows& head) {
      std::vector<Row> rows;
      for (std::int64_t i = 0; i < head.Nq; ++i) {
        rows.push_back({head, i});
        band.keys_of(head, i, rows.back().in_band);
        place.keys_of(head, i, rows.back().by_place);
        mask.keys_of(head, i, rows.back().shown);
        all.keys_of(head, i, rows.back().visible);
      }
      rows_of_heads.push_back(std::move(rows));
    });
  }

  std::int64_t widest() const { return std::max(d, d_v); }
  reference::HeadRows head(std::int64_t b, std::int64_t h) const {
    return reference::rows_of_head(problem.shape, problem.extras, b, h);
  }
  /// Up to Br rows from R0 on, row R being token R / heads of head first + R % heads of batch b.
  std::vector<const Row*> tile(std::int64_t b, std::int64_t first, std::int64_t heads,
                               std::int64_t R0, std::int64_t Br) const {
    std::vector<const Row*> rows;
    for (std::int64_t R = R0; R < std::min(R0 + Br, head(b, first).Nq * heads); ++R) {
      const auto of = static_cast<std::size_t>(b * problem.shape.H + first + R % heads);
      rows.push_back(&rows_of_heads[of][static_cast<std::size_t>(R / heads)]);
    }
    return rows;
  }
};

/// What the blocks of one launch ask for: sums, and which elements these were.
class Launch {
 public:
  Launch(const Pairs& pairs, TileSize tile) : pairs_(pairs), tile_(tile) {}

  /// Each of some threads reads where the rows of its sequence begin and end.
  void find_rows(std::int64_t b, std::int64_t threads) {
    if (pairs_.problem.extras.q_offsets.empty()) return;
    for (const std::int64_t at : {b, b + 1}) q_offsets_.add(at, threads);
  }
  /// All threads of a block do, and where its keys do, and which of them are valid.
  void find_sequence(std::int64_t b) {
    const auto& extras = pairs_.problem.extras;
    find_rows(b, kThreads);
    if (!extras.k_offsets.empty()) {
      for (const std::int64_t at : {b, b + 1}) k_offsets_.add(at, kThreads);
    }
    if (!extras.key_begin.empty()) begins_.add(b, kThreads);
    if (!extras.key_count.empty()) counts_.add(b, kThreads);
  }
  /// One thread for a row reads its ranges.
  void read_ranges(const std::vector<const Row*>& rows) {
    const std::int64_t bounds = 2 * pairs_.problem.extras.ranges_per_row;
    for (const Row* row : rows) {
      const std::int64_t first = (row->head.b * pairs_.problem.shape.Nq + row->i) * bounds;
      for (std::int64_t n = 0; n < bounds; ++n) ranges_.add(first + n);
    }
  }
  /// Whether one of the rows sees a key of the tile from j0 on: a byte of the mask is asked for
  /// each pair that its place shows, and then the bias for each that the mask shows.
  bool look(const std::vector<const Row*>& rows, std::int64_t j0) {
    const auto& extras = pairs_.problem.extras;
    bool some = false;
    for (const Row* row : rows) {
      if (!extras.mask.empty()) {
        for (const std::int64_t j : part(row->by_place, j0, j0 + tile_.Bc)) {
          mask_.add(extras.mask_shape.index(row->head.b, row->head.h, row->i, j));
        }
      }
      read_bias(*row, part(row->shown, j0, j0 + tile_.Bc));
      some = some || !part(row->visible, j0, j0 + tile_.Bc).empty();
    }
    return some;
  }
  /// The bias is asked for again, to be added.
  void add_bias(const std::vector<const Row*>& rows, std::int64_t j0) {
    for (const Row* row : rows) read_bias(*row, part(row->visible, j0, j0 + tile_.Bc));
  }
  void read_slopes(const std::vector<const Row*>& rows) {
    if (pairs_.problem.extras.alibi.empty()) return;
    for (const Row* row : rows) slopes_.add(row->head.h);
  }
  /// A warp reads the sinks of its rows.
  void read_sinks(const std::vector<const Row*>& rows) {
    if (pairs_.problem.extras.sink_logits.empty()) return;
    for (const Row* row : rows) sinks_.add(row->head.h, 32);
  }
  /// So many floats of each row.
  void read_rows(const std::vector<const Row*>& rows, std::int64_t floats) {
    floats_of_row_ = floats;
    for (const Row* row : rows) rows_.add(row->head.q_row + row->i);
  }
  /// A tile of K and of V.
  void read_keys(const reference::HeadRows& head, std::int64_t j0) {
    for (std::int64_t j = j0; j < std::min(j0 + tile_.Bc, head.Nk); ++j) keys_.add(head.k_row + j);
  }

  Io io() const {
    constexpr std::int64_t kInteger = 2;  // of 64 bits
    const Io floats = rows_.io(floats_of_row_) + keys_.io(pairs_.d + pairs_.d_v) + bias_.io(1) +
                      slopes_.io(1) + sinks_.io(1);
    return floats + q_offsets_.io(kInteger) + k_offsets_.io(kInteger) + begins_.io(kInteger) +
           counts_.io(kInteger) + ranges_.io(kInteger) +
           Io{.load_bytes = mask_.loads,
              .read_bytes = static_cast<std::int64_t>(mask_.distinct.size())};
  }

 private:
  struct Asked {
    std::int64_t loads = 0;
    std::set<std::int64_t> distinct = {};

    void add(std::int64_t element, std::int64_t times = 1) {
      loads += times;
      distinct.insert(element);
    }
    Io io(std::int64_t floats) const {
      return {.loads = floats * loads,
              .reads = floats * static_cast<std::int64_t>(distinct.size())};
    }
  };

  void read_bias(const Row& row, const std::vector<std::int64_t>& keys) {
    const auto& extras = pairs_.problem.extras;
    if (extras.bias.empty()) return;
    for (const std::int64_t j : keys) {
      bias_.add(extras.bias_shape.index(row.head.b, row.head.h, row.i, j));
    }
  }

  const Pairs& pairs_;
  TileSize tile_;
  std::int64_t floats_of_row_ = 0;
  Asked q_offsets_, k_offsets_, begins_, counts_, ranges_, mask_, bias_, slopes_, sinks_, rows_,
      keys_;
};

Io written(std::int64_t floats) { return {.stores = floats, .writes = floats}; }

/// Chapter 07's forward pass with blocks that own Br rows, of `heads` query heads in turn. Without
/// a mask, one group of G heads that share K and V, d_v = d, N a multiple of Br: 2 G N d + G N +
/// G N / Br * 2 N d elements, whether heads is G or 1. With N_q <= Br / G a group's K and V come
/// once if heads is G, and G times if it is 1.
Io forward(const Problem& problem, bool packs) {
  const Pairs pairs(problem);
  const Shape& shape = problem.shape;
  const TileSize tile = forward_tile(pairs.widest());
  const std::int64_t heads = packs ? pairs.group : 1;
  Launch launch(pairs, tile);
  Io stores;
  for (std::int64_t b = 0; b < shape.B; ++b) {
    for (std::int64_t first = 0; first < shape.H; first += heads) {
      const reference::HeadRows at = pairs.head(b, first);
      stores = stores + written(at.Nq * heads * (pairs.d_v + 1));
      for (std::int64_t R0 = 0; R0 < shape.Nq * heads; R0 += tile.Br) {
        launch.find_sequence(b);
        const std::vector<const Row*> rows = pairs.tile(b, first, heads, R0, tile.Br);
        launch.read_rows(rows, pairs.d);
        launch.read_ranges(rows);
        launch.read_slopes(rows);
        launch.read_sinks(rows);
        for (std::int64_t j0 = 0; j0 < at.Nk; j0 += tile.Bc) {
          if (!launch.look(rows, j0)) continue;
          launch.read_keys(at, j0);
          launch.add_bias(rows, j0);
        }
      }
    }
  }
  return launch.io() + stores;
}

/// delta, by a warp for each row; and with sinks LSE and delta once more, by a block for each head.
Io delta_and_sinks(const Pairs& pairs) {
  const Shape& shape = pairs.problem.shape;
  Launch deltas(pairs, {}), sinks(pairs, {});
  std::int64_t rows = 0;
  for (std::int64_t b = 0; b < shape.B; ++b) {
    for (std::int64_t h = 0; h < shape.H; ++h) {
      deltas.find_rows(b, 32 * shape.Nq);
      sinks.find_rows(b, kThreads);
      rows += pairs.head(b, h).Nq;
    }
  }
  const std::int64_t read =
      rows * (2 * pairs.d_v + (pairs.problem.extras.grad_lse.empty() ? 0 : 1));
  Io io = deltas.io() + Io{.loads = read, .reads = read} + written(rows);
  if (pairs.problem.extras.sink_logits.empty()) return io;
  return io + sinks.io() + written(shape.H) +
         Io{.loads = 2 * rows + kThreads * shape.H, .reads = 2 * rows + shape.H};
}

/// Blocks own a tile of keys of a K/V head and go through the rows of the group, from the first
/// token to the last that the mask lets see one of the keys.
Io for_keys(const Pairs& pairs, TileSize tile) {
  const Shape& shape = pairs.problem.shape;
  Launch launch(pairs, tile);
  Io stores;
  for (std::int64_t b = 0; b < shape.B; ++b) {
    for (std::int64_t first = 0; first < shape.H; first += pairs.group) {
      const reference::HeadRows at = pairs.head(b, first);
      stores = stores + written(at.Nk * (pairs.d + pairs.d_v));
      for (std::int64_t j0 = 0; j0 < shape.Nk; j0 += tile.Bc) {
        launch.find_sequence(b);
        std::int64_t begin = at.Nq, end = 0;
        for (const Row* row : pairs.tile(b, first, 1, 0, at.Nq)) {
          if (part(row->in_band, j0, j0 + tile.Bc).empty()) continue;
          begin = std::min(begin, row->i);
          end = row->i + 1;
        }
        bool has_keys = false;
        for (std::int64_t R0 = begin * pairs.group; R0 < end * pairs.group; R0 += tile.Br) {
          const std::vector<const Row*> rows = pairs.tile(b, first, pairs.group, R0, tile.Br);
          launch.read_ranges(rows);
          if (!launch.look(rows, j0)) continue;
          if (!has_keys) launch.read_keys(at, j0);
          has_keys = true;
          launch.read_rows(rows, pairs.d + pairs.d_v + 2);
          launch.read_slopes(rows);
          launch.add_bias(rows, j0);
        }
      }
    }
  }
  return launch.io() + stores;
}

/// Blocks own a tile of rows of a group, as in the forward pass.
Io for_queries(const Pairs& pairs, TileSize tile) {
  const Shape& shape = pairs.problem.shape;
  Launch launch(pairs, tile);
  Io stores;
  for (std::int64_t b = 0; b < shape.B; ++b) {
    for (std::int64_t first = 0; first < shape.H; first += pairs.group) {
      const reference::HeadRows at = pairs.head(b, first);
      stores = stores + written(at.Nq * pairs.group * pairs.d);
      for (std::int64_t R0 = 0; R0 < shape.Nq * pairs.group; R0 += tile.Br) {
        launch.find_sequence(b);
        const std::vector<const Row*> rows = pairs.tile(b, first, pairs.group, R0, tile.Br);
        launch.read_ranges(rows);
        launch.read_slopes(rows);
        launch.read_rows(rows, pairs.d + pairs.d_v + 2);
        for (std::int64_t j0 = 0; j0 < at.Nk; j0 += tile.Bc) {
          if (!launch.look(rows, j0)) continue;
          launch.read_keys(at, j0);
          launch.add_bias(rows, j0);
        }
      }
    }
  }
  return launch.io() + stores;
}

/// Blocks own a tile of the bias and go through all tiles of pairs that share its numbers.
Io for_bias(const Pairs& pairs, TileSize tile) {
  const Shape& shape = pairs.problem.shape;
  const PairShape& bias = pairs.problem.extras.bias_shape;
  if (pairs.problem.extras.bias.empty() || bias.elements() == 0) return {};
  Launch launch(pairs, tile);
  const std::int64_t key_blocks = bias.Nk == 1 ? 1 : ceil_div(shape.Nk, tile.Bc);
  for (std::int64_t b = 0; b < shape.B; ++b) {
    // Of each batch a block looks up the valid keys.
    const std::int64_t row_blocks = bias.Nq == 1 ? 1 : ceil_div(shape.Nq, tile.Br);
    for (std::int64_t n = 0; n < bias.H * row_blocks * key_blocks; ++n) launch.find_sequence(b);
    for (std::int64_t h = 0; h < shape.H; ++h) {
      for (std::int64_t i0 = 0; i0 < shape.Nq; i0 += tile.Br) {
        const std::vector<const Row*> rows = pairs.tile(b, h, 1, i0, tile.Br);
        for (std::int64_t n = 0; n < key_blocks; ++n) launch.read_ranges(rows);
        for (std::int64_t j0 = 0; j0 < shape.Nk; j0 += tile.Bc) {
          if (!launch.look(rows, j0)) continue;
          launch.read_rows(rows, pairs.d + pairs.d_v + 2);
          launch.read_slopes(rows);
          launch.read_keys(pairs.head(b, h), j0);
          launch.add_bias(rows, j0);
        }
      }
    }
  }
  return launch.io() + written(bias.elements());
}

}  // namespace

Io groups_forward(const Problem& problem) { return forward(problem, false); }
Io pack_forward(const Problem& problem) { return forward(problem, true); }

Io all_features_backward(const Problem& problem) {
  const Pairs pairs(problem);
  const TileSize tile = backward_tile(pairs.widest());
  return delta_and_sinks(pairs) + for_keys(pairs, tile) + for_queries(pairs, tile) +
         for_bias(pairs, tile);
}

}  // namespace attn::testing
