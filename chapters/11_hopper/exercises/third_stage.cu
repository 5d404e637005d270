// SPDX-License-Identifier: MIT
//
// Exercise: a ring of three stages ("Exercises" in the lesson). This forward pass is right, but its
// ring has one stage, so that a tile is asked for when everybody is done with the one before, and
// nothing is under way while warpgroups multiply. kStages and the loop over tiles are yours:
//   cmake --build build --target ch11_exercise && ./build/ch11_exercise
#include "chapters/11_hopper/hopper.hpp"
#include "chapters/11_hopper/ring.cuh"

namespace attn::hopper {
namespace {

/// Tiles as in the lesson's steps, but for the ring. kStages is yours; Shared goes by it.
template <int D>
struct RingTiles : Tiles<D> {
  static constexpr int kStages = 1;
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
  if (threadIdx.x == 0) load_queries(s, maps, rows);

  float acc_o[kD / 8][4] = {};
  device::FragmentRows softmax;
  s.q_full.wait(0);
  for (int j = 0; j < rows.end; ++j) {
    constexpr int kStage = 0;
    const unsigned parity = j % 2;
    if (threadIdx.x == 0) {
      load_tile<Tiles>(s.k[kStage], maps.k, s.k_full[kStage], j, rows.head);
      load_tile<Tiles>(s.v[kStage], maps.v, s.v_full[kStage], j, rows.head);
    }
    float acc_s[kBc / 8][4];
    s.k_full[kStage].wait(parity);
    device::wgmma_fence(acc_s);
    issue_scores<T, Tiles>(acc_s, s.q[consumer], s.k[kStage]);
    device::wgmma_wait<0>(acc_s);
    int keys[2];
    device::keys_of_rows<kBc>(keys, i, std::int64_t{kBc} * j, diagonal, Nk);
    device::softmax_rows<true>(acc_s, args.scale, keys, softmax, acc_o);
    unsigned p[kBc / 16][4];
    pack_rows<T>(p, acc_s);
    s.v_full[kStage].wait(parity);
    device::wgmma_fence(acc_o, p);
    issue_values<T, Tiles>(acc_o, p, s.v[kStage]);
    device::wgmma_wait<0>(acc_o);
    __syncthreads();  // wait until everyone is done with K_j and V_j
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
