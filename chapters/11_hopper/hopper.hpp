// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::hopper {

/// Sizes, all known to the compiler, in elements of 2 bytes.
///   Br, Bc  queries and keys of a tile; a block owns Br queries, a warpgroup 64 of them
template <int D, int Br, int Bc>
struct Tiles {
  static constexpr int kD = D;  // columns
  static constexpr int kBr = Br;
  static constexpr int kBc = Bc;
  static constexpr int kThreads = 2 * Br;                       // 128 for 64 rows
  static constexpr std::size_t kBytes = (Br + 2 * Bc) * D * 2;  // Q, K, V
  static_assert(Br % 64 == 0, "a product of a warpgroup has 64 rows");
  static_assert(D % 64 == 0 && Bc % 16 == 0, "panels of 64 columns, steps of 16 keys");
  static_assert(kBytes <= 227 * 1024, "what a block can ask for (sm_90)");
};

/// O and LSE of the contract (common/attention.hpp), by products of warpgroups. d: 64 or 128.
/// Device pointers; T: bfloat16 or float16.
template <class T>
void forward_wgmma(const ForwardArgsOf<T>& args);
/// None of them needs any.
std::size_t no_workspace_bytes(const Shape& shape);

}  // namespace attn::hopper
