// SPDX-License-Identifier: MIT
#include "common/simt/watch/in_flight.hpp"

#include "common/simt/machine/device.hpp"

namespace attn::simt {

void InFlight::begin_block() {
  if (count_ == 0) return;
  for (std::vector<Copy>& own : copies_) own.clear();
  for (Chunk& chunk : chunks_) chunk.words = 0;
  count_ = 0;
}

void InFlight::start(const Copy& copy) {
  if (chunks_.empty()) chunks_.resize(kLargestSharedBytesPerBlock / kChunk + 1);
  if (copy.rank >= copies_.size()) copies_.resize(std::size_t{copy.rank} + 1);
  copies_[copy.rank].push_back(copy);
  Chunk& chunk = chunks_[copy.offset / kChunk];
  chunk.latest = copy;
  chunk.words |= words_of(copy);
  ++count_;
}

}  // namespace attn::simt
