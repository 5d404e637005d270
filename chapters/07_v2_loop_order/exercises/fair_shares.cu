// SPDX-License-Identifier: MIT
//
// Exercise: give every block a light tile of Q and a heavy one, so that under a causal mask all
// blocks have the same work. See "Exercises" in the lesson. The kernel is complete; two functions,
// which say who does what, are yours. As it stands it compiles, is right, and shares nothing:
//   cmake --build build --target ch07_exercise && ./build/ch07_exercise
#include "chapters/07_v2_loop_order/step2_skip.cu"  // scores, update_rows

namespace attn::v2_loop_order {

/// Blocks that a head with Tr tiles of Q gets.
ATTN_HOST_DEVICE std::int64_t blocks_per_head(std::int64_t Tr) {
  return Tr;  // Yours. One block per tile, so far.
}

/// Block p has tile p, and this one too; -1 for none.
ATTN_HOST_DEVICE std::int64_t partner([[maybe_unused]] std::int64_t p,
                                      [[maybe_unused]] std::int64_t Tr) {
  return -1;  // Yours.
}

namespace {

/// Step 2's work on one tile of Q, whose first row is i0. The pointers are those of the head.
template <int kD>
__device__ __forceinline__ void query_tile(const float* gQ, const float* gK, const float* gV,
                                           float* gO, float* gLSE, std::int64_t i0, std::int64_t Nq,
                                           std::int64_t Nk, std::int64_t d, std::int64_t diagonal,
                                           float scale) {
  constexpr Tiles kT = tiles_for(kD);
  float* sQ = dynamic_shared<float>();  // (Br, D + 1)
  float* sK = sQ + kT.Br * (kD + 1);    // (Bc, D + 1)
  float* sV = sK + kT.Bc * (kD + 1);    // (Bc, D)
  float* sS = sV + kT.Bc * kD;          // (Br, Bc + 1)
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;

  float row_max[kRows<kD>];
  float row_sum[kRows<kD>] = {};
  float acc_o[kRows<kD>][kD / kWarp] = {};
#pragma unroll
  for (int n = 0; n < kRows<kD>; ++n) row_max[n] = -INFINITY;

  device::load_tile<kThreads, kT.Br, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
  const std::int64_t last = (i0 + kT.Br < Nq ? i0 + kT.Br : Nq) - 1;
  const std::int64_t least = visible_keys(i0, diagonal, Nk);   // what every row of the tile sees
  const std::int64_t most = visible_keys(last, diagonal, Nk);  // what some row of it sees
  for (std::int64_t j0 = 0; j0 < most; j0 += kT.Bc) {
    device::load_tile<kThreads, kT.Bc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kThreads, kT.Bc, kD>(sV, kD, gV + j0 * d, Nk - j0, d);
    __syncthreads();  // wait until the tiles are complete
    scores<kD>(sQ, sK, sS, d, scale);
    __syncwarp();  // wait until the warp's own scores are there
    if (j0 + kT.Bc <= least) {
      update_rows<kD>(
          sS, sV, [&](int) { return kT.Bc; }, row_max, row_sum, acc_o);
    } else {
      const auto keys_of = [&](int r) {
        const std::int64_t left = i0 + r < Nq ? visible_keys(i0 + r, diagonal, Nk) - j0 : 0;
        return left < 0 ? 0 : left < kT.Bc ? static_cast<int>(left) : kT.Bc;
      };
      update_rows<kD>(sS, sV, keys_of, row_max, row_sum, acc_o);
    }
    __syncthreads();  // wait until everyone is done with K_j and V_j
  }

#pragma unroll
  for (int n = 0; n < kRows<kD>; ++n) {
    const std::int64_t i = i0 + n * kWarps + warp;
    if (i >= Nq) continue;
    const bool empty = visible_keys(i, diagonal, Nk) == 0;
    for (int m = 0; m < kD / kWarp; ++m) {
      const int c = lane + m * kWarp;
      if (c < d) gO[i * d + c] = empty ? 0.0f : acc_o[n][m] / row_sum[n];
    }
    if (lane == 0) gLSE[i] = device::log_sum_exp(row_max[n], row_sum[n]);
  }
}

/// Grid: B*H times blocks_per_head(Tr); block: kThreads; dynamic shared memory:
/// tiles_for(kD).floats() floats.
template <int kD>
__global__ void fair_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                            float* gLSE, std::int64_t Nq, std::int64_t Nk, std::int64_t d,
                            std::int64_t diagonal, float scale) {
  constexpr Tiles kT = tiles_for(kD);
  const std::int64_t Tr = (Nq + kT.Br - 1) / kT.Br;
  const std::int64_t blocks = blocks_per_head(Tr);
  const std::int64_t head = blockIdx.x / blocks;
  const std::int64_t p = blockIdx.x % blocks;
  gQ += head * Nq * d;
  gK += head * Nk * d;
  gV += head * Nk * d;
  gO += head * Nq * d;
  gLSE += head * Nq;
  std::int64_t tile = p;
#pragma unroll 1  // the tile's code is long: once is enough
  for (int round = 0; round < 2 && tile >= 0; ++round) {
    query_tile<kD>(gQ, gK, gV, gO, gLSE, tile * kT.Br, Nq, Nk, d, diagonal, scale);
    tile = partner(p, Tr);
  }
}

template <int kD>
void run_fair(const ForwardArgs& args) {
  constexpr Tiles kT = tiles_for(kD);
  static_assert(kT.floats() * sizeof(float) <= 48 * 1024);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t blocks = B * H * blocks_per_head(ceil_div(Nq, kT.Br));
  launch(fair_kernel<kD>, grid_size(blocks), kThreads, kT.floats() * sizeof(float), nullptr, args.q,
         args.k, args.v, args.o, args.lse, Nq, Nk, d, attn::diagonal(args.mask, Nq, Nk),
         args.scale);
}

}  // namespace

void fair_forward(const ForwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run_fair<kD>(args); });
}

}  // namespace attn::v2_loop_order
