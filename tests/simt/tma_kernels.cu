// SPDX-License-Identifier: MIT
#include <stdexcept>

#include "common/device/async_proxy.cuh"
#include "common/device/tma.cuh"
#include "tests/simt/tma_kernels.hpp"

namespace attn::simt_test {
namespace {

using device::fence_async_proxy;
using device::fence_mbarrier_init;
using device::make_tensor_map;
using device::Mbarrier;
using device::TensorMap;
using device::tma_commit;
using device::tma_load;
using device::tma_store;
using device::tma_wait_read;

constexpr int kTileFloats = kRingRows * kRingColumns;
constexpr unsigned kTileBytes = kTileFloats * sizeof(float);

__device__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
__device__ int warp() { return static_cast<int>(threadIdx.x) / 32; }

/// The float of a tile with the 128-byte swizzle.
__device__ float* element(float* tile, int row, int column) {
  const auto plain =
      static_cast<unsigned>(sizeof(float)) * static_cast<unsigned>(row * kRingColumns + column);
  return tile + swizzled(Swizzle::k128, plain) / sizeof(float);
}

template <Ring kVariant>
__global__ void ring_kernel(const __grid_constant__ TensorMap map, int stages, int tiles,
                            float* out) {
  constexpr bool kAllArrive = kVariant == Ring::kCountOfWarps || kVariant == Ring::kWritten ||
                              kVariant == Ring::kWrittenNotFenced;
  constexpr bool kCountsThreads = kVariant == Ring::kCountOfThreads || kVariant == Ring::kWritten ||
                                  kVariant == Ring::kWrittenNotFenced;
  __shared__ Mbarrier full[kRingStages], empty[kRingStages];
  auto* sTiles = dynamic_shared<float>();  // (stages, 16, 32)
  const int consumers = static_cast<int>(blockDim.x) / 32 - 1;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < stages; ++stage) {
      full[stage].init(1);                                             // bug: ring_init
      empty[stage].init(kCountsThreads ? 32 * consumers : consumers);  // bug: ring_init
    }
    if (kVariant != Ring::kNoInitFence) fence_mbarrier_init();
  }
  if (kVariant != Ring::kNoInitBarrier) __syncthreads();
  if (warp() == 0) {
    if (lane() != 0) return;
    const int all = kVariant == Ring::kOneTileMore ? tiles + 1 : tiles;
    for (int tile = 0; tile < all; ++tile) {
      const int stage = tile % stages;
      const unsigned round = static_cast<unsigned>(tile / stages);
      const unsigned parity = kVariant == Ring::kProducerParity ? 0 : round % 2;
      if (kVariant != Ring::kNoEmptyWait) {
        empty[stage].wait(kVariant == Ring::kFirstParity ? parity : parity ^ 1);  // bug: ring_empty
      }
      const unsigned bytes = kVariant == Ring::kExpectTooLittle || kVariant == Ring::kTwoCopies
                                 ? kTileBytes / 2
                             : kVariant == Ring::kExpectTooMuch ? kTileBytes + 128
                                                                : kTileBytes;
      full[stage].arrive_expect(bytes);  // bug: ring_expect
      float* to = sTiles + stage * kTileFloats;
      tma_load(to, map, full[stage], 0, tile * kRingRows);  // bug: ring_copy
      if (kVariant == Ring::kTwoCopies) {
        tma_load(to + kTileFloats / 2, map, full[stage], 0,  // bug: ring_copy
                 tile * kRingRows + kRingRows / 2);
      }
    }
    return;
  }
  for (int tile = 0; tile < tiles; ++tile) {
    const int stage = tile % stages;
    const unsigned round = static_cast<unsigned>(tile / stages);
    const unsigned parity = kVariant == Ring::kConsumerParity ? 0 : round % 2;
    const bool waits = kVariant == Ring::kNoFullWait     ? tile == 0
                       : kVariant == Ring::kOneLaneWaits ? tile == 0 || lane() == 0
                                                         : true;
    if (waits) full[stage].wait(parity);                      // bug: ring_full
    if (kVariant == Ring::kOneLaneWaits) __any_sync(~0u, 1);  // which orders no memory
    if (kVariant == Ring::kReleasedEarly && lane() == 0) empty[stage].arrive();
    float* sTile = sTiles + stage * kTileFloats;
    for (int row = warp() - 1; row < kRingRows; row += consumers) {
      const float value = *element(sTile, row, lane());  // bug: ring_read
      out[(tile * kRingRows + row) * kRingColumns + lane()] = value;
      if (kVariant == Ring::kWritten || kVariant == Ring::kWrittenNotFenced) {
        *element(sTile, row, lane()) = -value;  // bug: ring_write
      }
    }
    if (kVariant == Ring::kWritten) fence_async_proxy();
    if (kVariant != Ring::kNoSyncwarp) __syncwarp();
    if (kVariant != Ring::kReleasedEarly && (kAllArrive || lane() == 0)) {
      empty[stage].arrive();  // bug: ring_release
    }
  }
}

