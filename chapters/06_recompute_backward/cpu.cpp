// SPDX-License-Identifier: MIT
//
// Step 2 as plain C++: FlashAttention-1's backward pass. A core has a whole head, as a block has.
// Tiles of 64 keys outside, their dK and dV stay; for each, all rows of Q and dO come by, and dQ is
// fetched, added to and put back (common/cpu_gradients.hpp).
#include <memory>

#include "chapters/06_recompute_backward/recompute_backward.hpp"
#include "common/columns.hpp"
#include "common/cpu_gradients.hpp"

namespace attn::recompute_backward {
namespace {

template <int kD>
void one_head(const BackwardArgs& args, std::int64_t head, cpu::GradientTile<kD>& tile) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  const float* delta = static_cast<const float*>(args.workspace) + head * Nq;  // (Nq)
  float* grad_q = args.grad_q + head * Nq * d;                                 // (Nq, d)
  std::fill_n(grad_q, Nq * d, 0.0f);
  for (std::int64_t j0 = 0; j0 < Nk; j0 += cpu::kKeys) {
    const std::int64_t keys_at = (head * Nk + j0) * d;
    tile.load(args.k + keys_at, args.v + keys_at, Nk - j0, d);
    for (std::int64_t i0 = 0; i0 < Nq; i0 += cpu::kKeys) {
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
  cpu::multiply(grad_q, Nq * d, args.scale);
}

}  // namespace

void backward_cpu(const BackwardArgs& args) {
  cpu::row_deltas(args, static_cast<float*>(args.workspace));
  with_columns(args.shape.d, [&]<int kD>() {
#pragma omp parallel
    {
      const auto tile = std::make_unique_for_overwrite<cpu::GradientTile<kD>>();
#pragma omp for schedule(dynamic)
      for (std::int64_t head = 0; head < args.shape.heads(); ++head) {
        one_head<kD>(args, head, *tile);
      }
    }
  });
}

}  // namespace attn::recompute_backward
