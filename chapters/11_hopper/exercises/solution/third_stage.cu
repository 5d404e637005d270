// SPDX-License-Identifier: MIT
//
// A solution of the exercise: a ring of three stages, which one thread fills anew as soon as all
// warps are done with a tile.
#include "chapters/11_hopper/hopper.hpp"
#include "chapters/11_hopper/ring.cuh"

namespace attn::hopper {
namespace {

/// Tiles as in the lesson's steps, but for the ring.
template <int D>
struct RingTiles : Tiles<D> {
  static constexpr int kStages = 3;
};

/// Grid: B*H times the Q tiles of a head; block: Tiles::kThreads; dynamic shared memory: a Shared.
template <class T, class Tiles>
__global__ void __launch_bounds__(Tiles::kThreads, 1)
    third_stage_kernel(const __grid_constant__ ForwardArgsOf<T> args,
                       const __grid_constant__ Maps maps, std::int64_t diagonal) {
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
  s.q_full.wait(0);
  for (int j = 0; j < rows.end; ++j) {
    const int stage = j % Tiles::kStages;
    const unsigned parity = j / Tiles::kStages % 2;  // of the round
    float acc_s[kBc / 8][4];
    s.k_full[stage].wait(parity);
    device::wgmma_fence(acc_s);
    issue_scores<T, Tiles>(acc_s, s.q[consumer], s.k[stage]);
    device::wgmma_wait<0>(acc_s);
    release(s.k_empty[stage]);
    int keys[2];
    device::keys_of_rows<kBc>(keys, i, std::int64_t{kBc} * j, diagonal, Nk);
    device::softmax_rows<true>(acc_s, args.scale, keys, softmax, acc_o);
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
  }

  float lse[2];
  device::finish_rows(acc_o, lse, softmax, i, diagonal, Nk);
  store_output<Tiles>(s.q[consumer], maps.o, acc_o, rows, 1 + consumer);
  device::store_row_values(args.lse + rows.head * Nq + i, Nq - i, lse);
}

}  // namespace

template <class T>
void third_stage_forward(const ForwardArgsOf<T>& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  with_columns(d, [&]<int kD>() {
    using L = RingTiles<kD>;
    launch(third_stage_kernel<T, L>, grid_size(B * H * ceil_div(Nq, L::kBr)), L::kThreads,
           sizeof(Shared<T, L>), nullptr, args, maps_of<L>(args, diagonal), diagonal);
  });
}
template void third_stage_forward(const ForwardArgsOf<bfloat16>& args);
template void third_stage_forward(const ForwardArgsOf<float16>& args);

}  // namespace attn::hopper
