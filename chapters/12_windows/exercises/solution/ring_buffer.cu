// SPDX-License-Identifier: MIT
//
// A solution of chapter 12's exercise: K and V are read where they lie in the ring. The keys of a
// tile keep their order, and so masks and tiles stay those of step 2; only the row that a key is
// fetched from is another one.
#include "chapters/12_windows/step2_skip.cu"  // scores, update_rows

namespace attn::windows {

namespace {

/// Rows for the keys j0, j0 + 1, ... of a tile, those below Nk; zeros behind them and beyond d. A
/// warp takes a whole row, its lanes neighbouring columns. stride: floats from one row of sTile to
/// the next.
template <int kRows, int kD>
__device__ __forceinline__ void load_ring_tile(float* sTile, int stride, const float* gRing,
                                               std::int64_t first, std::int64_t j0, std::int64_t Nk,
                                               std::int64_t d) {
  const int lane = threadIdx.x % kWarp;
  for (int r = threadIdx.x / kWarp; r < kRows; r += kWarps) {
    const std::int64_t j = j0 + r;
    // Once around at most: a comparison in place of a division.
    const std::int64_t row = first + j < Nk ? first + j : first + j - Nk;
    for (int c = lane; c < kD; c += kWarp) {
      sTile[r * stride + c] = j < Nk && c < d ? gRing[row * d + c] : 0.0f;
    }
  }
}

/// Step 2's kernel with K and V in a ring: key j lies in row (first + j) % Nk.
/// Grid: B*H times the Q tiles of a head; block: kThreads; dynamic shared memory:
/// tiles_for(kD).floats() floats.
template <int kD>
__global__ void ring_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                            float* gLSE, std::int64_t first, std::int64_t Nq, std::int64_t Nk,
                            std::int64_t d, Mask mask, float scale) {
  constexpr Tiles kT = tiles_for(kD);
  float* sQ = dynamic_shared<float>();  // (Br, D + 1)
  float* sK = sQ + kT.Br * (kD + 1);    // (Bc, D + 1)
  float* sV = sK + kT.Bc * (kD + 1);    // (Bc, D)
  float* sS = sV + kT.Bc * kD;          // (Br, Bc + 1)
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
  const Band band = band_of(mask, Nq, Nk);
  const std::int64_t i1 = i0 + kT.Br < Nq ? i0 + kT.Br : Nq;
  const Range some = band.some(i0, i1);
  const Range every = band.every(i0, i1);
  for (std::int64_t j0 = some.empty() ? some.end : some.begin / kT.Bc * kT.Bc; j0 < some.end;
       j0 += kT.Bc) {
    load_ring_tile<kT.Bc, kD>(sK, kD + 1, gK, first, j0, Nk, d);
    load_ring_tile<kT.Bc, kD>(sV, kD, gV, first, j0, Nk, d);
    __syncthreads();  // wait until the tiles are complete
    scores<kD>(sQ, sK, sS, d, scale);
    __syncwarp();  // wait until the warp's own scores are there
    if (every.begin <= j0 && j0 + kT.Bc <= every.end) {
      update_rows<kD>(sS, sV, WholeTile<kT.Bc>(), row_max, row_sum, acc_o);
    } else {
      update_rows<kD>(sS, sV, band.in_tile(i0, j0, kT.Bc), row_max, row_sum, acc_o);
    }
    __syncthreads();  // wait until everyone is done with K_j and V_j
  }

#pragma unroll
  for (int n = 0; n < kRows<kD>; ++n) {
    const std::int64_t i = i0 + n * kWarps + warp;
    if (i >= Nq) continue;
    const bool empty = band.row(i).empty();
    for (int m = 0; m < kD / kWarp; ++m) {
      const int c = lane + m * kWarp;
      if (c < d) gO[i * d + c] = empty ? 0.0f : acc_o[n][m] / row_sum[n];
    }
    if (lane == 0) gLSE[i] = device::log_sum_exp(row_max[n], row_sum[n]);
  }
}

template <int kD>
void run_ring(const ForwardArgs& args, std::int64_t first) {
  constexpr Tiles kT = tiles_for(kD);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(ring_kernel<kD>, grid_size(B * H * ceil_div(Nq, kT.Br)), kThreads,
         kT.floats() * sizeof(float), nullptr, args.q, args.k, args.v, args.o, args.lse, first, Nq,
         Nk, d, args.mask, args.scale);
}

}  // namespace

void ring_forward(const ForwardArgs& args, std::int64_t first) {
  with_columns(args.shape.d, [&]<int kD>() { run_ring<kD>(args, first); });
}

}  // namespace attn::windows
