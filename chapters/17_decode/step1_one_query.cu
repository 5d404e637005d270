// SPDX-License-Identifier: MIT
//
// Step 1: chapter 07's loop, as 12 and 16 have it, for a few queries of a long cache. Its tile has
// 16 rows, and no work is done for those that do not exist. What remains is the grid: a block per
// query head and tile of queries, so that one new token has H blocks, each of which walks the
// valid keys alone.
#include "chapters/17_decode/decode.hpp"
#include "common/columns.hpp"
#include "common/device/few_rows.cuh"
#include "common/device/tiles.cuh"

namespace attn::decoding {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kRows = kBr / kWarps;  // of a warp: w, w + kWarps, w + 2 kWarps, ...

/// The tiles, and behind them a word per row.
template <int kD>
constexpr std::size_t kSharedBytes = tile_floats(kD) * sizeof(float) + kBr * sizeof(unsigned);

/// Grid: B*H times the tiles of a head's queries; block: kThreads; dynamic shared memory:
/// kSharedBytes<kD>.
template <int kD>
__global__ void forward_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                               float* gLSE, Request request) {
  float* sQ = dynamic_shared<float>();                                   // (Br, D)
  float* sK = sQ + kBr * kD;                                             // (Bc, D + 1)
  float* sV = sK + kBc * (kD + 1);                                       // (Bc, D)
  float* sS = sV + kBc * kD;                                             // (Br, Bc + 1)
  unsigned* sWords = reinterpret_cast<unsigned*>(sS + kBr * (kBc + 1));  // (Br)
  const std::int64_t d = request.d, Nq = request.Nq;
  const std::int64_t row_tiles = tiles_of(Nq, kBr);
  const std::int64_t head = blockIdx.x / row_tiles;  // blocks that run side by side share K and V
  const std::int64_t i0 = blockIdx.x % row_tiles * kBr;
  const std::int64_t b = head / request.H, kv_head = head / request.group();  // of all batches
  const int rows = Nq - i0 < kBr ? static_cast<int>(Nq - i0) : kBr;
  const Range valid = request.valid(b);
  const SeenKeys seen = request.seen(valid);
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  gQ += (head * Nq + i0) * d;
  gK += (kv_head * request.Nk + valid.begin) * d;
  gV += (kv_head * request.Nk + valid.begin) * d;

  float row_max[kRows];
  float row_sum[kRows] = {};
  float acc_o[kRows][kD / kWarp] = {};
#pragma unroll
  for (int n = 0; n < kRows; ++n) row_max[n] = -INFINITY;

  device::load_tile<kThreads, kBr, kD>(sQ, kD, gQ, rows, d);
  for (std::int64_t j0 = 0; j0 < valid.size(); j0 += kBc) {
    device::load_tile<kThreads, kBc, kD>(sK, kD + 1, gK + j0 * d, valid.size() - j0, d);
    device::load_tile<kThreads, kBc, kD>(sV, kD, gV + j0 * d, valid.size() - j0, d);
    const int r = threadIdx.x;
    const unsigned word = word_of_token(seen, i0 + r, j0);
    if (r < kBr) sWords[r] = word & (r < rows ? ~0u : 0u);  // none for rows that do not exist
    __syncthreads();  // wait until the tiles and words are complete
    scores<kWarps, kD>(sQ, sK, sS, rows, d, request.scale);
    device::update_rows<kWarps, kBr, kBc, kD>(sS, sV, device::WordTile{sWords}, row_max, row_sum,
                                              acc_o);
    __syncthreads();  // wait until everyone is done with K_j, V_j and the words
  }

#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    const int r = n * kWarps + warp;
    if (r >= rows) continue;
    const std::int64_t row = head * Nq + i0 + r;
    const bool empty = seen.sees_none(i0 + r);
    const float lse = device::log_sum_exp(row_max[n], row_sum[n]);
    for (int m = 0; m < kD / kWarp; ++m) {
      const int c = lane + m * kWarp;
      if (c < d) gO[row * d + c] = empty ? 0.0f : acc_o[n][m] / row_sum[n];
    }
    if (lane == 0) gLSE[row] = lse;
  }
}

template <int kD>
void run(const ForwardArgs& args) {
  static_assert(kSharedBytes<kD> <= 48 * 1024);
  launch(forward_kernel<kD>, grid_size(args.shape.heads() * tiles_of(args.shape.Nq, kBr)), kThreads,
         kSharedBytes<kD>, nullptr, args.q, args.k, args.v, args.o, args.lse, request_of(args));
}

}  // namespace

std::size_t no_workspace_bytes(const Shape&) { return 0; }

void forward_one_query(const ForwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::decoding
