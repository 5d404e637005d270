// SPDX-License-Identifier: MIT
//
// Chapter 10: elements of 16 bits, tiles that arrive by asynchronous copies or, in step 1, by
// loads.
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

constexpr std::int64_t kFloat = sizeof(float);

/// delta: dO and O are read once, a float32 per row is written.
Io delta_of_rows(const Problem& problem) {
  const auto& [B, H, Hkv, Nq, Nk, d] = problem.shape;
  const std::int64_t in = 2 * kEach * Nq * d, out = kFloat * Nq;
  return {.load_bytes = in, .store_bytes = out, .read_bytes = in, .write_bytes = out};
}

/// Queries before `first` see none of the keys from j0 on.
std::int64_t first_query_of(const Problem& problem, std::int64_t j0) {
  const auto& [B, H, Hkv, Nq, Nk, d] = problem.shape;
  if (problem.mask == Mask::kFull) return 0;
  const std::int64_t own = problem.mask == Mask::kCausal ? j0 - (Nk - Nq) : j0;
  return std::clamp<std::int64_t>(own, 0, Nq);
}

/// Blocks own 128 keys: K and V as far as some row sees them, and Q, dO, LSE, delta from the first
/// row on that sees a key of the tile; back go dK and dV. adds_to_dq: and float32 sums of dQ for
/// all these rows, by atomics. Without a mask, one head, Tc = ceil(N / 128): 8 N d + Tc (4 N d + 8
/// N) bytes are asked for, and Tc 4 N d by atomics.
Io keys_of_backward(const Problem& problem, bool adds_to_dq) {
  constexpr std::int64_t kBc = 128;
  const auto& [B, H, Hkv, Nq, Nk, d] = problem.shape;
  const std::int64_t seen = most_keys(problem, Nq - 1, 1);
  const std::int64_t gradients = 2 * kEach * Nk * d;
  std::int64_t rows = 0;
  for (std::int64_t j0 = 0; j0 < Nk; j0 += kBc) rows += Nq - first_query_of(problem, j0);
  const std::int64_t distinct = Nk > 0 ? Nq - first_query_of(problem, 0) : 0;
  const std::int64_t of_row = 2 * kFloat;  // LSE and delta
  Io io = arriving(true, 2 * kEach * (seen + rows) * d,
                   2 * kEach * (seen + distinct) * d + of_row * distinct);
  io.load_bytes = of_row * rows;
  io.store_bytes = io.write_bytes = gradients;
  if (adds_to_dq) {
    io.atomics = rows * d;
    io.read_bytes += kFloat * distinct * d;
    io.write_bytes += kFloat * distinct * d;
  }
  return io;
}

/// dQ in float32 is read once, scaled, and stored.
Io converted(const Problem& problem) {
  const auto& [B, H, Hkv, Nq, Nk, d] = problem.shape;
  const std::int64_t in = kFloat * Nq * d, out = kEach * Nq * d;
  return {.load_bytes = in, .store_bytes = out, .read_bytes = in, .write_bytes = out};
}

/// Blocks own 128 queries, read Q and dO once, LSE and delta once for each of the 4 lanes of a row,
/// and stream K and V as the forward pass does; back goes dQ. Without a mask, one head: 6 N d + 32
/// N + Tr 4 N d bytes.
Io queries_of_backward(const Problem& problem) {
  constexpr std::int64_t kBr = 128;
  const auto& [B, H, Hkv, Nq, Nk, d] = problem.shape;
  std::int64_t keys = 0, distinct = 0;
  for (std::int64_t i0 = 0; i0 < Nq; i0 += kBr) {
    keys += most_keys(problem, i0, kBr);
    distinct = std::max(distinct, most_keys(problem, i0, kBr));
  }
  const std::int64_t of_row = 2 * kFloat * Nq;
  Io io = arriving(true, 2 * kEach * (Nq + keys) * d, 2 * kEach * (Nq + distinct) * d + of_row);
  io.load_bytes = 4 * of_row;
  io.store_bytes = io.write_bytes = kEach * Nq * d;
  return io;
}

Io all_heads(const Problem& problem, const Io& io) {
  return problem.shape.B * problem.shape.H * io;
}

}  // namespace

Io swizzled_forward(const Problem& problem) { return forward(problem, false); }
Io async_forward(const Problem& problem) { return forward(problem, true); }

Io async_backward_atomics(const Problem& problem) {
  return all_heads(problem,
                   delta_of_rows(problem) + keys_of_backward(problem, true) + converted(problem));
}
Io async_backward_deterministic(const Problem& problem) {
  return all_heads(problem, delta_of_rows(problem) + keys_of_backward(problem, false) +
                                queries_of_backward(problem));
}

}  // namespace attn::testing
