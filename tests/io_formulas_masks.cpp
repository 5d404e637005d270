// SPDX-License-Identifier: MIT
//
// Chapter 14: which bytes of a mask array, which words and which entries of lists are moved, from
// what the array and the band say of each pair.
#include <algorithm>
#include <set>
#include <vector>

#include "tests/io_formulas.hpp"

namespace attn::testing {
namespace {

/// Queries and keys.
struct TileSize {
  std::int64_t Br, Bc;
};

TileSize forward_tile(std::int64_t d) { return d <= 64 ? TileSize{64, 32} : TileSize{32, 16}; }
TileSize backward_tile(std::int64_t d) { return d <= 64 ? TileSize{32, 32} : TileSize{16, 16}; }

/// What of a tile lies in the matrix, and how many of its pairs there are.
struct TileOfPairs {
  std::int64_t query_tile = 0, key_tile = 0;
  std::int64_t rows = 0, keys = 0;
  std::int64_t allowed = 0;  // pairs of the band: those that the mask beside the array allows
  std::int64_t visible = 0;  // and that the array does not hide
  std::int64_t Bc = 0;

  bool listed() const { return visible > 0; }
  bool whole() const { return keys == Bc && visible == rows * keys; }
  bool mixed() const { return listed() && !whole(); }
  std::int64_t word_bytes() const { return rows * Bc / 8; }  // a word of Bc bits for each row
};

/// One head of the array, which `sharing` heads of the problem see by; without an array there is
/// one, for all of them.
struct MaskHead {
  std::int64_t query_tiles = 0, key_tiles = 0;
  std::vector<TileOfPairs> tiles;
  std::int64_t bytes = 0;           // a byte for each pair of the band
  std::int64_t distinct_bytes = 0;  // of these
  std::int64_t sharing = 0;

