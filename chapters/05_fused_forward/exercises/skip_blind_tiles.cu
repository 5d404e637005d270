// SPDX-License-Identifier: MIT
//
// Exercise: under a causal mask, leave the tiles of Q in HBM that see nothing of K_j. See
// "Exercises" in the lesson. The kernel is forward_kernel with one line changed, the line that asks
// first_row() where the inner loop starts; that function is yours. As it stands it compiles, and
// computes the wrong thing:
//   cmake --build build --target ch05_exercise && ./build/ch05_exercise
#include "chapters/05_fused_forward/forward.cu"  // scores, update_row

namespace attn::fused_forward {
namespace {

/// The row at which the inner loop starts for the tile whose first key is j0. Row i sees key j0 if
/// and only if j0 <= i + diagonal; without a mask, diagonal is Nk.
__device__ __forceinline__ std::int64_t first_row(std::int64_t j0,
                                                  [[maybe_unused]] std::int64_t diagonal) {
  // Yours. This is the answer for diagonal = 0 only.
  return j0;
}

/// Grid: (B*H); block: kThreads; dynamic shared memory: tiles_for(kD).floats() floats.
template <int kD>
__global__ void skipping_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                                float* gLSE, float* gMax, float* gSum, std::int64_t Nq,
                                std::int64_t Nk, std::int64_t d, std::int64_t diagonal,
                                float scale) {
  constexpr Tiles kT = tiles_for(kD);
  float* sQ = dynamic_shared<float>();  // (Br, D + 1)
  float* sK = sQ + kT.Br * (kD + 1);    // (Bc, D + 1): its columns are read by neighbouring lanes
  float* sV = sK + kT.Bc * (kD + 1);    // (Bc, D)
  float* sS = sV + kT.Bc * kD;          // (Br, Bc + 1)
  const std::int64_t head = blockIdx.x;
  const int warp = threadIdx.x / kWarp;
  gQ += head * Nq * d;
  gK += head * Nk * d;
  gV += head * Nk * d;
  gO += head * Nq * d;
  gLSE += head * Nq;
  gMax += head * Nq;
  gSum += head * Nq;

  // The first round also runs without any key: it writes the zeros of an empty row.
  for (std::int64_t j0 = 0; j0 < Nk || j0 == 0; j0 += kT.Bc) {
    device::load_tile<kThreads, kT.Bc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kThreads, kT.Bc, kD>(sV, kD, gV + j0 * d, Nk - j0, d);
    for (std::int64_t i0 = first_row(j0, diagonal); i0 < Nq; i0 += kT.Br) {
      device::load_tile<kThreads, kT.Br, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
      __syncthreads();  // wait until the tiles are complete
      scores<kD>(sQ, sK, sS, d, scale);
      __syncthreads();  // wait until all scores are there
      for (int r = warp; r < kT.Br && i0 + r < Nq; r += kWarps) {
        const std::int64_t i = i0 + r;
        const std::int64_t left = visible_keys(i, diagonal, Nk) - j0;
        const int keys = left < 0 ? 0 : left < kT.Bc ? static_cast<int>(left) : kT.Bc;
        if (keys == 0 && j0 > 0) continue;  // this row sees nothing of this tile
        update_row<kD>(sS + r * (kT.Bc + 1), sV, gO + i * d, gMax + i, gSum + i, keys, d, j0 == 0);
      }
      __syncthreads();  // wait until everyone is done with the tiles
    }
  }
  for (std::int64_t i = threadIdx.x; i < Nq; i += kThreads) {
    gLSE[i] = device::log_sum_exp(gMax[i], gSum[i]);
  }
}

template <int kD>
void run_skipping(const ForwardArgs& args) {
  constexpr Tiles kT = tiles_for(kD);
  static_assert(kT.floats() * sizeof(float) <= 48 * 1024);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  float* gMax = static_cast<float*>(args.workspace);  // (B*H, Nq)
  float* gSum = gMax + B * H * Nq;                    // (B*H, Nq)
  launch(skipping_kernel<kD>, static_cast<unsigned>(B * H), kThreads, kT.floats() * sizeof(float),
         nullptr, args.q, args.k, args.v, args.o, args.lse, gMax, gSum, Nq, Nk, d,
         attn::diagonal(args.mask, Nq, Nk), args.scale);
}

}  // namespace

void skipping_forward(const ForwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run_skipping<kD>(args); });
}

}  // namespace attn::fused_forward
