// SPDX-License-Identifier: MIT
//
// Write it: the products of FlashAttention-2's forward pass in register tiles. Loads of tiles,
// barriers and the launch are there; what a lane does with its rectangle of S, its rows and its
// piece of O is yours. The checker goes through four stages, stops at the first that fails, and
// says what is wrong:
//   cmake --build build --target ch08_write && build/ch08_write
//   build/ch08_write 2        stage 2 alone
//   build/ch08_write --hint   a hint for the stage you are at
//   build/ch08_write --full   all cases in the last stage, not a part of them
// Keep forward.cuh, and the products in tiles.cuh, closed until stage 3 is right.
//
// Given, besides CUDA's own:
//   load4(x, address)                    brings the four floats at address, a multiple of 16
//                                        bytes, into float x[4], by one load
//   store_in_row<false>(gRow, c, d, x)   float x[4] to the columns c to c + 3 of a row of d floats;
//                                        what lies beyond d is dropped
//   device::reference_point(m)           m, or 0 while m is -infinity
//   device::log_sum_exp(m, l)            m + log(l), or -infinity for l = 0
//   visible_keys(i, diagonal, Nk)        row i sees the keys 0 .. visible_keys - 1: 0 to Nk
//   kLaneRows = 4, kLaneColumns = 8      the grid of lanes; lane.row and lane.column in it
#include "chapters/08_register_tiles/exercises/write_it.hpp"
#include "chapters/08_register_tiles/tiles.cuh"
#include "common/columns.hpp"
#include "common/device/online_softmax.cuh"

