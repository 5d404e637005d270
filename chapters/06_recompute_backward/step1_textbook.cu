// SPDX-License-Identifier: MIT
//
// Step 1: the textbook backward pass, in tiles as in chapter 03, with P, then dS, in HBM. With L
// the loss and dX short for dL/dX:
//   1. delta_i = dO_i . O_i
//   2. P  = exp(scale * Q K^T - LSE)             stored: (Nq, Nk)
//   3. dV = P^T dO
//   4. dP = dO V^T;  dS = P * (dP - delta)       dS takes P's place
//   5. dQ = scale * dS K
//   6. dK = scale * dS^T Q
// Two kinds of product: a tile of scores from two sets of rows (2 and 4), and a matrix of scores
// times rows (3, 5 and 6). P and dS exist for visible pairs only; the rest is not touched.
#include "chapters/06_recompute_backward/recompute_backward.hpp"
#include "common/columns.hpp"
#include "common/device/tiles.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::recompute_backward {
namespace {

constexpr int kTile = 32;
constexpr int kWarps = 8;
constexpr int kThreads = kTile * kWarps;

/// One warp per row. Grid: ceil(rows / kWarps); block: kThreads.
__global__ void delta_kernel(const float* gDO, const float* gO, float* gDelta, std::int64_t rows,
                             std::int64_t d) {
  const unsigned lane = threadIdx.x % kTile;
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kTile;
  if (row >= rows) return;  // the whole warp
  float sum = 0.0f;
  for (std::int64_t c = lane; c < d; c += kTile) sum += gDO[row * d + c] * gO[row * d + c];
  sum = device::warp_sum(sum);
  if (lane == 0) gDelta[row] = sum;
}

/// The dot products of rows of A (Nq, d) with rows of B (Nk, d), one (kTile, kTile) tile per block,
/// and what becomes of them, for the visible pairs:
///   kGradient false: A = Q, B = K, gRow = LSE:     gS = exp(scale * dot - gRow_i), which is P
///   kGradient true:  A = dO, B = V, gRow = delta:  gS = gS * (dot - gRow_i), dS where P was
/// Grid: (B*H, ceil(Nq / kTile), ceil(Nk / kTile)); block: kThreads.
/// Shared memory: 2 kTile (kD + 1) floats.
template <bool kGradient, int kD>
__global__ void pairs_kernel(const float* gA, const float* gB, const float* gRow, float* gS,
                             std::int64_t Nq, std::int64_t Nk, int d, std::int64_t diagonal,
                             float scale) {
  float* sA = dynamic_shared<float>();  // (kTile, D + 1)
  float* sB = sA + kTile * (kD + 1);    // (kTile, D + 1)
  const std::int64_t head = blockIdx.x;
  const std::int64_t i0 = std::int64_t{blockIdx.y} * kTile;  // first query of the tile
  const std::int64_t j0 = std::int64_t{blockIdx.z} * kTile;  // first key of the tile
  const std::int64_t last = (i0 + kTile < Nq ? i0 + kTile : Nq) - 1;
  if (j0 >= visible_keys(last, diagonal, Nk)) return;  // the whole block: no row sees a key of it

  device::load_tile<kThreads, kTile, kD>(sA, kD + 1, gA + (head * Nq + i0) * d, Nq - i0, d);
  device::load_tile<kThreads, kTile, kD>(sB, kD + 1, gB + (head * Nk + j0) * d, Nk - j0, d);
  __syncthreads();  // wait until the tiles are complete
  const int x = threadIdx.x % kTile;
  for (int r = threadIdx.x / kTile; r < kTile; r += kWarps) {
    const std::int64_t i = i0 + r;
    const std::int64_t j = j0 + x;
    if (i >= Nq || j >= visible_keys(i, diagonal, Nk)) continue;
    float dot = 0.0f;
#pragma unroll 8
    for (int c = 0; c < d; ++c) dot += sA[r * (kD + 1) + c] * sB[x * (kD + 1) + c];
    const float row = gRow[head * Nq + i];
    float* s = gS + (head * Nq + i) * Nk + j;
    // Rounded before the subtraction, as LSE's maximum was: one multiply-add would differ from it.
    *s = kGradient ? *s * (dot - row) : expf(__fmul_rn(scale, dot) - row);
  }
}

/// C = factor * A B, or factor * A^T B, for a matrix A (Nq, Nk) of which the visible pairs exist.
/// One (kTile, kTile) tile of C per block; rows are those of C, inner those that are summed over.
///   kTransposed false: rows are queries, inner are keys, B (Nk, d), C (Nq, d):  dQ
///   kTransposed true:  rows are keys, inner are queries, B (Nq, d), C (Nk, d):  dK and dV
/// Grid: (B*H, ceil(rows / kTile), ceil(d / kTile)); block: kThreads.
template <bool kTransposed>
__global__ void product_kernel(const float* gA, const float* gB, float* gC, std::int64_t Nq,
                               std::int64_t Nk, std::int64_t d, std::int64_t diagonal,
                               float factor) {
  __shared__ float sA[kTile][kTile + 1];  // (rows, inner); padded: A^T is written by columns
  __shared__ float sB[kTile][kTile];      // (inner, columns)
  constexpr int kRowsPerThread = kTile / kWarps;  // rows y, y + 8, y + 16, y + 24
  const int x = threadIdx.x % kTile;
  const int y = threadIdx.x / kTile;
  const std::int64_t rows = kTransposed ? Nk : Nq;
  const std::int64_t head = blockIdx.x;
  const std::int64_t row0 = std::int64_t{blockIdx.y} * kTile;
  const std::int64_t c0 = std::int64_t{blockIdx.z} * kTile;
  // A key is seen by the queries from first_query on, a query sees the keys below visible_keys.
  const auto begin = [&](std::int64_t row) {
    return kTransposed ? first_query(row, diagonal, Nq) : 0;
  };
  const auto end = [&](std::int64_t row) {
    return kTransposed ? Nq : visible_keys(row, diagonal, Nk);
  };
  const std::int64_t last = (row0 + kTile < rows ? row0 + kTile : rows) - 1;
  const std::int64_t inner_end = end(last);

  float sum[kRowsPerThread] = {};
  for (std::int64_t k0 = begin(row0); k0 < inner_end; k0 += kTile) {
    for (int r = y; r < kTile; r += kWarps) {
      const std::int64_t i = kTransposed ? k0 + r : row0 + r;
      const std::int64_t j =
          kTransposed ? row0 + x : k0 + x;  // neighbouring lanes, whichever it is
      if (i < Nq && j < visible_keys(i, diagonal, Nk)) {
        (kTransposed ? sA[x][r] : sA[r][x]) = gA[(head * Nq + i) * Nk + j];
      }
      const std::int64_t inner = kTransposed ? Nq : Nk;
      if (k0 + r < inner_end && c0 + x < d) sB[r][x] = gB[(head * inner + k0 + r) * d + c0 + x];
    }
    __syncthreads();  // wait until the tiles are complete
    for (int n = 0; n < kRowsPerThread; ++n) {
      const std::int64_t row = row0 + y + n * kWarps;
      if (row >= rows || c0 + x >= d) break;
      // Only the visible pairs: zero times NaN would still be NaN.
      const int from = begin(row) > k0 ? static_cast<int>(begin(row) - k0) : 0;
      const int to = end(row) - k0 < kTile ? static_cast<int>(end(row) - k0) : kTile;
#pragma unroll 8
      for (int k = from; k < to; ++k) sum[n] += sA[y + n * kWarps][k] * sB[k][x];
    }
    __syncthreads();  // wait until everyone has read them
  }
  for (int n = 0; n < kRowsPerThread; ++n) {
    const std::int64_t row = row0 + y + n * kWarps;
    if (row < rows && c0 + x < d) gC[(head * rows + row) * d + c0 + x] = factor * sum[n];
  }
}

template <bool kGradient>
void pairs(const BackwardArgs& args, const float* a, const float* b, const float* row, float* s) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  if (Nk == 0) return;
  with_columns(d, [&, grid = dim3(static_cast<unsigned>(B * H), ceil_div(Nq, kTile),
                                  ceil_div(Nk, kTile))]<int kD>() {
    constexpr std::size_t kShared = 2 * kTile * (kD + 1) * sizeof(float);
    static_assert(kShared <= 48 * 1024);
    launch(pairs_kernel<kGradient, kD>, grid, kThreads, kShared, nullptr, a, b, row, s,
           args.shape.Nq, args.shape.Nk, static_cast<int>(args.shape.d),
           attn::diagonal(args.mask, args.shape.Nq, args.shape.Nk), args.scale);
  });
}

