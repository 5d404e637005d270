// SPDX-License-Identifier: MIT
#pragma once

#include "common/append.hpp"

namespace attn::decoding {

/// O and LSE of the contract (common/attention.hpp) for a few queries of a long cache, under a mask
/// with two bounds, with sink keys and grouped heads. K and V are arrays with room for Nk keys, of
/// which key_begin and key_count say what is valid; nothing else is read. A block per query head
/// and tile of queries, which walks all valid keys. Device pointers.
void forward_one_query(const ForwardArgs& args);
/// The same in two launches: the tiles of the cache in runs with a block each, and a merge.
void forward_split(const ForwardArgs& args);
/// The same with a block per K/V head and run: its rows are the queries of all heads of the group.
void forward_group(const ForwardArgs& args);
/// The same with runs of those tiles only of which a row sees a key.
void forward_cache(const ForwardArgs& args);
/// The last with this many runs, 1 to kMaxSplits (splits.hpp), in place of as many as suit the GPU.
/// The workspace has partial_bytes(shape, splits). Throws Error(kBadArgument).
void forward_with_splits(const ForwardArgs& args, int splits);
/// The same algorithm as plain C++ loops, on host pointers.
void forward_cpu(const ForwardArgs& args);

/// Copies new keys and values to where attn::append (common/append.hpp) says; of one row at least.
void append_rows(const AppendArgs& args);

/// Step 1 needs none, the others room for what their blocks leave to be merged.
std::size_t no_workspace_bytes(const Shape& shape);
std::size_t split_workspace_bytes(const Shape& shape);
std::size_t group_workspace_bytes(const Shape& shape);

}  // namespace attn::decoding
