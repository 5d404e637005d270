// SPDX-License-Identifier: MIT
//
// Step 5: chapter 08's step 7, the backward pass without atomics, on the tensor cores.
//   delta_kernel, one warp per row: delta_i = dO_i . O_i
//   key_kernel, one block per tile of keys:
//     1. load K_j, V_j;  dK_j = dV_j = 0, in registers
//     for each tile i of Q and dO, from the first row on that sees a key of the tile:
//       2. load Q_i, dO_i, LSE_i, delta_i
//       3. S^T = K_j Q_i^T, dP^T = V_j dO_i^T, in registers
//       4. P^T and dS^T, in place
//       5. dV_j += P^T dO_i,  dK_j += dS^T Q_i
//     6. store scale * dK_j, dV_j
//   query_kernel, one block per tile of queries:
//     the same with the parts exchanged: S = Q_i K_j^T, dP = dO_i V_j^T, dQ_i += dS K_j
#include "chapters/09_tensor_cores/backward.cuh"

namespace attn::tensor_cores {
namespace {

/// Grid: B*H times the key tiles of a head; block: Tiles::kThreads; dynamic shared memory:
/// Tiles::kBytes. wide: d % 8 = 0, and all matrices are 16-byte aligned.
template <class T, class Tiles>
__global__ void __launch_bounds__(Tiles::kThreads)
    key_kernel(const __grid_constant__ BackwardArgsOf<T> args, const float* gDelta,
               std::int64_t diagonal, bool wide) {
  constexpr int kM = Tiles::kM, kOther = Tiles::kOther, kStride = Tiles::kStride;
  const SharedRows<T, Tiles> tiles;
  const std::int64_t Nq = args.shape.Nq, Nk = args.shape.Nk, d = args.shape.d;
  const std::int64_t tiles_per_head = (Nk + Tiles::kOwn - 1) / Tiles::kOwn;
  const std::int64_t head = blockIdx.x / tiles_per_head;
  const std::int64_t j0 = blockIdx.x % tiles_per_head * Tiles::kOwn;
  const std::int64_t q_start = head * Nq * d, k_start = (head * Nk + j0) * d;
  const int row = static_cast<int>(threadIdx.x) / 32 * Tiles::kRows;  // the warp's first key
  const int column = device::fragment_column();

  // Keys that no row sees take no part: zeros come in, and zeros go out.
  tiles.load_own(args.k + k_start, args.v + k_start, visible_keys(Nq - 1, diagonal, Nk) - j0, d,
                 wide);
  float grad_k[kM][Tiles::kD / 8][4] = {};
  float grad_v[kM][Tiles::kD / 8][4] = {};
  const auto visit_tile = [&]<bool kMasked>(std::int64_t i0) {
    __syncthreads();  // wait until everyone is done with the last tiles
    tiles.load_other(args.q + q_start + i0 * d, args.grad_o + q_start + i0 * d, Nq - i0, d, wide);
    tiles.load_statistics(args.lse + head * Nq + i0, gDelta + head * Nq + i0, Nq - i0);
    // The thread's row r sees its column c, counted from its first ones, if c - r >= least.
    const std::int64_t after = i0 + diagonal - j0;  // key j0 + after is the last that query i0 sees
    const int last_key = after < Tiles::kOwn ? static_cast<int>(after) : Tiles::kOwn;
    const int least = row + device::fragment_row() - column - last_key;
    __syncthreads();  // wait until the tiles are complete

    float p[kM][kOther / 8][4] = {};   // S^T, then P^T
    float ds[kM][kOther / 8][4] = {};  // dP^T, then dS^T
    add_dots<MatrixLoads, Tiles::kD, kStride>(p, tiles.a + row * kStride, tiles.c);
    add_dots<MatrixLoads, Tiles::kD, kStride>(ds, tiles.b + row * kStride, tiles.e);
#pragma unroll
    for (int n = 0; n < kOther / 8; ++n) {
      const float2 lse = *reinterpret_cast<const float2*>(tiles.lse + 8 * n + column);
      const float2 delta = *reinterpret_cast<const float2*>(tiles.delta + 8 * n + column);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const bool visible = !kMasked || 8 * n + i % 2 - (16 * m + i / 2 * 8) >= least;
          const PairGrad pair(p[m][n][i], ds[m][n][i], args.scale, i % 2 == 0 ? lse.x : lse.y,
                              i % 2 == 0 ? delta.x : delta.y, visible);
          p[m][n][i] = pair.p;
          ds[m][n][i] = pair.ds;
        }
      }
    }
    add_product<kStride>(grad_v, p, tiles.e);
    add_product<kStride>(grad_k, ds, tiles.c);
  };
  // From the first row on that sees a key of this tile: no other is ever loaded.
  std::int64_t i0 = first_query(j0, diagonal, Nq);
  for (; i0 < Nq && i0 + diagonal < j0 + Tiles::kOwn - 1; i0 += kOther) {
    visit_tile.template operator()<true>(i0);
  }
  for (; i0 < Nq; i0 += kOther) visit_tile.template operator()<false>(i0);
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int n = 0; n < Tiles::kD / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = row + 16 * m + device::fragment_row() + i / 2 * 8;
        if (j0 + key >= visible_keys(Nq - 1, diagonal, Nk)) {
          grad_k[m][n][i] = grad_v[m][n][i] = 0.0f;
        }
      }
    }
  }
  store_grad(args.grad_k + k_start, row, Nk - j0, d, wide, args.scale, grad_k);
  store_grad(args.grad_v + k_start, row, Nk - j0, d, wide, 1.0f, grad_v);
}

