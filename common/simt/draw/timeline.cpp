// SPDX-License-Identifier: MIT
#include "common/simt/draw/timeline.hpp"

#include <algorithm>
#include <numeric>

namespace attn::simt::draw {
namespace {

std::uint64_t sum(const Timeline::Requests& requests) {
  return std::accumulate(requests.begin(), requests.end(), std::uint64_t{0});
}

}  // namespace

std::uint64_t Timeline::Stretch::longest() const {
  std::uint64_t most = 0;
  for (const Requests& warp : warps) most = std::max(most, sum(warp));
  return most;
}

void Timeline::begin_launch(const std::string& kernel, dim3 /*grid*/, dim3 block) {
  end_block();
  warps_ = (std::size_t{block.x} * block.y * block.z + kWarpSize - 1) / kWarpSize;
  block_ = {};
  block_.kernel = kernel;
  stretch_.warps.assign(warps_, {});
  seen_ = false;
}

void Timeline::begin_block(uint3 /*block*/) {
  end_block();
  open_ = !seen_;
  seen_ = true;
}

void Timeline::request(int warp, const Request& request) {
  if (!open_) return;
  const bool shared = request.space == Space::kShared;
  const Kind kind = request.unit == Unit::kMatrixLoad  ? kMatrixLoad
                    : request.unit == Unit::kAsyncCopy ? kAsyncCopy
                    : shared                           ? kShared
                    : request.access == Access::kLoad  ? kGlobalLoad
                                                       : kGlobalStore;
  if (kind == kAsyncCopy && !shared) return;  // one instruction, counted by what it stores
  ++stretch_.warps[static_cast<std::size_t>(warp)][kind];
}

void Timeline::barrier(const std::source_location& where) {
  if (!open_) return;
  ++block_.barriers;
  end_stretch(static_cast<int>(where.line()));
}

void Timeline::end_stretch(int barrier_line) {
  for (const Requests& warp : stretch_.warps) block_.work += sum(warp);
  block_.time += stretch_.longest() * warps_;
  stretch_.barrier_line = barrier_line;
  const bool empty = barrier_line == 0 && stretch_.longest() == 0;
  if (block_.stretches.size() == kStretches) {
    block_.cut = block_.cut || !empty;
  } else if (!empty) {
    block_.stretches.push_back(std::move(stretch_));
  }
  stretch_.warps.assign(warps_, {});
}

void Timeline::end_block() {
  if (!open_) return;
  open_ = false;
  end_stretch(/*barrier_line=*/0);
  if (block_.barriers > best_.barriers) best_ = std::move(block_);
}

const Timeline::Block& Timeline::block() {
  end_block();
  return best_;
}

}  // namespace attn::simt::draw
