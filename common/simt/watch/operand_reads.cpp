// SPDX-License-Identifier: MIT
#include "common/simt/watch/operand_reads.hpp"

#include <algorithm>

#include "common/simt/machine/device.hpp"

namespace attn::simt {

void OperandReads::begin_block() {
  for (std::size_t chunk = 0; chunk < end_; ++chunk) {
    chunks_[chunk].under_way = chunks_[chunk].done = 0;
  }
  end_ = 0;
}

void OperandReads::start(std::size_t warp, std::span<const std::uint32_t> chunks,
                         std::uint32_t site) {
  if (chunks_.empty()) chunks_.resize(kLargestSharedBytesPerBlock / kBytes + 1);
  for (const std::uint32_t offset : chunks) {
    chunks_[offset / kBytes].site = site;
    end_ = std::max<std::size_t>(end_, offset / kBytes + 1);
  }
  go_on(warp, chunks);
}

void OperandReads::go_on(std::size_t warp, std::span<const std::uint32_t> chunks) {
  for (const std::uint32_t offset : chunks) chunks_[offset / kBytes].under_way |= 1u << warp;
}

void OperandReads::finish(std::size_t warp, std::span<const std::uint32_t> chunks, Time now) {
  for (const std::uint32_t offset : chunks) {
    Chunk& chunk = chunks_[offset / kBytes];
    chunk.under_way &= ~(1u << warp);
    chunk.done |= 1u << warp;
    chunk.until[warp] = now;
  }
}

}  // namespace attn::simt
