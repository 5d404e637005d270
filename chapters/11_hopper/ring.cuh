// SPDX-License-Identifier: MIT
//
// From step 2 on: tiles that the copy engine brings, and barriers that say when they are there and
// when they are done with. K has a ring of kStages tiles, V another. Each stage has two barriers:
//   full   the tile has arrived: one arrival, of who asks for it, and its bytes
//   empty  nobody needs it any more: an arrival of each warp that multiplies
// A phase of either is one round of the ring.
#pragma once

#include <algorithm>

#include "chapters/11_hopper/warpgroup.cuh"
#include "common/device/async_proxy.cuh"
#include "common/device/mbarrier.cuh"
#include "common/device/named_barrier.cuh"
#include "common/device/tma.cuh"

namespace attn::hopper {

/// A block's shared memory. Tiles start at multiples of 1024 bytes.
template <class T, class Tiles>
struct Shared {
  static constexpr int kStages = Tiles::kStages;
  T q[Tiles::kConsumers][Tiles::kRows * Tiles::kD];  // of each warpgroup (64, D); in the end, its O
  T k[kStages][Tiles::kBc * Tiles::kD];              // (Bc, D) each
  T v[kStages][Tiles::kBc * Tiles::kD];
  device::Mbarrier q_full, k_full[kStages], k_empty[kStages], v_full[kStages], v_empty[kStages];
};

/// By one thread. Behind it comes a __syncthreads.
template <class T, class Tiles>
__device__ __forceinline__ void init_barriers(Shared<T, Tiles>& s) {
  s.q_full.init(1);
  for (int stage = 0; stage < Tiles::kStages; ++stage) {
    s.k_full[stage].init(1);
    s.v_full[stage].init(1);
    s.k_empty[stage].init(4 * Tiles::kConsumers);
    s.v_empty[stage].init(4 * Tiles::kConsumers);
  }
  device::fence_mbarrier_init();
}

/// Which stage of a ring comes next, and the parity of its round.
template <class Tiles>
struct Place {
  int stage = 0;
  unsigned parity = 0;

  __device__ __forceinline__ void next() {
    if (++stage < Tiles::kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

/// How the copy engine knows Q, K, V and O: boxes of a tile's rows of one head.
struct Maps {
  device::TensorMap q, k, v, o;
};

/// A matrix of each head, of which there are `rows` rows, `all_rows` rows apart from head to head.
/// Dimensions: columns of a panel, rows, panels, heads. Rows end with each head: what a box holds
/// beyond becomes zero, or is not stored.
template <class Tiles, class T>
device::TensorMap map_of(const T* array, std::int64_t rows, std::int64_t all_rows,
                         std::int64_t heads, std::uint32_t box_rows) {
  constexpr std::uint64_t kPanels = Tiles::kD / Tiles::kPanel;
  return device::make_tensor_map(
      {.element = kElementOf<T>,
       .address = const_cast<T*>(array),
       .rank = 4,
       .sizes = {Tiles::kPanel, static_cast<std::uint64_t>(rows), kPanels,
                 static_cast<std::uint64_t>(heads)},
       .strides = {Tiles::kD * sizeof(T), kRowBytes,
                   static_cast<std::uint64_t>(all_rows) * Tiles::kD * sizeof(T)},
       .box = {Tiles::kPanel, box_rows, kPanels, 1},
       .swizzle = Swizzle::k128});
}

/// Keys that no row sees are not in the maps and become zeros: P is 0 there, and 0 times NaN is
/// NaN. Where no key is seen, nobody asks for a tile, and any map will do.
template <class Tiles, class T>
Maps maps_of(const ForwardArgsOf<T>& args, std::int64_t diagonal) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t seen = visible_keys(Nq - 1, diagonal, Nk);
  Maps maps;
  maps.q = maps.k = maps.v = map_of<Tiles>(args.q, Nq, Nq, B * H, Tiles::kRows);
  if (seen > 0) maps.k = map_of<Tiles>(args.k, seen, Nk, B * H, Tiles::kBc);
  if (seen > 0) maps.v = map_of<Tiles>(args.v, seen, Nk, B * H, Tiles::kBc);
  maps.o = map_of<Tiles>(args.o, Nq, Nq, B * H, Tiles::kRows);
  return maps;
}

/// One thread asks for all rows of the block's tile of Q. rows: of the first warpgroup.
template <class Tiles, class T>
__device__ __forceinline__ void load_queries(Shared<T, Tiles>& s, const Maps& maps,
                                             const Rows& rows) {
  s.q_full.arrive_expect(Tiles::kBr * Tiles::kD * sizeof(T));
  for (int consumer = 0; consumer < Tiles::kConsumers; ++consumer) {
    device::tma_load(s.q[consumer], maps.q, s.q_full, 0,
                     static_cast<int>(rows.first) + Tiles::kRows * consumer, 0,
                     static_cast<int>(rows.head));
  }
}

/// One thread asks for tile j of K or V.
template <class Tiles, class T>
__device__ __forceinline__ void load_tile(T* sTile, const device::TensorMap& map,
                                          device::Mbarrier& full, int j, std::int64_t head) {
  full.arrive_expect(Tiles::kBc * Tiles::kD * sizeof(T));
  device::tma_load(sTile, map, full, 0, j * Tiles::kBc, 0, static_cast<int>(head));
}

/// A warp is done with a tile: it has waited for the products that read it.
__device__ __forceinline__ void release(device::Mbarrier& empty) {
  if (threadIdx.x % 32 == 0) empty.arrive();
}

/// Brings a warpgroup's rows of O to where its rows of Q were, and from there to O. barrier: the id
/// of a named barrier of the warpgroup's own.
template <class Tiles, class T>
__device__ __forceinline__ void store_output(T* sO, const device::TensorMap& map,
                                             const float (&acc_o)[Tiles::kD / 8][4],
                                             const Rows& rows, int barrier) {
  const int row = static_cast<int>(threadIdx.x) % 128 / 32 * 16 + device::fragment_row();
  device::named_sync(barrier, 128);  // wait until no product of the warpgroup reads Q
#pragma unroll
  for (int n = 0; n < Tiles::kD / 8; ++n) {
    const int chunk = n % 8 ^ row % 8;  // rows row and row + 8 are swizzled alike
    T* to = sO + (n / 8 * Tiles::kRows + row) * Tiles::kPanel + chunk * kChunk;
    to += device::fragment_column();
    *reinterpret_cast<unsigned*>(to) = device::pack<T>(acc_o[n][0], acc_o[n][1]);
    *reinterpret_cast<unsigned*>(to + 8 * Tiles::kPanel) =
        device::pack<T>(acc_o[n][2], acc_o[n][3]);
  }
  device::fence_async_proxy();
  device::named_sync(barrier, 128);  // wait until the warpgroup's rows are complete
  if (threadIdx.x % 128 == 0) {
    device::tma_store(map, sO, 0, static_cast<int>(rows.first), 0, static_cast<int>(rows.head));
    device::tma_commit();
    device::tma_wait_read<0>();
  }
  __syncwarp();  // wait until the warp's first thread is back
}

}  // namespace attn::hopper