  std::int64_t listed() const {
    return std::count_if(tiles.begin(), tiles.end(), [](const auto& it) { return it.listed(); });
  }
};

bool in_band(const Problem& problem, std::int64_t i, std::int64_t j) {
  const Mask& mask = problem.mask;
  const std::int64_t own = mask.top_left ? i : i + problem.shape.Nk - problem.shape.Nq;
  return (mask.before == kUnbounded || own - j <= mask.before) &&
         (mask.after == kUnbounded || j - own <= mask.after);
}

MaskHead mask_head(const Problem& problem, std::int64_t b, std::int64_t h, TileSize tile) {
  const Shape& shape = problem.shape;
  const std::vector<std::uint8_t>& array = problem.extras.mask;
  const PairShape& size = problem.extras.mask_shape;
  MaskHead head;
  head.query_tiles = (shape.Nq + tile.Br - 1) / tile.Br;
  head.key_tiles = (shape.Nk + tile.Bc - 1) / tile.Bc;
  std::vector<bool> was_read(array.size(), false);
  for (std::int64_t I = 0; I < head.query_tiles; ++I) {
    for (std::int64_t J = 0; J < head.key_tiles; ++J) {
      TileOfPairs one{.query_tile = I, .key_tile = J, .Bc = tile.Bc};
      one.rows = std::min(tile.Br, shape.Nq - I * tile.Br);
      one.keys = std::min(tile.Bc, shape.Nk - J * tile.Bc);
      for (std::int64_t i = I * tile.Br; i < I * tile.Br + one.rows; ++i) {
        for (std::int64_t j = J * tile.Bc; j < J * tile.Bc + one.keys; ++j) {
          if (!in_band(problem, i, j)) continue;
          ++one.allowed;
          if (array.empty()) {
            ++one.visible;
            continue;
          }
          const auto at = static_cast<std::size_t>(size.index(b, h, i, j));
          one.visible += array[at] != 0 ? 1 : 0;
          was_read[at] = true;
        }
      }
      head.bytes += array.empty() ? 0 : one.allowed;
      head.tiles.push_back(one);
    }
  }
  head.distinct_bytes = std::count(was_read.begin(), was_read.end(), true);
  return head;
}

/// Every head of the array.
std::vector<MaskHead> mask_heads(const Problem& problem, TileSize tile) {
  const PairShape size = problem.extras.mask.empty() ? PairShape{} : problem.extras.mask_shape;
  std::vector<MaskHead> heads;
  for (std::int64_t b = 0; b < size.B; ++b) {
    for (std::int64_t h = 0; h < size.H; ++h) {
      heads.push_back(mask_head(problem, b, h, tile));
      heads.back().sharing = problem.shape.B * problem.shape.H / (size.B * size.H);
    }
  }
  return heads;
}

/// Q, O and LSE of a head.
Io queries_and_outputs(const Shape& shape) {
  const std::int64_t q = shape.Nq * shape.d;
  return {.loads = q, .stores = q + shape.Nq, .reads = q, .writes = q + shape.Nq};
}

/// K and V for a head's blocks, each of which owns a tile of queries: of the tiles for which
/// `loaded` holds.
template <class F>
Io keys_for_queries(const MaskHead& head, std::int64_t d, F loaded) {
  Io io;
  std::set<std::int64_t> seen;
  for (const TileOfPairs& tile : head.tiles) {
    if (!loaded(tile)) continue;
    io.loads += 2 * tile.keys * d;
    if (seen.insert(tile.key_tile).second) io.reads += 2 * tile.keys * d;
  }
  return io;
}

bool in_the_band(const TileOfPairs& tile) { return tile.allowed > 0; }
bool listed(const TileOfPairs& tile) { return tile.listed(); }

/// A word for each row of the tiles for which `read` holds, for all heads that share the words.
template <class F>
Io words_read(const MaskHead& head, F read) {
  std::int64_t bytes = 0;
  for (const TileOfPairs& tile : head.tiles) bytes += read(tile) ? tile.word_bytes() : 0;
  return {.load_bytes = head.sharing * bytes, .read_bytes = head.sharing > 0 ? bytes : 0};
}

/// Every thread of a head's blocks reads how long its list is, and each entry; `lists` of them.
Io lists_read(const MaskHead& head, std::int64_t lists) {
  const std::int64_t elements = lists + head.listed();
  return {.loads = head.sharing * 128 * elements, .reads = head.sharing > 0 ? elements : 0};
}

/// Bytes in, a state of each tile out, and the words of mixed tiles.
Io packing(const MaskHead& head) {
  Io io{.load_bytes = head.bytes, .read_bytes = head.distinct_bytes};
  for (const TileOfPairs& tile : head.tiles) {
    io.store_bytes += 1 + (tile.mixed() ? tile.word_bytes() : 0);
  }
  io.write_bytes = io.store_bytes;
  return io;
}

/// States in; for each of `lists` tiles a count and the listed tiles of the other side out.
Io listing(const MaskHead& head, std::int64_t lists) {
  const auto states = static_cast<std::int64_t>(head.tiles.size());
  const std::int64_t elements = lists + head.listed();
  return {.stores = elements, .writes = elements, .load_bytes = states, .read_bytes = states};
}

}  // namespace

/// Chapter 07's forward pass over the tiles of the band. Each head reads a byte for each pair of
/// the band; without one N^2.
Io mask_bytes_forward(const Problem& problem) {
  const Shape& shape = problem.shape;
  Io io = shape.B * shape.H * queries_and_outputs(shape);
  for (const MaskHead& head : mask_heads(problem, forward_tile(shape.d))) {
    io = io + head.sharing * keys_for_queries(head, shape.d, in_the_band) +
         Io{.load_bytes = head.sharing * head.bytes,
            .read_bytes = head.sharing > 0 ? head.distinct_bytes : 0};
  }
  return io;
}

/// The same with words, N^2 / 8 bytes, written once for a head of the array: of every tile, and
/// read of those in the band.
Io mask_bits_forward(const Problem& problem) {
  const Shape& shape = problem.shape;
  Io io = shape.B * shape.H * queries_and_outputs(shape);
  for (const MaskHead& head : mask_heads(problem, forward_tile(shape.d))) {
    Io packed{.load_bytes = head.bytes, .read_bytes = head.distinct_bytes};
    for (const TileOfPairs& tile : head.tiles) packed.store_bytes += tile.word_bytes();
    packed.write_bytes = packed.store_bytes;
    io = io + packed + head.sharing * keys_for_queries(head, shape.d, in_the_band) +
         words_read(head, in_the_band);
  }
  return io;
}

/// Over the listed tiles only, with words where tiles are mixed.
Io mask_tiles_forward(const Problem& problem) {
  const Shape& shape = problem.shape;
  Io io = shape.B * shape.H * queries_and_outputs(shape);
  for (const MaskHead& head : mask_heads(problem, forward_tile(shape.d))) {
    io = io + packing(head) + listing(head, head.query_tiles) +
         head.sharing * keys_for_queries(head, shape.d, listed) +
         lists_read(head, head.query_tiles) +
         words_read(head, [](const TileOfPairs& tile) { return tile.mixed(); });
  }
  return io;
}

/// Chapter 07's deterministic backward pass in the same way, with lists for either side.
Io mask_tiles_backward(const Problem& problem) {
  const Shape& shape = problem.shape;
  const std::int64_t d = shape.d, q = shape.Nq * d, k = shape.Nk * d;
  const std::int64_t row = 2 * d + 2;  // elements of Q, dO, LSE, delta
  Io io = shape.B * shape.H *
          Io{.loads = 2 * q + shape.Nq * row,  // for delta; by the blocks that own queries
             .stores = shape.Nq + q + 2 * k,
             .reads = 2 * q + shape.Nq * row,
             .writes = shape.Nq + q + 2 * k};
  for (const MaskHead& head : mask_heads(problem, backward_tile(d))) {
    Io for_keys;  // by the blocks that own keys
    std::set<std::int64_t> own, streamed;
    for (const TileOfPairs& tile : head.tiles) {
      if (!tile.listed()) continue;
      for_keys.loads += tile.rows * row;
      if (streamed.insert(tile.query_tile).second) for_keys.reads += tile.rows * row;
      if (own.insert(tile.key_tile).second) {
        for_keys.loads += 2 * tile.keys * d;
        for_keys.reads += 2 * tile.keys * d;
      }
    }
    const Io words = words_read(head, [](const TileOfPairs& tile) { return tile.mixed(); });
    io = io + packing(head) + listing(head, head.query_tiles) +
         head.sharing * (for_keys + keys_for_queries(head, d, listed)) + 2 * words +
         lists_read(head, head.query_tiles) + lists_read(head, head.key_tiles);
    if (shape.Nk > 0) io = io + listing(head, head.key_tiles);
  }
  return io;
}

}  // namespace attn::testing
