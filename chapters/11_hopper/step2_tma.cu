// SPDX-License-Identifier: MIT
//
// Step 2: step 1 with tiles that the copy engine (TMA) brings. One thread asks for a whole tile and
// goes on; the tile's barrier tells all when it is there. While the warpgroups multiply one tile of
// K and of V, the next is under way:
//   1. ask for Q_i, K_0, V_0, K_1, V_1;  O = 0, row_max = -inf, row_sum = 0, in registers
//   for each tile j of K and V that a row sees a key of:
//     2. wait for K_j;  S = Q_i K_j^T, 64 x 128
//     3. P = exp(S - row_max), in place
//     4. wait for V_j;  O = rescaled O + P V_j
//     5. wait until all are done with K_j, V_j;  ask for K_j+2, V_j+2 in their place
//   6. store O / row_sum, by the copy engine, and LSE
#include "chapters/11_hopper/hopper.hpp"
#include "chapters/11_hopper/ring.cuh"

namespace attn::hopper {
namespace {

/// Grid: B*H times the Q tiles of a head; block: Tiles::kThreads; dynamic shared memory: a Shared.
template <class T, class Tiles>
__global__ void __launch_bounds__(Tiles::kThreads, 1)
    forward_kernel(const __grid_constant__ ForwardArgsOf<T> args, const __grid_constant__ Maps maps,
                   std::int64_t diagonal) {
  constexpr int kD = Tiles::kD, kBc = Tiles::kBc;
  auto& s = *dynamic_shared<Shared<T, Tiles>>();
  const int consumer = device::warpgroup_index();
  const std::int64_t Nq = args.shape.Nq, Nk = args.shape.Nk;
  const Rows rows = rows_of<Tiles>(blockIdx.x, consumer, args.shape, diagonal);
  const std::int64_t i = rows.first + static_cast<int>(threadIdx.x) % 128 / 32 * 16;  // the warp's

  if (threadIdx.x == 0) init_barriers(s);
  __syncthreads();  // wait until the barriers are initialised
  if (threadIdx.x == 0) {
    load_queries(s, maps, rows);
    for (int j = 0; j < min(rows.end, Tiles::kStages); ++j) {
      load_tile<Tiles>(s.k[j], maps.k, s.k_full[j], j, rows.head);
      load_tile<Tiles>(s.v[j], maps.v, s.v_full[j], j, rows.head);
    }
  }

  float acc_o[kD / 8][4] = {};
  device::FragmentRows softmax;
  Place<Tiles> place;
  s.q_full.wait(0);
  const auto visit_tile = [&]<bool kMasked>(int j) {
    const auto [stage, parity] = place;
    float acc_s[kBc / 8][4];
    s.k_full[stage].wait(parity);
    device::wgmma_fence(acc_s);
    issue_scores<T, Tiles>(acc_s, s.q[consumer], s.k[stage]);
    device::wgmma_wait<0>(acc_s);
    release(s.k_empty[stage]);
    int keys[2] = {};
    if constexpr (kMasked) {
      device::keys_of_rows<kBc>(keys, i, std::int64_t{kBc} * j, diagonal, Nk);
    }
    device::softmax_rows<kMasked>(acc_s, args.scale, keys, softmax, acc_o);
    unsigned p[kBc / 16][4];
    pack_rows<T>(p, acc_s);
    s.v_full[stage].wait(parity);
    device::wgmma_fence(acc_o, p);
    issue_values<T, Tiles>(acc_o, p, s.v[stage]);
    device::wgmma_wait<0>(acc_o);
    release(s.v_empty[stage]);
    if (threadIdx.x == 0 && j + Tiles::kStages < rows.end) {
      s.k_empty[stage].wait(parity);
      load_tile<Tiles>(s.k[stage], maps.k, s.k_full[stage], j + Tiles::kStages, rows.head);
      s.v_empty[stage].wait(parity);
      load_tile<Tiles>(s.v[stage], maps.v, s.v_full[stage], j + Tiles::kStages, rows.head);
    }
    __syncwarp();  // wait until the warp's first thread is back
    place.next();
  };
  int j = 0;
  for (; j < rows.whole; ++j) visit_tile.template operator()<false>(j);
  for (; j < rows.end; ++j) visit_tile.template operator()<true>(j);

  float lse[2];
  device::finish_rows(acc_o, lse, softmax, i, diagonal, Nk);
  store_output<Tiles>(s.q[consumer], maps.o, acc_o, rows, 1 + consumer);
  device::store_row_values(args.lse + rows.head * Nq + i, Nq - i, lse);
}

}  // namespace

template <class T>
void forward_tma(const ForwardArgsOf<T>& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  with_columns(d, [&]<int kD>() {
    using L = Tiles<kD>;
    launch(forward_kernel<T, L>, grid_size(B * H * ceil_div(Nq, L::kBr)), L::kThreads,
           sizeof(Shared<T, L>), nullptr, args, maps_of<L>(args, diagonal), diagonal);
  });
}
template void forward_tma(const ForwardArgsOf<bfloat16>& args);
template void forward_tma(const ForwardArgsOf<float16>& args);

}  // namespace attn::hopper
