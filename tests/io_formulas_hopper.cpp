// SPDX-License-Identifier: MIT
//
// Chapter 11: whole tiles that the copy engine brings or, in step 1, threads.
#include <algorithm>

#include "tests/io_formulas.hpp"

namespace attn::testing {
namespace {

constexpr std::int64_t kEach = 2;  // bytes of an element
constexpr std::int64_t kBc = 128;

/// Queries of a block: three warpgroups with 64 each, or two.
std::int64_t queries_of_tile(const Problem& problem) { return problem.shape.d == 64 ? 192 : 128; }

/// Keys that query i sees. In all three masks these are the first ones of K.
std::int64_t keys_of_query(const Problem& problem, std::int64_t i) {
  const auto& [B, H, Hkv, Nq, Nk, d] = problem.shape;
  if (problem.mask == Mask::kFull) return Nk;
  const std::int64_t own = problem.mask == Mask::kCausal ? i + Nk - Nq : i;
  return std::clamp<std::int64_t>(own + 1, 0, Nk);
}

/// Tiles of keys for each tile of queries of a head.
template <class Visit>
void for_each_tile(const Problem& problem, Visit visit) {
  const std::int64_t Nq = problem.shape.Nq, Br = queries_of_tile(problem);
  for (std::int64_t i0 = 0; i0 < Nq; i0 += Br) {
    const std::int64_t most = keys_of_query(problem, std::min(i0 + Br, Nq) - 1);
    visit((most + kBc - 1) / kBc);
  }
}

/// Keys come in whole tiles, as far as some row of the head sees them: for a block that is chapter
/// 07's min(Nk, Bc ceil(visible / Bc)). Without a mask, one head: 2 (2 N d + Tr 2 N d) + 4 N bytes.
Io forward(const Problem& problem, bool by_engine) {
  const auto& [B, H, Hkv, Nq, Nk, d] = problem.shape;
  const std::int64_t q = kEach * Nq * d;  // bytes of Q, and of O
  const std::int64_t lse = static_cast<std::int64_t>(sizeof(float)) * Nq;
  const std::int64_t seen = keys_of_query(problem, Nq - 1);
  std::int64_t keys = 0, distinct = 0;
  for_each_tile(problem, [&](std::int64_t tiles) {
    const std::int64_t its = std::min(tiles * kBc, seen);
    keys += its;
    distinct = std::max(distinct, its);
  });
  Io io{.read_bytes = q + kEach * 2 * distinct * d, .write_bytes = q + lse};
  const std::int64_t in = q + kEach * 2 * keys * d;
  (by_engine ? io.async_bytes : io.load_bytes) = in;
  io.store_bytes = by_engine ? lse : q + lse;
  io.async_store_bytes = by_engine ? q : 0;
  return B * H * io;
}

}  // namespace

Io warpgroup_forward(const Problem& problem) { return forward(problem, false); }
Io tensor_copy_forward(const Problem& problem) { return forward(problem, true); }

std::int64_t announced_bytes(const Problem& problem) {
  const auto& [B, H, Hkv, Nq, Nk, d] = problem.shape;
  std::int64_t rows = 0;
  for_each_tile(problem,
                [&](std::int64_t tiles) { rows += queries_of_tile(problem) + 2 * kBc * tiles; });
  return B * H * kEach * rows * d;
}

std::int64_t warpgroup_flops(const Problem& problem) {
  const auto& [B, H, Hkv, Nq, Nk, d] = problem.shape;
  std::int64_t pairs = 0;
  for_each_tile(problem,
                [&](std::int64_t tiles) { pairs += queries_of_tile(problem) * kBc * tiles; });
  return B * H * 4 * pairs * d;
}

}  // namespace attn::testing
