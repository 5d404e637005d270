// SPDX-License-Identifier: MIT
#include "tests/io_formulas.hpp"

#include <algorithm>
#include <set>
#include <tuple>

namespace attn::testing {
namespace {

/// What a mask lets one head's rows see, counted pair by pair from the definition.
struct Visible {
  std::int64_t pairs = 0;  // (row, key) that the mask lets through
  std::int64_t rows = 0;   // rows that see a key
  std::int64_t keys = 0;   // keys that some row sees
};

/// Keys that row i of a head sees.
std::int64_t count_keys(std::int64_t i, const Shape& shape, Mask mask) {
  std::int64_t keys = 0;
  for (std::int64_t j = 0; j < shape.Nk; ++j) {
    const bool sees =
        mask == Mask::kFull || j <= i + (mask == Mask::kCausal ? shape.Nk - shape.Nq : 0);
    keys += sees ? 1 : 0;
  }
  return keys;
}

Visible count_visible(const Shape& shape, Mask mask) {
  Visible visible;
  for (std::int64_t i = 0; i < shape.Nq; ++i) {
    const std::int64_t keys = count_keys(i, shape, mask);
    visible.pairs += keys;
    visible.rows += keys > 0 ? 1 : 0;
    visible.keys = std::max(visible.keys, keys);  // a mask lets the first ones through
  }
  return visible;
}

/// The traffic of all heads, from that of one.
Io all_heads(const Shape& shape, const Io& io) { return shape.B * shape.H * io; }

/// Keys that arrive if rows i0 .. i0 + Br - 1 load whole tiles of Bc keys, up to the last one of
/// which some row sees a key.
std::int64_t keys_in_tiles(std::int64_t i0, std::int64_t Br, std::int64_t Bc, const Shape& shape,
                           Mask mask) {
  std::int64_t most = 0;
  for (std::int64_t i = i0; i < std::min(i0 + Br, shape.Nq); ++i) {
    most = std::max(most, count_keys(i, shape, mask));
  }
  return std::min(shape.Nk, (most + Bc - 1) / Bc * Bc);
}

/// A thread per visible pair reads a row of Q and one of K, and writes a score.
Io naive_scores(const Shape& shape, const Visible& visible) {
  return {.loads = 2 * visible.pairs * shape.d,
          .stores = visible.pairs,
          .reads = (visible.rows + visible.keys) * shape.d,
          .writes = visible.pairs};
}

/// Each row's scores are read for the maximum, the sum and the quotient and written once, by a
/// thread or by a warp; and LSE is written.
Io softmax(const Shape& shape, const Visible& visible) {
  return {.loads = 3 * visible.pairs,
          .stores = visible.pairs + shape.Nq,
          .reads = visible.pairs,
          .writes = visible.pairs + shape.Nq};
}

/// A thread per element of O reads a row of P and a column of V.
Io naive_outputs(const Shape& shape, const Visible& visible) {
  return {.loads = 2 * visible.pairs * shape.d,
          .stores = shape.Nq * shape.d,
          .reads = visible.pairs + visible.keys * shape.d,
          .writes = shape.Nq * shape.d};
}

/// Three kernels with S, then P, in global memory between them. Without a mask, one head:
/// 4 N^2 d + 5 N^2 + N d + N elements are asked for, 4 N d + 4 N^2 + N are distinct.
Io naive_gpu_forward(const Shape& shape, Mask mask) {
  const Visible visible = count_visible(shape, mask);
  return all_heads(shape, naive_scores(shape, visible) + softmax(shape, visible) +
                              naive_outputs(shape, visible));
}

/// The same after one copy of K, transposed. Without a mask, one head: 4 N^2 d + 5 N^2 + 3 N d + N
/// elements are asked for, 6 N d + 4 N^2 + N are distinct.
Io coalesced_forward(const Shape& shape, Mask mask) {
  const std::int64_t copied = shape.Nq == 0 ? 0 : shape.B * shape.H * shape.Nk * shape.d;
  return naive_gpu_forward(shape, mask) + Io{copied, copied, copied, copied};
}

/// Both products in tiles of 32 x 32, whatever the softmax between them. Without a mask, one head,
/// N and d multiples of 32: N^2 d / 8 + 5 N^2 + N d + N elements are asked for.
Io tiled_forward(const Shape& shape, Mask mask) {
  constexpr std::int64_t kTile = 32;
  const auto ceil_tiles = [](std::int64_t n) { return (n + kTile - 1) / kTile; };
  const std::int64_t d = shape.d;
  const Visible visible = count_visible(shape, mask);
  Io scores{.stores = visible.pairs, .writes = visible.pairs};
  Io outputs = naive_outputs(shape, visible);
  // Each tile of columns of V needs all of P.
  outputs.loads = ceil_tiles(d) * visible.pairs;
  std::int64_t keys_read = 0;
  for (std::int64_t i0 = 0; i0 < shape.Nq; i0 += kTile) {
    const std::int64_t queries = std::min(kTile, shape.Nq - i0);
    std::int64_t most = 0;  // keys that some row of this tile sees
    for (std::int64_t i = i0; i < i0 + queries; ++i) {
      most = std::max(most, count_keys(i, shape, mask));
    }
    // A tile of scores with a visible pair takes whole tiles of Q and K, hidden keys included.
    const std::int64_t key_tiles = ceil_tiles(most);
    const std::int64_t keys = std::min(shape.Nk, key_tiles * kTile);
    scores.loads += (key_tiles * queries + keys) * d;
    scores.reads += key_tiles > 0 ? queries * d : 0;
    keys_read = std::max(keys_read, keys);
    // Rows of V are read up to the last one that counts.
    outputs.loads += most * d;
  }
  scores.reads += keys_read * d;
  return all_heads(shape, scores + softmax(shape, visible) + outputs);
}

/// One warp streams one row, all rows in one launch: a row of Q, every visible row of K and of V,
/// and back go a row of O and LSE. Without a mask, one head: 2 N^2 d + 2 N d + N elements are asked
/// for, 4 N d + N are distinct. A row that sees no key still reads its row of Q.
Io online_softmax_forward(const Shape& shape, Mask mask) {
  const Visible visible = count_visible(shape, mask);
  const std::int64_t q = shape.Nq * shape.d;  // elements of Q, and of O
  return all_heads(shape, {.loads = q + 2 * visible.pairs * shape.d,
                           .stores = q + shape.Nq,
                           .reads = q + 2 * visible.keys * shape.d,
                           .writes = q + shape.Nq});
}

/// One block per head, tiles of K and V outside, tiles of Q inside; O, row_max and row_sum in
/// global memory. Without a mask, one head, Tc = ceil(N / Bc) tiles of keys: Tc (3 N d + 4 N) +
/// N d + N elements are asked for; 5 N d + 5 N are distinct (4 N d + 5 N if Tc is 1).
Io fused_forward(const Shape& shape, Mask mask) {
  constexpr std::int64_t kStatistics = 2;  // row_max and row_sum
  const std::int64_t heads = shape.B * shape.H;
  const std::int64_t Nq = shape.Nq;
  const std::int64_t Nk = shape.Nk;
  const std::int64_t d = shape.d;
  const std::int64_t keys_per_tile = d <= 32 ? 64 : d <= 64 ? 32 : 16;
  const std::int64_t tiles = (Nk + keys_per_tile - 1) / keys_per_tile;
  std::int64_t returns = 0;   // visits to a row after its first, where it sees a key of the tile
  std::int64_t returned = 0;  // rows that are visited more than once
  for (std::int64_t i = 0; i < Nq; ++i) {
    std::int64_t later = 0;
    for (std::int64_t j0 = keys_per_tile; j0 < Nk; j0 += keys_per_tile) {
      const std::int64_t last = mask == Mask::kFull     ? Nk - 1
                                : mask == Mask::kCausal ? i + Nk - Nq
                                                        : i;
      later += j0 <= last ? 1 : 0;
    }
    returns += later;
    returned += later > 0 ? 1 : 0;
  }
  Io io;
  // Every tile of K and V once; every row of Q once per tile, and once even without keys.
  io.loads += 2 * Nk * d + std::max<std::int64_t>(tiles, 1) * Nq * d;
  io.reads += 2 * Nk * d + Nq * d;
  // The first visit writes O and the statistics, a later one reads and writes them.
  io.loads += returns * (d + kStatistics);
  io.stores += (Nq + returns) * (d + kStatistics);
  io.reads += returned * d;  // the statistics: below
  io.writes += Nq * (d + kStatistics);
  // LSE, from the statistics.
  io.loads += kStatistics * Nq;
  io.stores += Nq;
  io.reads += kStatistics * Nq;
  io.writes += Nq;
  return {heads * io.loads, heads * io.stores, heads * io.reads, heads * io.writes};
}

/// FlashAttention-2's forward pass, whose blocks own tiles of Q: each row of Q once, back go O and
/// LSE once, and each tile of Q streams K and V. skips: only the tiles of keys of which a row sees
/// one. Without a mask, one head, Tr = ceil(N / Br) tiles of queries: 2 N d + N + Tr 2 N d elements
/// are asked for, 4 N d + N are distinct.
Io v2_forward(const Shape& shape, Mask mask, bool skips, std::int64_t Br, std::int64_t Bc) {
  const std::int64_t q = shape.Nq * shape.d;  // elements of Q, and of O
  Io io{.loads = q, .stores = q + shape.Nq, .reads = q, .writes = q + shape.Nq};
  std::int64_t keys_read = 0;
  for (std::int64_t i0 = 0; i0 < shape.Nq; i0 += Br) {
    const std::int64_t keys = skips ? keys_in_tiles(i0, Br, Bc, shape, mask) : shape.Nk;
    io.loads += 2 * keys * shape.d;
    keys_read = std::max(keys_read, keys);
  }
  io.reads += 2 * keys_read * shape.d;
  return all_heads(shape, io);
}

/// Chapter 07's tiles.
Io v2_forward(const Shape& shape, Mask mask, bool skips) {
  const std::int64_t Br = shape.d <= 64 ? 64 : 32;
  const std::int64_t Bc = shape.d <= 32 ? 64 : shape.d <= 64 ? 32 : 16;
  return v2_forward(shape, mask, skips, Br, Bc);
}
Io v2_forward_whole(const Shape& shape, Mask mask) { return v2_forward(shape, mask, false); }
Io v2_forward_skipping(const Shape& shape, Mask mask) { return v2_forward(shape, mask, true); }

/// Chapter 08's: 128 queries, 64 keys.
Io register_tiles_fused(const Shape& shape, Mask mask) {
  return v2_forward(shape, mask, true, 128, 64);
}

/// Chapter 03's three kernels with tiles of (128, 64), d whole. Without a mask, one head, N a
/// multiple of 128: N^2 d (1/64 + 1/128) + N^2 d / 128 + 5 N^2 + N d + N elements are asked for.
Io register_tiles_unfused(const Shape& shape, Mask mask) {
  constexpr std::int64_t kBr = 128, kBc = 64;
  const Visible visible = count_visible(shape, mask);
  const std::int64_t d = shape.d;
  Io scores{.stores = visible.pairs, .writes = visible.pairs};
  Io outputs{.loads = visible.pairs,  // of P, each once: a block has all columns of its rows of O
             .stores = shape.Nq * d,
             .reads = visible.pairs,
             .writes = shape.Nq * d};
  std::int64_t keys_read = 0;
  for (std::int64_t i0 = 0; i0 < shape.Nq; i0 += kBr) {
    const std::int64_t queries = std::min(kBr, shape.Nq - i0);
    const std::int64_t keys = keys_in_tiles(i0, kBr, kBc, shape, mask);
    const std::int64_t key_tiles = (keys + kBc - 1) / kBc;
    scores.loads += (key_tiles * queries + keys) * d;
    scores.reads += key_tiles > 0 ? queries * d : 0;
    outputs.loads += keys * d;
    keys_read = std::max(keys_read, keys);
  }
  scores.reads += keys_read * d;
  outputs.reads += keys_read * d;
  return all_heads(shape, scores + softmax(shape, visible) + outputs);
}

/// delta: dO and O are read once, one number per row is written.
Io delta_of_rows(const Shape& shape) {
  const std::int64_t q = shape.Nq * shape.d;
  return {.loads = 2 * q, .stores = shape.Nq, .reads = 2 * q, .writes = shape.Nq};
}

/// Queries and keys of a tile.
struct Tile {
  std::int64_t Br, Bc;
};

/// Of chapter 07's backward pass.
Tile v2_backward_tile(const Shape& shape) {
  return {.Br = shape.d <= 64 ? 32 : 16, .Bc = shape.d <= 32 ? 64 : shape.d <= 64 ? 32 : 16};
}

/// Blocks own tiles of keys: K and V once, dK and dV once; each streams Q, dO, LSE and delta of the
/// tiles of queries of which a row sees one of its keys. adds_to_dq: one atomic for each element of
/// the row of dQ, for each tile that the row sees a key of. Without a mask, one head,
/// Tc = ceil(N / Bc): 4 N d + Tc (2 N d + 2 N) elements are asked for, and Tc N d atomics.
Io v2_backward_keys(const Shape& shape, Mask mask, Tile tile, bool adds_to_dq) {
  const auto [Br, Bc] = tile;
  const std::int64_t d = shape.d;
  const std::int64_t kv = 2 * shape.Nk * d;  // elements of K and V, and of dK and dV
  Io io{.loads = kv, .stores = kv, .reads = kv, .writes = kv};
  for (std::int64_t i0 = 0; i0 < shape.Nq; i0 += Br) {
    const std::int64_t queries = std::min(Br, shape.Nq - i0);
    const std::int64_t visits = (keys_in_tiles(i0, Br, Bc, shape, mask) + Bc - 1) / Bc;
    io.loads += visits * queries * (2 * d + 2);
    io.reads += visits > 0 ? queries * (2 * d + 2) : 0;
    for (std::int64_t i = i0; adds_to_dq && i < i0 + queries; ++i) {
      const std::int64_t keys = count_keys(i, shape, mask);
      io.atomics += (keys + Bc - 1) / Bc * d;
      io.reads += keys > 0 ? d : 0;
      io.writes += keys > 0 ? d : 0;
    }
  }
  return all_heads(shape, io);
}

/// FlashAttention-2's backward pass. (dQ is cleared by the host, which is not counted.)
Io v2_backward_atomics(const Shape& shape, Mask mask, Tile tile) {
  return all_heads(shape, delta_of_rows(shape)) + v2_backward_keys(shape, mask, tile, true);
}

/// The same without atomics: then dQ comes from blocks that own tiles of queries, read Q, dO, LSE
/// and delta once, and stream K and V as the forward pass does. Without a mask, one head,
/// Tr = ceil(N / Br): 3 N d + 2 N + Tr 2 N d elements more than without dQ.
Io v2_backward_deterministic(const Shape& shape, Mask mask, Tile tile) {
  const auto [Br, Bc] = tile;
  const std::int64_t rows = shape.Nq * (2 * shape.d + 2);  // elements of Q, dO, LSE, delta
  const std::int64_t q = shape.Nq * shape.d;
  Io queries{.loads = rows, .stores = q, .reads = rows, .writes = q};
  std::int64_t keys_read = 0;
  for (std::int64_t i0 = 0; i0 < shape.Nq; i0 += Br) {
    const std::int64_t keys = keys_in_tiles(i0, Br, Bc, shape, mask);
    queries.loads += 2 * keys * shape.d;
    keys_read = std::max(keys_read, keys);
  }
  queries.reads += 2 * keys_read * shape.d;
  return all_heads(shape, delta_of_rows(shape) + queries) +
         v2_backward_keys(shape, mask, tile, false);
}

Io v2_backward_atomics(const Shape& shape, Mask mask) {
  return v2_backward_atomics(shape, mask, v2_backward_tile(shape));
}
Io v2_backward_deterministic(const Shape& shape, Mask mask) {
  return v2_backward_deterministic(shape, mask, v2_backward_tile(shape));
}
/// Chapter 08's: 64 queries, 64 keys.
Io register_tiles_backward_atomics(const Shape& shape, Mask mask) {
  return v2_backward_atomics(shape, mask, {.Br = 64, .Bc = 64});
}
Io register_tiles_backward_deterministic(const Shape& shape, Mask mask) {
  return v2_backward_deterministic(shape, mask, {.Br = 64, .Bc = 64});
}

/// Rows [0, first) of a head do not see this key, the others do; Nq if none does.
std::int64_t first_row_that_sees(std::int64_t key, const Shape& shape, Mask mask) {
  std::int64_t i = 0;
  while (i < shape.Nq && count_keys(i, shape, mask) <= key) ++i;
  return i;
}

/// Chapter 09, whose matrices have elements of 2 bytes: chapter 08's forward pass, but keys arrive
/// up to the last one that the block sees, not to the end of its tile. Without a mask, one head,
/// Tr = ceil(N / Br): 4 N d + 4 N + Tr 4 N d bytes are asked for, half of 07's formula but for LSE.
template <std::int64_t kBr>
Io tensor_cores_forward(const Shape& shape, Mask mask) {
  constexpr std::int64_t kEach = 2;
  const std::int64_t q = kEach * shape.Nq * shape.d;  // bytes of Q, and of O
  Io io{.stores = shape.Nq,
        .writes = shape.Nq,
        .load_bytes = q,
        .store_bytes = q,
        .read_bytes = q,
        .write_bytes = q};
  std::int64_t keys_read = 0;
  for (std::int64_t i0 = 0; i0 < shape.Nq; i0 += kBr) {
    const std::int64_t keys = keys_in_tiles(i0, kBr, 1, shape, mask);
    io.load_bytes += kEach * 2 * keys * shape.d;
    keys_read = std::max(keys_read, keys);
  }
  io.read_bytes += kEach * 2 * keys_read * shape.d;
  return all_heads(shape, io);
}

/// Chapter 09's backward pass. delta of rows; blocks that own rows of Q and dO, each once with its
/// LSE and delta, and stream K and V as forward; blocks that own keys, K and V once, and stream Q,
/// dO, LSE and delta of all rows from the first on that sees one of them. Without a mask, one head,
/// T = ceil(N / 128), d = 64: 22 N d + 12 N + T (8 N d + 8 N) bytes are asked for.
Io tensor_cores_backward(const Shape& shape, Mask mask) {
  constexpr std::int64_t kEach = 2;
  const std::int64_t Nq = shape.Nq, Nk = shape.Nk, d = shape.d;
  const std::int64_t own = d <= 64 ? 128 : 64;
  const std::int64_t q = kEach * Nq * d, k = kEach * Nk * d;  // bytes of Q, and of K
  const Io delta{.stores = Nq, .writes = Nq, .load_bytes = 2 * q, .read_bytes = 2 * q};
  Io queries{.loads = 2 * Nq,
             .reads = 2 * Nq,
             .load_bytes = 2 * q,
             .store_bytes = q,
             .read_bytes = 2 * q,
             .write_bytes = q};
  std::int64_t keys_read = 0;
  for (std::int64_t i0 = 0; i0 < Nq; i0 += own) {
    const std::int64_t seen = keys_in_tiles(i0, own, 1, shape, mask);
    queries.load_bytes += kEach * 2 * seen * d;
    keys_read = std::max(keys_read, seen);
  }
  queries.read_bytes += kEach * 2 * keys_read * d;
  const std::int64_t seen = kEach * keys_in_tiles(0, Nq, 1, shape, mask) * d;  // bytes of K
  Io keys{
      .load_bytes = 2 * seen, .store_bytes = 2 * k, .read_bytes = 2 * seen, .write_bytes = 2 * k};
  for (std::int64_t j0 = 0; j0 < Nk; j0 += own) {
    const std::int64_t rows = Nq - first_row_that_sees(j0, shape, mask);
    keys.loads += 2 * rows;
    keys.load_bytes += 2 * kEach * rows * d;
    keys.reads = std::max(keys.reads, 2 * rows);
    keys.read_bytes = std::max(keys.read_bytes, 2 * seen + 2 * kEach * rows * d);
  }
  return all_heads(shape, delta + queries + keys);
}

/// What of a matrix over (queries, keys) exists is read for every 32 columns of the result, and for
/// every 32 of its rows those rows of the other factor that meet one of them.
/// by_key: the result has a row per key, and sums over queries; else the other way round.
Io textbook_product(const Shape& shape, Mask mask, bool by_key) {
  constexpr std::int64_t kTile = 32;
  const Visible visible = count_visible(shape, mask);
  const std::int64_t rows = by_key ? shape.Nk : shape.Nq;
  Io io{.stores = rows * shape.d, .writes = rows * shape.d};
  io.loads = (shape.d + kTile - 1) / kTile * visible.pairs;
  std::int64_t most = 0;  // rows of the other factor that some tile needs
  for (std::int64_t row = 0; row < rows; row += kTile) {
    const std::int64_t last = std::min(row + kTile, rows) - 1;
    const std::int64_t needed =
        by_key ? shape.Nq - first_row_that_sees(row, shape, mask) : count_keys(last, shape, mask);
    io.loads += needed * shape.d;
    most = std::max(most, needed);
  }
  io.reads = visible.pairs + most * shape.d;
  return io;
}

/// Tiles of 32 x 32 dot products, for tiles with a visible pair: whole rows of both factors. Each
/// visible pair also reads one number of its row, and writes its result. updates: it reads its old
/// value before.
Io textbook_pairs(const Shape& shape, Mask mask, bool updates) {
  constexpr std::int64_t kTile = 32;
  const Visible visible = count_visible(shape, mask);
  Io io{.loads = visible.pairs,
        .stores = visible.pairs,
        .reads = visible.rows,
        .writes = visible.pairs};
  std::int64_t keys_read = 0;
  for (std::int64_t i0 = 0; i0 < shape.Nq; i0 += kTile) {
    const std::int64_t queries = std::min(kTile, shape.Nq - i0);
    const std::int64_t most = count_keys(i0 + queries - 1, shape, mask);
    const std::int64_t tiles = (most + kTile - 1) / kTile;
    const std::int64_t keys = std::min(tiles * kTile, shape.Nk);
    io.loads += (tiles * queries + keys) * shape.d;
    io.reads += tiles > 0 ? queries * shape.d : 0;
    keys_read = std::max(keys_read, keys);
  }
  io.reads += keys_read * shape.d;
  if (updates) {
    io.loads += visible.pairs;
    io.reads += visible.pairs;
  }
  return io;
}

/// The textbook backward pass: delta; P; dV; dS in P's place; dQ; dK. Without a mask, one head, N
/// and d multiples of 32: 5 N^2 d / 16 + 5 N^2 + 5 N d + N elements are asked for.
Io textbook_backward(const Shape& shape, Mask mask) {
  const Io by_key = textbook_product(shape, mask, true);
  return all_heads(shape, delta_of_rows(shape) + textbook_pairs(shape, mask, false) + by_key +
                              textbook_pairs(shape, mask, true) +
                              textbook_product(shape, mask, false) + by_key);
}

/// FlashAttention-1's backward pass after delta: one block per head, tiles of K and V outside,
/// tiles of Q inside, dQ in global memory. Without a mask, one head, Tc = ceil(N / Bc): with delta,
/// Tc (4 N d + 2 N) + 5 N d + N elements are asked for.
Io recompute_backward(const Shape& shape, Mask mask) {
  const std::int64_t Nq = shape.Nq, Nk = shape.Nk, d = shape.d;
  const std::int64_t keys_per_tile = d <= 32 ? 64 : d <= 64 ? 32 : 16;
  const std::int64_t rounds = std::max<std::int64_t>(1, (Nk + keys_per_tile - 1) / keys_per_tile);
  std::int64_t returns = 0;   // visits to a row of dQ after its first
  std::int64_t returned = 0;  // rows with such visits
  for (std::int64_t i = 0; i < Nq; ++i) {
    const std::int64_t keys = count_keys(i, shape, mask);
    const std::int64_t tiles = (keys + keys_per_tile - 1) / keys_per_tile;
    returns += tiles > 1 ? tiles - 1 : 0;
    returned += tiles > 1 ? 1 : 0;
  }
  const Io main{.loads = 2 * Nk * d + rounds * (2 * Nq * d + 2 * Nq) + returns * d,
                .stores = (Nq + returns) * d + 2 * Nk * d,
                .reads = 2 * Nk * d + 2 * Nq * d + 2 * Nq + returned * d,
                .writes = Nq * d + 2 * Nk * d};
  return all_heads(shape, delta_of_rows(shape) + main);
}

// ---- Ranges of keys (chapter 12) ---------------------------------------------------------------

/// One sequence of a batch, and which pairs of it are visible, from the definition: key j, counted
/// from the first valid one, lies between the mask's bounds, or is one of the sink keys and not
/// behind the upper bound; and it lies in one of the row's ranges, if there are any.
class Sequence {
 public:
  Sequence(const Problem& problem, std::int64_t b)
      : problem_(problem), b_(b), rows_(problem.shape.Nq), keys_(problem.shape.Nk) {
    const auto at = static_cast<std::size_t>(b);
    const std::vector<std::int64_t>&q = problem.extras.q_offsets, &k = problem.extras.k_offsets;
    if (!q.empty()) rows_ = q[at + 1] - q[at];
    if (!k.empty()) keys_ = k[at + 1] - k[at];
    if (!problem.extras.key_begin.empty()) keys_ -= problem.extras.key_begin[at];
    if (!problem.extras.key_count.empty()) keys_ = problem.extras.key_count[at];
  }

