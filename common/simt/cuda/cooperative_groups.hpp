// SPDX-License-Identifier: MIT
//
// The part of CUDA's cooperative groups that works inside a block: the block, tiles of a warp, the
// lanes that happen to be together, and what they do as one. Not here: grid.sync(), for blocks run
// one after the other.
#pragma once

#include <type_traits>

#include "common/simt/cuda/cuda.hpp"

#define ATTN_HERE std::source_location where = std::source_location::current()
#define ATTN_GROUP [[gnu::always_inline]]

namespace cooperative_groups {

/// All threads of the block.
class thread_block {
 public:
  ATTN_GROUP static void sync(ATTN_HERE) { __syncthreads(where); }
  ATTN_GROUP static unsigned thread_rank() {
    return (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  }
  ATTN_GROUP static unsigned num_threads() { return blockDim.x * blockDim.y * blockDim.z; }
  ATTN_GROUP static unsigned size() { return num_threads(); }
  ATTN_GROUP static dim3 group_index() { return blockIdx; }
  ATTN_GROUP static dim3 thread_index() { return threadIdx; }
  ATTN_GROUP static dim3 group_dim() { return blockDim; }
  ATTN_GROUP static dim3 dim_threads() { return blockDim; }
};
ATTN_GROUP inline thread_block this_thread_block() { return {}; }

/// All threads of the launch, for their numbers only.
class grid_group {
 public:
  ATTN_GROUP static unsigned long long block_rank() {
    return (static_cast<unsigned long long>(blockIdx.z) * gridDim.y + blockIdx.y) * gridDim.x +
           blockIdx.x;
  }
  ATTN_GROUP static unsigned long long num_blocks() {
    return static_cast<unsigned long long>(gridDim.x) * gridDim.y * gridDim.z;
  }
  ATTN_GROUP static unsigned long long thread_rank() {
    return block_rank() * thread_block::size() + thread_block::thread_rank();
  }
  ATTN_GROUP static unsigned long long num_threads() { return num_blocks() * thread_block::size(); }
  ATTN_GROUP static unsigned long long size() { return num_threads(); }
};
ATTN_GROUP inline grid_group this_grid() { return {}; }

/// What all groups within a warp share: a mask of lanes, of which this one is number rank().
template <class Group>
class lanes_group {
 public:
  ATTN_GROUP void sync(ATTN_HERE) const { __syncwarp(mask(), where); }
  ATTN_GROUP unsigned long long num_threads() const { return self().size(); }

  template <class T>
  ATTN_GROUP T shfl(T value, int rank, ATTN_HERE) const {
    return __shfl_sync(mask(), value, self().lane_of(rank), 32, where);
  }
  /// From the thread `delta` below; those without one keep their own.
  template <class T>
  ATTN_GROUP T shfl_up(T value, unsigned delta, ATTN_HERE) const {
    const int rank = static_cast<int>(self().thread_rank()) - static_cast<int>(delta);
    return shfl(value, rank < 0 ? static_cast<int>(self().thread_rank()) : rank, where);
  }
  template <class T>
  ATTN_GROUP T shfl_down(T value, unsigned delta, ATTN_HERE) const {
    const unsigned rank = self().thread_rank() + delta;
    return shfl(value, static_cast<int>(rank < self().size() ? rank : self().thread_rank()), where);
  }
  ATTN_GROUP int any(int predicate, ATTN_HERE) const {
    return __any_sync(mask(), predicate, where);
  }
  ATTN_GROUP int all(int predicate, ATTN_HERE) const {
    return __all_sync(mask(), predicate, where);
  }
  /// Bit i is the predicate of the group's thread i.
  ATTN_GROUP unsigned ballot(int predicate, ATTN_HERE) const {
    return self().ranks_of(__ballot_sync(mask(), predicate, where));
  }
  template <class T>
  ATTN_GROUP unsigned match_any(T value, ATTN_HERE) const {
    return self().ranks_of(__match_any_sync(mask(), value, where));
  }

