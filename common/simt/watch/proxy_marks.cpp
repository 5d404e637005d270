// SPDX-License-Identifier: MIT
#include "common/simt/watch/proxy_marks.hpp"

#include <algorithm>
#include <utility>

#include "common/simt/machine/device.hpp"

namespace attn::simt {

void ProxyMarks::begin_block() {
  if (!any_) return;
  std::fill(chunks_.begin(), chunks_.end(), Chunk{});
  readers_.clear();
  any_ = false;
}

void ProxyMarks::use() {
  if (chunks_.empty()) chunks_.resize(kLargestSharedBytesPerBlock / kChunk + 1);
  any_ = true;
}

void ProxyMarks::land(std::size_t chunk, const Landing& landing) {
  use();
  chunks_[chunk].landing = landing;
}

ProxyMarks::Read ProxyMarks::start_read(Reader reader) {
  use();
  const auto read = static_cast<Read>(readers_.size());
  for (const std::uint32_t chunk : reader.chunks) {
    ++chunks_[chunk].readers;
    chunks_[chunk].latest = read;
  }
  readers_.push_back(std::move(reader));
  return read;
}

std::vector<std::uint32_t> ProxyMarks::end_read(Read read) {
  std::vector<std::uint32_t> chunks = std::exchange(readers_[read].chunks, {});
  for (const std::uint32_t chunk : chunks) --chunks_[chunk].readers;
  return chunks;
}

const ProxyMarks::Reader* ProxyMarks::unfinished() const {
  const auto found = std::find_if(readers_.begin(), readers_.end(),
                                  [](const Reader& reader) { return !reader.chunks.empty(); });
  return found == readers_.end() ? nullptr : &*found;
}

void ProxyMarks::put_barrier(std::size_t chunk, bool upper_half) {
  use();
  chunks_[chunk].barriers |= static_cast<std::uint8_t>(upper_half ? 2 : 1);
}

bool ProxyMarks::holds_barrier(std::size_t offset, std::size_t bytes) const {
  if (!any_) return false;
  for (std::size_t half = offset / 8; half <= (offset + bytes - 1) / 8; ++half) {
    if ((chunks_[half / 2].barriers >> half % 2 & 1u) != 0) return true;
  }
  return false;
}

}  // namespace attn::simt
