// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <vector>

namespace attn::decoding {

/// In how many runs each sequence's cache is walked. tiles[b]: tiles of keys that sequence b sees.
/// Each gets one run at least, also one without tiles, kMaxSplits at most, and beyond the first no
/// more than it has tiles; all together `blocks` at most, of which there is one for every sequence
/// at least. Written by the reader.
std::vector<int> plan_runs(const std::vector<std::int64_t>& tiles, std::int64_t blocks);

}  // namespace attn::decoding
