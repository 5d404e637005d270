// SPDX-License-Identifier: MIT
//
// Step 2: a bit for each pair. A first kernel packs bytes and band into words, once for each head
// of the array, which many heads may share. The forward kernel reads a word per row and tile.
#include "chapters/14_masks/bits.hpp"
#include "chapters/14_masks/mask_array.hpp"
#include "chapters/14_masks/masks.hpp"
#include "chapters/14_masks/words.cuh"
#include "common/columns.hpp"
#include "common/device/masked_rows.cuh"
#include "common/device/tiles.cuh"

namespace attn::masks {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;

/// The tiles, and behind them what the rows see of one.
template <int kD>
constexpr std::size_t kSharedBytes = tiles_for(kD).floats() * sizeof(float) +
                                     tiles_for(kD).Br * sizeof(unsigned);

/// Packs the pairs. A thread's row is its own, and the warp asks for the bytes of all 32 together.
/// Grid: heads of the array times key tiles times ceil(Nq / kThreads); block: kThreads.
template <int kKeys>
__global__ void pack_kernel(Pairs pairs, Words<kKeys> words) {
  const std::int64_t parts = (pairs.Nq + kThreads - 1) / kThreads;
  const std::int64_t i0 = blockIdx.x % parts * kThreads;
  const std::int64_t key_tile = blockIdx.x / parts % words.key_tiles;
  const std::int64_t head = blockIdx.x / parts / words.key_tiles;
  const int warp = threadIdx.x / kWarp;
  const TilePairs tile = pairs.in_tile(head, i0, key_tile * kKeys, kThreads, kKeys);
  const unsigned word =
      words_of_rows<kWarp, kKeys>([&](int n, int j) { return tile.sees(warp * kWarp + n, j); });
  const std::int64_t i = i0 + threadIdx.x;
  if (i < pairs.Nq) words.of_keys(head, key_tile)[i] = static_cast<Word<kKeys>>(word);
}

/// Grid: B*H times the Q tiles of a head; block: kThreads; dynamic shared memory: kSharedBytes<kD>.
template <int kD>
__global__ void forward_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                               float* gLSE, std::int64_t H, std::int64_t Nq, std::int64_t Nk,
                               std::int64_t d, Pairs pairs, Words<tiles_for(kD).Bc> words,
                               float scale) {
  constexpr Tiles kT = tiles_for(kD);
  constexpr int kRows = kT.Br / kWarps;  // of a warp: w, w + kWarps, w + 2 kWarps, ...
  float* sQ = dynamic_shared<float>();   // (Br, D + 1)
  float* sK = sQ + kT.Br * (kD + 1);     // (Bc, D + 1)
  float* sV = sK + kT.Bc * (kD + 1);     // (Bc, D)
  float* sS = sV + kT.Bc * kD;           // (Br, Bc + 1)
  unsigned* sWords = reinterpret_cast<unsigned*>(sS + kT.Br * (kT.Bc + 1));  // (Br)
  const std::int64_t tiles = (Nq + kT.Br - 1) / kT.Br;
  const std::int64_t head = blockIdx.x / tiles;  // blocks that run side by side share K and V
  const std::int64_t i0 = blockIdx.x % tiles * kT.Br;
  const std::int64_t mask_head = pairs.array.head_of(head / H, head % H);
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  gQ += head * Nq * d;
  gK += head * Nk * d;
  gV += head * Nk * d;
  gO += head * Nq * d;
  gLSE += head * Nq;

  float row_max[kRows];
  float row_sum[kRows] = {};
  float acc_o[kRows][kD / kWarp] = {};
#pragma unroll
  for (int n = 0; n < kRows; ++n) row_max[n] = -INFINITY;

  device::load_tile<kThreads, kT.Br, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
  const int row = threadIdx.x;  // whose words this thread has, if row < Br
  unsigned seen = 0;            // what it saw of some tile
  const Range some = pairs.band.some(i0, i0 + kT.Br < Nq ? i0 + kT.Br : Nq);
  for (std::int64_t j0 = some.empty() ? some.end : some.begin / kT.Bc * kT.Bc; j0 < some.end;
       j0 += kT.Bc) {
    device::load_tile<kThreads, kT.Bc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kThreads, kT.Bc, kD>(sV, kD, gV + j0 * d, Nk - j0, d);
    const auto* gWords = words.of_keys(mask_head, j0 / kT.Bc) + i0;
    const unsigned word = row < kT.Br && i0 + row < Nq ? gWords[row] : 0;
    if (row < kT.Br) sWords[row] = word;
    seen |= word;
    __syncthreads();  // wait until the tiles and the words are complete
    device::scores<kWarps, kT.Br, kT.Bc, kD>(sQ, sK, sS, d, scale);
    __syncwarp();  // wait until the warp's own scores are there
    device::update_rows<kWarps, kT.Br, kT.Bc, kD>(sS, sV, device::WordTile{sWords}, row_max,
                                                  row_sum, acc_o);
    __syncthreads();  // wait until everyone is done with K_j, V_j and the words
  }
  if (row < kT.Br) sWords[row] = seen;
  __syncthreads();  // wait until it is known which rows saw nothing

#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    const int r = n * kWarps + warp;
    if (i0 + r >= Nq) continue;
    const bool empty = sWords[r] == 0;
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
  static_assert(kSharedBytes<kD> <= 48 * 1024);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const Pairs pairs = pairs_of(args);
  const Words<kT.Bc> words{static_cast<Word<kT.Bc>*>(args.workspace), Nq, ceil_div(Nk, kT.Bc)};
  if (Nk > 0) {
    launch(pack_kernel<kT.Bc>,
           grid_size(pairs.array.heads() * words.key_tiles * ceil_div(Nq, kThreads)), kThreads, 0,
           nullptr, pairs, words);
  }
  launch(forward_kernel<kD>, grid_size(B * H * ceil_div(Nq, kT.Br)), kThreads, kSharedBytes<kD>,
         nullptr, args.q, args.k, args.v, args.o, args.lse, H, Nq, Nk, d, pairs, words, args.scale);
}

}  // namespace

std::size_t bits_workspace_bytes(const Shape& shape) {
  const auto [B, H, Hkv, Nq, Nk, d] = shape;
  const std::int64_t words = B * H * Nq * ceil_div(Nk, tiles_for(d).Bc);
  return static_cast<std::size_t>(words * tiles_for(d).Bc / 8);
}

void forward_bits(const ForwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::masks
