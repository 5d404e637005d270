// SPDX-License-Identifier: MIT
//
// Step 2: chapter 12's kernel for sequences of different lengths, packed one behind the other: no
// padding is stored, and one launch has them all. A block finds its sequence, moves its pointers to
// where that begins, and from there on there is one sequence with rows and keys of its own.
#include "chapters/13_packed/packed.hpp"
#include "chapters/13_packed/ranges.cuh"
#include "chapters/13_packed/sequences.hpp"
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

/// Grid: H times queries.tiles(Br); block: kThreads; dynamic shared memory: kSharedBytes<kD>.
template <int kD>
__global__ void forward_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                               float* gLSE, Sequences queries, Sequences keys, std::int64_t d,
                               Mask mask, float scale) {
  constexpr Tiles kT = tiles_for(kD);
  float* sQ = dynamic_shared<float>();  // (Br, D + 1)
  float* sK = sQ + kT.Br * (kD + 1);    // (Bc, D + 1)
  float* sV = sK + kT.Bc * (kD + 1);    // (Bc, D)
  float* sS = sV + kT.Bc * kD;          // (Br, Bc + 1)
  const SharedKeys<kT.Br> sKeys{reinterpret_cast<std::int64_t*>(sS + kT.Br * (kT.Bc + 1))};
  unsigned* sSeen = reinterpret_cast<unsigned*>(sKeys.sBounds + 4 * kT.Br);  // (Br) words of a tile
  const BlockTile at = queries.tile_of_block(blockIdx.x, kT.Br);
  const std::int64_t i0 = at.first_row, Nq = at.rows.size();
  if (i0 >= Nq) return;  // the whole block
  const Range key_rows = keys.rows(at.b);
  const std::int64_t Nk = key_rows.size();
  const std::int64_t q_row = queries.place(at.rows, at.h), k_row = keys.place(key_rows, at.h);
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  gQ += q_row * d;
  gK += k_row * d;
  gV += k_row * d;
  gO += q_row * d;
  gLSE += q_row;

  float row_max[kRows<kD>];
  float row_sum[kRows<kD>] = {};
  float acc_o[kRows<kD>][kD / kWarp] = {};
#pragma unroll
  for (int n = 0; n < kRows<kD>; ++n) row_max[n] = -INFINITY;

  device::load_tile<kThreads, kT.Br, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
  const int row = threadIdx.x;  // the row that this thread asks for
  const int rows = Nq - i0 < kT.Br ? static_cast<int>(Nq - i0) : kT.Br;
  const Band band = band_of(mask, Nq, Nk);
  if (row < rows) sKeys.put(row, {band.row(i0 + row), {}});
  __syncthreads();  // wait until all rows have their ranges
  const Range some = band.some(i0, i0 + rows);
  for (std::int64_t j0 = some.empty() ? some.end : some.begin / kT.Bc * kT.Bc; j0 < some.end;
       j0 += kT.Bc) {
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
  const Sequences queries = sequences_of(args.extras.q_offsets, B, H, Nq);
  const Sequences keys = sequences_of(args.extras.k_offsets, B, H, Nk);
  launch(forward_kernel<kD>, grid_size(H * queries.tiles(kT.Br)), kThreads, kSharedBytes<kD>,
         nullptr, args.q, args.k, args.v, args.o, args.lse, queries, keys, d, args.mask,
         args.scale);
}

}  // namespace

void forward_packed(const ForwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::packed
