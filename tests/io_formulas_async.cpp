// SPDX-License-Identifier: MIT
//
// Chapter 10: elements of 16 bits, tiles that arrive by asynchronous copies or, in step 1, by loads.
#include <algorithm>

#include "tests/io_formulas.hpp"

namespace attn::testing {
namespace {

constexpr std::int64_t kEach = 2;  // bytes of an element

/// Keys that some row of the tile of Br queries from i0 on sees: what a block loads, and not the
/// rest of its last tile. In all three masks these are the first ones of K.
std::int64_t most_keys(const Problem& problem, std::int64_t i0, std::int64_t Br) {
  const auto& [B, H, Hkv, Nq, Nk, d] = problem.shape;
  const std::int64_t last = std::min(i0 + Br, Nq) - 1;
  if (problem.mask == Mask::kFull) return Nk;
  const std::int64_t own = problem.mask == Mask::kCausal ? last + Nk - Nq : last;
  return std::clamp<std::int64_t>(own + 1, 0, Nk);
}

/// Bytes that a pass brings from global memory by its threads' loads, or that they have copied.
Io arriving(bool copies, std::int64_t bytes, std::int64_t distinct) {
  Io io{.read_bytes = distinct};
  (copies ? io.async_bytes : io.load_bytes) = bytes;
  return io;
}

/// Blocks own 128 queries. Without a mask, one head: 2 (2 N d + Tr 2 N d) + 4 N bytes.
Io forward(const Problem& problem, bool copies) {
  constexpr std::int64_t kBr = 128;
  const auto& [B, H, Hkv, Nq, Nk, d] = problem.shape;
  const std::int64_t q = kEach * Nq * d;  // bytes of Q, and of O
  const std::int64_t lse = static_cast<std::int64_t>(sizeof(float)) * Nq;
  std::int64_t keys = 0, distinct = 0;
  for (std::int64_t i0 = 0; i0 < Nq; i0 += kBr) {
    const std::int64_t most = most_keys(problem, i0, kBr);
    keys += most;
    distinct = std::max(distinct, most);
  }
  const Io out{.store_bytes = q + lse, .write_bytes = q + lse};
  const Io in = arriving(copies, q + kEach * 2 * keys * d, q + kEach * 2 * distinct * d);
  return B * H * (out + in);
}

}  // namespace

Io swizzled_forward(const Problem& problem) { return forward(problem, false); }
Io async_forward(const Problem& problem) { return forward(problem, true); }

}  // namespace attn::testing
