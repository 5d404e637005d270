// SPDX-License-Identifier: MIT
//
// Step 2: step 1 with one look-up for each key of a tile and warp. A lane has a key, asks the table
// for its page and works out where its row lies; when the row is loaded, of K and then of V, the
// others get that from it by a shuffle.
#include "chapters/18_paged/paged.hpp"
#include "chapters/18_paged/pages.hpp"
#include "common/columns.hpp"
#include "common/device/few_rows.cuh"
#include "common/device/group.hpp"
#include "common/device/load_rows.cuh"
#include "common/device/merge.cuh"

namespace attn::decoding::paged {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kRows = kBr / kWarps;  // of a warp: w, w + kWarps, w + 2 kWarps, ...

/// The tiles, and behind them a word per row.
template <int kD>
constexpr std::size_t kSharedBytes = tile_floats(kD) * sizeof(float) + kBr * sizeof(unsigned);

/// Grid: B*Hkv times the tiles of a group's rows, times the runs; block: kThreads; dynamic shared
/// memory: kSharedBytes<kD>.
template <int kD>
__global__ void forward_kernel(const float* gQ, const float* gK, const float* gV, Partials partials,
                               Request request, Pages all_pages) {
  float* sQ = dynamic_shared<float>();                                   // (Br, D)
  float* sK = sQ + kBr * kD;                                             // (Bc, D + 1)
  float* sV = sK + kBc * (kD + 1);                                       // (Bc, D)
  float* sS = sV + kBc * kD;                                             // (Br, Bc + 1)
  unsigned* sWords = reinterpret_cast<unsigned*>(sS + kBr * (kBc + 1));  // (Br)
  const std::int64_t d = request.d, Nq = request.Nq;
  const std::int64_t row_tiles = tiles_of(Nq * request.group(), kBr);
  const int split = blockIdx.x % partials.splits;
  const std::int64_t row_tile = blockIdx.x / partials.splits;
  const std::int64_t kv_head = row_tile / row_tiles;  // of all batches
  const device::RowTile rows =
      device::row_tile(row_tile % row_tiles * kBr, kBr, Nq, kv_head, request.group());
  const Range valid = request.valid(kv_head / request.Hkv);
  const SeenKeys seen = request.seen(valid);
  const HeadPages pages = all_pages.of_head(kv_head);
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  const auto place = [&](int r) { return rows.head(r) * Nq + rows.i0 + rows.token(r); };

  float row_max[kRows];
  float row_sum[kRows] = {};
  float acc_o[kRows][kD / kWarp] = {};
#pragma unroll
  for (int n = 0; n < kRows; ++n) row_max[n] = -INFINITY;

  device::load_rows<kThreads, kBr, kD>(sQ, kD, rows.rows, d,
                                       [&](int r) { return gQ + place(r) * d; });
  const SeenTiles tiles = seen.tiles(rows.tokens());
  const Range run = run_of(tiles.count(), split, partials.splits);
  for (std::int64_t n = run.begin; n < run.end; ++n) {
    const std::int64_t j0 = tiles.tile(n) * kBc;
    const int keys = valid.size() - j0 < kBc ? static_cast<int>(valid.size() - j0) : kBc;
    const std::int64_t own = lane < keys ? pages.row(valid.begin + j0 + lane) * d : 0;
    const auto at = [&](int j) { return __shfl_sync(device::kAllLanes, own, j); };
    device::load_rows<kThreads, kBc, kD>(sK, kD + 1, keys, d, [&](int j) { return gK + at(j); });
    device::load_rows<kThreads, kBc, kD>(sV, kD, keys, d, [&](int j) { return gV + at(j); });
    const int r = threadIdx.x;
    const unsigned word = word_of_token(seen, rows.i0 + rows.token(r), j0);
    if (r < kBr) sWords[r] = word & (r < rows.rows ? ~0u : 0u);  // none for rows that do not exist
    __syncthreads();  // wait until the tiles and words are complete
    scores<kWarps, kD>(sQ, sK, sS, rows.rows, d, request.scale);
    device::update_rows<kWarps, kBr, kBc, kD>(sS, sV, device::WordTile{sWords}, row_max, row_sum,
                                              acc_o);
    __syncthreads();  // wait until everyone is done with K_j, V_j and the words
  }

#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    const int r = n * kWarps + warp;
    if (r >= rows.rows) continue;
    const std::int64_t row = place(r) * partials.splits + split;
    for (int m = 0; m < kD / kWarp; ++m) {
      const int c = lane + m * kWarp;
      if (c < d) partials.gO[row * d + c] = acc_o[n][m];
    }
    if (lane == 0) {
      partials.gMax[row] = row_max[n];
      partials.gSum[row] = row_sum[n];
    }
  }
}

template <int kD>
void run(const ForwardArgs& args, int splits) {
  static_assert(kSharedBytes<kD> <= 48 * 1024);
  const Partials partials = partials_in(args.workspace, args.shape, splits);
  launch(forward_kernel<kD>, grid_size(group_tiles(args.shape) * splits), kThreads,
         kSharedBytes<kD>, nullptr, args.q, args.k, args.v, partials, request_of(args),
         pages_of(args));
  merge<kD>(args, partials);
}

}  // namespace

void forward_pages(const ForwardArgs& args) {
  const int splits = splits_for(group_tiles(args.shape), multiprocessors(), most_tiles(args));
  with_columns(args.shape.d, [&]<int kD>() { run<kD>(args, splits); });
}

}  // namespace attn::decoding::paged
