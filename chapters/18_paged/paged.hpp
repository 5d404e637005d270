// SPDX-License-Identifier: MIT
#pragma once

#include "common/append.hpp"

namespace attn::decoding::paged {

/// O and LSE of the contract (common/attention.hpp) for a few queries of a long cache that lies in
/// pages (common/extras.hpp), or in one array per sequence. Masks, sink keys, grouped heads and the
/// runs are chapter 17's, and so are the results, to the bit. Nothing but valid keys is read. Every
/// row of a tile looks up its page for itself. Device pointers.
void forward_lookup(const ForwardArgs& args);
/// The same with one look-up for each key of a tile.
void forward_pages(const ForwardArgs& args);
/// The same algorithm as plain C++ loops, on host pointers.
void forward_cpu(const ForwardArgs& args);

/// Copies new keys and values to where attn::append (common/append.hpp) says; of one row at least.
void append_rows(const AppendArgs& args);

/// Room for what the runs leave to be merged.
std::size_t workspace_bytes(const Shape& shape);

}  // namespace attn::decoding::paged