  std::int64_t rows() const { return rows_; }
  std::int64_t keys() const { return keys_; }

  bool sees(std::int64_t i, std::int64_t j) const { return allows(i, j) && in_a_range(i, j); }

  /// Whether the mask lets row i see key j.
  bool allows(std::int64_t i, std::int64_t j) const {
    const Mask& mask = problem_.mask;
    const std::int64_t own = mask.top_left ? i : i + keys_ - rows();
    if (mask.after != kUnbounded && j - own > mask.after) return false;
    return mask.before == kUnbounded || own - j <= mask.before || j < problem_.extras.sink_keys;
  }

  /// Whether a row of the tile of Br from i0 on sees a key of the tile of Bc from j0 on.
  bool meet(std::int64_t i0, std::int64_t j0, Tile tile) const {
    for (std::int64_t i = i0; i < std::min(i0 + tile.Br, rows()); ++i) {
      for (std::int64_t j = j0; j < std::min(j0 + tile.Bc, keys()); ++j) {
        if (sees(i, j)) return true;
      }
    }
    return false;
  }

 private:
  bool in_a_range(std::int64_t i, std::int64_t j) const {
    const int per_row = problem_.extras.ranges_per_row;
    const auto first = static_cast<std::size_t>((b_ * rows_ + i) * 2 * per_row);
    for (std::size_t at = first; at < first + static_cast<std::size_t>(2 * per_row); at += 2) {
      if (problem_.extras.ranges[at] <= j && j < problem_.extras.ranges[at + 1]) return true;
    }
    return per_row == 0;
  }

