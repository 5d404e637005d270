// SPDX-License-Identifier: MIT
//
// The part of cuBLAS's interface that bench/peers/cublas.cpp uses, as plain loops on the CPU machine's
// memory, so that the peer's own part can be tested without a GPU: which matrix is transposed, the
// strides, the softmax. As in cuBLAS, matrices are stored column after column.
#pragma once

#include <cstdint>

enum cublasStatus_t { CUBLAS_STATUS_SUCCESS, CUBLAS_STATUS_INVALID_VALUE };
enum cublasMath_t { CUBLAS_DEFAULT_MATH };
enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T };
using cublasHandle_t = int*;

inline cublasStatus_t cublasCreate(cublasHandle_t*) { return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t) {
  return CUBLAS_STATUS_SUCCESS;
}
inline const char* cublasGetStatusString(cublasStatus_t) { return "CUBLAS_STATUS_INVALID_VALUE"; }

/// C = alpha * op(A) op(B) for each of `batch` matrices; op(A) (m, k), op(B) (k, n), C (m, n).
inline cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t, cublasOperation_t op_a,
                                                cublasOperation_t op_b, int m, int n, int k,
                                                const float* alpha, const float* a, int lda,
                                                std::int64_t stride_a, const float* b, int ldb,
                                                std::int64_t stride_b, const float* beta, float* c,
                                                int ldc, std::int64_t stride_c, int batch) {
  const int rows_a = op_a == CUBLAS_OP_N ? m : k;
  const int rows_b = op_b == CUBLAS_OP_N ? k : n;
  if (*beta != 0.0f || lda < rows_a || ldb < rows_b || ldc < m) return CUBLAS_STATUS_INVALID_VALUE;
  for (std::int64_t head = 0; head < batch; ++head) {
    for (std::int64_t column = 0; column < n; ++column) {
      for (std::int64_t row = 0; row < m; ++row) {
        float sum = 0.0f;
        for (std::int64_t i = 0; i < k; ++i) {
          const std::int64_t at_a = op_a == CUBLAS_OP_N ? i * lda + row : row * lda + i;
          const std::int64_t at_b = op_b == CUBLAS_OP_N ? column * ldb + i : i * ldb + column;
          sum += a[head * stride_a + at_a] * b[head * stride_b + at_b];
        }
        c[head * stride_c + column * ldc + row] = *alpha * sum;
      }
    }
  }
  return CUBLAS_STATUS_SUCCESS;
}

/// The same for one matrix.
inline cublasStatus_t cublasSgemm(cublasHandle_t handle, cublasOperation_t op_a,
                                  cublasOperation_t op_b, int m, int n, int k, const float* alpha,
                                  const float* a, int lda, const float* b, int ldb,
                                  const float* beta, float* c, int ldc) {
  return cublasSgemmStridedBatched(handle, op_a, op_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta,
                                   c, ldc, 0, 1);
}
