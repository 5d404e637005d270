// SPDX-License-Identifier: MIT
//
// Attention from NVIDIA's matrix products: S = scale * Q K^T by cuBLAS, a softmax, O = P V by
// cuBLAS. What one can have without fusion, with the best matrix products there are. fp32, TF32
// off. A Chapter record of its own, so that it is checked and timed exactly as the chapters are.
#include "bench/peers/cublas.hpp"

#include <cublas_v2.h>
#include <fmt/format.h>

#include <cmath>
#include <cstddef>

#include "bench/benchmarks/implementations.hpp"
#include "bench/peers/sgemm.hpp"
#include "common/attention.hpp"

namespace attn::peers {
namespace {

void check(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(ErrorKind::kDeviceFailure,
              fmt::format("{}: {}", call, cublasGetStatusString(status)));
}

cublasHandle_t make_handle() {
  cublasHandle_t handle = nullptr;
  check(cublasCreate(&handle), "cublasCreate");
  check(cublasSetMathMode(handle, CUBLAS_DEFAULT_MATH), "cublasSetMathMode");  // no TF32
  return handle;
}

/// cuBLAS's state on the device, for as long as the program runs.
cublasHandle_t handle() {
  static const cublasHandle_t only = make_handle();
  return only;
}

/// Numbers in [-1, 1), different for each `stream`; made quickly, for there are 10^8 of them.
std::vector<float> random_values(std::int64_t count, std::uint32_t stream) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::uint32_t state = stream;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;  // Knuth's and Lewis's generator; its high bits
    value = static_cast<float>(state >> 8) * 0x1p-23f - 1.0f;
  }
  return values;
}

float* to_device(Memory& memory, const std::vector<float>& values, const char* label) {
  auto* array = static_cast<float*>(memory.allocate(values.size() * sizeof(float), label));
  memory.write(array, values.data(), values.size() * sizeof(float));
  return array;
}

std::size_t workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows() * shape.Nk) * sizeof(float);
}

/// cuBLAS counts columns first: it sees our row-major arrays transposed, so S^T = K Q^T is asked
/// for, and O^T = V^T P^T. Workspace: S, then P, [B*H, Nq, Nk].
void forward(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t heads = B * H;
  const int n = static_cast<int>(Nk);
  const int m = static_cast<int>(Nq);
  const int k = static_cast<int>(d);
  const float one = 1.0f;
  const float zero = 0.0f;
  auto* s = static_cast<float*>(args.workspace);
  check(cublasSgemmStridedBatched(handle(), CUBLAS_OP_T, CUBLAS_OP_N, n, m, k, &args.scale, args.k,
                                  k, Nk * d, args.q, k, Nq * d, &zero, s, n, Nq * Nk,
                                  static_cast<int>(heads)),
        "cublasSgemmStridedBatched(Q K^T)");
  softmax(s, args.lse, heads, Nq, Nk, diagonal(args.mask, Nq, Nk));
  check(cublasSgemmStridedBatched(handle(), CUBLAS_OP_N, CUBLAS_OP_N, k, m, n, &one, args.v, k,
                                  Nk * d, s, n, Nq * Nk, &zero, args.o, k, Nq * d,
                                  static_cast<int>(heads)),
        "cublasSgemmStridedBatched(P V)");
}

constexpr Step kSteps[] = {{.id = "fp32",
                            .idea = "two matrix products by cuBLAS, a softmax between them",
                            .forward = forward,
                            .forward_workspace_bytes = workspace_bytes}};
constexpr Chapter kCublas{.id = "cublas",
                          .title = "cuBLAS and a softmax",
                          .idea = "unfused attention from NVIDIA's matrix products",
                          .memory = device_memory,
                          .steps = kSteps,
                          .support = {.max_d = 1 << 20, .max_n = 1 << 20}};

}  // namespace

Sgemm::Sgemm(std::int64_t m, std::int64_t n, std::int64_t k)
    : m_(m),
      n_(n),
      k_(k),
      memory_(device_memory()),
      host_q_(random_values(m * k, 1)),
      host_k_(random_values(n * k, 2)) {
  q_ = to_device(memory_, host_q_, "q");
  k_array_ = to_device(memory_, host_k_, "k");
  s_ = static_cast<float*>(memory_.allocate(static_cast<std::size_t>(m * n) * sizeof(float), "s"));
}

Sgemm::~Sgemm() {
  memory_.release(s_);
  memory_.release(k_array_);
  memory_.release(q_);
}

void Sgemm::run() {
  const float one = 1.0f;
  const float zero = 0.0f;
  const int m = static_cast<int>(m_);
  const int n = static_cast<int>(n_);
  const int k = static_cast<int>(k_);
  check(cublasSgemm(handle(), CUBLAS_OP_T, CUBLAS_OP_N, n, m, k, &one, k_array_, k, q_, k, &zero,
                    s_, n),
        "cublasSgemm");
}

bool Sgemm::is_right() const {
  constexpr std::int64_t kSamples = 1000;
  memory_.synchronize();
  for (std::int64_t sample = 0; sample < kSamples; ++sample) {
    const std::int64_t row = sample * (m_ - 1) / (kSamples - 1);
    const std::int64_t column = sample * 7919 % n_;
    const float* q = host_q_.data() + row * k_;
    const float* key = host_k_.data() + column * k_;
    double sum = 0;
    double size = 0;
    for (std::int64_t i = 0; i < k_; ++i) {
      const double term = double{q[i]} * double{key[i]};
      sum += term;
      size += std::abs(term);
    }
    float got = 0;
    memory_.read(&got, s_ + row * n_ + column, sizeof(float));
    const double allowed = size * 256 * 0x1p-24;  // as bench/peers/pytorch.py allows fp32
    if (!(std::abs(double{got} - sum) <= allowed)) return false;
  }
  return true;
}

}  // namespace attn::peers

namespace attn::bench {

std::span<const Chapter* const> implementations() {
  static const Chapter* const list[] = {&peers::kCublas};
  return list;
}

}  // namespace attn::bench
