// SPDX-License-Identifier: MIT
//
// Which bytes of a block's dynamic shared memory the products of warpgroups read: until a warp has
// waited, any time; after that, not later than then.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/simt/watch/clocks.hpp"

namespace attn::simt {

class OperandReads {
 public:
  /// 16 bytes, the least that a product reads.
  static constexpr std::size_t kBytes = 16;
  struct Chunk {
    std::uint32_t under_way = 0;        // warps whose products may read it now
    std::uint32_t done = 0;             // warps whose products have read it
    std::uint32_t site = 0;             // code address of the last wgmma
    std::array<Time, kClocks> until{};  // by warp, if it is in `done`
  };

  void begin_block();
  bool empty() const { return end_ == 0; }
  /// The warp's part of a product begins to read at these bytes.
  void start(std::size_t warp, std::span<const std::uint32_t> chunks, std::uint32_t site);
  /// These may be read again: another part that has begun shares bytes with one that is done.
  void go_on(std::size_t warp, std::span<const std::uint32_t> chunks);
  /// The warp knows now that it has.
  void finish(std::size_t warp, std::span<const std::uint32_t> chunks, Time now);
  /// Of the bytes from `offset` on.
  const Chunk& at(std::size_t offset) const { return chunks_[offset / kBytes]; }

 private:
  std::vector<Chunk> chunks_;  // made for the first product
  std::size_t end_ = 0;        // beyond the last that has been read
};

}  // namespace attn::simt
