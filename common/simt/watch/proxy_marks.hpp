// SPDX-License-Identifier: MIT
//
// What the async proxy (TMA, wgmma) does to a block's dynamic shared memory, 16 bytes at a time:
// which copies have written them, what still reads them, and where mbarriers lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/tensor_layout.hpp"

namespace attn::simt {

class ProxyMarks {
 public:
  static constexpr std::size_t kChunk = 16;  // bytes

  /// A copy to shared memory. Whoever knows that so many phases of the mbarrier have ended knows
  /// that it has arrived.
  struct Landing {
    std::uint32_t site;     // code address
    std::uint16_t rank;     // the thread that has started it
    std::uint16_t barrier;  // its number in the block
    std::uint32_t phases;   // 0: no copy
    Swizzle swizzle;        // that it has been written with
  };
  /// Something that reads shared memory until its thread, or its warp, has waited for it.
  using Read = std::uint32_t;
  struct Reader {
    std::uint32_t site;
    std::uint16_t rank;                 // the thread that has started it, or the warp's first
    std::vector<std::uint32_t> chunks;  // empty once it has been waited for
  };

  void begin_block();
  bool empty() const { return !any_; }

  void land(std::size_t chunk, const Landing& landing);
  /// The copy that has written the chunk, since nothing else has; null if there is none.
  const Landing* landing(std::size_t chunk) const {
    return any_ && chunks_[chunk].landing.phases != 0 ? &chunks_[chunk].landing : nullptr;
  }
  /// Somebody who knew that the copy had arrived has overwritten its bytes.
  void forget_landing(std::size_t chunk) { chunks_[chunk].landing.phases = 0; }

  Read start_read(Reader reader);
  /// The bytes may be overwritten. Returns which.
  std::vector<std::uint32_t> end_read(Read read);
  const Reader& reader(Read read) const { return readers_[read]; }
  /// The latest reader of the chunk, null if nothing reads it.
  const Reader* reading(std::size_t chunk) const {
    return any_ && chunks_[chunk].readers > 0 ? &readers_[chunks_[chunk].latest] : nullptr;
  }
  /// Chunks of which landing() may be asked; 0 if there are no marks.
  std::size_t chunks() const { return any_ ? chunks_.size() : 0; }
  /// Any reader that has not been waited for; null if there is none.
  const Reader* unfinished() const;

  /// An mbarrier lies in these 8 bytes of the chunk.
  void put_barrier(std::size_t chunk, bool upper_half);
  bool holds_barrier(std::size_t offset, std::size_t bytes) const;

 private:
  struct Chunk {
    Landing landing;
    std::uint32_t latest;   // reader
    std::uint16_t readers;  // how many read it
    std::uint8_t barriers;  // bit 0: in the lower 8 bytes, bit 1: in the upper
  };
  void use();

  bool any_ = false;           // anything since the block began
  std::vector<Chunk> chunks_;  // made on first use
  std::vector<Reader> readers_;
};

}  // namespace attn::simt
