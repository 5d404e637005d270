// SPDX-License-Identifier: MIT
//
// Inside the machine: the groups of asynchronous copies that the threads of a block have under way.
#pragma once

#include <cstdint>
#include <vector>

namespace attn::simt {

class AsyncWork;

class CopyGroups {
 public:
  struct Copy {
    char* to;
    const char* from;
    std::uint8_t bytes;
    std::uint8_t valid;  // from memory; the rest are zeros
  };

  void begin_block(int threads);
  /// The copy belongs to the thread's open group.
  void start(int rank, const Copy& copy);
  /// Closes the thread's open group.
  void commit(int rank, AsyncWork& work);
  /// Groups that the thread has closed.
  std::uint32_t committed(int rank) const { return of(rank).committed; }
  /// Whether all of the thread's groups have arrived but the `pending` latest.
  bool arrived(int rank, int pending) const;
  /// How many have not.
  int under_way(int rank) const { return static_cast<int>(of(rank).under_way.size()); }

 private:
  struct Thread {
    std::vector<Copy> open;
    std::uint32_t committed = 0;
    std::vector<std::uint32_t> under_way;  // numbers of groups
  };
  /// Groups of one warp's lanes that were closed one after the other, at most one of each lane.
  /// They arrive together: a warp executes their copies together.
  struct Batch {
    struct Part {
      int rank;
      std::uint32_t group;
    };
    std::vector<Copy> copies;
    std::vector<Part> parts;
    unsigned lanes = 0;
  };

  const Thread& of(int rank) const { return threads_[static_cast<std::size_t>(rank)]; }
  std::size_t new_batch();
  void complete(std::size_t batch);

  static constexpr std::size_t kNone = ~std::size_t{0};
  std::vector<Thread> threads_;
  std::vector<Batch> batches_;
  std::vector<std::size_t> free_;    // batches that have arrived
  std::vector<std::size_t> latest_;  // by warp: the batch to add to, or kNone
};

}  // namespace attn::simt