/// Grid: B*H times the query tiles of a head; block: Tiles::kThreads; dynamic shared memory:
/// Tiles::kBytes.
template <class T, class Tiles>
__global__ void __launch_bounds__(Tiles::kThreads)
    query_kernel(const __grid_constant__ BackwardArgsOf<T> args, const float* gDelta,
                 std::int64_t diagonal, bool wide) {
  constexpr int kM = Tiles::kM, kOther = Tiles::kOther, kStride = Tiles::kStride;
  const SharedRows<T, Tiles> tiles;
  const std::int64_t Nq = args.shape.Nq, Nk = args.shape.Nk, d = args.shape.d;
  const std::int64_t tiles_per_head = (Nq + Tiles::kOwn - 1) / Tiles::kOwn;
  const std::int64_t head = blockIdx.x / tiles_per_head;
  const std::int64_t i0 = blockIdx.x % tiles_per_head * Tiles::kOwn;
  const std::int64_t q_start = (head * Nq + i0) * d, k_start = head * Nk * d;
  const int row = static_cast<int>(threadIdx.x) / 32 * Tiles::kRows;  // the warp's first query
  const int column = device::fragment_column();
  const std::int64_t last = (i0 + Tiles::kOwn < Nq ? i0 + Tiles::kOwn : Nq) - 1;
  const std::int64_t least = visible_keys(i0, diagonal, Nk);
  const std::int64_t most = visible_keys(last, diagonal, Nk);

  tiles.load_own(args.q + q_start, args.grad_o + q_start, Nq - i0, d, wide);
  tiles.load_statistics(args.lse + head * Nq + i0, gDelta + head * Nq + i0, Nq - i0);
  float grad_q[kM][Tiles::kD / 8][4] = {};
  const auto visit_tile = [&]<bool kMasked>(std::int64_t j0) {
    __syncthreads();  // wait until everyone is done with the last tiles
    tiles.load_other(args.k + k_start + j0 * d, args.v + k_start + j0 * d, most - j0, d, wide);
    // The thread's row r sees its column c, counted from its first ones, if c - r <= farthest and
    // c < keys.
    const std::int64_t after = i0 + diagonal - j0;  // key j0 + after is the last that query i0 sees
    const int last_key = after < kOther ? static_cast<int>(after) : kOther;
    const int farthest = last_key + row + device::fragment_row() - column;
    const int keys = (Nk - j0 < kOther ? static_cast<int>(Nk - j0) : kOther) - column;
    __syncthreads();  // wait until the tiles are complete

    float p[kM][kOther / 8][4] = {};   // S, then P
    float ds[kM][kOther / 8][4] = {};  // dP, then dS
    add_dots<MatrixLoads, Tiles::kD, kStride>(p, tiles.a + row * kStride, tiles.c);
    add_dots<MatrixLoads, Tiles::kD, kStride>(ds, tiles.b + row * kStride, tiles.e);
    float lse[kM][2], delta[kM][2];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int query = row + 16 * m + device::fragment_row() + 8 * h;
        lse[m][h] = tiles.lse[query];
        delta[m][h] = tiles.delta[query];
      }
    }
#pragma unroll
    for (int n = 0; n < kOther / 8; ++n) {
#pragma unroll
      for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int c = 8 * n + i % 2;
          const bool visible = !kMasked || (c < keys && c - (16 * m + i / 2 * 8) <= farthest);
          ds[m][n][i] =
              PairGrad(p[m][n][i], ds[m][n][i], args.scale, lse[m][i / 2], delta[m][i / 2], visible)
                  .ds;
        }
      }
    }
    add_product<kStride>(grad_q, ds, tiles.c);
  };
  std::int64_t j0 = 0;
  for (; j0 + kOther <= least; j0 += kOther) visit_tile.template operator()<false>(j0);
  for (; j0 < most; j0 += kOther) visit_tile.template operator()<true>(j0);

    // A row that sees no key at all: exactly 0, whatever K holds beside it in a tile.
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int n = 0; n < Tiles::kD / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int query = row + 16 * m + device::fragment_row() + i / 2 * 8;
        if (visible_keys(i0 + query, diagonal, Nk) == 0) grad_q[m][n][i] = 0.0f;
      }
    }
  }
  store_grad(args.grad_q + q_start, row, Nq - i0, d, wide, args.scale, grad_q);
}

template <class T, int kD>
void run(const BackwardArgsOf<T>& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  float* gDelta = static_cast<float*>(args.workspace);  // (B*H, Nq)
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  const bool wide = rows_are_wide(
      d, {args.q, args.k, args.v, args.grad_o, args.grad_q, args.grad_k, args.grad_v});
  using Keys = BackwardTilesFor<kD, true>;
  using Queries = BackwardTilesFor<kD, false>;
  launch(device::element_delta_kernel<T>, ceil_div(B * H * Nq, Keys::kWarps), Keys::kThreads, 0,
         nullptr, args.grad_o, args.o, gDelta, B * H * Nq, d);
  if (Nk > 0) {
    launch(key_kernel<T, Keys>, grid_size(B * H * ceil_div(Nk, Keys::kOwn)), Keys::kThreads,
           Keys::kBytes, nullptr, args, gDelta, diagonal, wide);
  }
  launch(query_kernel<T, Queries>, grid_size(B * H * ceil_div(Nq, Queries::kOwn)),
         Queries::kThreads, Queries::kBytes, nullptr, args, gDelta, diagonal, wide);
}

}  // namespace

template <class T>
void backward_registers(const BackwardArgsOf<T>& args) {
  with_columns(args.shape.d, [&]<int kD>() { run<T, kD>(args); });
}
template void backward_registers(const BackwardArgsOf<bfloat16>& args);
template void backward_registers(const BackwardArgsOf<float16>& args);

std::size_t backward_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows()) * sizeof(float);
}

}  // namespace attn::tensor_cores