 protected:
  ATTN_GROUP static unsigned own_lane() { return thread_block::thread_rank() % 32; }

 private:
  ATTN_GROUP const Group& self() const { return static_cast<const Group&>(*this); }
  ATTN_GROUP unsigned mask() const { return self().lanes(); }
};

/// Size consecutive lanes of a warp.
template <unsigned Size, class Parent = thread_block>
class thread_block_tile : public lanes_group<thread_block_tile<Size, Parent>> {
  static_assert(Size >= 1 && Size <= 32 && (Size & (Size - 1)) == 0,
                "a tile has 1, 2, 4, 8, 16 or 32 threads");

 public:
  thread_block_tile() = default;
  template <class Other>
  ATTN_GROUP thread_block_tile(const thread_block_tile<Size, Other>&) {}

  ATTN_GROUP static constexpr unsigned size() { return Size; }
  ATTN_GROUP unsigned thread_rank() const { return this->own_lane() % Size; }
  /// Which tile of its parent this is, and of how many.
  ATTN_GROUP unsigned meta_group_rank() const { return Parent().thread_rank() / Size; }
  ATTN_GROUP unsigned meta_group_size() const { return (Parent().size() + Size - 1) / Size; }
  template <class T>
  ATTN_GROUP T shfl_xor(T value, unsigned lane_mask, ATTN_HERE) const {
    return __shfl_xor_sync(lanes(), value, static_cast<int>(lane_mask), Size, where);
  }

  ATTN_GROUP unsigned lanes() const {
    return Size == 32 ? ~0u : ((1u << Size % 32) - 1) << first_lane();
  }
  ATTN_GROUP int lane_of(int rank) const {
    return static_cast<int>(first_lane()) + (rank & static_cast<int>(Size - 1));
  }
  ATTN_GROUP unsigned ranks_of(unsigned lanes) const { return lanes >> first_lane(); }

 private:
  ATTN_GROUP unsigned first_lane() const { return this->own_lane() & ~(Size - 1); }
};

template <unsigned Size, class Group>
ATTN_GROUP inline thread_block_tile<Size, Group> tiled_partition(const Group&) {
  return {};
}

/// The lanes that execute this call together.
class coalesced_group : public lanes_group<coalesced_group> {
 public:
  explicit coalesced_group(unsigned lanes) : lanes_(lanes) {}
  ATTN_GROUP unsigned size() const { return static_cast<unsigned>(__popc(lanes_)); }
  ATTN_GROUP unsigned thread_rank() const {
    return static_cast<unsigned>(__popc(lanes_ & ((1u << own_lane()) - 1)));
  }
  ATTN_GROUP unsigned meta_group_rank() const { return 0; }
  ATTN_GROUP unsigned meta_group_size() const { return 1; }

  ATTN_GROUP unsigned lanes() const { return lanes_; }
  ATTN_GROUP int lane_of(int rank) const {
    unsigned rest = lanes_;
    for (; rank > 0; --rank) rest &= rest - 1;
    return __ffs(static_cast<int>(rest)) - 1;
  }
  ATTN_GROUP unsigned ranks_of(unsigned lanes) const {
    unsigned ranks = 0;
    unsigned rank = 0;
    for (unsigned rest = lanes_; rest != 0; rest &= rest - 1, ++rank) {
      if ((lanes & rest & (~rest + 1)) != 0) ranks |= 1u << rank;
    }
    return ranks;
  }

