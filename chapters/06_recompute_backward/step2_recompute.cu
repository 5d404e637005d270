// SPDX-License-Identifier: MIT
//
// Step 2: FlashAttention-1's backward pass (Dao et al. 2022, algorithm 4). P is not stored: it
// comes back from Q, K and LSE, a tile at a time. After delta (step 1), one block per head:
//   for each tile j of K and V:                      outer loop: K and V are read once
//     1. load K_j, V_j; dK_j = dV_j = 0, in registers
//     for each tile i of Q and dO:                   inner loop
//       2. load Q_i, dO_i, LSE_i, delta_i
//       3. P = exp(scale * Q_i K_j^T - LSE_i),  dS = P * (dO_i V_j^T - delta_i)
//       4. dV_j += P^T dO_i,  dK_j += dS^T Q_i       stay on the chip
//       5. dQ_i += scale * dS K_j                    in HBM: every j adds to every dQ_i
//     6. store dK_j, dV_j
#include "chapters/06_recompute_backward/recompute_backward.hpp"
#include "common/columns.hpp"
#include "common/device/tiles.cuh"

namespace attn::recompute_backward {
namespace {

constexpr int kThreads = 128;

/// A tile's corner and the sizes around it.
struct Place {
  std::int64_t i0, j0;  // first query and key
  std::int64_t Nq, Nk, d, diagonal;

