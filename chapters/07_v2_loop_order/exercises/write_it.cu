// SPDX-License-Identifier: MIT
//
// Write it: FlashAttention-2's forward pass, from an empty kernel. The checker goes through four
// stages, stops at the first that fails, and says what is wrong:
//   cmake --build build --target ch07_write && build/ch07_write
//   build/ch07_write 2        stage 2 alone
//   build/ch07_write --hint   a hint for the stage you are at (2 --hint: for stage 2)
//   build/ch07_write --full   all cases in the last stage, not a part of them
// Keep step2_skip.cu closed until stage 3 is right.
//
// Given, from earlier chapters (all threads call load_tile, all lanes of a warp the others):
//   device::load_tile<kThreads, rows, kD>(sTile, stride, gRows, rows_left, d)
//       brings `rows` rows from gRows into sTile, `stride` floats apart; zeros beyond rows_left, d
//   device::warp_max(x), device::warp_sum(x)   over the 32 lanes, in every lane
//   device::reference_point(m)                 m, or 0 while m is -infinity
//   device::log_sum_exp(m, l)                  m + log(l), or -infinity for l = 0
//   visible_keys(i, diagonal, Nk)              row i sees the keys 0 .. visible_keys - 1: 0 to Nk
//   exercise::show_rows<kWarps, kBr, kBc>(gSeen, sS, i0, j0, Nq, Nk)   shows S to the checker;
//       outside of its stages gSeen is null, and nothing happens
#include "chapters/07_v2_loop_order/exercises/write_it.hpp"
#include "chapters/07_v2_loop_order/v2_loop_order.hpp"
#include "common/columns.hpp"
#include "common/device/online_softmax.cuh"
#include "common/device/tiles.cuh"
#include "common/device/warp_reduce.cuh"
#include "common/exercise/show_tile.cuh"

namespace attn::v2_loop_order {
namespace {

constexpr int kWarp = 32;

/// Grid: B*H times the Q tiles of a head; block: kWarps warps. The tile's sizes are parameters: the
/// checker also takes tiles of 2 x 2, to work a wrong case out by hand.
template <int kBr, int kBc, int kD, int kWarps>
__global__ void write_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                             float* gLSE, std::int64_t Nq, std::int64_t Nk, std::int64_t d,
                             [[maybe_unused]] std::int64_t diagonal, [[maybe_unused]] float scale,
                             float* gSeen, float* gMax, float* gSum) {
  [[maybe_unused]] constexpr int kThreads = kWarps * kWarp;
  constexpr int kRows = kBr / kWarps;          // rows of a warp: warp, warp + kWarps, ...
  constexpr int kColumns = kD / kWarp;         // columns of O of a lane: lane, lane + 32, ...
  float* sQ = dynamic_shared<float>();         // (kBr, kD + 1)
  float* sK = sQ + kBr * (kD + 1);             // (kBc, kD + 1)
  float* sV = sK + kBc * (kD + 1);             // (kBc, kD)
  [[maybe_unused]] float* sS = sV + kBc * kD;  // (kBr, kBc + 1)
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  const std::int64_t tiles = (Nq + kBr - 1) / kBr;
  const std::int64_t head = blockIdx.x / tiles;
  const std::int64_t i0 = blockIdx.x % tiles * kBr;  // first row of the block's tile
  gQ += head * Nq * d;
  gK += head * Nk * d;
  gV += head * Nk * d;
  gO += head * Nq * d;
  gLSE += head * Nq;
  if (gSeen != nullptr) gSeen += head * Nq * Nk;
  float row_max[kRows];                                // m of the warp's rows
  float row_sum[kRows] = {};                           // l
  [[maybe_unused]] float acc_o[kRows][kColumns] = {};  // O, not divided
  for (int n = 0; n < kRows; ++n) row_max[n] = -INFINITY;

  // Stage 1: load the tile of Q, once: sQ (stride kD + 1). Then for each tile of keys, j0 = 0, kBc,
  // 2 kBc, ... < Nk: load sK (stride kD + 1) and sV (stride kD), and compute
  //     sS[r][j] = scale * (row r of sQ) . (row j of sK), over the columns 0 .. d - 1
  // each warp the rows that it owns: r = warp, warp + kWarps, ... Then, behind a __syncwarp,
  // show_rows(...). Where does the block need a __syncthreads? Until stage 4 every tile is full,
  // and no key is hidden.
  //
  // Stage 2, inside the loop: row_max[n] and row_sum[n] of row r = n * kWarps + warp. P may
  // overwrite S. A loop over n has the constant bound kRows and stands behind "#pragma unroll":
  // only arrays whose every index is known to the compiler lie in registers. (nvcc unrolls short
  // loops, as over m, by itself. The checker sees neither.)
  //
  // Stage 3: acc_o[n][m] of column c = lane + m * 32, inside the loop; behind it the one division,
  // and gO[(i0 + r) * d + c] where c < d.
  //
  // Stage 4: rows beyond Nq, keys beyond Nk, the keys that a row sees; rows without a key; LSE in
  // gLSE. Tiles of keys that no row of the block sees need not be loaded: the last row below Nq
  // sees most.

  // Given: shows m and l to the checker.
  const bool shows = gMax != nullptr && lane == 0;
#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    const std::int64_t i = i0 + n * kWarps + warp;
    if (!shows || i >= Nq) continue;
    gMax[head * Nq + i] = row_max[n];
    gSum[head * Nq + i] = row_sum[n];
  }
}

template <int kBr, int kBc, int kD, int kWarps>
void run_written(const ForwardArgs& args, float* gSeen, float* gMax, float* gSum) {
  constexpr Tiles kT{.D = kD, .Br = kBr, .Bc = kBc};
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(write_kernel<kBr, kBc, kD, kWarps>, grid_size(B * H * ceil_div(Nq, kBr)), kWarps * kWarp,
         kT.floats() * sizeof(float), nullptr, args.q, args.k, args.v, args.o, args.lse, Nq, Nk, d,
         attn::diagonal(args.mask, Nq, Nk), args.scale, gSeen, gMax, gSum);
}

}  // namespace

void write_forward(const ForwardArgs& args, bool small_tiles, float* gSeen, float* gMax,
                   float* gSum) {
  if (small_tiles) return run_written<2, 2, 32, 2>(args, gSeen, gMax, gSum);
  with_columns(args.shape.d, [&]<int kD>() {
    constexpr Tiles kT = tiles_for(kD);
    run_written<kT.Br, kT.Bc, kD, 4>(args, gSeen, gMax, gSum);
  });
}

}  // namespace attn::v2_loop_order
