// SPDX-License-Identifier: MIT
//
// The lesson's example: two queries, two keys, d = 2, scale 1. Prints every matrix of the backward
// pass and holds the gradients against the oracle.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/reference/reference.hpp"

namespace {

constexpr int kN = 2;
using Matrix = double[kN][kN];

constexpr Matrix kQ = {{1, 0}, {0, 1}};
constexpr Matrix kK = {{1, 0}, {1, 1}};
constexpr Matrix kV = {{1, 2}, {3, 0}};
constexpr Matrix kGradO = {{1, 0}, {0, 2}};

/// a b^T, a b or a^T b.
void product(const Matrix& a, const Matrix& b, bool a_transposed, bool b_transposed, Matrix& c) {
  for (int i = 0; i < kN; ++i) {
    for (int j = 0; j < kN; ++j) {
      c[i][j] = 0;
      for (int n = 0; n < kN; ++n) {
        c[i][j] += (a_transposed ? a[n][i] : a[i][n]) * (b_transposed ? b[j][n] : b[n][j]);
      }
    }
  }
}

void print(const char* name, const Matrix& m) {
  const auto rounded = [](double x) { return std::round(x * 1e4) / 1e4 + 0.0; };  // + 0: no -0
  fmt::print("{:<18}{:8.4f} {:8.4f}\n{:<18}{:8.4f} {:8.4f}\n", name, rounded(m[0][0]),
             rounded(m[0][1]), "", rounded(m[1][0]), rounded(m[1][1]));
}

std::vector<double> flat(const Matrix& m) { return {&m[0][0], &m[0][0] + kN * kN}; }

double difference(const Matrix& m, const std::vector<double>& expected) {
  double largest = 0;
  for (int n = 0; n < kN * kN; ++n) {
    const double error = std::abs((&m[0][0])[n] - expected[static_cast<std::size_t>(n)]);
    largest = error <= largest ? largest : error;
  }
  return largest;
}

}  // namespace

int main() {
  Matrix s, p, o, grad_v, grad_p, grad_s, grad_q, grad_k;
  double lse[kN], delta[kN];
  product(kQ, kK, false, true, s);
  for (int i = 0; i < kN; ++i) {
    lse[i] = std::log(std::exp(s[i][0]) + std::exp(s[i][1]));
    for (int j = 0; j < kN; ++j) p[i][j] = std::exp(s[i][j] - lse[i]);
  }
  product(p, kV, false, false, o);
  product(p, kGradO, true, false, grad_v);
  product(kGradO, kV, false, true, grad_p);
  for (int i = 0; i < kN; ++i) {
    delta[i] = kGradO[i][0] * o[i][0] + kGradO[i][1] * o[i][1];
    for (int j = 0; j < kN; ++j) grad_s[i][j] = p[i][j] * (grad_p[i][j] - delta[i]);
  }
  product(grad_s, kK, false, false, grad_q);
  product(grad_s, kQ, true, false, grad_k);

  print("S = Q K^T", s);
  fmt::print("{:<18}{:8.4f}\n{:<18}{:8.4f}\n", "LSE", lse[0], "", lse[1]);
  print("P = exp(S - LSE)", p);
  print("O = P V", o);
  print("dV = P^T dO", grad_v);
  print("dP = dO V^T", grad_p);
  fmt::print("{:<18}{:8.4f}\n{:<18}{:8.4f}\n", "delta = dO . O", delta[0], "", delta[1]);
  print("dS = P (dP-delta)", grad_s);
  print("dQ = dS K", grad_q);
  print("dK = dS^T Q", grad_k);

  attn::reference::Inputs inputs;
  inputs.shape = attn::make_shape(1, 1, kN, kN, kN);
  inputs.scale = 1;
  inputs.q = flat(kQ);
  inputs.k = flat(kK);
  inputs.v = flat(kV);
  inputs.grad_o = flat(kGradO);
  const attn::reference::Gradients expected =
      attn::reference::backward(inputs, attn::reference::forward(inputs));
  const double error =
      std::max({difference(grad_q, expected.grad_q), difference(grad_k, expected.grad_k),
                difference(grad_v, expected.grad_v)});
  fmt::print("largest difference from the oracle's gradients: {:.0e}\n", error);
  return error < 1e-14 ? 0 : 1;
}
