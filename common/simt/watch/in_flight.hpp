// SPDX-License-Identifier: MIT
//
// Which bytes of a block's dynamic shared memory asynchronous copies are about to write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace attn::simt {

class InFlight {
 public:
  struct Copy {
    std::uint32_t site;    // code address
    std::uint16_t rank;    // the thread that has started it
    std::uint8_t bytes;    // 4, 8 or 16
    std::uint32_t offset;  // in dynamic shared memory, a multiple of `bytes`
    std::uint32_t group;   // the thread's groups are numbered from 1
  };

  void begin_block();
  bool empty() const { return count_ == 0; }
  void start(const Copy& copy);
  /// The thread's groups up to this one have arrived: calls arrived(copy) for each copy in them.
  template <class Arrived>
  void arrive(std::size_t rank, std::uint32_t group, Arrived&& arrived) {
    if (rank >= copies_.size()) return;
    std::vector<Copy>& own = copies_[rank];
    std::size_t left = 0;
    for (const Copy& copy : own) {
      if (copy.group > group) {
        own[left++] = copy;
      } else {
        chunks_[copy.offset / kChunk].words &= static_cast<std::uint8_t>(~words_of(copy));
        arrived(copy);
      }
    }
    count_ -= own.size() - left;
    own.resize(left);
  }
  /// A copy to some of these bytes; the latest if there are several to one chunk.
  const Copy* find(std::size_t offset, std::size_t bytes) const {
    for (std::size_t at = offset / kChunk; at <= (offset + bytes - 1) / kChunk; ++at) {
      if (chunks_[at].words == 0) continue;
      const std::size_t begin = offset > at * kChunk ? offset - at * kChunk : 0;
      const std::size_t end = offset + bytes - at * kChunk;
      const unsigned touched = (2u << (end < kChunk ? (end - 1) / 4 : 3)) - (1u << begin / 4);
      if ((chunks_[at].words & touched) != 0) return &chunks_[at].latest;
    }
    return nullptr;
  }

 private:
  static constexpr std::size_t kChunk = 16;
  struct Chunk {
    Copy latest;
    std::uint8_t words;  // in flight, one bit for each 4 bytes
  };
  static std::uint8_t words_of(const Copy& copy) {
    return static_cast<std::uint8_t>(((1u << copy.bytes / 4) - 1) << copy.offset % kChunk / 4);
  }

  std::vector<Chunk> chunks_;              // made for the first copy
  std::vector<std::vector<Copy>> copies_;  // by rank
  std::size_t count_ = 0;
};

}  // namespace attn::simt