 private:
  unsigned lanes_;
};
ATTN_GROUP inline coalesced_group coalesced_threads() { return coalesced_group(__activemask()); }

/// A group of any kind, for functions that only count and wait.
class thread_group {
 public:
  ATTN_GROUP thread_group(const thread_block&)
      : size_(thread_block::size()), rank_(thread_block::thread_rank()) {}
  template <unsigned Size, class Parent>
  ATTN_GROUP thread_group(const thread_block_tile<Size, Parent>& tile)
      : size_(Size), rank_(tile.thread_rank()), lanes_(tile.lanes()) {}
  ATTN_GROUP thread_group(const coalesced_group& group)
      : size_(group.size()), rank_(group.thread_rank()), lanes_(group.lanes()) {}
  ATTN_GROUP unsigned size() const { return size_; }
  ATTN_GROUP unsigned num_threads() const { return size_; }
  ATTN_GROUP unsigned thread_rank() const { return rank_; }
  ATTN_GROUP void sync(ATTN_HERE) const {
    if (lanes_ == 0) {
      __syncthreads(where);
    } else {
      __syncwarp(lanes_, where);
    }
  }

 private:
  unsigned size_, rank_;
  unsigned lanes_ = 0;  // 0: the whole block
};
/// `size`: 1, 2, 4, 8, 16 or 32.
template <class Group>
ATTN_GROUP inline thread_group tiled_partition(const Group&, unsigned size) {
  switch (size) {
    case 1:
      return thread_block_tile<1>();
    case 2:
      return thread_block_tile<2>();
    case 4:
      return thread_block_tile<4>();
    case 8:
      return thread_block_tile<8>();
    case 16:
      return thread_block_tile<16>();
    default:
      assert(size == 32);
      return thread_block_tile<32>();
  }
}

template <class Group>
ATTN_GROUP inline void sync(const Group& group, ATTN_HERE) {
  group.sync(where);
}

// What reduce() combines with; less and greater keep the smaller and the larger, as CUDA's do.
template <class T>
struct plus {
  ATTN_GROUP T operator()(T a, T b) const { return static_cast<T>(a + b); }
};
template <class T>
struct less {
  ATTN_GROUP T operator()(T a, T b) const { return b < a ? b : a; }
};
template <class T>
struct greater {
  ATTN_GROUP T operator()(T a, T b) const { return a < b ? b : a; }
};
template <class T>
struct bit_and {
  ATTN_GROUP T operator()(T a, T b) const { return static_cast<T>(a & b); }
};
template <class T>
struct bit_or {
  ATTN_GROUP T operator()(T a, T b) const { return static_cast<T>(a | b); }
};
template <class T>
struct bit_xor {
  ATTN_GROUP T operator()(T a, T b) const { return static_cast<T>(a ^ b); }
};

/// Combines the values of a tile's threads; all get the result.
template <unsigned Size, class Parent, class T, class Op>
ATTN_GROUP inline T reduce(const thread_block_tile<Size, Parent>& tile, T value, Op op, ATTN_HERE) {
  for (unsigned step = Size / 2; step > 0; step /= 2) {
    value = op(value, tile.shfl_xor(value, step, where));
  }
  return value;
}
template <class T, class Op>
ATTN_GROUP inline T reduce(const coalesced_group& group, T value, Op op, ATTN_HERE) {
  T result = group.shfl(value, 0, where);
  for (int rank = 1; rank < static_cast<int>(group.size()); ++rank) {
    result = op(result, group.shfl(value, rank, where));
  }
  return result;
}

/// The values of the threads up to this one, combined.
template <class Group, class T, class Op>
ATTN_GROUP inline T inclusive_scan(const Group& group, T value, Op op, ATTN_HERE) {
  for (unsigned step = 1; step < group.size(); step *= 2) {
    const T below = group.shfl_up(value, step, where);
    if (group.thread_rank() >= step) value = op(below, value);
  }
  return value;
}
template <class Group, class T>
ATTN_GROUP inline T inclusive_scan(const Group& group, T value, ATTN_HERE) {
  return inclusive_scan(group, value, plus<T>(), where);
}
/// The same without this thread's own; T{} for the first.
template <class Group, class T>
ATTN_GROUP inline T exclusive_scan(const Group& group, T value, ATTN_HERE) {
  const T below = group.shfl_up(inclusive_scan(group, value, plus<T>(), where), 1, where);
  return group.thread_rank() == 0 ? T{} : below;
}

}  // namespace cooperative_groups

#undef ATTN_GROUP
#undef ATTN_HERE
