// SPDX-License-Identifier: MIT
//
// Exercise: read K and V from a ring buffer, the cache of a model with a window. See "Exercises" in
// the lesson. Key 0, the oldest, lies in row `first` of the ring, key 1 behind it, and behind
// row Nk - 1 comes row 0. As it stands the kernel is right, because the ring is copied in order
// before it starts; the goal is to do without the copy:
//   cmake --build build --target ch12_exercise && ./build/ch12_exercise
#include "chapters/12_windows/step2_skip.cu"  // scores, update_rows

namespace attn::windows {

/// Yours, once load_ring_tile finds the keys in the ring: false.
constexpr bool kCopiesTheRing = true;

namespace {

/// Rows for the keys j0, j0 + 1, ... of a tile, those below Nk; zeros behind them and beyond d. A
/// warp takes a whole row, its lanes neighbouring columns. stride: floats from one row of sTile to
/// the next.
template <int kRows, int kD>
__device__ __forceinline__ void load_ring_tile(float* sTile, int stride, const float* gRing,
                                               [[maybe_unused]] std::int64_t first, std::int64_t j0,
                                               std::int64_t Nk, std::int64_t d) {
  // Yours. So far gRing is the copy, in which key j lies in row j.
  device::load_tile<kThreads, kRows, kD>(sTile, stride, gRing + j0 * d, Nk - j0, d);
}

/// Grid: B*H times Nk; block: kThreads. Copies a ring in order.
__global__ void copy_kernel(const float* gRing, float* gRows, std::int64_t first, std::int64_t Nk,
                            std::int64_t d) {
  const std::int64_t head = blockIdx.x / Nk, j = blockIdx.x % Nk;
  const std::int64_t row = (first + j) % Nk;
  for (std::int64_t c = threadIdx.x; c < d; c += kThreads) {
    gRows[(head * Nk + j) * d + c] = gRing[(head * Nk + row) * d + c];
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

/// The same arguments with the ring copied in order, into the workspace.
ForwardArgs copied(ForwardArgs args, std::int64_t first) {
  const std::int64_t Nk = args.shape.Nk, d = args.shape.d;
  if (Nk == 0) return args;
  float* gK = static_cast<float*>(args.workspace);  // [B, H, Nk, d]
  float* gV = gK + args.shape.kv_elements();        // [B, H, Nk, d]
  const unsigned rows = grid_size(args.shape.heads() * Nk);
  launch(copy_kernel, rows, kThreads, 0, nullptr, args.k, gK, first, Nk, d);
  launch(copy_kernel, rows, kThreads, 0, nullptr, args.v, gV, first, Nk, d);
  args.k = gK;
  args.v = gV;
  return args;
}

}  // namespace

/// args.k and args.v are rings whose oldest key lies in row `first`; the workspace has room for
/// both once more.
void ring_forward(const ForwardArgs& args, std::int64_t first) {
  const ForwardArgs in_order = kCopiesTheRing ? copied(args, first) : args;
  with_columns(args.shape.d, [&]<int kD>() { run_ring<kD>(in_order, first); });
}

}  // namespace attn::windows
