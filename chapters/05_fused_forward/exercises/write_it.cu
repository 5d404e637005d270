// SPDX-License-Identifier: MIT
//
// Write it: FlashAttention-1, from an empty kernel. The checker goes through four stages, stops at
// the first that fails, and says what is wrong:
//   cmake --build build --target ch05_write && build/ch05_write
//   build/ch05_write 2        stage 2 alone
//   build/ch05_write --hint   a hint for the stage you are at (2 --hint: for stage 2)
//   build/ch05_write --full   all cases in the last stage, not a part of them
// Keep forward.cu closed until stage 3 is right.
//
// Given, from earlier chapters (all threads call load_tile, all lanes of a warp the reductions):
//   device::load_tile<kThreads, rows, kD>(sTile, stride, gRows, rows_left, d)
//       brings `rows` rows from gRows into sTile, `stride` floats apart; zeros beyond rows_left, d
//   device::warp_max(x), device::warp_sum(x)   over the 32 lanes, in every lane
//   device::reference_point(m)                 m, or 0 while m is -infinity
//   device::log_sum_exp(m, l)                  m + log(l), or -infinity for l = 0
//   visible_keys(i, diagonal, Nk)              row i sees the keys 0 .. visible_keys - 1: 0 to Nk
//   exercise::show_tile<kThreads, kBr, kBc>(gSeen, sS, i0, j0, Nq, Nk)   shows S to the checker;
//       outside of its stages gSeen is null, and nothing happens
#include "chapters/05_fused_forward/exercises/write_it.hpp"
#include "chapters/05_fused_forward/fused_forward.hpp"
#include "common/columns.hpp"
#include "common/device/online_softmax.cuh"
#include "common/device/tiles.cuh"
#include "common/device/warp_reduce.cuh"
#include "common/exercise/show_tile.cuh"

namespace attn::fused_forward {
namespace {

constexpr int kWarp = 32;

/// Grid: (B*H); block: kWarps warps. gMax, gSum: m and l of every row (B*H, Nq). The tile's sizes
/// are parameters: the checker also takes tiles of 2 x 2, to work a wrong case out by hand.
template <int kBr, int kBc, int kD, int kWarps>
__global__ void write_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                             float* gLSE, float* gMax, float* gSum, std::int64_t Nq,
                             std::int64_t Nk, std::int64_t d,
                             [[maybe_unused]] std::int64_t diagonal, [[maybe_unused]] float scale,
                             float* gSeen) {
  [[maybe_unused]] constexpr int kThreads = kWarps * kWarp;
  float* sQ = dynamic_shared<float>();         // (kBr, kD + 1)
  float* sK = sQ + kBr * (kD + 1);             // (kBc, kD + 1)
  float* sV = sK + kBc * (kD + 1);             // (kBc, kD)
  [[maybe_unused]] float* sS = sV + kBc * kD;  // (kBr, kBc + 1): the stride is kBc + 1
  [[maybe_unused]] const int warp = threadIdx.x / kWarp;
  [[maybe_unused]] const int lane = threadIdx.x % kWarp;
  const std::int64_t head = blockIdx.x;  // the pointers are moved to it: below, forget the head
  gQ += head * Nq * d;
  gK += head * Nk * d;
  gV += head * Nk * d;
  gO += head * Nq * d;
  gLSE += head * Nq;
  gMax += head * Nq;
  gSum += head * Nq;
  if (gSeen != nullptr) gSeen += head * Nq * Nk;

  // Stage 1: the two loops, and a tile of S.
  //   for each tile of keys, j0 = 0, kBc, 2 kBc, ... < Nk:      load sK (stride kD + 1), sV (kD)
  //     for each tile of queries, i0 = 0, kBr, ... < Nq:        load sQ (stride kD + 1)
  //       sS[r][j] = scale * (row r of sQ) . (row j of sK), over the columns 0 .. d - 1
  //       show_tile(...), behind the second barrier
  // Three barriers: each says what it waits for; the third shows its use in stage 3. Until stage 4
  // every tile is full, and no key is hidden.

  // Stage 2, inside the loops: m and l of every row of the tile. One warp takes one row. Row i0 + r
  // has its m and l in gMax[i0 + r] and gSum[i0 + r]; on the first visit (j0 == 0) nothing is there
  // yet: m = -infinity, l = 0. Take the keys of the tile into both; P may overwrite S. One lane
  // loads m and l and hands them to the others (__shfl_sync), one lane stores them.

  // Stage 3, for the same row: O in gO[(i0 + r) * d + c], the exact attention over the keys so far.

  // Stage 4: tiles that end before row kBr or key kBc, masks; rows without a key, whose zeros
  // somebody must write, also where Nk = 0 and the loop over keys has no turn; rows whose m is
  // still -infinity, whose O in HBM may be NaN. Behind the loops LSE of every row in gLSE.
}

template <int kBr, int kBc, int kD, int kWarps>
void run_written(const ForwardArgs& args, float* gSeen) {
  constexpr Tiles kT{.D = kD, .Br = kBr, .Bc = kBc};
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  float* gMax = static_cast<float*>(args.workspace);  // (B*H, Nq)
  float* gSum = gMax + B * H * Nq;                    // (B*H, Nq)
  launch(write_kernel<kBr, kBc, kD, kWarps>, static_cast<unsigned>(B * H), kWarps * kWarp,
         kT.floats() * sizeof(float), nullptr, args.q, args.k, args.v, args.o, args.lse, gMax, gSum,
         Nq, Nk, d, attn::diagonal(args.mask, Nq, Nk), args.scale, gSeen);
}

}  // namespace

void write_forward(const ForwardArgs& args, bool small_tiles, float* gSeen) {
  if (small_tiles) return run_written<2, 2, 32, 2>(args, gSeen);
  with_columns(args.shape.d, [&]<int kD>() {
    constexpr Tiles kT = tiles_for(kD);
    run_written<kT.Br, kT.Bc, kD, 4>(args, gSeen);
  });
}

}  // namespace attn::fused_forward