/// No warps of their own: one thread brings a tile, waits for it, and tells the others in a
/// __syncthreads.
__global__ void block_ring_kernel(const __grid_constant__ TensorMap map, int stages, int tiles,
                                  float* out) {
  __shared__ Mbarrier full[kRingStages];
  auto* sTiles = dynamic_shared<float>();
  const auto load = [&](int tile) {
    full[tile % stages].arrive_expect(kTileBytes);
    tma_load(sTiles + tile % stages * kTileFloats, map, full[tile % stages], 0, tile * kRingRows);
  };
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < stages; ++stage) full[stage].init(1);
    fence_mbarrier_init();
    for (int tile = 0; tile < stages && tile < tiles; ++tile) load(tile);
  }
  for (int tile = 0; tile < tiles; ++tile) {
    if (threadIdx.x == 0) full[tile % stages].wait(static_cast<unsigned>(tile / stages) % 2);
    __syncthreads();
    float* sTile = sTiles + tile % stages * kTileFloats;
    for (int row = warp(); row < kRingRows; row += static_cast<int>(blockDim.x) / 32) {
      out[(tile * kRingRows + row) * kRingColumns + lane()] = *element(sTile, row, lane());
    }
    __syncthreads();
    if (threadIdx.x == 0 && tile + stages < tiles) load(tile + stages);
  }
}

__global__ void box_kernel(const __grid_constant__ TensorMap map, int rank, int4 corner,
                           unsigned to, unsigned bytes, bool waits, unsigned* out) {
  __shared__ Mbarrier full;
  auto* sBox = dynamic_shared<unsigned char>() + to;
  if (threadIdx.x == 0) {
    full.init(1);
    fence_mbarrier_init();
    if (rank == 2) tma_load(sBox, map, full, corner.x, corner.y);
    if (rank == 3) tma_load(sBox, map, full, corner.x, corner.y, corner.z);
    if (rank == 4) tma_load(sBox, map, full, corner.x, corner.y, corner.z, corner.w);
    full.arrive_expect(bytes);  // bytes may come before they are announced
  }
  __syncthreads();
  if (waits) full.wait(0);
  for (unsigned i = threadIdx.x; i < bytes / 4; i += blockDim.x) {
    out[i] = reinterpret_cast<const unsigned*>(sBox)[i];
  }
}

template <Store kVariant>
__global__ void store_kernel(const __grid_constant__ TensorMap map, int first_row) {
  auto* sTile = dynamic_shared<float>();  // (16, 32)
  for (int i = static_cast<int>(threadIdx.x); i < kTileFloats; i += 64) {
    sTile[i] = static_cast<float>(100 * (i / 32) + i % 32);  // bug: store_fill
  }
  const bool fences = kVariant != Store::kNoFence && kVariant != Store::kLateFence &&
                      (kVariant != Store::kOneFence || threadIdx.x == 0);
  if (fences) fence_async_proxy();
  if (kVariant != Store::kNoBarrier) __syncthreads();
  if (kVariant == Store::kLateFence) fence_async_proxy();
  if (threadIdx.x == 0) {
    if (kVariant == Store::kWaitsTooFew) {
      tma_store(map, sTile, 0, first_row);  // bug: store_store
      tma_commit();
    }
    tma_store(map, sTile, 0, first_row);  // bug: store_store
    if (kVariant != Store::kNoCommit) tma_commit();
  }
  if (kVariant == Store::kEarlyBarrier) __syncthreads();
  if (threadIdx.x == 0) {
    if (kVariant == Store::kWaitsTooFew) {
      tma_wait_read<1>();
    } else if (kVariant != Store::kNoWait && kVariant != Store::kNoLastWait) {
      tma_wait_read<0>();
    }
  }
  if (kVariant != Store::kNoSecondBarrier && kVariant != Store::kEarlyBarrier) __syncthreads();
  if (kVariant != Store::kNoLastWait) {
    for (int i = static_cast<int>(threadIdx.x); i < kTileFloats; i += 64) {
      sTile[i] = 0.0f;  // bug: store_again
    }
  }
  if ((kVariant == Store::kNoWait || kVariant == Store::kWaitsTooFew) && threadIdx.x == 0) {
    tma_wait_read<0>();
  }
}

