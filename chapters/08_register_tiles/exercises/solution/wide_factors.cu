// SPDX-License-Identifier: MIT
//
// Solution of the exercise: 16 bytes a load, rows 16 bytes more than a multiple of 128 apart, and
// lanes dealt out so that n and n ^ 1 share a query and n and n ^ 2 a key.
//   cmake --build build --target ch08_solution && ./build/ch08_solution
#include "common/columns.hpp"
#include "common/device/naive.cuh"
#include "common/device/softmax.cuh"
#include "common/device/tiles.cuh"

namespace attn::register_tiles {
namespace {

constexpr int kBr = 128;  // queries of a tile
constexpr int kBc = 64;   // keys
constexpr int kThreads = 4 * 32;
constexpr int kHeld = 8;     // queries, and keys, that a lane holds of S
constexpr int kRows = 8;     // of lanes in a warp,
constexpr int kColumns = 4;  // and columns: a warp has 64 queries and 32 keys

/// Floats from one row of Q or K in shared memory to the next.
template <int kD>
constexpr int kStride = kD + 4;  // rows start at multiples of 16 bytes, and in different banks

/// A lane's place in its warp's grid of kRows x kColumns.
struct Place {
  // Bits of the lane's number: 0 and 2 say which column, 1, 3 and 4 which row.
  int row = static_cast<int>(threadIdx.x >> 1 & 1u) | static_cast<int>(threadIdx.x >> 3 & 3u) << 1;
  int column = static_cast<int>(threadIdx.x & 1u) | static_cast<int>(threadIdx.x >> 2 & 1u) << 1;
};

/// Four neighbouring floats by one load.
__device__ __forceinline__ void fetch(float (&factors)[4], const float* address) {
  const float4 four = *reinterpret_cast<const float4*>(address);
  factors[0] = four.x;
  factors[1] = four.y;
  factors[2] = four.z;
  factors[3] = four.w;
}

/// s[m][n] += query kRows m . key kColumns n, counted from q and k: the lane's first query and key,
/// in shared memory.
template <int kD>
__device__ __forceinline__ void add_products(float (&s)[kHeld][kHeld], const float* q,
                                             const float* k) {
#pragma unroll 1  // four columns are 256 multiply-adds
  for (int c = 0; c < kD; c += 4) {
    float queries[kHeld][4];
#pragma unroll
    for (int m = 0; m < kHeld; ++m) fetch(queries[m], q + kRows * m * kStride<kD> + c);
#pragma unroll
    for (int n = 0; n < kHeld; ++n) {
      float key[4];
      fetch(key, k + kColumns * n * kStride<kD> + c);
#pragma unroll
      for (int m = 0; m < kHeld; ++m) {
#pragma unroll
        for (int e = 0; e < 4; ++e) s[m][n] += queries[m][e] * key[e];
      }
    }
  }
}

/// S = scale * Q K^T, one tile of (Br, Bc) per block, whose four warps stand two by two. Grid: B*H
/// times the Q tiles of a head times its K tiles; block: kThreads; dynamic shared memory:
/// (kBr + kBc) * kStride<kD> floats.
template <int kD>
__global__ void __launch_bounds__(kThreads)
    scores_kernel(const float* gQ, const float* gK, float* gS, std::int64_t Nq, std::int64_t Nk,
                  std::int64_t d, std::int64_t diagonal, float scale) {
  float* sQ = dynamic_shared<float>();  // (Br, D + padding)
  float* sK = sQ + kBr * kStride<kD>;   // (Bc, D + padding)
  const std::int64_t key_tiles = (Nk + kBc - 1) / kBc;
  const std::int64_t query_tiles = (Nq + kBr - 1) / kBr;
  const std::int64_t head = blockIdx.x / key_tiles / query_tiles;
  const std::int64_t i0 = blockIdx.x / key_tiles % query_tiles * kBr;
  const std::int64_t j0 = blockIdx.x % key_tiles * kBc;
  const std::int64_t last = (i0 + kBr < Nq ? i0 + kBr : Nq) - 1;
  if (j0 >= visible_keys(last, diagonal, Nk)) return;  // the whole block

  const int warp = static_cast<int>(threadIdx.x) / 32;
  const Place place;
  const int row = warp / 2 * kRows * kHeld + place.row;           // the lane's first query,
  const int column = warp % 2 * kColumns * kHeld + place.column;  // and first key
  device::load_tile<kThreads, kBr, kD>(sQ, kStride<kD>, gQ + (head * Nq + i0) * d, Nq - i0, d);
  device::load_tile<kThreads, kBc, kD>(sK, kStride<kD>, gK + (head * Nk + j0) * d, Nk - j0, d);
  __syncthreads();  // wait until the tiles are complete
  float s[kHeld][kHeld] = {};
  add_products<kD>(s, sQ + row * kStride<kD>, sK + column * kStride<kD>);
#pragma unroll
  for (int m = 0; m < kHeld; ++m) {
    const std::int64_t i = i0 + row + kRows * m;
    const std::int64_t keys = i < Nq ? visible_keys(i, diagonal, Nk) - j0 : 0;
    float* gRow = gS + (head * Nq + i) * Nk + j0;
#pragma unroll
    for (int n = 0; n < kHeld; ++n) {
      const int key = column + kColumns * n;
      if (key < keys) gRow[key] = scale * s[m][n];
    }
  }
}

template <int kD>
void launch_scores(const ForwardArgs& args, float* gS, std::int64_t diagonal) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(scores_kernel<kD>, grid_size(B * H * ceil_div(Nq, kBr) * ceil_div(Nk, kBc)), kThreads,
         (kBr + kBc) * kStride<kD> * sizeof(float), nullptr, args.q, args.k, gS, Nq, Nk, d,
         diagonal, args.scale);
}

}  // namespace

/// O and LSE of the contract: these scores, chapter 03's softmax, chapter 02's outputs.
void wide_factors_forward(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  float* gS = static_cast<float*>(args.workspace);  // (B*H, Nq, Nk)
  if (Nk > 0) {
    with_columns(d, [&]<int kD>() { launch_scores<kD>(args, gS, diagonal); });
  }
  device::launch_softmax(gS, args.lse, args.shape, diagonal);
  launch(device::naive_outputs_kernel,
         dim3(grid_size(B * H), grid_size(ceil_div(Nq, 8)), grid_size(ceil_div(d, 32))),
         dim3(32, 8), 0, nullptr, gS, args.v, args.o, Nq, Nk, d, diagonal);
}

}  // namespace attn::register_tiles
