// SPDX-License-Identifier: MIT
//
// FlashAttention-2's backward pass as plain C++: chapter 06's, with its outer loop given away.
// Tiles of 64 keys are dealt out among the cores, also those of one head, and tiles that the mask
// hides are skipped. Then dQ has several owners. A GPU's blocks add to it by atomics; here each
// share of a head has a dQ of its own, and they are added up in the order of the shares.
#include <memory>

#include "chapters/07_v2_loop_order/v2_loop_order.hpp"
#include "common/columns.hpp"
#include "common/cpu_gradients.hpp"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace attn::v2_loop_order {
namespace {

std::int64_t cores() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

constexpr std::int64_t kMostShares = 16;  // all but one have a dQ of their own

/// Shares of a head: as few as give every core one, and no more than tiles.
std::int64_t shares_of(const Shape& shape) {
  const std::int64_t heads = std::max<std::int64_t>(shape.heads(), 1);
  const std::int64_t tiles = (shape.Nk + cpu::kKeys - 1) / cpu::kKeys;
  return std::clamp<std::int64_t>((cores() + heads - 1) / heads, 1,
                                  std::clamp<std::int64_t>(tiles, 1, kMostShares));
}

/// Every `shares`-th tile of a head's keys, and what they give to dQ, added to grad_q (Nq, d).
template <int kD>
void share_of_head(const BackwardArgs& args, std::int64_t head, std::int64_t share,
                   std::int64_t shares, float* grad_q, cpu::GradientTile<kD>& tile) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  const float* delta = static_cast<const float*>(args.workspace) + head * Nq;  // (Nq)
  std::fill_n(grad_q, Nq * d, 0.0f);
  for (std::int64_t j0 = share * cpu::kKeys; j0 < Nk; j0 += shares * cpu::kKeys) {
    const std::int64_t keys_at = (head * Nk + j0) * d;
    tile.load(args.k + keys_at, args.v + keys_at, Nk - j0, d);
    const std::int64_t first = first_query(j0, diagonal, Nq);
    for (std::int64_t i0 = first / cpu::kKeys * cpu::kKeys; i0 < Nq; i0 += cpu::kKeys) {
      const std::int64_t at = head * Nq + i0;
      tile.add({.q = args.q + at * d,
                .grad_o = args.grad_o + at * d,
                .lse = args.lse + at,
                .delta = delta + i0,
                .grad_q = grad_q + i0 * d,
                .rows = std::min<std::int64_t>(Nq - i0, cpu::kKeys)},
               args.scale, d,
               [&](std::int64_t r) { return visible_keys(i0 + r, diagonal, Nk) - j0; });
    }
    tile.store(args.grad_k + keys_at, args.grad_v + keys_at, args.scale, d);
  }
}

}  // namespace

std::size_t cpu_backward_workspace_bytes(const Shape& shape) {
  const std::int64_t more_sums = (shares_of(shape) - 1) * shape.q_elements();
  return static_cast<std::size_t>(shape.rows() + more_sums) * sizeof(float);
}

void backward_cpu(const BackwardArgs& args) {
  const std::int64_t shares = shares_of(args.shape), heads = args.shape.heads();
  const std::int64_t numbers = args.shape.q_elements();
  float* delta = static_cast<float*>(args.workspace);  // (B*H*Nq)
  float* sums = delta + args.shape.rows();             // (shares - 1, B*H, Nq, d)
  cpu::row_deltas(args, delta);
  with_columns(args.shape.d, [&]<int kD>() {
#pragma omp parallel
    {
      const auto tile = std::make_unique_for_overwrite<cpu::GradientTile<kD>>();
#pragma omp for schedule(dynamic)
      for (std::int64_t task = 0; task < heads * shares; ++task) {
        const std::int64_t head = task / shares, share = task % shares;
        float* own = share == 0 ? args.grad_q : sums + (share - 1) * numbers;
        share_of_head<kD>(args, head, share, shares, own + head * (numbers / heads), *tile);
      }
    }
  });
#pragma omp parallel for
  for (std::int64_t x = 0; x < numbers; ++x) {
    float sum = args.grad_q[x];
    for (std::int64_t share = 1; share < shares; ++share) sum += sums[(share - 1) * numbers + x];
    args.grad_q[x] = args.scale * sum;
  }
}

}  // namespace attn::v2_loop_order