  /// Rows of the tile that lie inside the matrix.
  __device__ __forceinline__ int rows(int Br) const {
    return Nq - i0 < Br ? static_cast<int>(Nq - i0) : Br;
  }
  /// Row i0 + r sees keys j0 .. j0 + keys_of(r, Bc) - 1 of the tile.
  __device__ __forceinline__ int keys_of(int r, int Bc) const {
    const std::int64_t keys = visible_keys(i0 + r, diagonal, Nk) - j0;
    return keys < 0 ? 0 : keys < Bc ? static_cast<int>(keys) : Bc;
  }
  /// Rows i0 + first_row_of(key, Br) and later see key j0 + key; Br if none of the tile does.
  __device__ __forceinline__ int first_row_of(int key, int Br) const {
    const std::int64_t row = first_query(j0 + key, diagonal, Nq) - i0;
    return row < 0 ? 0 : row < Br ? static_cast<int>(row) : Br;
  }
};

/// P and dS of the visible pairs of a tile.
template <int kD>
__device__ __forceinline__ void recompute_tile(const float* sQ, const float* sDO, const float* sK,
                                               const float* sV, const float* sLSE,
                                               const float* sDelta, float* sP, float* sDS,
                                               const Place& at, float scale) {
  constexpr Tiles kT = tiles_for(kD);
  const int columns = static_cast<int>(at.d);
  const int rows = at.rows(kT.Br);
  for (int n = threadIdx.x; n < kT.Br * kT.Bc; n += kThreads) {
    const int r = n / kT.Bc;  // neighbouring lanes take neighbouring keys
    const int key = n % kT.Bc;
    if (r >= rows || key >= at.keys_of(r, kT.Bc)) continue;
    float score = 0.0f;   // q . k
    float grad_p = 0.0f;  // dO . v
#pragma unroll 8
    for (int c = 0; c < columns; ++c) {
      score += sQ[r * (kD + 1) + c] * sK[key * (kD + 1) + c];
      grad_p += sDO[r * (kD + 1) + c] * sV[key * (kD + 1) + c];
    }
    // Rounded before the subtraction, as LSE's maximum was: one multiply-add would differ from it.
    const float p = expf(__fmul_rn(scale, score) - sLSE[r]);
    sP[r * (kT.Bc + 1) + key] = p;
    sDS[r * (kT.Bc + 1) + key] = p * (grad_p - sDelta[r]);
  }
}

/// dQ_i += scale * dS K_j, in HBM. first: nothing has been added before, and HBM holds nothing yet.
template <int kD>
__device__ __forceinline__ void add_query_gradients(const float* sDS, const float* sK, float* gDQ,
                                                    const Place& at, float scale, bool first) {
  constexpr Tiles kT = tiles_for(kD);
  const int rows = at.rows(kT.Br);
  for (int n = threadIdx.x; n < kT.Br * kD; n += kThreads) {
    const int r = n / kD;
    const int c = n % kD;
    if (r >= rows || c >= at.d) continue;
    const int keys = at.keys_of(r, kT.Bc);
    if (keys == 0 && !first) continue;  // this row sees nothing of the tile
    float sum = 0.0f;
#pragma unroll 8
    for (int j = 0; j < keys; ++j) sum += sDS[r * (kT.Bc + 1) + j] * sK[j * (kD + 1) + c];
    float* dq = gDQ + (at.i0 + r) * at.d + c;
    *dq = first ? scale * sum : *dq + scale * sum;
  }
}

/// Grid: (B*H); block: kThreads; dynamic shared memory: tiles_for(kD).floats() floats.
template <int kD>
__global__ void backward_kernel(const float* gQ, const float* gK, const float* gV, const float* gDO,
                                const float* gLSE, const float* gDelta, float* gDQ, float* gDK,
                                float* gDV, std::int64_t Nq, std::int64_t Nk, std::int64_t d,
                                std::int64_t diagonal, float scale) {
  constexpr Tiles kT = tiles_for(kD);
  constexpr int kOwned = kT.Bc * kD / kThreads;  // elements of dK_j, and of dV_j, of each thread
  float* sQ = dynamic_shared<float>();           // (Br, D + 1)
  float* sDO = sQ + kT.Br * (kD + 1);            // (Br, D + 1)
  float* sK = sDO + kT.Br * (kD + 1);            // (Bc, D + 1)
  float* sV = sK + kT.Bc * (kD + 1);             // (Bc, D + 1)
  float* sP = sV + kT.Bc * (kD + 1);             // (Br, Bc + 1)
  float* sDS = sP + kT.Br * (kT.Bc + 1);         // (Br, Bc + 1)
  float* sLSE = sDS + kT.Br * (kT.Bc + 1);       // (Br)
  float* sDelta = sLSE + kT.Br;                  // (Br)
  const std::int64_t head = blockIdx.x;
  const std::int64_t q_start = head * Nq * d;  // of Q, dO, dQ
  const std::int64_t k_start = head * Nk * d;  // of K, V, dK, dV

  // The first round also runs without any key: it writes the zeros of dQ.
  for (std::int64_t j0 = 0; j0 < Nk || j0 == 0; j0 += kT.Bc) {
    device::load_tile<kThreads, kT.Bc, kD>(sK, kD + 1, gK + k_start + j0 * d, Nk - j0, d);
    device::load_tile<kThreads, kT.Bc, kD>(sV, kD + 1, gV + k_start + j0 * d, Nk - j0, d);
    float grad_k[kOwned] = {};
    float grad_v[kOwned] = {};
    for (std::int64_t i0 = 0; i0 < Nq; i0 += kT.Br) {
      const Place at = {i0, j0, Nq, Nk, d, diagonal};
      device::load_tile<kThreads, kT.Br, kD>(sQ, kD + 1, gQ + q_start + i0 * d, Nq - i0, d);
      device::load_tile<kThreads, kT.Br, kD>(sDO, kD + 1, gDO + q_start + i0 * d, Nq - i0, d);
      if (threadIdx.x < kT.Br && i0 + threadIdx.x < Nq) {
        sLSE[threadIdx.x] = gLSE[head * Nq + i0 + threadIdx.x];
        sDelta[threadIdx.x] = gDelta[head * Nq + i0 + threadIdx.x];
      }
      __syncthreads();  // wait until the tiles are complete
      recompute_tile<kD>(sQ, sDO, sK, sV, sLSE, sDelta, sP, sDS, at, scale);
      __syncthreads();  // wait until P and dS are there
      const int rows = at.rows(kT.Br);
#pragma unroll
      for (int m = 0; m < kOwned; ++m) {
        const int key = (threadIdx.x + m * kThreads) / kD;
        const int c = (threadIdx.x + m * kThreads) % kD;
        if (j0 + key >= Nk) continue;
        for (int r = at.first_row_of(key, kT.Br); r < rows; ++r) {
          grad_v[m] += sP[r * (kT.Bc + 1) + key] * sDO[r * (kD + 1) + c];
          grad_k[m] += sDS[r * (kT.Bc + 1) + key] * sQ[r * (kD + 1) + c];
        }
      }
      add_query_gradients<kD>(sDS, sK, gDQ + q_start, at, scale, j0 == 0);
      __syncthreads();  // wait until everyone is done with the tiles
    }
#pragma unroll
    for (int m = 0; m < kOwned; ++m) {
      const int key = (threadIdx.x + m * kThreads) / kD;
      const int c = (threadIdx.x + m * kThreads) % kD;
      if (j0 + key >= Nk || c >= d) continue;
      gDK[k_start + (j0 + key) * d + c] = scale * grad_k[m];
      gDV[k_start + (j0 + key) * d + c] = grad_v[m];
    }
  }
}

template <int kD>
void run(const BackwardArgs& args) {
  constexpr Tiles kT = tiles_for(kD);
  static_assert(kT.floats() * sizeof(float) <= 48 * 1024);
  static_assert(kT.Bc * kD % kThreads == 0 && kT.Br <= kThreads);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  float* gDelta = static_cast<float*>(args.workspace);  // (B*H, Nq)
  delta(args, gDelta);
  launch(backward_kernel<kD>, static_cast<unsigned>(B * H), kThreads, kT.floats() * sizeof(float),
         nullptr, args.q, args.k, args.v, args.grad_o, args.lse, gDelta, args.grad_q, args.grad_k,
         args.grad_v, Nq, Nk, d, attn::diagonal(args.mask, Nq, Nk), args.scale);
}

}  // namespace

void backward_recompute(const BackwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run<kD>(args); });
}

std::size_t recompute_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows()) * sizeof(float);
}

}  // namespace attn::recompute_backward
