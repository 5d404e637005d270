// SPDX-License-Identifier: MIT
//
// The lesson's example, step by step: N = 4, d = 2, tiles of 2 queries and 2 keys, in the loop
// order of forward.cu. Prints m, l and O after each tile, and stops with 1 if O is not the
// attention over the keys seen so far.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "common/reference/reference.hpp"

namespace {

constexpr int kN = 4, kD = 2, kTile = 2;

constexpr float kQ[kN][kD] = {{1, 0}, {0, 1}, {1, 1}, {0, 0}};
constexpr float kK[kN][kD] = {{2, 0}, {0, 1}, {1, 1}, {0, 3}};
constexpr float kV[kN][kD] = {{1, 0}, {0, 1}, {2, 0}, {0, 2}};

/// What is known of one row so far.
struct Row {
  float m = -std::numeric_limits<float>::infinity();
  float l = 0;
  float o[kD] = {};
};

/// Brings one row up to date with the keys j0 .. j0 + kTile - 1; returns their scores.
std::array<float, kTile> visit(Row& row, const float* q, int j0) {
  std::array<float, kTile> s;
  for (int j = 0; j < kTile; ++j) s[j] = q[0] * kK[j0 + j][0] + q[1] * kK[j0 + j][1];
  const float m = std::max(row.m, *std::max_element(s.begin(), s.end()));
  const float old_weight = row.l * std::exp(row.m - m);
  float p[kTile], l = old_weight;
  for (int j = 0; j < kTile; ++j) l += p[j] = std::exp(s[j] - m);
  for (int c = 0; c < kD; ++c) {
    const float pv = p[0] * kV[j0][c] + p[1] * kV[j0 + 1][c];
    row.o[c] = (old_weight * row.o[c] + pv) / l;
  }
  row.m = m;
  row.l = l;
  return s;
}

/// Largest distance of O from the float64 attention over the first `keys` keys, scale 1.
double error(const Row* rows, int keys) {
  attn::reference::Inputs inputs;
  inputs.shape = attn::make_shape(1, 1, kN, keys, kD);
  inputs.scale = 1;
  inputs.q.assign(&kQ[0][0], &kQ[0][0] + kN * kD);
  inputs.k.assign(&kK[0][0], &kK[0][0] + keys * kD);
  inputs.v.assign(&kV[0][0], &kV[0][0] + keys * kD);
  const auto expected = attn::reference::forward(inputs);
  double largest = 0;
  for (int n = 0; n < kN * kD; ++n) {
    const auto at = static_cast<std::size_t>(n);
    largest = std::max(largest, std::abs(double{rows[n / kD].o[n % kD]} - expected.o[at]));
  }
  return largest;
}

}  // namespace

int main() {
  Row rows[kN];
  for (int j0 = 0; j0 < kN; j0 += kTile) {
    for (int i0 = 0; i0 < kN; i0 += kTile) {
      fmt::print("keys {} {}, queries {} {}\n", j0, j0 + 1, i0, i0 + 1);
      for (int i = i0; i < i0 + kTile; ++i) {
        const auto s = visit(rows[i], kQ[i], j0);
        fmt::print("  row {}   S {:.0f} {:.0f}   m {:.0f}   l {:.4f}   O {:.4f} {:.4f}\n", i, s[0],
                   s[1], rows[i].m, rows[i].l, rows[i].o[0], rows[i].o[1]);
      }
    }
    if (!(error(rows, j0 + kTile) < 1e-6)) return 1;
    fmt::print("O is the attention over keys 0 to {}\n\n", j0 + kTile - 1);
  }
}