  const Problem& problem_;
  std::int64_t b_, rows_;
  std::int64_t keys_;  // valid ones
};

/// What blocks that own one side of S load of the other, of one head: rows that arrive, in whole
/// tiles of which an owner sees a pair, and how many different ones.
struct Streamed {
  std::int64_t rows = 0, distinct = 0;
};

/// Blocks own tiles of queries and stream keys.
Streamed streamed_keys(const Sequence& sequence, Tile tile) {
  Streamed result;
  for (std::int64_t j0 = 0; j0 < sequence.keys(); j0 += tile.Bc) {
    std::int64_t visits = 0;
    for (std::int64_t i0 = 0; i0 < sequence.rows(); i0 += tile.Br) {
      visits += sequence.meet(i0, j0, tile) ? 1 : 0;
    }
    const std::int64_t keys = std::min(tile.Bc, sequence.keys() - j0);
    result.rows += visits * keys;
    result.distinct += visits > 0 ? keys : 0;
  }
  return result;
}

/// Blocks own tiles of keys and stream queries.
Streamed streamed_queries(const Sequence& sequence, Tile tile) {
  Streamed result;
  for (std::int64_t i0 = 0; i0 < sequence.rows(); i0 += tile.Br) {
    std::int64_t visits = 0;
    for (std::int64_t j0 = 0; j0 < sequence.keys(); j0 += tile.Bc) {
      visits += sequence.meet(i0, j0, tile) ? 1 : 0;
    }
    const std::int64_t queries = std::min(tile.Br, sequence.rows() - i0);
    result.rows += visits * queries;
    result.distinct += visits > 0 ? queries : 0;
  }
  return result;
}

/// Each of a block's 128 threads reads where the valid keys of its batch begin, and how many there
/// are: integers of 64 bits, two elements each. owned: rows of a head that blocks own, `tile` each.
Io lengths(const Problem& problem, std::int64_t owned, std::int64_t tile) {
  const auto& [B, H, Hkv, Nq, Nk, d] = problem.shape;
  const std::int64_t integers =
      (problem.extras.key_begin.empty() ? 0 : 1) + (problem.extras.key_count.empty() ? 0 : 1);
  const std::int64_t blocks = B * H * ((owned + tile - 1) / tile);
  return {.loads = 2 * integers * 128 * blocks, .reads = blocks > 0 ? 2 * integers * B : 0};
}

/// The sum over batches; the heads of one have the same keys.
template <class F>
Io all_batches(const Problem& problem, F one_head) {
  Io sum;
  for (std::int64_t b = 0; b < problem.shape.B; ++b) {
    Shape one = problem.shape;
    one.B = 1;
    sum = sum + all_heads(one, one_head(Sequence(problem, b)));
  }
  return sum;
}

/// Chapter 07's forward pass, whose blocks load the tiles of keys that a row of theirs sees a key
/// of; tiles begin with the first valid key, and padding is not loaded. A band without padding and
/// sink keys: min(Nk, ceil(hi / Bc) Bc) - floor(lo / Bc) Bc keys for each tile of queries, lo the
/// first key of its first row, hi the end of its last row's.
Io windows_forward(const Problem& problem) {
  const Shape& shape = problem.shape;
  const std::int64_t d = shape.d, q = shape.Nq * d;
  const Tile tile{.Br = d <= 64 ? 64 : 32, .Bc = d <= 32 ? 64 : d <= 64 ? 32 : 16};
  return lengths(problem, shape.Nq, tile.Br) + all_batches(problem, [&](const Sequence& sequence) {
           const Streamed keys = streamed_keys(sequence, tile);
           return Io{.loads = q + 2 * keys.rows * d,
                     .stores = q + shape.Nq,
                     .reads = q + 2 * keys.distinct * d,
                     .writes = q + shape.Nq};
         });
}

/// Chapter 07's deterministic backward pass in the same way: blocks that own keys, of which some
/// row sees one, load the tiles of queries that see one of theirs; blocks that own queries load
/// keys as the forward pass does. Gradients of padding are stored, too.
Io windows_backward(const Problem& problem) {
  const Shape& shape = problem.shape;
  const std::int64_t d = shape.d, q = shape.Nq * d, k = shape.Nk * d;
  const std::int64_t row = 2 * d + 2;  // elements of Q, dO, LSE, delta
  const Tile tile = v2_backward_tile(shape);
  const auto of_head = [&](const Sequence& sequence) {
    const Streamed queries = streamed_queries(sequence, tile);
    const Streamed keys = streamed_keys(sequence, tile);
    const Io key_kernel{.loads = 2 * keys.distinct * d + queries.rows * row,
                        .stores = 2 * k,
                        .reads = 2 * keys.distinct * d + queries.distinct * row,
                        .writes = 2 * k};
    const Io query_kernel{.loads = shape.Nq * row + 2 * keys.rows * d,
                          .stores = q,
                          .reads = shape.Nq * row + 2 * keys.distinct * d,
                          .writes = q};
    return key_kernel + query_kernel;
  };
  return all_heads(shape, delta_of_rows(shape)) + lengths(problem, shape.Nk, tile.Bc) +
         lengths(problem, shape.Nq, tile.Br) + all_batches(problem, of_head);
}

// ---- Packed sequences and ranges from memory (chapter 13) --------------------------------------

/// Each of a block's 128 threads looks for the sequence of its tile: of `own` offsets one for every
/// halving and the two of the sequence, and, unless the tile lies behind it, the two of the other
/// side. Tiles of T rows have the numbers from own[b] / T + b on. Integers of 64 bits.
Io lookups(const Problem& problem, const std::vector<std::int64_t>& own, std::int64_t T) {
  if (own.empty() || problem.shape.H == 0) return {};
  const auto first = [&](std::size_t b) { return own[b] / T + static_cast<std::int64_t>(b); };
  std::set<std::size_t> of_own, of_other;
  std::int64_t loads = 0;
  const std::size_t B = own.size() - 1;
  for (std::int64_t tile = 0; tile < first(B); ++tile) {
    std::size_t low = 0, high = B;
    while (high - low > 1) {
      const std::size_t middle = (low + high) / 2;
      of_own.insert(middle);
      ++loads;
      (first(middle) <= tile ? low : high) = middle;
    }
    of_own.insert({low, low + 1});
    loads += 2;
    if ((tile - first(low)) * T >= own[low + 1] - own[low]) continue;
    of_other.insert({low, low + 1});
    loads += 2;
  }
  return {.loads = 2 * 128 * loads * problem.shape.H,
          .reads = 2 * static_cast<std::int64_t>(of_own.size() + of_other.size())};
}

/// The bounds of `loaded` rows of a head, `distinct` of them different; all heads of a batch have
/// the same. Integers of 64 bits.
Io bounds(const Problem& problem, std::int64_t loaded, std::int64_t distinct) {
  const std::int64_t each = 2 * 2 * problem.extras.ranges_per_row;
  return {.loads = each * loaded * problem.shape.H, .reads = each * distinct};
}

/// The sum over sequences of what one head of them moves.
template <class F>
Io all_sequences(const Problem& problem, F one_head) {
  Io sum;
  for (std::int64_t b = 0; b < problem.shape.B; ++b) {
    const Sequence sequence(problem, b);
    Shape heads = problem.shape;
    heads.B = 1;
    heads.Nq = sequence.rows();
    heads.Nk = sequence.keys();
    sum = sum + all_heads(heads, one_head(sequence, heads));
  }
  return sum;
}

Io all_bounds_once(const Problem& problem) {
  Io sum;
  for (std::int64_t b = 0; b < problem.shape.B; ++b) {
    const std::int64_t rows = Sequence(problem, b).rows();
    sum = sum + bounds(problem, rows, rows);
  }
  return sum;
}

/// What a row sees of a tile is a word: of at most 32 keys.
Tile packed_forward_tile(const Shape& shape) {
  return {.Br = shape.d <= 64 ? 64 : 32, .Bc = shape.d <= 64 ? 32 : 16};
}
Tile packed_backward_tile(const Shape& shape) {
  return {.Br = shape.d <= 64 ? 32 : 16, .Bc = shape.d <= 64 ? 32 : 16};
}

/// Blocks own tiles of queries and stream every tile from the first key that one of their rows sees
/// to the last.
Streamed streamed_hulls(const Sequence& sequence, Tile tile) {
  Streamed result;
  std::set<std::int64_t> loaded;
  for (std::int64_t i0 = 0; i0 < sequence.rows(); i0 += tile.Br) {
    std::int64_t first = sequence.keys(), last = -1;
    for (std::int64_t i = i0; i < std::min(i0 + tile.Br, sequence.rows()); ++i) {
      for (std::int64_t j = 0; j < sequence.keys(); ++j) {
        if (!sequence.sees(i, j)) continue;
        first = std::min(first, j);
        last = std::max(last, j);
      }
    }
    const std::int64_t end = std::min(sequence.keys(), (last + tile.Bc) / tile.Bc * tile.Bc);
    for (std::int64_t j = first / tile.Bc * tile.Bc; last >= 0 && j < end; ++j) {
      ++result.rows;
      loaded.insert(j);
    }
  }
  result.distinct = static_cast<std::int64_t>(loaded.size());
  return result;
}

/// Chapter 07's forward pass over all sequences. kStream: which keys its blocks load.
template <Streamed (*kStream)(const Sequence&, Tile)>
Io packed_forward(const Problem& problem) {
  const Tile tile = packed_forward_tile(problem.shape);
  const auto of_head = [&](const Sequence& sequence, const Shape& shape) {
    const std::int64_t q = shape.Nq * shape.d;
    const Streamed keys = kStream(sequence, tile);
    return Io{.loads = q + 2 * keys.rows * shape.d,
              .stores = q + shape.Nq,
              .reads = q + 2 * keys.distinct * shape.d,
              .writes = q + shape.Nq};
  };
  return lookups(problem, problem.extras.q_offsets, tile.Br) + all_bounds_once(problem) +
         all_sequences(problem, of_head);
}

/// Rows whose bounds the blocks that own keys read: for every tile of keys, whole tiles from the
/// first row to the last that the mask lets see one of them.
Streamed voting_rows(const Sequence& sequence, Tile tile) {
  Streamed result;
  std::set<std::int64_t> asked;
  for (std::int64_t j0 = 0; j0 < sequence.keys(); j0 += tile.Bc) {
    std::int64_t first = sequence.rows(), last = -1;
    for (std::int64_t j = j0; j < std::min(j0 + tile.Bc, sequence.keys()); ++j) {
      for (std::int64_t i = 0; i < sequence.rows(); ++i) {
        if (!sequence.allows(i, j)) continue;
        first = std::min(first, i);
        last = std::max(last, i);
      }
    }
    const std::int64_t end = std::min(sequence.rows(), (last + tile.Br) / tile.Br * tile.Br);
    for (std::int64_t i = first / tile.Br * tile.Br; last >= 0 && i < end; ++i) {
      ++result.rows;
      asked.insert(i);
    }
  }
  result.distinct = static_cast<std::int64_t>(asked.size());
  return result;
}

/// Chapter 07's deterministic backward pass over all sequences: blocks on either side load the
/// tiles of the other with a visible pair.
Io packed_backward(const Problem& problem) {
  const Tile tile = packed_backward_tile(problem.shape);
  const auto of_head = [&](const Sequence& sequence, const Shape& shape) {
    const std::int64_t d = shape.d, q = shape.Nq * d, k = shape.Nk * d;
    const std::int64_t row = 2 * d + 2;  // elements of Q, dO, LSE, delta
    const Streamed queries = streamed_queries(sequence, tile);
    const Streamed keys = streamed_keys(sequence, tile);
    const Io key_kernel{.loads = 2 * keys.distinct * d + queries.rows * row,
                        .stores = 2 * k,
                        .reads = 2 * keys.distinct * d + queries.distinct * row,
                        .writes = 2 * k};
    const Io query_kernel{.loads = shape.Nq * row + 2 * keys.rows * d,
                          .stores = q,
                          .reads = shape.Nq * row + 2 * keys.distinct * d,
                          .writes = q};
    return delta_of_rows(shape) + key_kernel + query_kernel;
  };
  Io asked;
  for (std::int64_t b = 0; b < problem.shape.B; ++b) {
    const Streamed rows = voting_rows(Sequence(problem, b), tile);
    asked = asked + bounds(problem, rows.rows, rows.distinct);
  }
  return lookups(problem, problem.extras.k_offsets, tile.Bc) +
         lookups(problem, problem.extras.q_offsets, tile.Br) + all_bounds_once(problem) + asked +
         all_sequences(problem, of_head);
}

// ---- What is done to a score (chapter 15) ------------------------------------------------------

/// One number per head, of slopes or sinks, that every thread of `blocks` blocks reads.
Io numbers_of_heads(const Problem& problem, const std::vector<float>& numbers,
                    std::int64_t blocks) {
  if (numbers.empty() || blocks == 0) return {};
  return {.loads = 128 * blocks, .reads = problem.shape.H};
}

/// Each pair that the mask lets through asks for its element of the bias, which others may share.
Io bias_of_pairs(const Problem& problem) {
  if (problem.extras.bias.empty()) return {};
  const Shape& shape = problem.shape;
  std::set<std::int64_t> distinct;
  std::int64_t loads = 0;
  for (std::int64_t b = 0; b < shape.B; ++b) {
    const Sequence sequence(problem, b);
    for (std::int64_t i = 0; i < shape.Nq; ++i) {
      for (std::int64_t j = 0; j < shape.Nk; ++j) {
        if (!sequence.allows(i, j)) continue;
        loads += shape.H;
        for (std::int64_t h = 0; h < shape.H; ++h) {
          distinct.insert(problem.extras.bias_shape.index(b, h, i, j));
        }
      }
    }
  }
  return {.loads = loads, .reads = static_cast<std::int64_t>(distinct.size())};
}

std::int64_t blocks(const Shape& shape, std::int64_t rows, std::int64_t tile) {
  return shape.B * shape.H * ((rows + tile - 1) / tile);
}

/// Chapter 12's forward pass with at most 32 keys to a tile, and a bias, slopes and sinks. Softcap
/// and dropout move nothing. Without a mask, one head, a bias of its own for every pair: N^2
/// elements more than without one.
Io scores_forward(const Problem& problem) {
  const Shape& shape = problem.shape;
  const std::int64_t d = shape.d, q = shape.Nq * d;
  const Tile tile = d <= 64 ? Tile{.Br = 64, .Bc = 32} : Tile{.Br = 32, .Bc = 16};
  const std::int64_t all = blocks(shape, shape.Nq, tile.Br);
  const auto of_head = [&](const Sequence& sequence) {
    const Streamed keys = streamed_keys(sequence, tile);
    return Io{.loads = q + 2 * keys.rows * d,
              .stores = q + shape.Nq,
              .reads = q + 2 * keys.distinct * d,
              .writes = q + shape.Nq};
  };
  return all_batches(problem, of_head) + bias_of_pairs(problem) +
         numbers_of_heads(problem, problem.extras.alibi, all) +
         numbers_of_heads(problem, problem.extras.sink_logits, all);
}

/// Chapter 12's deterministic backward pass likewise, and where they are wanted the gradients of a
/// bias and of sinks. A number of the bias has one owner, a block that owns a tile of them: for
/// each tile of pairs of which one is visible the tiles of Q, dO, LSE, delta, K and V come once
/// more, whatever the shape of the bias. A sink's owner reads LSE and delta of its head.
Io scores_backward(const Problem& problem) {
  const Shape& shape = problem.shape;
  const std::int64_t d = shape.d, q = shape.Nq * d, k = shape.Nk * d;
  const std::int64_t row = 2 * d + 2;  // elements of Q, dO, LSE, delta
  const std::int64_t T = d <= 64 ? 32 : 16;
  const Tile tile{.Br = T, .Bc = T};
  const PairShape& bias = problem.extras.bias_shape;
  const bool wants_bias = !problem.extras.bias.empty();
  const auto of_head = [&](const Sequence& sequence) {
    const Streamed queries = streamed_queries(sequence, tile);
    const Streamed keys = streamed_keys(sequence, tile);
    const Io key_kernel{.loads = 2 * keys.distinct * d + queries.rows * row,
                        .stores = 2 * k,
                        .reads = 2 * keys.distinct * d + queries.distinct * row,
                        .writes = 2 * k};
    const Io query_kernel{.loads = shape.Nq * row + 2 * keys.rows * d,
                          .stores = q,
                          .reads = shape.Nq * row + 2 * keys.distinct * d,
                          .writes = q};
    const Io bias_kernel{.loads = queries.rows * row + 2 * keys.rows * d,
                         .reads = queries.distinct * row + 2 * keys.distinct * d};
    return delta_of_rows(shape) + key_kernel + query_kernel + (wants_bias ? bias_kernel : Io{});
  };
  Io sum = all_batches(problem, of_head) + bias_of_pairs(problem) + bias_of_pairs(problem) +
           numbers_of_heads(problem, problem.extras.alibi, blocks(shape, shape.Nk, T)) +
           numbers_of_heads(problem, problem.extras.alibi, blocks(shape, shape.Nq, T));
  if (wants_bias) {
    const std::int64_t tiles =
        (bias.Nq == 1 ? 1 : (bias.Nq + T - 1) / T) * (bias.Nk == 1 ? 1 : (bias.Nk + T - 1) / T);
    const std::int64_t numbers = bias.elements();
    sum = sum + bias_of_pairs(problem) + Io{.stores = numbers, .writes = numbers} +
          numbers_of_heads(problem, problem.extras.alibi, shape.B * shape.H * tiles);
  }
  if (!problem.extras.sink_logits.empty()) {
    const std::int64_t rows = 2 * shape.B * shape.H * shape.Nq;
    sum = sum + numbers_of_heads(problem, problem.extras.sink_logits, shape.H) +
          Io{.loads = rows, .stores = shape.H, .reads = rows, .writes = shape.H};
  }
  return sum;
}

/// A formula that asks for sizes and mask only.
template <Io (*kFormula)(const Shape&, Mask)>
Io by_mask(const Problem& problem) {
  return kFormula(problem.shape, problem.mask);
}

struct Entry {
  std::string_view chapter;
  std::string_view step;
  Pass pass;
  IoFormula formula;
};

constexpr Entry kFormulas[] = {
    {"02_naive_gpu", "naive", Pass::kForward, by_mask<naive_gpu_forward>},
    {"03_tiled", "step1_coalesced", Pass::kForward, by_mask<coalesced_forward>},
    {"03_tiled", "step2_tiled", Pass::kForward, by_mask<tiled_forward>},
    {"03_tiled", "step3_padded", Pass::kForward, by_mask<tiled_forward>},
    {"03_tiled", "step4_warp_softmax", Pass::kForward, by_mask<tiled_forward>},
    {"04_online_softmax", "forward", Pass::kForward, by_mask<online_softmax_forward>},
    {"05_fused_forward", "forward", Pass::kForward, by_mask<fused_forward>},
    {"06_recompute_backward", "step1_textbook", Pass::kBackward, by_mask<textbook_backward>},
    {"06_recompute_backward", "step2_recompute", Pass::kBackward, by_mask<recompute_backward>},
    {"07_v2_loop_order", "step1_loop_swap", Pass::kForward, by_mask<v2_forward_whole>},
    {"07_v2_loop_order", "step2_skip", Pass::kForward, by_mask<v2_forward_skipping>},
    {"07_v2_loop_order", "step3_exp2", Pass::kForward, by_mask<v2_forward_skipping>},
    {"07_v2_loop_order", "step4_backward", Pass::kBackward, by_mask<v2_backward_atomics>},
    {"07_v2_loop_order", "step5_deterministic", Pass::kBackward,
     by_mask<v2_backward_deterministic>},
    {"08_register_tiles", "step1_unfused", Pass::kForward, by_mask<register_tiles_unfused>},
    {"08_register_tiles", "step2_fused", Pass::kForward, by_mask<register_tiles_fused>},
    {"08_register_tiles", "step3_paired_lanes", Pass::kForward, by_mask<register_tiles_fused>},
    {"08_register_tiles", "step4_wide_loads", Pass::kForward, by_mask<register_tiles_fused>},
    {"08_register_tiles", "step5_exp2", Pass::kForward, by_mask<register_tiles_fused>},
    {"08_register_tiles", "step6_backward", Pass::kBackward,
     by_mask<register_tiles_backward_atomics>},
    {"08_register_tiles", "step7_deterministic", Pass::kBackward,
     by_mask<register_tiles_backward_deterministic>},
    {"09_tensor_cores", "step1_fragments", Pass::kForward, by_mask<tensor_cores_forward<64>>},
    {"09_tensor_cores", "step2_ldmatrix", Pass::kForward, by_mask<tensor_cores_forward<64>>},
    {"09_tensor_cores", "step3_registers", Pass::kForward, by_mask<tensor_cores_forward<64>>},
    {"09_tensor_cores", "step4_rows32", Pass::kForward, by_mask<tensor_cores_forward<128>>},
    {"09_tensor_cores", "step5_backward", Pass::kBackward, by_mask<tensor_cores_backward>},
    {"10_async_pipeline", "step1_swizzle", Pass::kForward, swizzled_forward},
    {"10_async_pipeline", "step2_cp_async", Pass::kForward, async_forward},
    {"10_async_pipeline", "step3_hoisted", Pass::kForward, async_forward},
    {"10_async_pipeline", "step4_tiles", Pass::kForward, async_forward},
    {"10_async_pipeline", "step5_backward", Pass::kBackward, async_backward_atomics},
    {"10_async_pipeline", "step6_deterministic", Pass::kBackward, async_backward_deterministic},
    {"11_hopper", "step1_wgmma", Pass::kForward, warpgroup_forward},
    {"11_hopper", "step2_tma", Pass::kForward, tensor_copy_forward},
    {"11_hopper", "step3_producer", Pass::kForward, tensor_copy_forward},
    {"11_hopper", "step4_ping_pong", Pass::kForward, tensor_copy_forward},
    {"11_hopper", "step5_overlap", Pass::kForward, tensor_copy_forward},
    {"11_hopper", "step6_persistent", Pass::kForward, tensor_copy_forward},
    {"12_windows", "step1_range", Pass::kForward, by_mask<v2_forward_whole>},
    {"12_windows", "step2_skip", Pass::kForward, windows_forward},
    {"12_windows", "step3_lengths", Pass::kForward, windows_forward},
    {"12_windows", "step4_sinks", Pass::kForward, windows_forward},
    {"12_windows", "step5_backward", Pass::kBackward, windows_backward},
    {"13_packed", "step1_ranges", Pass::kForward, packed_forward<streamed_hulls>},
    {"13_packed", "step2_packed", Pass::kForward, packed_forward<streamed_keys>},
    {"13_packed", "step3_both", Pass::kForward, packed_forward<streamed_keys>},
    {"13_packed", "step4_backward", Pass::kBackward, packed_backward},
    {"14_masks", "step1_bytes", Pass::kForward, mask_bytes_forward},
    {"14_masks", "step2_bits", Pass::kForward, mask_bits_forward},
    {"14_masks", "step3_tiles", Pass::kForward, mask_tiles_forward},
    {"14_masks", "step4_backward", Pass::kBackward, mask_tiles_backward},
    {"15_scores", "step1_alibi", Pass::kForward, scores_forward},
    {"15_scores", "step2_bias", Pass::kForward, scores_forward},
    {"15_scores", "step3_softcap_sink", Pass::kForward, scores_forward},
    {"15_scores", "step4_dropout", Pass::kForward, scores_forward},
    {"15_scores", "step5_backward", Pass::kBackward, scores_backward},
    {"16_heads", "step1_groups", Pass::kForward, groups_forward},
    {"16_heads", "step2_pack", Pass::kForward, pack_forward},
    {"16_heads", "step3_layout", Pass::kForward, pack_forward},
    {"16_heads", "step4_all", Pass::kForward, pack_forward},
    {"16_heads", "step5_backward", Pass::kBackward, all_features_backward},
    {"17_decode", "step1_one_query", Pass::kForward, one_query_forward},
    {"17_decode", "step2_split", Pass::kForward, split_forward},
    {"17_decode", "step3_group", Pass::kForward, group_forward},
    {"17_decode", "step4_cache", Pass::kForward, cache_forward},
    {"18_paged", "step1_lookup", Pass::kForward, lookup_forward},
    {"18_paged", "step2_pages", Pass::kForward, pages_forward},
};

}  // namespace

IoFormula find_io_formula(std::string_view chapter, std::string_view step, Pass pass) {
  for (const Entry& entry : kFormulas) {
    if (entry.chapter == chapter && entry.step == step && entry.pass == pass) return entry.formula;
  }
  return nullptr;
}

}  // namespace attn::testing