namespace attn::register_tiles {
namespace {

/// Where the lanes stand in their grid of 4 rows and 8 columns. Gold wants them otherwise: step 3.
using Lanes = PlainLanes;

/// Shows a lane's rectangle of S to the checker.
template <int TM, int TN>
__device__ __forceinline__ void show_scores(float* gSeen, const float (&s)[TM][TN], std::int64_t i,
                                            std::int64_t j, std::int64_t Nq, std::int64_t Nk) {
  if (gSeen == nullptr) return;
#pragma unroll
  for (int m = 0; m < TM; ++m) {
#pragma unroll
    for (int n = 0; n < TN; ++n) {
      const std::int64_t row = i + kLaneRows * m;
      const std::int64_t key = j + kLaneColumns * n;
      if (row < Nq && key < Nk) gSeen[row * Nk + key] = s[m][n];
    }
  }
}

/// Grid: B*H times the Q tiles of a head; block: kWarps warps. The tile's sizes are parameters: the
/// checker also takes 4 x 8, one score for each lane, to work a wrong case out by hand.
template <int kBr, int kBc, int kD, int kWarps>
__global__ void __launch_bounds__(kWarps* kWarp, kD == 128 ? 1 : 2)
    write_kernel(const float* gQ, const float* gK, const float* gV, float* gO, float* gLSE,
                 std::int64_t Nq, std::int64_t Nk, std::int64_t d,
                 [[maybe_unused]] std::int64_t diagonal, [[maybe_unused]] float scale, float* gSeen,
                 float* gMax, float* gSum) {
  constexpr int kThreads = kWarps * kWarp;
  constexpr int kRows = kBr / kWarps;          // rows of a warp
  constexpr int TM = kRows / kLaneRows;        // rows of a lane: row, row + 4, ...
  constexpr int TN = kBc / kLaneColumns;       // keys of a lane: column, column + 8, ...
  constexpr int TC = kD / 32;                  // its float4 of a row of O: column, column + 8, ...
  constexpr int kStride = kD + 4;              // floats from one row of Q to the next, and of K
  constexpr int kPStride = kBc + 8;            // of P
  float* sQ = dynamic_shared<float>();         // (kBr, kD + 4)
  float* sK = sQ + kBr * kStride;              // (kBc, kD + 4)
  float* sV = sK + kBc * kStride;              // (kBc, kD)
  [[maybe_unused]] float* sP = sV + kBc * kD;  // (kBr, kBc + 8)
  const std::int64_t tiles = (Nq + kBr - 1) / kBr;
  const std::int64_t head = blockIdx.x / tiles;
  const std::int64_t i0 = blockIdx.x % tiles * kBr;  // first row of the block's tile
  gQ += head * Nq * d;
  gK += head * Nk * d;
  gV += head * Nk * d;
  gO += head * Nq * d;
  gLSE += head * Nq;
  if (gSeen != nullptr) gSeen += head * Nq * Nk;
  const Lanes lane;
  const int row = static_cast<int>(threadIdx.x) / kWarp * kRows + lane.row;  // the lane's first row
  [[maybe_unused]] const float* q = sQ + row * kStride;  // row 4 m from here: the lane's m-th
  [[maybe_unused]] const float* k = sK + lane.column * kStride;  // row 8 n from here: its n-th key
  [[maybe_unused]] const float* v = sV + 4 * lane.column;  // float 32 h from here: its h-th float4
  [[maybe_unused]] float* p = sP + row * kPStride;         // row 4 m from here: its m-th, all keys
  float row_max[TM];                                       // m of the lane's rows
  float row_sum[TM] = {};  // l, or the part of it that the lane's own keys make
  // O, not divided: its column 4 lane.column + 32 h + e stands at acc_o[m][4 h + e].
  [[maybe_unused]] float acc_o[TM][4 * TC] = {};
  for (int m = 0; m < TM; ++m) row_max[m] = -INFINITY;

  device::load_tile<kThreads, kBr, kD>(sQ, kStride, gQ + i0 * d, Nq - i0, d);
  const std::int64_t end = Nk;  // stage 4: tiles that no row of the block sees need no visit
  for (std::int64_t j0 = 0; j0 < end; j0 += kBc) {
    __syncthreads();  // wait until everyone is done with the last K and V
    device::load_tile<kThreads, kBc, kD>(sK, kStride, gK + j0 * d, Nk - j0, d);
    device::load_tile<kThreads, kBc, kD>(sV, kD, gV + j0 * d, Nk - j0, d);
    __syncthreads();  // wait until the tiles are complete
    float s[TM][TN] = {};

    // Stage 1: s[m][n] = scale * (row 4 m of q) . (row 8 n of k), both of kStride floats, over all
    // kD columns (beyond d they are zeros), four at a time. What load4 has brought meets all its
    // partners before the next: with 8 x 8 scores that makes 16 loads for 256 multiply-adds, and
    // the checker counts. The scale comes last: __fmul_rn(scale, s[m][n]) (chapter 07 says why).
    // Loops with constant bounds stand behind "#pragma unroll": only arrays whose every index is
    // known to the compiler lie in registers. Until stage 4 every tile is full, and no key is
    // hidden.

    show_scores(gSeen, s, i0 + row, j0 + lane.column, Nq, Nk);
    if (gSeen != nullptr && gMax == nullptr) continue;  // the checker counts stage 1 alone

    // Stage 2: row_max[m] and row_sum[m] with the scores of this tile. A row lies in eight lanes,
    // whose numbers differ in three bits, Lanes::kBit0 to kBit2. The maximum must be the same in
    // all eight; the sum may wait: a lane adds up its own keys, and behind the loop the eight put
    // theirs together.
    //     __shfl_xor_sync(0xFFFFFFFFu, x, bit)   x of the lane whose number differs in that bit
    //
    // Stage 3: rescale what acc_o holds. Store P to the lane's rows of shared memory, p: a row has
    // kPStride floats, and the lane's n-th key is lane.column + 8 n. When the warp's rows are
    // complete, acc_o += P V: one load brings P of four keys, one load four columns of V (rows of
    // kD floats), and again each meets all its partners.
    //
    // Stage 4: how many keys row m sees of this tile. The others count neither in the maximum nor
    // in the sum, and are left out of P V: V may hold NaN there, and 0 * NaN is NaN.
  }

  // Stage 2: the whole row's sum, in row_sum[m].
  //
  // Stage 3: the one division, and the lane's piece of O to row i0 + row + 4 m of gO.
  //
  // Stage 4: rows beyond Nq, columns beyond d; rows without a key; LSE in gLSE.

#pragma unroll
  for (int m = 0; m < TM; ++m) {  // Given: shows m and l to the checker
    const std::int64_t i = i0 + row + kLaneRows * m;
    if (gMax == nullptr || lane.column > 0 || i >= Nq) continue;
    gMax[head * Nq + i] = row_max[m];
    gSum[head * Nq + i] = row_sum[m];
  }
}

template <int kBr, int kBc, int kD, int kWarps>
void run_written(const ForwardArgs& args, float* gSeen, float* gMax, float* gSum) {
  constexpr int kFloats = (kBr + kBc) * (kD + 4) + kBc * kD + kBr * (kBc + 8);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(write_kernel<kBr, kBc, kD, kWarps>, grid_size(B * H * ceil_div(Nq, kBr)), kWarps * kWarp,
         kFloats * sizeof(float), nullptr, args.q, args.k, args.v, args.o, args.lse, Nq, Nk, d,
         attn::diagonal(args.mask, Nq, Nk), args.scale, gSeen, gMax, gSum);
}

}  // namespace

void write_forward(const ForwardArgs& args, bool small_tiles, float* gSeen, float* gMax,
                   float* gSum) {
  if (small_tiles) return run_written<4, 8, 32, 1>(args, gSeen, gMax, gSum);
  with_columns(args.shape.d, [&]<int kD>() {
    using T = TilesFor<kD>;
    run_written<T::kBr, T::kBc, kD, T::kWarps>(args, gSeen, gMax, gSum);
  });
}

}  // namespace attn::register_tiles
