// SPDX-License-Identifier: MIT
//
// The new keys and values of each sequence, into its cache: a warp copies a row of K and one of V.
#include "chapters/17_decode/decode.hpp"
#include "common/device/cuda.cuh"

namespace attn::decoding {
namespace {

constexpr int kWarps = 4;

/// Grid: ceil(B*Hkv*N_new / kWarps); block: 32 kWarps. gBegin: null: 0.
__global__ void append_kernel(const float* gNewK, const float* gNewV, float* gK, float* gV,
                              const std::int64_t* gBegin, const std::int64_t* gCount,
                              std::int64_t rows, std::int64_t Hkv, std::int64_t N_new,
                              std::int64_t Nk, std::int64_t d) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (row >= rows) return;  // the whole warp
  const std::int64_t head = row / N_new, b = head / Hkv;
  const std::int64_t begin = gBegin == nullptr ? 0 : gBegin[b];
  const std::int64_t key = begin + gCount[b] + row % N_new;
  for (std::int64_t c = threadIdx.x % 32; c < d; c += 32) {
    gK[(head * Nk + key) * d + c] = gNewK[row * d + c];
    gV[(head * Nk + key) * d + c] = gNewV[row * d + c];
  }
}

}  // namespace

void append_rows(const AppendArgs& args) {
  const std::int64_t rows = args.B * args.Hkv * args.N_new;
  launch(append_kernel, ceil_div(rows, kWarps), 32 * kWarps, 0, nullptr, args.new_k, args.new_v,
         args.k, args.v, args.key_begin.host.empty() ? nullptr : args.key_begin.device,
         args.key_count.device, rows, args.Hkv, args.N_new, args.Nk, args.d);
}

}  // namespace attn::decoding
