// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::hopper {

/// Sizes of the forward pass, all known to the compiler, in elements of 2 bytes.
///   kConsumers  warpgroups that multiply; each has 64 rows of Q, as many as a wgmma has
///   kBr, kBc    queries and keys of a tile
/// A tile lies in shared memory in panels of 64 columns: a row of a panel has 128 bytes, as many as
/// the widest swizzle spans.
template <int D>
struct Tiles {
  static constexpr int kD = D;  // columns: d
  static constexpr int kRows = 64;
  static constexpr int kConsumers = D == 64 ? 3 : 2;
  static constexpr int kBr = kRows * kConsumers;
  static constexpr int kBc = 128;
  static constexpr int kStages = 2;  // places for tiles of K, and for those of V
  static constexpr int kPanel = 64;
  static constexpr int kThreads = 128 * kConsumers;
  // From step 3 on there is one warpgroup more. A block has 64 Ki registers, which the launch deals
  // out alike: 128 or 168 to a thread. The producer gives back what it does not need.
  static constexpr int kThreadsWithProducer = kThreads + 128;
  static constexpr int kProducerRegisters = D == 64 ? 32 : 24;
  static constexpr int kConsumerRegisters = D == 64 ? 160 : 240;
  static_assert(D == 64 || D == 128, "panels, whole times");
};

/// O and LSE of the contract (common/attention.hpp) by products of warpgroups, elements of 16 bits,
/// d of 64 or 128. Device pointers; T: bfloat16 or float16.
template <class T>
void forward_wgmma(const ForwardArgsOf<T>& args);
/// The same with tiles that the copy engine (TMA) brings: two of K and two of V are under way or in
/// use.
template <class T>
void forward_tma(const ForwardArgsOf<T>& args);
/// The same with a thread that does nothing but ask for tiles, in a warpgroup of its own.
template <class T>
void forward_producer(const ForwardArgsOf<T>& args);
/// The same with warpgroups that take turns: one multiplies, another is at its softmax.
template <class T>
void forward_ping_pong(const ForwardArgsOf<T>& args);
/// The same with P V of a tile under the softmax of the next, within a warpgroup.
template <class T>
void forward_overlap(const ForwardArgsOf<T>& args);
/// The same with a block for each multiprocessor, which takes one tile of Q after the other.
template <class T>
void forward_persistent(const ForwardArgsOf<T>& args);
/// The same with so many blocks at most, 1 or more.
template <class T>
void forward_on_blocks(const ForwardArgsOf<T>& args, std::int64_t blocks);
/// None of them needs any.
std::size_t no_workspace_bytes(const Shape& shape);

}  // namespace attn::hopper
