// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <vector>

#include "common/memory.hpp"

namespace attn::peers {

/// S = Q K^T by cuBLAS in fp32, TF32 off: one large product as attention asks for it, row-major.
///   q [m, k]   k [n, k]   s [m, n]
/// How fast it runs is the most that hand-written fp32 kernels can be measured by.
class Sgemm {
 public:
  Sgemm(std::int64_t m, std::int64_t n, std::int64_t k);
  ~Sgemm();
  Sgemm(const Sgemm&) = delete;
  Sgemm& operator=(const Sgemm&) = delete;

  /// Only launches.
  void run();
  /// Whether elements all over S are what float64 says; waits.
  bool is_right() const;
  double flops() const { return 2.0 * static_cast<double>(m_ * n_ * k_); }

 private:
  std::int64_t m_, n_, k_;
  Memory& memory_;
  std::vector<float> host_q_, host_k_;
  float* q_ = nullptr;
  float* k_array_ = nullptr;
  float* s_ = nullptr;
};

}  // namespace attn::peers
