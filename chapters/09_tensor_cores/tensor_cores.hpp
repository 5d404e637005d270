// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::tensor_cores {

// ---- Forward -----------------------------------------------------------------------------------

/// Sizes of the forward pass, all known to the compiler, in elements of 2 bytes.
///   Br, Bc  queries and keys of a tile; a block owns Br queries, a warp Br / kWarps of them
///   kM      fragments of 16 rows that make up a warp's rows
template <int D, int Br, int Bc>
struct Tiles {
  static constexpr int kD = D;  // columns: d rounded up to 64 or 128
  static constexpr int kBr = Br;
  static constexpr int kBc = Bc;
  static constexpr int kWarps = 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kRows = Br / kWarps;
  static constexpr int kM = kRows / 16;
  // Rows are 16 bytes more than a multiple of 128 apart: 8 rows, read at one column, 16 bytes of
  // each, meet all 32 banks.
  static constexpr int kStride = D + 8;    // of Q, K, V
  static constexpr int kPStride = Bc + 8;  // of P, where it goes through shared memory
  static constexpr std::size_t kBytes = 2 * (Br + 2 * Bc) * kStride;
  static constexpr std::size_t kPBytes = 2 * Br * kPStride;
  static_assert(kM * 16 * kWarps == Br, "fragments of 16 rows, whole times");
  static_assert(D % 64 == 0 && Bc % 16 == 0, "steps of 16 along the sums of both products");
  static_assert(kBytes + kPBytes <= 163 * 1024, "what a block can ask for (sm_80)");
};

/// 16 rows a warp.
template <int D>
using Tiles16 = Tiles<D, 64, 64>;
/// 32 rows a warp. With 128 columns O takes half of the registers, and S must be narrower.
template <int D>
using Tiles32 = Tiles<D, 128, D == 128 ? 32 : 64>;

/// O and LSE of the contract (common/attention.hpp) on the tensor cores, elements of 16 bits, the
/// registers of each product filled 4 bytes at a time. Device pointers.
template <class T>
void forward_fragments(const ForwardArgsOf<T>& args);
/// The same with ldmatrix.
template <class T>
void forward_ldmatrix(const ForwardArgsOf<T>& args);
/// The same with P in registers from one product to the next.
template <class T>
void forward_registers(const ForwardArgsOf<T>& args);
/// The same with 32 rows a warp.
template <class T>
void forward_rows32(const ForwardArgsOf<T>& args);
/// None of them needs any.
std::size_t no_workspace_bytes(const Shape& shape);

// ---- Backward ----------------------------------------------------------------------------------

/// dQ, dK, dV of the contract without atomics: one kernel for dK and dV, one for dQ. Device
/// pointers.
template <class T>
void backward_registers(const BackwardArgsOf<T>& args);
/// Bytes for delta: B * H * Nq floats.
std::size_t backward_workspace_bytes(const Shape& shape);

}  // namespace attn::tensor_cores
