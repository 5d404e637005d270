// SPDX-License-Identifier: MIT
//
// Step 1: chapter 12's kernel for ranges that come from memory. Each row has one or two of them and
// sees the keys of both that the mask allows. They need not grow from row to row, and so a block
// brings those of its rows into shared memory and asks all of them:
//   - From the first key that some row sees to the last, every tile is loaded.
//   - Before a tile is used, the rows vote: if all see all of it, it needs no mask.
#include "chapters/13_packed/packed.hpp"
#include "chapters/13_packed/ranges.cuh"
#include "common/columns.hpp"
#include "common/device/masked_rows.cuh"
#include "common/device/tiles.cuh"

namespace attn::packed {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;

/// Rows of the tile that one warp owns: w, w + kWarps, w + 2 kWarps, ...
template <int kD>
constexpr int kRows = tiles_for(kD).Br / kWarps;

/// The tiles, and behind them what the rows see.
template <int kD>
constexpr std::size_t kSharedBytes =
    tiles_for(kD).floats() * sizeof(float) + SharedKeys<tiles_for(kD).Br>::kBytes +
    tiles_for(kD).Br * sizeof(unsigned);

/// Grid: B*H times the Q tiles of a head; block: kThreads; dynamic shared memory: kSharedBytes<kD>.
template <int kD>
__global__ void forward_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                               float* gLSE, std::int64_t H, std::int64_t Nq, std::int64_t Nk,
                               std::int64_t d, RangeArray ranges, Mask mask, float scale) {
  constexpr Tiles kT = tiles_for(kD);
  float* sQ = dynamic_shared<float>();  // (Br, D + 1)
  float* sK = sQ + kT.Br * (kD + 1);    // (Bc, D + 1)
  float* sV = sK + kT.Bc * (kD + 1);    // (Bc, D)
  float* sS = sV + kT.Bc * kD;          // (Br, Bc + 1)
  const SharedKeys<kT.Br> sKeys{reinterpret_cast<std::int64_t*>(sS + kT.Br * (kT.Bc + 1))};
  unsigned* sSeen = reinterpret_cast<unsigned*>(sKeys.sBounds + 4 * kT.Br);  // (Br) words of a tile
  const std::int64_t tiles = (Nq + kT.Br - 1) / kT.Br;
  const std::int64_t head = blockIdx.x / tiles;  // blocks that run side by side share K and V
  const std::int64_t i0 = blockIdx.x % tiles * kT.Br;
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  gQ += head * Nq * d;
  gK += head * Nk * d;
  gV += head * Nk * d;
  gO += head * Nq * d;
  gLSE += head * Nq;

  float row_max[kRows<kD>];
  float row_sum[kRows<kD>] = {};
  float acc_o[kRows<kD>][kD / kWarp] = {};
#pragma unroll
  for (int n = 0; n < kRows<kD>; ++n) row_max[n] = -INFINITY;

  device::load_tile<kThreads, kT.Br, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
  const int row = threadIdx.x;  // the row that this thread asks for
  const int rows = Nq - i0 < kT.Br ? static_cast<int>(Nq - i0) : kT.Br;
  const Band band = band_of(mask, Nq, Nk);
  if (row < rows) sKeys.put(row, ranges.row(head / H, i0 + row, band));
  __syncthreads();  // wait until all rows have their ranges
  const Range some = sKeys.hull(rows);
  for (std::int64_t j0 = some.begin / kT.Bc * kT.Bc; j0 < some.end; j0 += kT.Bc) {
    const RowKeys own = row < rows ? sKeys.row(row) : RowKeys{};
    device::load_tile<kThreads, kT.Bc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kThreads, kT.Bc, kD>(sV, kD, gV + j0 * d, Nk - j0, d);
    if (row < kT.Br) sSeen[row] = own.word(j0, kT.Bc);
    // wait until the tiles are complete, and hear whether every row sees all of them
    const bool whole = __syncthreads_and(row >= rows || own.covers({j0, j0 + kT.Bc}));
    device::scores<kWarps, kT.Br, kT.Bc, kD>(sQ, sK, sS, d, scale);
    __syncwarp();  // wait until the warp's own scores are there
    if (whole) {
      device::update_rows<kWarps, kT.Br, kT.Bc, kD>(sS, sV, device::UnmaskedTile<kT.Bc>(), row_max,
                                                    row_sum, acc_o);
    } else {
      device::update_rows<kWarps, kT.Br, kT.Bc, kD>(sS, sV, device::WordTile{sSeen}, row_max,
                                                    row_sum, acc_o);
    }
    __syncthreads();  // wait until everyone is done with K_j and V_j
  }

#pragma unroll
  for (int n = 0; n < kRows<kD>; ++n) {
    const int r = n * kWarps + warp;
    if (r >= rows) continue;
    const bool empty = sKeys.is_empty(r);
    for (int m = 0; m < kD / kWarp; ++m) {
      const int c = lane + m * kWarp;
      if (c < d) gO[(i0 + r) * d + c] = empty ? 0.0f : acc_o[n][m] / row_sum[n];
    }
    if (lane == 0) gLSE[i0 + r] = device::log_sum_exp(row_max[n], row_sum[n]);
  }
}

template <int kD>
void run(const ForwardArgs& args) {
  constexpr Tiles kT = tiles_for(kD);
  static_assert(kT.floats() % 2 == 0 && kSharedBytes<kD> <= 48 * 1024);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(forward_kernel<kD>, grid_size(B * H * ceil_div(Nq, kT.Br)), kThreads, kSharedBytes<kD>,
         nullptr, args.q, args.k, args.v, args.o, args.lse, H, Nq, Nk, d,
         range_array_of(args.extras, Nq), args.mask, args.scale);
}

}  // namespace

std::size_t no_workspace_bytes(const Shape&) { return 0; }

void forward_ranges(const ForwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::packed