template <Arrival kVariant>
__global__ void arrival_kernel(float* out) {
  __shared__ Mbarrier full;
  __shared__ float sTile[32];
  sTile[lane()] = 0.0f;
  if (threadIdx.x == 0) full.init(kVariant == Arrival::kAllLanes ? 32 : 1);
  __syncthreads();
  if (warp() == 0) {
    if (kVariant == Arrival::kTooEarly && lane() == 0) full.arrive();
    sTile[lane()] = static_cast<float>(lane());  // bug: arrival
    if (kVariant == Arrival::kOneLane) __syncwarp();
    if (kVariant == Arrival::kAllLanes || (kVariant != Arrival::kTooEarly && lane() == 0)) {
      full.arrive();
    }
  } else {
    full.wait(0);
    out[lane()] = sTile[31 - lane()];  // bug: arrival
  }
}

__global__ void meeting_kernel(float* out) {
  __shared__ Mbarrier all;
  if (threadIdx.x == 0) all.init(32);
  __syncthreads();
  all.arrive();
  all.wait(0);
  out[lane()] = static_cast<float>(lane());
}

__global__ void not_ready_kernel(const __grid_constant__ TensorMap, float*) {
  dynamic_shared<Mbarrier>()->arrive();  // bug: not_ready
}

__global__ void no_arrivals_kernel(const __grid_constant__ TensorMap, float*) {
  if (threadIdx.x == 0) dynamic_shared<Mbarrier>()->init(0);  // bug: no_arrivals
}

__global__ void init_twice_kernel(const __grid_constant__ TensorMap, float*) {
  dynamic_shared<Mbarrier>()->init(32);  // bug: init_twice
}

#ifndef __CUDACC__
__global__ void odd_place_kernel(const __grid_constant__ TensorMap, float*) {
  if (threadIdx.x == 0) {
    simt::mbarrier_init(dynamic_shared<char>() + 4, 1,
                        std::source_location::current());  // bug: odd_place
  }
}
#endif

__global__ void not_shared_kernel(const __grid_constant__ TensorMap, float* out) {
  if (threadIdx.x == 0) reinterpret_cast<Mbarrier*>(out)->init(1);  // bug: not_shared
}

__global__ void odd_parity_kernel(const __grid_constant__ TensorMap, float*) {
  auto* full = dynamic_shared<Mbarrier>();
  if (threadIdx.x == 0) full->init(1);
  __syncthreads();
  full->wait(2);  // bug: odd_parity
}

__global__ void too_many_bytes_kernel(const __grid_constant__ TensorMap, float*) {
  auto* full = dynamic_shared<Mbarrier>();
  if (threadIdx.x == 0) {
    full->init(2);
    full->arrive_expect(1u << 19);
    full->arrive_expect(1u << 19);  // bug: too_many_bytes
  }
}

__global__ void too_many_arrivals_kernel(const __grid_constant__ TensorMap, float*) {
  auto* full = dynamic_shared<Mbarrier>();
  if (threadIdx.x == 0) {
    full->init(1);
    full->arrive_expect(128);
    full->arrive();  // bug: too_many_arrivals
  }
}

__global__ void misaligned_box_kernel(const __grid_constant__ TensorMap map, float*) {
  auto* full = dynamic_shared<Mbarrier>();
  if (threadIdx.x == 0) {
    full->init(1);
    fence_mbarrier_init();
    tma_load(dynamic_shared<char>() + 1024 + 64, map, *full, 0, 0);  // bug: misaligned_box
  }
}

__global__ void shared_end_box_kernel(const __grid_constant__ TensorMap map, float*) {
  auto* full = dynamic_shared<Mbarrier>();
  if (threadIdx.x == 0) {
    full->init(1);
    fence_mbarrier_init();
    tma_load(dynamic_shared<char>() + 7 * 1024, map, *full, 0, 0);  // bug: shared_end_box
  }
}

