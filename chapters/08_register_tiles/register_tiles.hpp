// SPDX-License-Identifier: MIT
#pragma once

#include "chapters/08_register_tiles/cpu.hpp"
#include "common/attention.hpp"

namespace attn::register_tiles {

// ---- Forward -----------------------------------------------------------------------------------

/// Sizes of the forward pass, all known to the compiler.
///   Br, Bc  queries and keys of a tile; a block owns Br queries, a warp Br / kWarps of them
///   TM, TN  queries and keys that a lane holds of S: 4 x 8 lanes share the warp's (rows, Bc)
///   TC      float4 that it holds of each of its TM rows of O
template <int D, int Br, int Bc, int Warps, int Blocks>
struct Tiles {
  static constexpr int kD = D;  // columns: d rounded up to 32, 64 or 128
  static constexpr int kBr = Br;
  static constexpr int kBc = Bc;
  static constexpr int kWarps = Warps;
  static constexpr int kThreads = 32 * Warps;
  static constexpr int kBlocks = Blocks;  // that the registers must suffice for, per SM
  static constexpr int kRows = Br / Warps;
  static constexpr int TM = kRows / 4;
  static constexpr int TN = Bc / 8;
  static constexpr int TC = D / 32;
  // Rows of Q and K are D + 4 floats apart: 8 lanes that read 16 bytes of 8 keys meet all 32 banks.
  // Rows of P are Bc + 8 apart: so do 4 rows x 8 keys that are stored one by one.
  static constexpr int kQStride = D + 4;
  static constexpr int kPStride = Bc + 8;
  static constexpr int kFloats = (Br + Bc) * kQStride + Bc * D + Br * kPStride;
  static_assert(Br % (4 * Warps) == 0, "a warp's rows: 4 rows of lanes, whole times");
  static_assert(Bc % 8 == 0, "8 columns of lanes, whole times");
  static_assert(D % 32 == 0, "8 columns of lanes with 4 floats each, whole times");
  static_assert(kPStride % 32 == 8, "4 rows of P in 32 different banks");
  static_assert(kFloats * 4 <= 227 * 1024, "shared memory that a block can ask for (sm_90)");
};

/// The tiles used for D columns (chosen in the lesson).
template <int D>
using TilesFor = Tiles<D, 128, 64, D == 128 ? 8 : 4, D == 128 ? 1 : 2>;

/// O and LSE of the contract (common/attention.hpp), unfused as in chapter 03, both products in
/// register tiles. Device pointers.
void forward_unfused(const ForwardArgs& args);
/// The same products in chapter 07's fused forward pass.
void forward_fused(const ForwardArgs& args);
/// The same with lanes dealt out so that 16-byte loads take two turns.
void forward_paired(const ForwardArgs& args);
/// The same with 16-byte global loads and stores where d and the addresses allow them.
void forward_wide(const ForwardArgs& args);
/// The same with the special-function unit's own 2^x.
void forward_approximate(const ForwardArgs& args);

/// Bytes for the score matrices of all heads: B * H * Nq * Nk floats.
std::size_t scores_bytes(const Shape& shape);
/// The fused steps need none.
std::size_t no_workspace_bytes(const Shape& shape);

// ---- Backward ----------------------------------------------------------------------------------

/// dQ, dK, dV of the contract, one K/V tile per block; dQ by atomics. Device pointers.
void backward_atomics(const BackwardArgs& args);
/// The same bit by bit from run to run: a second kernel, one Q tile per block, makes dQ.
void backward_deterministic(const BackwardArgs& args);
/// Bytes for delta: B * H * Nq floats.
std::size_t backward_workspace_bytes(const Shape& shape);

}  // namespace attn::register_tiles
