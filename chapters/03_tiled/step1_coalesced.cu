// SPDX-License-Identifier: MIT
//
// Step 1: neighbouring threads read neighbouring addresses.
//   1. transpose_kernel   K (Nk, d) becomes Kt (d, Nk), once
//   2. scores_kernel      as in chapter 02, but it walks down a column of Kt: the 32 lanes of a
//                         warp, one key each, now read 32 floats that lie side by side
//   3. softmax and outputs of chapter 02, unchanged
#include "chapters/03_tiled/tiled.hpp"
#include "common/device/naive.cuh"

namespace attn::tiled {
namespace {

constexpr int kBlockRows = 8;

/// Kt[head][c][j] = K[head][j][c]. The reads are as scattered as chapter 02's were, but there are
/// N*d of them now instead of N*N*d.
/// Grid: (B*H, ceil(d / kBlockRows), ceil(Nk / kTile)); block: (kTile, kBlockRows).
__global__ void transpose_kernel(const float* gK, float* gKt, std::int64_t Nk, std::int64_t d) {
  const std::int64_t head = blockIdx.x;
  const std::int64_t c = std::int64_t{blockIdx.y} * kBlockRows + threadIdx.y;  // column of K
  const std::int64_t j = std::int64_t{blockIdx.z} * kTile + threadIdx.x;       // key
  if (c >= d || j >= Nk) return;
  gKt[(head * d + c) * Nk + j] = gK[(head * Nk + j) * d + c];
}

/// S[head][i][j] = scale * (row i of Q) . (column j of Kt), for the keys that row i sees.
/// Grid: (B*H, ceil(Nq / kBlockRows), ceil(Nk / kTile)); block: (kTile, kBlockRows).
__global__ void scores_kernel(const float* gQ, const float* gKt, float* gS, std::int64_t Nq,
                              std::int64_t Nk, std::int64_t d, std::int64_t diagonal, float scale) {
  const std::int64_t head = blockIdx.x;
  const std::int64_t i = std::int64_t{blockIdx.y} * kBlockRows + threadIdx.y;  // query
  const std::int64_t j = std::int64_t{blockIdx.z} * kTile + threadIdx.x;       // key
  if (i >= Nq || j >= visible_keys(i, diagonal, Nk)) return;

  const float* q = gQ + (head * Nq + i) * d;  // (d)
  const float* kt = gKt + head * d * Nk + j;  // column j of (d, Nk)
  float dot = 0.0f;
  for (std::int64_t c = 0; c < d; ++c) dot += q[c] * kt[c * Nk];
  gS[(head * Nq + i) * Nk + j] = scale * dot;
}

}  // namespace

std::size_t coalesced_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.heads() * (shape.Nq + shape.d) * shape.Nk) * sizeof(float);
}

void forward_coalesced(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  float* gS = static_cast<float*>(args.workspace);  // (B*H, Nq, Nk)
  float* gKt = gS + B * H * Nq * Nk;                // (B*H, d, Nk)

  const dim3 block(kTile, kBlockRows);
  const auto heads = static_cast<unsigned>(B * H);
  const unsigned row_blocks = ceil_div(Nq, kBlockRows);
  if (Nk > 0) {
    const unsigned key_blocks = ceil_div(Nk, kTile);
    launch(transpose_kernel, dim3(heads, ceil_div(d, kBlockRows), key_blocks), block, 0, nullptr,
           args.k, gKt, Nk, d);
    launch(scores_kernel, dim3(heads, row_blocks, key_blocks), block, 0, nullptr, args.q, gKt, gS,
           Nq, Nk, d, diagonal, args.scale);
  }
  constexpr int kThreads = 128;
  launch(device::naive_softmax_kernel, ceil_div(B * H * Nq, kThreads), kThreads, 0, nullptr, gS,
         args.lse, B * H * Nq, Nq, Nk, diagonal);
  launch(device::naive_outputs_kernel, dim3(heads, row_blocks, ceil_div(d, kTile)), block, 0,
         nullptr, gS, args.v, args.o, Nq, Nk, d, diagonal);
}

}  // namespace attn::tiled