__global__ void wrong_rank_kernel(const __grid_constant__ TensorMap map, float*) {
  auto* full = dynamic_shared<Mbarrier>();
  if (threadIdx.x == 0) {
    full->init(1);
    fence_mbarrier_init();
    tma_load(dynamic_shared<char>() + 1024, map, *full, 0, 0, 0);  // bug: wrong_rank
  }
}

__global__ void touched_kernel(const __grid_constant__ TensorMap, float*) {
  auto* full = dynamic_shared<Mbarrier>();
  if (threadIdx.x == 0) full->init(1);
  __syncthreads();
  if (threadIdx.x == 1) dynamic_shared<float>()[1] = 0.0f;  // bug: touched
}

__global__ void beyond_array_kernel(const __grid_constant__ TensorMap map, float*) {
  auto* full = dynamic_shared<Mbarrier>();
  if (threadIdx.x == 0) {
    full->init(1);
    fence_mbarrier_init();
    tma_load(dynamic_shared<char>() + 1024, map, *full, 0, 56);  // bug: beyond_array
  }
}

__global__ void deadlock_kernel(float*) {
  auto* barriers = dynamic_shared<Mbarrier>();
  if (threadIdx.x == 0) {
    barriers[0].init(2);
    barriers[1].init(1);
    barriers[2].init(3);
  }
  __syncthreads();
  if (threadIdx.x == 0) barriers[0].arrive_expect(512);
  if (warp() == 0) barriers[0].wait(0);  // bug: deadlock_first
  if (warp() == 1) barriers[1].wait(0);  // bug: deadlock_second
}

struct Misuse {
  const char* name;
  void (*kernel)(TensorMap, float*);
};
constexpr Misuse kMisuses[] = {
#ifndef __CUDACC__
    {"odd_place", odd_place_kernel},
#endif
    {"not_ready", not_ready_kernel},
    {"no_arrivals", no_arrivals_kernel},
    {"init_twice", init_twice_kernel},
    {"not_shared", not_shared_kernel},
    {"odd_parity", odd_parity_kernel},
    {"too_many_bytes", too_many_bytes_kernel},
    {"too_many_arrivals", too_many_arrivals_kernel},
    {"misaligned_box", misaligned_box_kernel},
    {"shared_end_box", shared_end_box_kernel},
    {"wrong_rank", wrong_rank_kernel},
    {"touched", touched_kernel},
    {"beyond_array", beyond_array_kernel},
};

/// Rows of 32 floats.
TensorLayout rows_of(float* array, int rows, int box_rows, Swizzle swizzle) {
  return {.element = Element::kFloat32,
          .address = array,
          .rank = 2,
          .sizes = {kRingColumns, static_cast<std::uint64_t>(rows)},
          .strides = {kRingColumns * sizeof(float)},
          .box = {kRingColumns, static_cast<std::uint32_t>(box_rows)},
          .swizzle = swizzle};
}

}  // namespace

const char* tma_kernels_file() { return __FILE__; }

void run_ring(Ring variant, int stages, int consumers, int tiles, int rows, float* in, float* out) {
  const int box_rows = variant == Ring::kTwoCopies ? kRingRows / 2 : kRingRows;
  const TensorMap map = make_tensor_map(rows_of(in, rows, box_rows, Swizzle::k128));
  const auto run = [&](void (*kernel)(TensorMap, int, int, float*)) {
    launch(kernel, 1, static_cast<unsigned>(32 * (consumers + 1)),
           static_cast<std::size_t>(stages) * kTileBytes, nullptr, map, stages, tiles, out);
  };
  switch (variant) {
    case Ring::kRight:
      return run(ring_kernel<Ring::kRight>);
    case Ring::kFirstParity:
      return run(ring_kernel<Ring::kFirstParity>);
    case Ring::kProducerParity:
      return run(ring_kernel<Ring::kProducerParity>);
    case Ring::kConsumerParity:
      return run(ring_kernel<Ring::kConsumerParity>);
    case Ring::kNoEmptyWait:
      return run(ring_kernel<Ring::kNoEmptyWait>);
    case Ring::kNoFullWait:
      return run(ring_kernel<Ring::kNoFullWait>);
    case Ring::kOneLaneWaits:
      return run(ring_kernel<Ring::kOneLaneWaits>);
    case Ring::kExpectTooLittle:
      return run(ring_kernel<Ring::kExpectTooLittle>);
    case Ring::kExpectTooMuch:
      return run(ring_kernel<Ring::kExpectTooMuch>);
    case Ring::kTwoCopies:
      return run(ring_kernel<Ring::kTwoCopies>);
    case Ring::kCountOfThreads:
      return run(ring_kernel<Ring::kCountOfThreads>);
    case Ring::kCountOfWarps:
      return run(ring_kernel<Ring::kCountOfWarps>);
    case Ring::kNoInitFence:
      return run(ring_kernel<Ring::kNoInitFence>);
    case Ring::kNoInitBarrier:
      return run(ring_kernel<Ring::kNoInitBarrier>);
    case Ring::kReleasedEarly:
      return run(ring_kernel<Ring::kReleasedEarly>);
    case Ring::kNoSyncwarp:
      return run(ring_kernel<Ring::kNoSyncwarp>);
    case Ring::kWritten:
      return run(ring_kernel<Ring::kWritten>);
    case Ring::kWrittenNotFenced:
      return run(ring_kernel<Ring::kWrittenNotFenced>);
    case Ring::kOneTileMore:
      return run(ring_kernel<Ring::kOneTileMore>);
    case Ring::kBlockBarrier:
      return run(block_ring_kernel);
  }
}

