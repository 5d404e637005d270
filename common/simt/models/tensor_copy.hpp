// SPDX-License-Identifier: MIT
//
// The CPU machine's copy engine: what common/device/tma.cuh names. When a copy that has been
// started arrives, or reads what it stores, is up to Options::completion.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <source_location>
#include <vector>

#include "common/simt/watch/async_events.hpp"
#include "common/tensor_layout.hpp"

namespace attn::simt {

class AsyncWork;

/// On a GPU aligned to 64 bytes; here not, since GCC has a remark on each kernel with such a
/// parameter.
struct TensorMap {
  TensorLayout layout;
};

/// Where a box begins: as many coordinates as the tensor has dimensions, dimension 0 first. They
/// may lie outside of the tensor.
struct Corner {
  int rank;
  std::array<int, TensorLayout::kMostDimensions> at;
};

/// Starts to copy a box to the shared address `to`; its bytes count at the mbarrier.
void tensor_load(unsigned to, const TensorMap& map, void* barrier, const Corner& corner,
                 std::source_location where);
/// Starts to copy a box from the shared address `from`, in the running thread's open group.
void tensor_store(const TensorMap& map, const Corner& corner, unsigned from,
                  std::source_location where);
/// Closes the group.
void tensor_commit();
/// Waits until all of the thread's groups but the `pending` latest have read shared memory, and
/// written global memory.
void tensor_wait(int pending, std::source_location where);

/// The stores that the threads of a block have under way.
class TensorStores {
 public:
  using Pieces = std::shared_ptr<const std::vector<AsyncPiece>>;

  void begin_block(int threads);
  void start(int rank, Pieces pieces);
  void commit(int rank, AsyncWork& work);
  /// Whether all of the thread's groups are done but the `pending` latest.
  bool done(int rank, int pending) const;
  /// How many groups are not.
  int under_way(int rank) const { return static_cast<int>(of(rank).under_way.size()); }
  /// The thread has waited for them. Returns how many of its stores it has not waited for.
  std::uint32_t wait(int rank, int pending);

 private:
  struct Group {
    std::uint32_t number;
    std::uint32_t stores;
  };
  struct Thread {
    std::vector<Pieces> open;
    std::uint32_t open_stores = 0;
    std::uint32_t committed = 0;
    std::vector<std::uint32_t> under_way;  // numbers of groups
    std::vector<Group> not_waited_for;
  };
  const Thread& of(int rank) const { return threads_[static_cast<std::size_t>(rank)]; }

  bool any_ = false;  // since the block began
  std::vector<Thread> threads_;
};

}  // namespace attn::simt