template <bool kTransposed>
void product(const BackwardArgs& args, const float* a, const float* b, float* c, float factor) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t rows = kTransposed ? Nk : Nq;
  if (rows == 0) return;
  launch(product_kernel<kTransposed>,
         dim3(static_cast<unsigned>(B * H), ceil_div(rows, kTile), ceil_div(d, kTile)), kThreads, 0,
         nullptr, a, b, c, Nq, Nk, d, attn::diagonal(args.mask, Nq, Nk), factor);
}

}  // namespace

void delta(const BackwardArgs& args, float* gDelta) {
  const std::int64_t rows = args.shape.rows();
  launch(delta_kernel, ceil_div(rows, kWarps), kThreads, 0, nullptr, args.grad_o, args.o, gDelta,
         rows, args.shape.d);
}

void probabilities(const BackwardArgs& args, float* gP) {
  pairs<false>(args, args.q, args.k, args.lse, gP);
}

void value_gradients(const BackwardArgs& args, const float* gP) {
  product<true>(args, gP, args.grad_o, args.grad_v, 1.0f);
}

void score_gradients(const BackwardArgs& args, const float* gDelta, float* gP) {
  pairs<true>(args, args.grad_o, args.v, gDelta, gP);
}

void query_gradients(const BackwardArgs& args, const float* gDS) {
  product<false>(args, gDS, args.k, args.grad_q, args.scale);
}

void key_gradients(const BackwardArgs& args, const float* gDS) {
  product<true>(args, gDS, args.q, args.grad_k, args.scale);
}

void backward_textbook(const BackwardArgs& args) {
  const Shape& shape = args.shape;
  float* gP = static_cast<float*>(args.workspace);  // (B*H, Nq, Nk)
  float* gDelta = gP + shape.rows() * shape.Nk;     // (B*H, Nq)
  delta(args, gDelta);
  probabilities(args, gP);
  value_gradients(args, gP);
  score_gradients(args, gDelta, gP);
  query_gradients(args, gP);
  key_gradients(args, gP);
}

std::size_t textbook_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows() * (shape.Nk + 1)) * sizeof(float);
}

}  // namespace attn::recompute_backward
