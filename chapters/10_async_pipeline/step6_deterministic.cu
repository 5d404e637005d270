// SPDX-License-Identifier: MIT
//
// Step 6: no atomics. dQ comes from a kernel of its own that owns tiles of queries and recomputes S
// and dP: 7 products instead of 5. One block per tile of Q:
//   1. copy Q_i, dO_i and the first K_j, V_j;  dQ_i = 0, in registers
//   for each tile j of K and V that a row sees a key of:
//     2. wait for K_j, V_j;  start to copy K_j+1, V_j+1
//     3. S = Q_i K_j^T, dP = dO_i V_j^T, in fragments; from them dS, in place
//     4. dQ_i += dS K_j
//   5. store scale * dQ_i
#include "chapters/10_async_pipeline/key_kernel.cuh"

namespace attn::async_pipeline {
namespace {

/// 32 queries a warp, with dO beside Q, and 32 keys at a time.
template <int D>
struct QueryTiles : Tiles<D, 128, 32> {
  using QueryTiles::Tiles::kBr, QueryTiles::Tiles::kBc, QueryTiles::Tiles::kRowBytes;
  // Where they lie in shared memory, in bytes.
  static constexpr unsigned kQ = 0;                        // (Br, D)
  static constexpr unsigned kDO = kQ + kBr * kRowBytes;    // (Br, D)
  static constexpr unsigned kK = kDO + kBr * kRowBytes;    // (Bc, D), V behind it,
  static constexpr unsigned kV = kK + kBc * kRowBytes;     // (Bc, D)
  static constexpr unsigned kStage = 2 * kBc * kRowBytes;  // and both twice
  static constexpr unsigned kBytes = kK + 2 * kStage;
  static_assert(kBytes <= 163 * 1024, "what a block can ask for (sm_80)");
};

/// Grid: B*H times the query tiles of a head; block: Tiles::kThreads; dynamic shared memory:
/// Tiles::kBytes.
template <class T, class Tiles>
__global__ void __launch_bounds__(Tiles::kThreads)
    query_kernel(const __grid_constant__ BackwardArgsOf<T> args, const float* gDelta,
                 std::int64_t diagonal) {
  constexpr int kM = Tiles::kM, kD = Tiles::kD, kBc = Tiles::kBc;
  const unsigned base = device::shared_address(dynamic_shared<T>());
  const std::int64_t Nq = args.shape.Nq, Nk = args.shape.Nk, d = args.shape.d;
  const auto tiles_per_head = static_cast<unsigned>((Nq + Tiles::kBr - 1) / Tiles::kBr);
  const unsigned head = blockIdx.x / tiles_per_head;
  const int i0 = static_cast<int>(blockIdx.x % tiles_per_head) * Tiles::kBr;
  const std::int64_t q_start = (head * Nq + i0) * d;
  const int row = static_cast<int>(threadIdx.x) / 32 * Tiles::kRows;  // the warp's first query
  const int queries = Nq - i0 < Tiles::kBr ? static_cast<int>(Nq - i0) : Tiles::kBr;
  // Counted from the next tile's first key on: up to where query i0 sees, were there no first key,
  // and all that some row sees.
  const std::int64_t own = i0 + diagonal + 1;
  int reach = own < -Tiles::kBr ? -Tiles::kBr : static_cast<int>(own < Nk ? own : Nk);
  int left = static_cast<int>(visible_keys(i0 + queries - 1, diagonal, Nk));

  const TileCopy<Tiles::kThreads, kD> copy(d);
  const int tile = kBc * static_cast<int>(d);     // elements
  std::int64_t next = head * Nk * d + copy.from;  // of K and V, to be copied next
  const auto copy_keys = [&](unsigned stage) {
    // Keys that no row sees become zeros: dS is 0 there, and 0 times NaN is NaN.
    copy.template start<kBc>(base + Tiles::kK + stage, args.k + next, left);
    copy.template start<kBc>(base + Tiles::kV + stage, args.v + next, left);
    device::cp_async_commit();
  };
  copy.template start<Tiles::kBr>(base + Tiles::kQ, args.q + q_start + copy.from, queries);
  copy.template start<Tiles::kBr>(base + Tiles::kDO, args.grad_o + q_start + copy.from, queries);
  copy_keys(0);

  // A row beyond the matrix has LSE = inf: all its P are 0.
  float lse[kM][2], delta[kM][2];
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int query = row + 16 * m + device::fragment_row() + 8 * h;
      lse[m][h] = INFINITY;
      delta[m][h] = 0.0f;
      if (query < queries) lse[m][h] = args.lse[head * Nq + i0 + query];
      if (query < queries) delta[m][h] = gDelta[head * Nq + i0 + query];
    }
  }
  const unsigned square_rows = base + square_address<kD>(0);
  const unsigned columns_rows = base + columns_address<kD>(0);
  float grad_q[kM][kD / 8][4] = {};
  unsigned stage = 0;
  const auto visit_tile = [&]<bool kMasked> {
    device::cp_async_wait<0>();
    __syncthreads();  // wait until K_j and V_j are complete, and everyone is done with the last
    const int tile_keys = left < kBc ? left : kBc;
    left -= kBc;
    next += tile;
    if (left > 0) copy_keys(Tiles::kStage - stage);
    const unsigned square = fresh(square_rows), columns = fresh(columns_rows);
    float p[kM][kBc / 8][4] = {};   // S, then P
    float ds[kM][kBc / 8][4] = {};  // dP, then dS
    add_dots<T, kD, Tiles::kQ, Tiles::kK>(p, square + row * Tiles::kRowBytes, columns + stage);
    add_dots<T, kD, Tiles::kDO, Tiles::kV>(ds, square + row * Tiles::kRowBytes, columns + stage);
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int n = 0; n < kBc / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int query = row + 16 * m + device::fragment_row() + e / 2 * 8;
          const int key = 8 * n + device::fragment_column() + e % 2;
          const bool visible = !kMasked || (key < reach + query && key < tile_keys);
          recompute(p[m][n][e], ds[m][n][e], args.scale, lse[m][e / 2], delta[m][e / 2], visible);
        }
      }
    }
    add_weighted<T, Tiles::kK>(grad_q, ds, square + stage);
    stage = Tiles::kStage - stage;
    reach -= kBc;
  };
  while (reach >= kBc) visit_tile.template operator()<false>();
  while (left > 0) visit_tile.template operator()<true>();
  device::cp_async_wait<0>();  // where no row sees a key, nobody has waited for Q and dO

  const std::int64_t to = (fresh(head) * Nq + i0) * d;  // q_start, for which no register was left
  const std::int64_t first = first_query(0, diagonal, Nq) - i0;  // that sees a key
  const int empty = first < queries ? static_cast<int>(first) : queries;
  store_grad(args.grad_q + to, row, queries, d, args.scale, empty, queries, grad_q);
}

}  // namespace

std::size_t deterministic_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows()) * sizeof(float);
}

template <class T>
void backward_deterministic(const BackwardArgsOf<T>& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  float* gDelta = static_cast<float*>(args.workspace);  // (B*H, Nq)
  with_columns(d, [&]<int kD>() {
    using L = QueryTiles<kD>;
    // (Without dQ's product between its tiles the compiler fits no more than 16 queries at d = 64.)
    launch_delta_and_keys<T, KeyTiles<kD, kD == 64 ? 16 : 32>, false>(args, gDelta, nullptr);
    launch(query_kernel<T, L>, grid_size(B * H * ceil_div(Nq, L::kBr)), L::kThreads, L::kBytes,
           nullptr, args, gDelta, attn::diagonal(args.mask, Nq, Nk));
  });
}
template void backward_deterministic(const BackwardArgsOf<bfloat16>& args);
template void backward_deterministic(const BackwardArgsOf<float16>& args);

}  // namespace attn::async_pipeline
