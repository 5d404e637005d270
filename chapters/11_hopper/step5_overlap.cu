// SPDX-License-Identifier: MIT
//
// Step 5: step 4 with P V of a tile under the softmax of the next, within a warpgroup: at its
// softmax it has products under way, too. S comes first in a turn, and is waited for alone. O is
// rescaled when P V is done.
// Producer, one thread:
//   1. ask for Q_i
//   for each tile j of K and V that a row sees a key of:
//     2. wait until the place of K_j is free;  ask for K_j;  the same for V_j
// Each consumer, a warpgroup with 64 rows:
//   1. O = 0, row_max = -inf, row_sum = 0, in registers
//   2. wait for K_0;  S = Q_i K_0^T, 64 x 128;  P = exp(S - row_max)
//   for each tile j from 1 on:
//     3. wait for K_j, V_j-1 and the turn;  S = Q_i K_j^T;  O = O + P V_j-1;  the next one's turn
//     4. wait for S alone;  exp(S - row_max), in place
//     5. wait for P V;  O = rescaled O;  P = what 4 has left
//   6. O = O + P V of the last tile
//   7. store O / row_sum, by the copy engine, and LSE
#include "chapters/11_hopper/hopper.hpp"
#include "chapters/11_hopper/ring.cuh"
#include "common/device/setmaxnreg.cuh"

namespace attn::hopper {
namespace {

/// The id of a named barrier that gives the first consumer its turn; the others' follow. Below it
/// are those of store_output().
template <class Tiles>
inline constexpr int kTurns = 1 + Tiles::kConsumers;

/// One thread asks for Q_i and for all tiles of K and V.
template <class T, class Tiles>
__device__ __forceinline__ void produce(Shared<T, Tiles>& s, const Maps& maps, const Rows& rows) {
  load_queries(s, maps, rows);
  Place<Tiles> place;
  for (int j = 0; j < rows.end; ++j) {
    const auto [stage, parity] = place;
    s.k_empty[stage].wait(parity ^ 1);  // in the first round there is nothing to wait for
    load_tile<Tiles>(s.k[stage], maps.k, s.k_full[stage], j, rows.head);
    s.v_empty[stage].wait(parity ^ 1);
    load_tile<Tiles>(s.v[stage], maps.v, s.v_full[stage], j, rows.head);
    place.next();
  }
}

/// A warpgroup makes its rows of O and LSE.
template <class T, class Tiles>
__device__ __forceinline__ void consume(Shared<T, Tiles>& s, const Maps& maps,
                                        const ForwardArgsOf<T>& args, std::int64_t diagonal,
                                        int consumer, const Rows& rows) {
  constexpr int kD = Tiles::kD, kBc = Tiles::kBc;
  const std::int64_t Nq = args.shape.Nq, Nk = args.shape.Nk;
  const std::int64_t i = rows.first + static_cast<int>(threadIdx.x) % 128 / 32 * 16;  // the warp's
  const int my_turn = kTurns<Tiles> + consumer;
  const int next_turn = kTurns<Tiles> + (consumer + 1) % Tiles::kConsumers;
  float acc_o[kD / 8][4] = {}, acc_s[kBc / 8][4];
  unsigned p[kBc / 16][4];
  device::FragmentRows softmax;
  Place<Tiles> k, v;
  const auto start_scores = [&] {
    device::wgmma_fence(acc_s);
    issue_scores<T, Tiles>(acc_s, s.q[consumer], s.k[k.stage]);
  };
  const auto start_values = [&] {
    s.v_full[v.stage].wait(v.parity);
    device::wgmma_fence(acc_o, p);
    issue_values<T, Tiles>(acc_o, p, s.v[v.stage]);
  };
  float rescale[2];
  const auto finish_scores = [&]<int kPending, bool kMasked>(int j) {
    device::wgmma_wait<kPending>(acc_s);
    release(s.k_empty[k.stage]);
    k.next();
    int keys[2] = {};
    if constexpr (kMasked) {
      device::keys_of_rows<kBc>(keys, i, std::int64_t{kBc} * j, diagonal, Nk);
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      rescale[h] = device::softmax_row<kMasked>(acc_s, args.scale, keys[h], h, softmax);
    }
  };
  const auto finish_values = [&] {
    device::wgmma_wait<0>(acc_o);
    release(s.v_empty[v.stage]);
    v.next();
  };
  const auto visit_tile = [&]<bool kMasked>(int j) {
    s.k_full[k.stage].wait(k.parity);
    device::named_sync(my_turn, 256);  // wait until the one before has issued its products
    start_scores();
    start_values();
    device::named_arrive(next_turn, 256);
    finish_scores.template operator()<1, kMasked>(j);  // P V may be under way
    finish_values();
#pragma unroll
    for (int h = 0; h < 2; ++h) device::rescale_row(acc_o, rescale[h], h);
    pack_rows<T>(p, acc_s);
  };

  s.q_full.wait(0);
  if (rows.end > 0) {
    s.k_full[k.stage].wait(k.parity);
    start_scores();
    rows.whole > 0 ? finish_scores.template operator()<0, false>(0)
                   : finish_scores.template operator()<0, true>(0);
    pack_rows<T>(p, acc_s);
    int j = 1;
    for (; j < rows.whole; ++j) visit_tile.template operator()<false>(j);
    for (; j < rows.end; ++j) visit_tile.template operator()<true>(j);
    start_values();
    finish_values();
  }
  float lse[2];
  device::finish_rows(acc_o, lse, softmax, i, diagonal, Nk);
  store_output<Tiles>(s.q[consumer], maps.o, acc_o, rows, 1 + consumer);
  device::store_row_values(args.lse + rows.head * Nq + i, Nq - i, lse);
}

/// Grid: B*H times the Q tiles of a head; block: Tiles::kThreadsWithProducer; dynamic shared
/// memory: a Shared.
template <class T, class Tiles>
__global__ void __launch_bounds__(Tiles::kThreadsWithProducer, 1)
    forward_kernel(const __grid_constant__ ForwardArgsOf<T> args, const __grid_constant__ Maps maps,
                   std::int64_t diagonal) {
  auto& s = *dynamic_shared<Shared<T, Tiles>>();
  const int consumer = device::warpgroup_index() - 1;
  const Rows rows = rows_of<Tiles>(blockIdx.x, max(consumer, 0), args.shape, diagonal);
  if (threadIdx.x == 0) init_barriers(s);
  __syncthreads();  // wait until the barriers are initialised
  if (consumer < 0) {
    device::setmaxnreg_dec<Tiles::kProducerRegisters>();
    if (threadIdx.x == 0) produce(s, maps, rows);
  } else {
    device::setmaxnreg_inc<Tiles::kConsumerRegisters>();
    if (consumer + 1 == Tiles::kConsumers) device::named_arrive(kTurns<Tiles>, 256);  // to begin
    consume(s, maps, args, diagonal, consumer, rows);
    if (consumer == 0) device::named_sync(kTurns<Tiles>, 256);  // wait until the last turn is over
  }
}

}  // namespace

template <class T>
void forward_overlap(const ForwardArgsOf<T>& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  with_columns(d, [&]<int kD>() {
    using L = Tiles<kD>;
    launch(forward_kernel<T, L>, grid_size(B * H * ceil_div(Nq, L::kBr)), L::kThreadsWithProducer,
           sizeof(Shared<T, L>), nullptr, args, maps_of<L>(args, diagonal), diagonal);
  });
}
template void forward_overlap(const ForwardArgsOf<bfloat16>& args);
template void forward_overlap(const ForwardArgsOf<float16>& args);

}  // namespace attn::hopper
