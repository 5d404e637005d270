// SPDX-License-Identifier: MIT
//
// Solution: S = scale * Q K^T through tiles in shared memory.
#include "chapters/03_tiled/exercises/write_it.hpp"
#include "chapters/03_tiled/tiles.cuh"
#include "common/device/softmax.cuh"
#include "common/exercise/show_tile.cuh"

namespace attn::tiled {
namespace {

/// One tile of (kT, kT) scores. Grid: (B*H, ceil(Nq / kT), ceil(Nk / kT)); block: kThreads.
template <int kT, int kThreads>
__global__ void write_kernel(const float* gQ, const float* gK, float* gS, std::int64_t Nq,
                             std::int64_t Nk, std::int64_t d, std::int64_t diagonal, float scale,
                             float* gSeenQ, float* gSeenK) {
  constexpr int kElements = kT * kT;                                 // of a tile
  constexpr int kPerThread = (kElements + kThreads - 1) / kThreads;  // of a thread
  __shared__ float sQ[kT][kT + 1];                                   // (queries, columns)
  __shared__ float sK[kT][kT + 1];                                   // (keys, columns)
  const std::int64_t head = blockIdx.x;
  const std::int64_t i0 = std::int64_t{blockIdx.y} * kT;  // first query of the tile
  const std::int64_t j0 = std::int64_t{blockIdx.z} * kT;  // first key of the tile
  gQ += head * Nq * d;
  gK += head * Nk * d;
  gS += head * Nq * Nk;
  gSeenQ = gSeenQ == nullptr || j0 > 0 ? nullptr : gSeenQ + head * Nq * d;
  gSeenK = gSeenK == nullptr || i0 > 0 ? nullptr : gSeenK + head * Nk * d;

  // Stage 4: the last query of the tile sees most; where it sees nothing, the block leaves.
  const std::int64_t last = (i0 + kT < Nq ? i0 + kT : Nq) - 1;
  if (j0 >= visible_keys(last, diagonal, Nk)) return;

  // Stage 3: along the columns of d, one tile after the other.
  float dot[kPerThread] = {};
  for (std::int64_t c0 = 0; c0 < d; c0 += kT) {
    // Stage 1: a tile of Q and a tile of K. (Stage 4: what lies inside the matrices.)
    for (int n = threadIdx.x; n < kElements; n += kThreads) {
      const int r = n / kT;  // neighbouring threads take neighbouring columns
      const int c = n % kT;
      if (c0 + c >= d) continue;
      if (i0 + r < Nq) sQ[r][c] = gQ[(i0 + r) * d + c0 + c];
      if (j0 + r < Nk) sK[r][c] = gK[(j0 + r) * d + c0 + c];
    }
    __syncthreads();  // wait until the tiles are complete
    if (c0 == 0) {
      exercise::show_tile<kThreads, kT, kT>(gSeenQ, &sQ[0][0], i0, 0, Nq, d);
      exercise::show_tile<kThreads, kT, kT>(gSeenK, &sK[0][0], j0, 0, Nk, d);
    }

    // Stage 2: what the tiles add to the scores.
    const int columns = d - c0 < kT ? static_cast<int>(d - c0) : kT;
    for (int m = 0; m < kPerThread; ++m) {
      const int n = threadIdx.x + m * kThreads;
      if (n >= kElements || i0 + n / kT >= Nq || j0 + n % kT >= Nk) continue;
      for (int c = 0; c < columns; ++c) dot[m] += sQ[n / kT][c] * sK[n % kT][c];
    }
    __syncthreads();  // wait until everyone has read them
  }
  for (int m = 0; m < kPerThread; ++m) {
    const int n = threadIdx.x + m * kThreads;
    const std::int64_t i = i0 + n / kT;
    const std::int64_t j = j0 + n % kT;
    if (n >= kElements || i >= Nq || j >= visible_keys(i, diagonal, Nk)) continue;
    gS[i * Nk + j] = scale * dot[m];
  }
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
