// SPDX-License-Identifier: MIT
//
// Step 1: chapter 03's three kernels, S and P in global memory between them, but both products with
// their results in registers. A block owns (Br, Bc) of S, then Br rows of O; a lane 8 x 8 numbers
// of each (d = 64), where chapter 03 had 4. What is loaded once from shared memory is used 8 times.
#include "chapters/08_register_tiles/tiles.cuh"
#include "common/columns.hpp"
#include "common/device/softmax.cuh"

namespace attn::register_tiles {
namespace {

/// Floats of shared memory: Q (Br, D + 4), K (Bc, D + 4); P (Br, Bc + 8), V (Bc, D).
template <class T>
constexpr int kScoresFloats = (T::kBr + T::kBc) * T::kQStride;
template <class T>
constexpr int kOutputsFloats = T::kBr* T::kPStride + T::kBc* T::kD;

/// S = scale * Q K^T, one tile of (Br, Bc) scores per block. Grid: B*H times the Q tiles of a head
/// times its K tiles; block: T::kThreads; dynamic shared memory: kScoresFloats<T> floats.
template <class T, class Lanes>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks)
    scores_kernel(const float* gQ, const float* gK, float* gS, std::int64_t Nq, std::int64_t Nk,
                  std::int64_t d, std::int64_t diagonal, float scale) {
  float* sQ = dynamic_shared<float>();    // (Br, D + 4)
  float* sK = sQ + T::kBr * T::kQStride;  // (Bc, D + 4)
  const std::int64_t key_tiles = (Nk + T::kBc - 1) / T::kBc;
  const std::int64_t query_tiles = (Nq + T::kBr - 1) / T::kBr;
  const std::int64_t head = blockIdx.x / key_tiles / query_tiles;
  const std::int64_t i0 = blockIdx.x / key_tiles % query_tiles * T::kBr;
  const std::int64_t j0 = blockIdx.x % key_tiles * T::kBc;
  const std::int64_t last = (i0 + T::kBr < Nq ? i0 + T::kBr : Nq) - 1;
  if (j0 >= visible_keys(last, diagonal, Nk)) return;  // the whole block

  const Lanes lane;
  const int row = static_cast<int>(threadIdx.x) / kWarp * T::kRows + lane.row;
  device::load_tile<T::kThreads, T::kBr, T::kD>(sQ, T::kQStride, gQ + (head * Nq + i0) * d, Nq - i0,
                                                d);
  device::load_tile<T::kThreads, T::kBc, T::kD>(sK, T::kQStride, gK + (head * Nk + j0) * d, Nk - j0,
                                                d);
  __syncthreads();  // wait until the tiles are complete
  float s[T::TM][T::TN] = {};
  add_dots<T::kD, T::kQStride, 2>(s, sQ + row * T::kQStride, sK + lane.column * T::kQStride);
#pragma unroll
  for (int m = 0; m < T::TM; ++m) {
    const std::int64_t i = i0 + row + kLaneRows * m;
    const std::int64_t keys = i < Nq ? visible_keys(i, diagonal, Nk) - j0 : 0;
    float* gRow = gS + (head * Nq + i) * Nk + j0;
#pragma unroll
    for (int n = 0; n < T::TN; ++n) {
      const int key = lane.column + kLaneColumns * n;
      if (key < keys) gRow[key] = scale * s[m][n];
    }
  }
}

/// O = P V, Br rows per block. Grid: B*H times the Q tiles of a head; block: T::kThreads; dynamic
/// shared memory: kOutputsFloats<T> floats.
template <class T, class Lanes>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks)
    outputs_kernel(const float* gP, const float* gV, float* gO, std::int64_t Nq, std::int64_t Nk,
                   std::int64_t d, std::int64_t diagonal) {
  float* sP = dynamic_shared<float>();    // (Br, Bc + 8)
  float* sV = sP + T::kBr * T::kPStride;  // (Bc, D)
  const std::int64_t tiles = (Nq + T::kBr - 1) / T::kBr;
  const std::int64_t head = blockIdx.x / tiles;
  const std::int64_t i0 = blockIdx.x % tiles * T::kBr;
  const std::int64_t last = (i0 + T::kBr < Nq ? i0 + T::kBr : Nq) - 1;
  const std::int64_t least = visible_keys(i0, diagonal, Nk);
  const std::int64_t most = visible_keys(last, diagonal, Nk);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;

  const Lanes lane;
  const int row = warp * T::kRows + lane.row;
  float acc_o[T::TM][4 * T::TC] = {};
  const auto visit_tile = [&]<bool kMasked>(std::int64_t j0) {
    __syncthreads();  // wait until everyone is done with the last P and V
    device::load_tile<T::kThreads, T::kBc, T::kD>(sV, T::kD, gV + (head * Nk + j0) * d, Nk - j0, d);
    // The warp's own rows of P; of a hidden pair there is no P to load.
#pragma unroll 4
    for (int r = warp * T::kRows; r < (warp + 1) * T::kRows; ++r) {
      const std::int64_t i = i0 + r;
      const std::int64_t keys = i < Nq ? visible_keys(i, diagonal, Nk) - j0 : 0;
      for (int key = threadIdx.x % kWarp; key < T::kBc; key += kWarp) {
        sP[r * T::kPStride + key] = key < keys ? gP[(head * Nq + i) * Nk + j0 + key] : 0.0f;
      }
    }
    int keys[T::TM] = {};
#pragma unroll
    for (int m = 0; kMasked && m < T::TM; ++m) {
      const std::int64_t left = visible_keys(i0 + row + kLaneRows * m, diagonal, Nk) - j0;
      keys[m] = left < 0 ? 0 : left < T::kBc ? static_cast<int>(left) : T::kBc;
    }
    __syncthreads();  // wait until the tiles are complete
    add_weighted<kMasked, T::kBc, T::kPStride, T::kD>(acc_o, sP + row * T::kPStride,
                                                      sV + 4 * lane.column, keys);
  };
  std::int64_t j0 = 0;
  for (; j0 + T::kBc <= least; j0 += T::kBc) visit_tile.template operator()<false>(j0);
  for (; j0 < most; j0 += T::kBc) visit_tile.template operator()<true>(j0);
#pragma unroll
  for (int m = 0; m < T::TM; ++m) {
    const std::int64_t i = i0 + row + kLaneRows * m;
    if (i >= Nq) continue;
#pragma unroll
    for (int h = 0; h < T::TC; ++h) {
      float o[4];
      for (int e = 0; e < 4; ++e) o[e] = acc_o[m][4 * h + e];
      store_in_row<false>(gO + (head * Nq + i) * d, 4 * lane.column + 32 * h, d, o);
    }
  }
}

template <class T, class Lanes>
void run(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  float* gS = static_cast<float*>(args.workspace);  // (B*H, Nq, Nk)
  const std::int64_t query_tiles = B * H * ceil_div(Nq, T::kBr);
  if (Nk > 0) {
    launch(scores_kernel<T, Lanes>, grid_size(query_tiles * ceil_div(Nk, T::kBc)), T::kThreads,
           kScoresFloats<T> * sizeof(float), nullptr, args.q, args.k, gS, Nq, Nk, d, diagonal,
           args.scale);
  }
  device::launch_softmax(gS, args.lse, args.shape, diagonal);
  launch(outputs_kernel<T, Lanes>, grid_size(query_tiles), T::kThreads,
         kOutputsFloats<T> * sizeof(float), nullptr, gS, args.v, args.o, Nq, Nk, d, diagonal);
}

}  // namespace

void forward_unfused(const ForwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run<TilesFor<kD>, PlainLanes>(args); });
}

std::size_t scores_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows() * shape.Nk) * sizeof(float);
}

}  // namespace attn::register_tiles
