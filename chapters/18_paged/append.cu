// SPDX-License-Identifier: MIT
//
// Chapter 17's append, through the table: a warp copies a row of K and one of V to where their key
// lies.
#include "chapters/18_paged/paged.hpp"
#include "chapters/18_paged/pages.hpp"
#include "common/device/cuda.cuh"

namespace attn::decoding::paged {
namespace {

constexpr int kWarps = 4;

/// Grid: ceil(B*Hkv*N_new / kWarps); block: 32 kWarps. gBegin: null: 0.
__global__ void append_kernel(const float* gNewK, const float* gNewV, float* gK, float* gV,
                              const std::int64_t* gBegin, const std::int64_t* gCount, Pages pages,
                              std::int64_t rows, std::int64_t N_new, std::int64_t d) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (row >= rows) return;  // the whole warp
  const std::int64_t head = row / N_new, b = head / pages.Hkv;
  const std::int64_t begin = gBegin == nullptr ? 0 : gBegin[b];
  const std::int64_t to = pages.of_head(head).row(begin + gCount[b] + row % N_new);
  for (std::int64_t c = threadIdx.x % 32; c < d; c += 32) {
    gK[to * d + c] = gNewK[row * d + c];
    gV[to * d + c] = gNewV[row * d + c];
  }
}

}  // namespace

void append_rows(const AppendArgs& args) {
  const std::int64_t rows = args.B * args.Hkv * args.N_new;
  launch(append_kernel, ceil_div(rows, kWarps), 32 * kWarps, 0, nullptr, args.new_k, args.new_v,
         args.k, args.v, args.key_begin.host.empty() ? nullptr : args.key_begin.device,
         args.key_count.device,
         pages_of(args.page_keys, args.block_table.device, args.Nk, args.Hkv), rows, args.N_new,
         args.d);
}

}  // namespace attn::decoding::paged
