// SPDX-License-Identifier: MIT
//
// Attention from NVIDIA's matrix products: S = scale * Q K^T by cuBLAS, a softmax, O = P V by
// cuBLAS. What one can have without fusion, with the best matrix products there are. fp32, TF32
// off. A Chapter record of its own, so that it is checked and timed exactly as the chapters are.
#include "bench/peers/cublas.hpp"

#include <cublas_v2.h>
#include <fmt/format.h>

#include "bench/benchmarks/implementations.hpp"
#include "common/attention.hpp"

namespace attn::peers {
namespace {

void check(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(ErrorKind::kDeviceFailure,
              fmt::format("{}: {}", call, cublasGetStatusString(status)));
}

/// cuBLAS's state on the device, for as long as the program runs.
cublasHandle_t make_handle() {
  cublasHandle_t handle = nullptr;
  check(cublasCreate(&handle), "cublasCreate");
  check(cublasSetMathMode(handle, CUBLAS_DEFAULT_MATH), "cublasSetMathMode");  // no TF32
  return handle;
}

std::size_t workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows() * shape.Nk) * sizeof(float);
}

/// cuBLAS counts columns first: it sees our row-major arrays transposed, so S^T = K Q^T is asked
/// for, and O^T = V^T P^T. Workspace: S, then P, [B*H, Nq, Nk].
void forward(const ForwardArgs& args) {
  static const cublasHandle_t handle = make_handle();
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t heads = B * H;
  const int n = static_cast<int>(Nk);
  const int m = static_cast<int>(Nq);
  const int k = static_cast<int>(d);
  const float one = 1.0f;
  const float zero = 0.0f;
  auto* s = static_cast<float*>(args.workspace);
  check(cublasSgemmStridedBatched(handle, CUBLAS_OP_T, CUBLAS_OP_N, n, m, k, &args.scale, args.k, k,
                                  Nk * d, args.q, k, Nq * d, &zero, s, n, Nq * Nk,
                                  static_cast<int>(heads)),
        "cublasSgemmStridedBatched(Q K^T)");
  softmax(s, args.lse, heads, Nq, Nk, diagonal(args.mask, Nq, Nk));
  check(
      cublasSgemmStridedBatched(handle, CUBLAS_OP_N, CUBLAS_OP_N, k, m, n, &one, args.v, k, Nk * d,
                                s, n, Nq * Nk, &zero, args.o, k, Nq * d, static_cast<int>(heads)),
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
}  // namespace attn::peers

namespace attn::bench {

std::span<const Chapter* const> implementations() {
  static const Chapter* const list[] = {&peers::kCublas};
  return list;
}

}  // namespace attn::bench