void run_box(const TensorLayout& layout, const std::array<int, 4>& corner, unsigned to, bool waits,
             unsigned* out) {
  const unsigned bytes = box_bytes(layout);
  launch(box_kernel, 1, 64, to + bytes, nullptr, make_tensor_map(layout), layout.rank,
         make_int4(corner[0], corner[1], corner[2], corner[3]), to, bytes, waits, out);
}

void run_store(Store variant, int first_row, int rows, float* out) {
  const TensorMap map = make_tensor_map(rows_of(out, rows, kRingRows, Swizzle::kNone));
  const auto run = [&](void (*kernel)(TensorMap, int)) {
    launch(kernel, 1, 64, kTileBytes, nullptr, map, first_row);
  };
  switch (variant) {
    case Store::kRight:
      return run(store_kernel<Store::kRight>);
    case Store::kNoFence:
      return run(store_kernel<Store::kNoFence>);
    case Store::kLateFence:
      return run(store_kernel<Store::kLateFence>);
    case Store::kOneFence:
      return run(store_kernel<Store::kOneFence>);
    case Store::kNoBarrier:
      return run(store_kernel<Store::kNoBarrier>);
    case Store::kNoWait:
      return run(store_kernel<Store::kNoWait>);
    case Store::kNoSecondBarrier:
      return run(store_kernel<Store::kNoSecondBarrier>);
    case Store::kEarlyBarrier:
      return run(store_kernel<Store::kEarlyBarrier>);
    case Store::kNoLastWait:
      return run(store_kernel<Store::kNoLastWait>);
    case Store::kNoCommit:
      return run(store_kernel<Store::kNoCommit>);
    case Store::kWaitsTooFew:
      return run(store_kernel<Store::kWaitsTooFew>);
  }
}

void run_arrival(Arrival variant, float* out) {
  const auto run = [&](void (*kernel)(float*)) { launch(kernel, 1, 64, 0, nullptr, out); };
  switch (variant) {
    case Arrival::kAllLanes:
      return run(arrival_kernel<Arrival::kAllLanes>);
    case Arrival::kOneLane:
      return run(arrival_kernel<Arrival::kOneLane>);
    case Arrival::kNoSyncwarp:
      return run(arrival_kernel<Arrival::kNoSyncwarp>);
    case Arrival::kTooEarly:
      return run(arrival_kernel<Arrival::kTooEarly>);
  }
}

void run_meeting(float* out) { launch(meeting_kernel, 1, 32, 0, nullptr, out); }

void run_tma_misuse(const std::string& name, float* in, float* out) {
  // One of them is told of more rows than the array has.
  const int rows = name == "beyond_array" ? 72 : 64;
  const TensorMap map = make_tensor_map(rows_of(in, rows, kRingRows, Swizzle::k128));
  for (const Misuse& misuse : kMisuses) {
    if (misuse.name == name) return launch(misuse.kernel, 1, 32, 8192, nullptr, map, out);
  }
  throw std::logic_error("no kernel called " + name);
}

void run_deadlock(float* out) { launch(deadlock_kernel, 1, 64, 128, nullptr, out); }

}  // namespace attn::simt_test
