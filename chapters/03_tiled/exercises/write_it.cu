// SPDX-License-Identifier: MIT
//
// Write it: S = scale * Q K^T through tiles in shared memory, from an empty kernel. The checker
// goes through four stages, stops at the first that fails, and says what is wrong:
//   cmake --build build --target ch03_write && build/ch03_write
//   build/ch03_write 2        stage 2 alone
//   build/ch03_write --hint   a hint for the stage you are at (2 --hint: for stage 2)
//   build/ch03_write --full   all cases in the last stage, not a part of them
// Keep tiles.cuh closed until stage 3 is right.
#include "chapters/03_tiled/exercises/write_it.hpp"
#include "chapters/03_tiled/tiles.cuh"
#include "common/device/softmax.cuh"
#include "common/exercise/show_tile.cuh"

namespace attn::tiled {
namespace {

/// One tile of (kT, kT) scores. The checker also takes tiles of 2 x 2, to work a wrong case out by
/// hand. Grid: (B*H, ceil(Nq / kT), ceil(Nk / kT)); block: kThreads, in one dimension: element n of
/// a tile is in its row n / kT, column n % kT.
template <int kT, int kThreads>
__global__ void write_kernel(const float* gQ, const float* gK, float* gS, std::int64_t Nq,
                             std::int64_t Nk, std::int64_t d,
                             [[maybe_unused]] std::int64_t diagonal, [[maybe_unused]] float scale,
                             float* gSeenQ, float* gSeenK) {
  constexpr int kElements = kT * kT;                                                  // of a tile
  [[maybe_unused]] constexpr int kPerThread = (kElements + kThreads - 1) / kThreads;  // of a thread
  [[maybe_unused]] __shared__ float sQ[kT][kT + 1];  // (queries, columns)
  [[maybe_unused]] __shared__ float sK[kT][kT + 1];  // (keys, columns); show_tile wants both padded
  const std::int64_t head = blockIdx.x;
  const std::int64_t i0 = std::int64_t{blockIdx.y} * kT;  // first query of the tile
  const std::int64_t j0 = std::int64_t{blockIdx.z} * kT;  // first key of the tile
  gQ += head * Nq * d;
  gK += head * Nk * d;
  gS += head * Nq * Nk;
  gSeenQ = gSeenQ == nullptr || j0 > 0 ? nullptr : gSeenQ + head * Nq * d;
  gSeenK = gSeenK == nullptr || i0 > 0 ? nullptr : gSeenK + head * Nk * d;

  // Stage 1: load a tile of Q and a tile of K, the columns 0 .. kT - 1: sQ[r][c] is column c of row
  // i0 + r of Q, sK[r][c] of row j0 + r of K. Then a barrier, and show both to the checker:
  //   exercise::show_tile<kThreads, kT, kT>(gSeenQ, &sQ[0][0], i0, 0, Nq, d);
  //   exercise::show_tile<kThreads, kT, kT>(gSeenK, &sK[0][0], j0, 0, Nk, d);

  // Stage 2: S[i][j] = scale * (row i of Q) . (row j of K), from the tiles, into gS[i * Nk + j]. A
  // thread has the tile's scores n = threadIdx.x, + kThreads, ... < kElements: of a 2 x 2 tile most
  // have none. (The lesson's volatile is not needed.)

  // Stage 3: d may be several tiles long. A loop over c0 = 0, kT, 2 kT, ... goes around the load
  // and the products; the sums stay in registers, kPerThread of a thread. Show the tiles where c0
  // is 0 (only those are looked at).

  // Stage 4: tiles that end before row kT, key kT or column kT. (inside() of tiles.cuh is for tiles
  // of 32; here, min(kT, Nq - i0).) And hidden keys: row i sees the keys 0 .. visible_keys(i,
  // diagonal, Nk) - 1. Silver: a block whose last row (below Nq) sees none of its keys returns
  // before it loads or shows anything. Gold: nothing outside is computed, not even as zeros.
}

template <int kT, int kThreads>
void run_written(const ForwardArgs& args, float* gS, float* gSeenQ, float* gSeenK) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(write_kernel<kT, kThreads>,
         dim3(static_cast<unsigned>(B * H), ceil_div(Nq, kT), ceil_div(Nk, kT)), kThreads, 0,
         nullptr, args.q, args.k, gS, Nq, Nk, d, attn::diagonal(args.mask, Nq, Nk), args.scale,
         gSeenQ, gSeenK);
}

}  // namespace

void write_scores(const ForwardArgs& args, float* gS, bool small_tiles, float* gSeenQ,
                  float* gSeenK) {
  if (args.shape.Nk == 0) return;
  if (small_tiles) return run_written<2, 32>(args, gS, gSeenQ, gSeenK);
  run_written<kTile, 256>(args, gS, gSeenQ, gSeenK);
}

void write_forward(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  float* gS = static_cast<float*>(args.workspace);  // (B*H, Nq, Nk)
  write_scores(args, gS, false, nullptr, nullptr);
  device::launch_softmax(gS, args.lse, args.shape, diagonal);
  launch(outputs_kernel,
         dim3(static_cast<unsigned>(B * H), ceil_div(Nq, kTile), ceil_div(d, kTile)),
         dim3(kTile, kWarps), 0, nullptr, gS, args.v, args.o, Nq, Nk, d, diagonal);
}

}  // namespace attn::tiled
