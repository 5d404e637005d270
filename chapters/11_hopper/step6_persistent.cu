// SPDX-License-Identifier: MIT
//
// Step 6: step 5 with blocks that stay: one for each multiprocessor, which takes a tile of Q, then
// the next. While the consumers store O, the copies for the next tile are under way. Where the mask
// is causal, the tiles that see most keys come first, and small ones fill the end.
// Producer, one thread, for each tile i of Q:
//   1. ask for K_0;  wait until O has left the place of Q;  ask for Q_i
//   for each tile j of K and V that a row sees a key of:
//     2. wait until the place of K_j is free;  ask for K_j;  the same for V_j
// Each consumer, a warpgroup with 64 rows, for each tile i of Q:
//   1. O = 0, row_max = -inf, row_sum = 0, in registers
//   2. wait for Q_i, K_0;  S = Q_i K_0^T, 64 x 128;  P = exp(S - row_max)
//   for each tile j from 1 on:
//     3. wait for K_j, V_j-1 and the turn;  S = Q_i K_j^T;  O = O + P V_j-1;  the next one's turn
//     4. wait for S alone;  exp(S - row_max), in place
//     5. wait for P V;  O = rescaled O;  P = what 4 has left
//   6. O = O + P V of the last tile
//   7. store O / row_sum, by the copy engine, and LSE;  the place of Q is free
#include "chapters/11_hopper/hopper.hpp"
#include "chapters/11_hopper/ring.cuh"
#include "common/device/setmaxnreg.cuh"

namespace attn::hopper {
namespace {

inline constexpr std::int64_t kCacheBytes = 32 << 20;  // of 50 MB of L2 (H100), for K and V

/// In which order blocks take the tiles of Q of all heads. All blocks together take as many places
/// in a round as there are blocks; every other round goes backwards, so that nobody has the largest
/// tile of every round.
struct Schedule {
  std::int64_t heads;
  std::int64_t tiles;     // of a head
  std::int64_t together;  // heads whose K and V are in use at a time

