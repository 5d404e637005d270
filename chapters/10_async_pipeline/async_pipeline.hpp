// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::async_pipeline {

// ---- Forward -----------------------------------------------------------------------------------

/// Sizes of the forward pass, all known to the compiler, in elements of 2 bytes.
///   Br, Bc  queries and keys of a tile; a block owns Br queries, a warp Br / kWarps of them
///   kM      fragments of 16 rows that make up a warp's rows
///   Stages  tiles of K that shared memory has room for
///   KeepsQ  whether a warp's rows of Q stay in its registers
template <int D, int Br, int Bc, int Stages = 1, bool KeepsQ = false>
struct Tiles {
  static constexpr int kD = D;  // columns: d rounded up to 64 or 128
  static constexpr int kBr = Br;
  static constexpr int kBc = Bc;
  static constexpr int kWarps = 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr bool kKeepsQ = KeepsQ;
  static constexpr int kRows = Br / kWarps;
  static constexpr int kM = kRows / 16;
  static constexpr int kRowBytes = 2 * D;
  static constexpr std::size_t kBytes = (Br + (Stages + 1) * Bc) * kRowBytes;  // Q, K, V
  static_assert(kM * 16 * kWarps == Br, "fragments of 16 rows, whole times");
  static_assert(D % 64 == 0 && Bc % 16 == 0, "steps of 16 along the sums of both products");
  static_assert(kBytes <= 163 * 1024, "what a block can ask for (sm_80)");
};

/// Chapter 09's tiles of 32 rows a warp.
template <int D>
using Tiles32 = Tiles<D, 128, D == 128 ? 32 : 64>;
/// With room for two tiles of K; with 64 columns registers are left for Q.
template <int D>
using PipelineTiles = Tiles<D, 128, D == 128 ? 32 : 64, 2, D == 64>;

/// O and LSE of the contract (common/attention.hpp) as in chapter 09, without its padding: rows are
/// 16-byte aligned, in global and in shared memory. Device pointers; T: bfloat16 or float16.
template <class T>
void forward_swizzled(const ForwardArgsOf<T>& args);
/// The same with K and V brought by asynchronous copies, each under the product before its own.
template <class T>
void forward_async(const ForwardArgsOf<T>& args);
/// The same with addresses that are made once.
template <class T>
void forward_hoisted(const ForwardArgsOf<T>& args);
/// The same with room for two tiles of K, and Q in registers where they suffice.
template <class T>
void forward_tiles(const ForwardArgsOf<T>& args);
/// None of them needs any.
std::size_t no_workspace_bytes(const Shape& shape);

// ---- Backward ----------------------------------------------------------------------------------

/// dQ, dK, dV of the contract, one tile of keys per block; dQ by atomics. Device pointers.
template <class T>
void backward_atomics(const BackwardArgsOf<T>& args);
/// Bytes for dQ in float32, and for delta: B * H * Nq * (d + 1) floats.
std::size_t atomics_workspace_bytes(const Shape& shape);

/// The same bit by bit from run to run: a second kernel, one tile of queries per block, makes dQ.
template <class T>
void backward_deterministic(const BackwardArgsOf<T>& args);
/// Bytes for delta: B * H * Nq floats.
std::size_t deterministic_workspace_bytes(const Shape& shape);

}  // namespace attn::async_pipeline
