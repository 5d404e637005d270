// SPDX-License-Identifier: MIT
//
// Step 3: step 2 with a warpgroup of its own for the copies. Nobody who multiplies waits for the
// slowest any more before the next tile is asked for. The producer needs few registers, and gives
// the others to those that multiply.
// Producer, one thread:
//   1. ask for Q_i
//   for each tile j of K and V that a row sees a key of:
//     2. wait until the place of K_j is free;  ask for K_j;  the same for V_j
// Each consumer, a warpgroup with 64 rows:
//   1. O = 0, row_max = -inf, row_sum = 0, in registers
//   for each tile j:
//     2. wait for K_j;  S = Q_i K_j^T, 64 x 128;  its place is free
//     3. P = exp(S - row_max), in place
//     4. wait for V_j;  O = rescaled O + P V_j;  its place is free
//   5. store O / row_sum, by the copy engine, and LSE
#include "chapters/11_hopper/hopper.hpp"
#include "chapters/11_hopper/ring.cuh"
#include "common/device/setmaxnreg.cuh"

namespace attn::hopper {
namespace {

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
    consume(s, maps, args, diagonal, consumer, rows);
  }
}

}  // namespace

template <class T>
void forward_producer(const ForwardArgsOf<T>& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  with_columns(d, [&]<int kD>() {
    using L = Tiles<kD>;
    launch(forward_kernel<T, L>, grid_size(B * H * ceil_div(Nq, L::kBr)), L::kThreadsWithProducer,
           sizeof(Shared<T, L>), nullptr, args, maps_of<L>(args, diagonal), diagonal);
  });
}
template void forward_producer(const ForwardArgsOf<bfloat16>& args);
template void forward_producer(const ForwardArgsOf<float16>& args);

}  // namespace attn::hopper