  __device__ __forceinline__ std::int64_t place_in(std::int64_t round) const {
    return round * gridDim.x + (round % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x);
  }
  __device__ __forceinline__ bool has(std::int64_t round) const {
    return place_in(round) < heads * tiles;
  }
  /// The tile in the block's place: of the heads that are in use each one's last, each one's last
  /// but one, and so on. Counted over all heads.
  __device__ __forceinline__ std::int64_t tile_in(std::int64_t round) const {
    const std::int64_t place = place_in(round);
    const std::int64_t first = place / (together * tiles) * together;  // head
    const std::int64_t used = heads - first < together ? heads - first : together;
    const std::int64_t rest = place - first * tiles;
    return (first + rest % used) * tiles + tiles - 1 - rest / used;
  }
};

template <class T, class Tiles>
struct SharedOfMany : Shared<T, Tiles> {
  device::Mbarrier q_empty;  // O has left: an arrival of each consumer
};

/// The id of a named barrier that gives the first consumer its turn; the others' follow. Below it
/// are those of store_output().
template <class Tiles>
inline constexpr int kTurns = 1 + Tiles::kConsumers;

/// One thread asks for Q_i and for all tiles of K and V. K_0 is on its way before O has left.
template <class T, class Tiles>
__device__ __forceinline__ void produce(SharedOfMany<T, Tiles>& s, const Maps& maps,
                                        const Rows& rows, unsigned q_parity, Place<Tiles>& k,
                                        Place<Tiles>& v) {
  const auto load_keys = [&](int j) {
    s.k_empty[k.stage].wait(k.parity ^ 1);  // in the first round there is nothing to wait for
    load_tile<Tiles>(s.k[k.stage], maps.k, s.k_full[k.stage], j, rows.head);
    k.next();
  };
  if (rows.end > 0) load_keys(0);
  s.q_empty.wait(q_parity ^ 1);
  load_queries(s, maps, rows);
  for (int j = 0; j < rows.end; ++j) {
    if (j > 0) load_keys(j);
    s.v_empty[v.stage].wait(v.parity ^ 1);
    load_tile<Tiles>(s.v[v.stage], maps.v, s.v_full[v.stage], j, rows.head);
    v.next();
  }
}

/// A warpgroup makes its rows of O and LSE.
template <class T, class Tiles>
__device__ __forceinline__ void consume(SharedOfMany<T, Tiles>& s, const Maps& maps,
                                        const ForwardArgsOf<T>& args, std::int64_t diagonal,
                                        int consumer, const Rows& rows, unsigned q_parity,
                                        Place<Tiles>& k, Place<Tiles>& v) {
  constexpr int kD = Tiles::kD, kBc = Tiles::kBc;
  const std::int64_t Nq = args.shape.Nq, Nk = args.shape.Nk;
  const std::int64_t i = rows.first + static_cast<int>(threadIdx.x) % 128 / 32 * 16;  // the warp's
  const int my_turn = kTurns<Tiles> + consumer;
  const int next_turn = kTurns<Tiles> + (consumer + 1) % Tiles::kConsumers;
  float acc_o[kD / 8][4] = {}, acc_s[kBc / 8][4];
  unsigned p[kBc / 16][4];
  device::FragmentRows softmax;
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

  s.q_full.wait(q_parity);
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
  if (threadIdx.x % 128 == 0) s.q_empty.arrive();
}

/// Grid: any number of blocks; block: Tiles::kThreadsWithProducer; dynamic shared memory: a
/// SharedOfMany.
template <class T, class Tiles>
__global__ void __launch_bounds__(Tiles::kThreadsWithProducer, 1)
    forward_kernel(const __grid_constant__ ForwardArgsOf<T> args, const __grid_constant__ Maps maps,
                   Schedule schedule, std::int64_t diagonal) {
  auto& s = *dynamic_shared<SharedOfMany<T, Tiles>>();
  const int consumer = device::warpgroup_index() - 1;
  if (threadIdx.x == 0) {
    s.q_empty.init(Tiles::kConsumers);
    init_barriers(s);
  }
  __syncthreads();  // wait until the barriers are initialised
  Place<Tiles> k, v;
  unsigned q_parity = 0;
  if (consumer < 0) {
    device::setmaxnreg_dec<Tiles::kProducerRegisters>();
    if (threadIdx.x > 0) return;
    for (std::int64_t round = 0; schedule.has(round); ++round, q_parity ^= 1) {
      const Rows rows = rows_of<Tiles>(schedule.tile_in(round), 0, args.shape, diagonal);
      produce(s, maps, rows, q_parity, k, v);
    }
  } else {
    device::setmaxnreg_inc<Tiles::kConsumerRegisters>();
    if (consumer + 1 == Tiles::kConsumers) device::named_arrive(kTurns<Tiles>, 256);  // to begin
    for (std::int64_t round = 0; schedule.has(round); ++round, q_parity ^= 1) {
      const Rows rows = rows_of<Tiles>(schedule.tile_in(round), consumer, args.shape, diagonal);
      consume(s, maps, args, diagonal, consumer, rows, q_parity, k, v);
    }
    if (consumer == 0) device::named_sync(kTurns<Tiles>, 256);  // wait until the last turn is over
  }
}

}  // namespace

template <class T>
void forward_on_blocks(const ForwardArgsOf<T>& args, std::int64_t blocks) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  with_columns(d, [&]<int kD>() {
    using L = Tiles<kD>;
    Schedule schedule{.heads = B * H, .tiles = ceil_div(Nq, L::kBr), .together = 1};
    if (args.mask != Mask::kFull) {
      const std::int64_t bytes = 2 * sizeof(T) * std::max<std::int64_t>(Nk, 1) * kD;  // K, V
      schedule.together = std::max<std::int64_t>(kCacheBytes / bytes, 1);
    }
    launch(forward_kernel<T, L>, grid_size(std::min(blocks, B * H * schedule.tiles)),
           L::kThreadsWithProducer, sizeof(SharedOfMany<T, L>), nullptr, args,
           maps_of<L>(args, diagonal), schedule, diagonal);
  });
}
template void forward_on_blocks(const ForwardArgsOf<bfloat16>& args, std::int64_t blocks);
template void forward_on_blocks(const ForwardArgsOf<float16>& args, std::int64_t blocks);

template <class T>
void forward_persistent(const ForwardArgsOf<T>& args) {
  int device = 0, multiprocessors = 0;
  CUDA_CHECK(cudaGetDevice(&device));
  CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
  forward_on_blocks(args, multiprocessors);
}
template void forward_persistent(const ForwardArgsOf<bfloat16>& args);
template void forward_persistent(const ForwardArgsOf<float16>& args);

}  // namespace attn::hopper
