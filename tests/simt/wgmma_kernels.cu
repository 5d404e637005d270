// SPDX-License-Identifier: MIT
#include <stdexcept>
#include <string_view>

#include "common/device/async_copy.cuh"
#include "common/device/async_proxy.cuh"
#include "common/device/named_barrier.cuh"
#include "common/device/setmaxnreg.cuh"
#include "common/device/tma.cuh"
#include "common/device/wgmma.cuh"
#include "tests/simt/wgmma_kernels.hpp"

namespace attn::simt_test {
namespace {

using device::fence_async_proxy;
using device::matrix_descriptor;
using device::Mbarrier;
using device::named_arrive;
using device::named_sync;
using device::setmaxnreg_dec;
using device::setmaxnreg_inc;
using device::shared_address;
using device::TensorMap;
using device::tma_load;
using device::warpgroup_index;
using device::wgmma_commit;
using device::wgmma_fence;
using device::wgmma_rs;
using device::wgmma_ss;
using device::wgmma_wait;

constexpr int kThreads = 128;
constexpr int kSide = 64;                  // of the matrices of a tile
constexpr int kTiles = kSide / 8;          // of 64 x 8 in one of 64 x 64
constexpr unsigned kRowBytes = 2 * kSide;  // as wide as the swizzle
constexpr unsigned kEightRows = 8 * kRowBytes;
constexpr unsigned kTileBytes = kSide * kRowBytes;

__device__ int thread() { return static_cast<int>(threadIdx.x); }

// ---- One instruction ---------------------------------------------------------------------------

template <class T, int kCount, bool kRegisters, bool kTransA, bool kTransB>
__global__ void __launch_bounds__(kThreads)
    wgmma_kernel(const unsigned* image, int words, std::uint64_t a, std::uint64_t b,
                 const unsigned* registers, float* c, bool accumulate) {
  auto* sImage = dynamic_shared<unsigned>();
  for (int i = thread(); i < words; i += kThreads) sImage[i] = image[i];
  const std::uint64_t start = shared_address(sImage) >> 4;
  unsigned x[1][4];
  float acc[kCount][4];
  for (int r = 0; r < 4; ++r) x[0][r] = kRegisters ? registers[4 * thread() + r] : 0;
  for (int i = 0; i < 4 * kCount; ++i) acc[i / 4][i % 4] = c[4 * kCount * thread() + i];
  fence_async_proxy();
  __syncthreads();  // wait until the image is complete
  wgmma_fence(acc, x);
  if constexpr (kRegisters) {
    wgmma_rs<T, kTransB>(acc, x[0], b + start, accumulate);
  } else {
    wgmma_ss<T, kTransA, kTransB>(acc, a + start, b + start, accumulate);
  }
  wgmma_commit();
  wgmma_wait<0>(acc);
  for (int i = 0; i < 4 * kCount; ++i) c[4 * kCount * thread() + i] = acc[i / 4][i % 4];
}

// ---- One tile ----------------------------------------------------------------------------------

/// Stores a matrix of 64 x 64 in rows of 128 bytes with the swizzle of 128 bytes.
template <class T>
__device__ void store_tile(unsigned char* sTile, const T* gRows) {
  for (int i = thread() % kThreads; i < kSide * 8; i += kThreads) {
    const int row = i / 8, chunk = i % 8;
    const uint4 elements = *reinterpret_cast<const uint4*>(gRows + row * kSide + chunk * 8);
    *reinterpret_cast<uint4*>(sTile + row * 128 + (chunk ^ row % 8) * 16) =  // bug: tile_store
        elements;
  }
}

/// Columns 16 step to 16 step + 15 of a tile whose rows are those of A, or the columns of B.
__device__ std::uint64_t rows_descriptor(const unsigned char* sTile, int step) {
  return matrix_descriptor(shared_address(sTile) + 32u * static_cast<unsigned>(step), 16,
                           kEightRows, Swizzle::k128);
}

/// Rows 16 step to 16 step + 15 of a tile whose columns are those of B.
__device__ std::uint64_t columns_descriptor(const unsigned char* sTile, int step) {
  return matrix_descriptor(shared_address(sTile) + 2 * kEightRows * static_cast<unsigned>(step),
                           kTileBytes, kEightRows, Swizzle::k128);
}

template <class T>
__device__ void pack_rows(unsigned (&p)[4][4], const float (&s)[kTiles][4]) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const float* pair = &s[2 * k + r / 2][r % 2 * 2];
      p[k][r] = device::pack<T>(pair[0], pair[1]);
    }
  }
}

/// Element i of tile n of the thread's accumulators lies there in 64 x 64.
__device__ int place_of(int n, int i) {
  const int row = thread() % kThreads / 32 * 16 + thread() % 32 / 4 + 8 * (i / 2);
  return row * kSide + 8 * n + thread() % 4 * 2 + i % 2;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    one_tile_kernel(const T* q, const T* k, const T* v, float* o) {
  auto* sQ = dynamic_shared<unsigned char>();  // (64, 64)
  unsigned char* sK = sQ + kTileBytes;         // (64, 64)
  unsigned char* sV = sK + kTileBytes;         // (64, 64)
  store_tile(sQ, q);
  store_tile(sK, k);
  store_tile(sV, v);
  fence_async_proxy();
  __syncthreads();  // wait until the tiles are complete
  float acc_s[kTiles][4], acc_o[kTiles][4];
  wgmma_fence(acc_s);
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    wgmma_ss<T>(acc_s, rows_descriptor(sQ, step), rows_descriptor(sK, step), step > 0);
  }
  wgmma_commit();
  wgmma_wait<0>(acc_s);
  unsigned p[4][4];
  pack_rows<T>(p, acc_s);
  wgmma_fence(acc_o, p);
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    wgmma_rs<T, true>(acc_o, p[step], columns_descriptor(sV, step), step > 0);
  }
  wgmma_commit();
  wgmma_wait<0>(acc_o);
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) o[place_of(n, i)] = acc_o[n][i];
  }
}

__global__ void __launch_bounds__(kThreads)
    two_products_kernel(const bfloat16* matrices, float* first, float* last) {
  auto* sTiles = dynamic_shared<unsigned char>();  // (2, 64, 64)
  for (int n = 0; n < 2; ++n) store_tile(sTiles + n * kTileBytes, matrices + n * kSide * kSide);
  fence_async_proxy();
  __syncthreads();  // wait until the tiles are complete
  float acc[2][kTiles][4];
  wgmma_fence(acc[0], acc[1]);
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int step = 0; step < (n == 0 ? 4 : 1); ++step) {
      wgmma_ss<bfloat16>(acc[n], rows_descriptor(sTiles, step),
                         rows_descriptor(sTiles + n * kTileBytes, step), step > 0);
    }
    wgmma_commit();
  }
  wgmma_wait<1>(acc[0]);
  first[thread()] = acc[0][0][0];
  wgmma_wait<0>(acc[1]);
  last[thread()] = acc[1][0][0];
}

#ifndef __CUDACC__  // ptxas mends some of them, and says so

// ---- Bugs --------------------------------------------------------------------------------------

enum class Bug {
  kReadsEarly,          // an accumulator, before the wait
  kWritesEarly,         // likewise
  kTouchesA,            // A's registers, before the wait
  kNoCommit,            // so that the wait waits for nothing
  kWaitsTooLittle,      // one group too many may be under way
  kNoFence,             // in front of the first product
  kNoSecondFence,       // after P has been packed
  kOtherShape,          // half of the accumulators, while all are in use
  kOverwrites,          // a tile that is being read
  kReleasesEarly,       // a tile, whose next writer comes behind a barrier before the wait
  kOutside,             // a descriptor that ends beyond shared memory
  kBaseOffset,          // a descriptor with a base offset
  kUnequalDescriptors,  // each warp has its own
  kUnequalScale,        // each warp adds, or does not
  kSkipsLanes,          // half a warp does not come to a product
  kOtherWait,           // one warp waits elsewhere
  kShifted,             // warps 1 to 4
  kPartial,             // three warps
  kLanding,             // a tile that cp.async is still writing
  kUnwritten,           // a row that nobody has written
  kNoProxyFence,        // between the stores and that barrier
  kNoBarrier            // between the stores and the product
};

template <Bug kBug>
__global__ void __launch_bounds__(2 * kThreads)
    bug_kernel(const bfloat16* q, const bfloat16* k, const bfloat16* v, float* o) {
  auto* sQ = dynamic_shared<unsigned char>();  // (64, 64)
  unsigned char* sK = sQ + kTileBytes;         // (64, 64)
  unsigned char* sV = sK + kTileBytes;         // (64, 64)
  if (kBug == Bug::kShifted || kBug == Bug::kPartial) {
    for (unsigned i = threadIdx.x; i < 3 * kTileBytes / 4; i += blockDim.x) {
      dynamic_shared<unsigned>()[i] = 0;
    }
    __syncthreads();
    if (kBug == Bug::kShifted && (thread() < 32 || thread() >= 160)) return;
  } else if (thread() >= kThreads) {  // who writes K again
    __syncthreads();
    if (kBug == Bug::kReleasesEarly) {
      named_sync(1, 2 * kThreads);
      store_tile(sK, k + kSide * kSide);
    }
    return;
  } else {
    store_tile(sQ, q);
    store_tile(sV, v);
    if (kBug == Bug::kLanding) {
      device::cp_async_16(shared_address(sK) + 16u * threadIdx.x, k, true);  // bug: landing_copy
      device::cp_async_commit();
    } else if (kBug != Bug::kUnwritten) {
      store_tile(sK, k);
    }
    if (kBug != Bug::kNoProxyFence) fence_async_proxy();
    if (kBug != Bug::kNoBarrier) __syncthreads();  // wait until the tiles are complete
  }

  float acc_s[kTiles][4], acc_o[kTiles][4];
  if (kBug != Bug::kNoFence) wgmma_fence(acc_s);  // bug: first_fence
  const int warp = thread() / 32;
  const auto issue_scores = [&] {
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      std::uint64_t b = rows_descriptor(sK, step);
      if (kBug == Bug::kOutside) b += std::uint64_t{4096} << 32;
      if (kBug == Bug::kBaseOffset) b |= std::uint64_t{1} << 49;
      if (kBug == Bug::kUnequalDescriptors) b += static_cast<std::uint64_t>(warp);
      const bool add = kBug == Bug::kUnequalScale ? warp > 0 : step > 0;
      wgmma_ss<bfloat16>(acc_s, rows_descriptor(sQ, step), b, add);  // bug: scores
    }
  };
  if (kBug == Bug::kSkipsLanes) {
    if (thread() != 40) issue_scores();
  } else {
    issue_scores();
  }
  if (kBug == Bug::kOtherShape) {
    auto& half = reinterpret_cast<float(&)[kTiles / 2][4]>(acc_s);
    wgmma_ss<bfloat16>(half, rows_descriptor(sQ, 0), rows_descriptor(sK, 0),  // bug: other_shape
                       true);
  }
  if (kBug != Bug::kNoCommit) wgmma_commit();
  if (kBug == Bug::kReadsEarly) o[kSide * kSide + thread()] = acc_s[1][2];  // bug: reads_early
  if (kBug == Bug::kWritesEarly) acc_s[7][3] = 0.0f;                        // bug: writes_early
  if (kBug == Bug::kOverwrites && thread() == 77) sK[128 * 5] = 1;          // bug: overwrites
  if (kBug == Bug::kReleasesEarly) named_arrive(1, 2 * kThreads);
  if (kBug == Bug::kOtherWait && warp == 2) wgmma_commit();  // bug: other_wait
  if (kBug == Bug::kWaitsTooLittle) {
    wgmma_wait<1>(acc_s);  // bug: waits_too_little
  } else {
    wgmma_wait<0>(acc_s);  // bug: waits
  }
  unsigned p[4][4];
  pack_rows<bfloat16>(p, acc_s);
  if (kBug != Bug::kNoSecondFence) wgmma_fence(acc_o, p);
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    wgmma_rs<bfloat16, true>(acc_o, p[step], columns_descriptor(sV, step),  // bug: values
                             step > 0);
  }
  wgmma_commit();
  if (kBug == Bug::kTouchesA) p[2][1] = 0;  // bug: touches_a
  wgmma_wait<0>(acc_o);
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) o[place_of(n, i)] = acc_o[n][i];
  }
}

struct Misuse {
  std::string_view name;
  void (*kernel)(const bfloat16*, const bfloat16*, const bfloat16*, float*);
  unsigned threads = kThreads;
};
constexpr Misuse kMisuses[] = {
    {"reads_early", bug_kernel<Bug::kReadsEarly>},
    {"writes_early", bug_kernel<Bug::kWritesEarly>},
    {"touches_a", bug_kernel<Bug::kTouchesA>},
    {"no_commit", bug_kernel<Bug::kNoCommit>},
    {"waits_too_little", bug_kernel<Bug::kWaitsTooLittle>},
    {"no_fence", bug_kernel<Bug::kNoFence>},
    {"no_second_fence", bug_kernel<Bug::kNoSecondFence>},
    {"other_shape", bug_kernel<Bug::kOtherShape>},
    {"overwrites", bug_kernel<Bug::kOverwrites>},
    {"releases_early", bug_kernel<Bug::kReleasesEarly>, 2 * kThreads},
    {"outside", bug_kernel<Bug::kOutside>},
    {"base_offset", bug_kernel<Bug::kBaseOffset>},
    {"unequal_descriptors", bug_kernel<Bug::kUnequalDescriptors>},
    {"unequal_scale", bug_kernel<Bug::kUnequalScale>},
    {"skips_lanes", bug_kernel<Bug::kSkipsLanes>},
    {"other_wait", bug_kernel<Bug::kOtherWait>},
    {"shifted", bug_kernel<Bug::kShifted>, 2 * kThreads},
    {"partial", bug_kernel<Bug::kPartial>, 96},
    {"landing", bug_kernel<Bug::kLanding>},
    {"unwritten", bug_kernel<Bug::kUnwritten>},
    {"no_proxy_fence", bug_kernel<Bug::kNoProxyFence>},
    {"no_barrier", bug_kernel<Bug::kNoBarrier>},
};

#endif

// ---- Tiles that TMA brings ---------------------------------------------------------------------

/// Q and two tiles of K, one after the other in the same place: S of both.
template <Tma kVariant>
__global__ void __launch_bounds__(kThreads + 32)
    tma_kernel(const __grid_constant__ TensorMap map_q, const __grid_constant__ TensorMap map_k,
               float* s) {
  auto* sQ = dynamic_shared<unsigned char>();  // (64, 64)
  unsigned char* sK = sQ + kTileBytes;         // (64, 64)
  auto* barriers = reinterpret_cast<Mbarrier*>(sK + kTileBytes);
  Mbarrier &q_full = barriers[0], &k_full = barriers[1], &k_empty = barriers[2];
  if (thread() == 0) {
    q_full.init(1);
    k_full.init(1);
    k_empty.init(kThreads / 32);  // one lane of each warp
    device::fence_mbarrier_init();
  }
  __syncthreads();  // wait until the barriers are initialised
  if (thread() >= kThreads) {
    if (thread() > kThreads) return;
    q_full.arrive_expect(kTileBytes);
    tma_load(sQ, map_q, q_full, 0, 0);
    for (int j = 0; j < 2; ++j) {
      k_empty.wait((static_cast<unsigned>(j) & 1) ^ 1);
      k_full.arrive_expect(kTileBytes);
      tma_load(sK, map_k, k_full, 0, j * kSide);  // bug: tma_load
    }
    return;
  }
  q_full.wait(0);
  for (int j = 0; j < 2; ++j) {
    if (kVariant != Tma::kNoWait) k_full.wait(static_cast<unsigned>(j));
    float acc_s[kTiles][4];
    wgmma_fence(acc_s);
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      wgmma_ss<bfloat16>(acc_s, rows_descriptor(sQ, step),  // bug: tma_scores
                         rows_descriptor(sK, step), step > 0);
    }
    wgmma_commit();
    if (kVariant == Tma::kReleasesEarly && thread() % 32 == 0) k_empty.arrive();
    wgmma_wait<0>(acc_s);
    if (kVariant == Tma::kNoWait) k_full.wait(static_cast<unsigned>(j));
    if (kVariant != Tma::kReleasesEarly && thread() % 32 == 0) k_empty.arrive();
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) s[j * kSide * kSide + place_of(n, i)] = acc_s[n][i];
    }
  }
}

TensorLayout tiles_of(const std::uint16_t* array, std::uint64_t rows, Swizzle swizzle) {
  return {.element = Element::kBfloat16,
          .address = const_cast<std::uint16_t*>(array),
          .rank = 2,
          .sizes = {kSide, rows},
          .strides = {kRowBytes},
          .box = {kSide, kSide},
          .swizzle = swizzle};
}

// ---- Registers ---------------------------------------------------------------------------------

__global__ void __launch_bounds__(3 * kThreads, 1) registers_kernel(int* out) {
  if (warpgroup_index() == 0) {
    setmaxnreg_dec<24>();
    out[thread()] = 24;
  } else {
    setmaxnreg_inc<240>();
    out[thread()] = 240;
  }
}

#ifndef __CUDACC__  // which refuses some of them itself

enum class RegisterBug {
  kTooMany,      // one step more than the others give back
  kNobodyGives,  // and so nobody has any
  kDecToMore,
  kIncToFewer,
  kOneWarp,  // of a warpgroup
};

template <RegisterBug kBug>
__global__ void __launch_bounds__(3 * kThreads) register_bug_kernel(int* out) {
  if (warpgroup_index() == 0) {
    if (kBug == RegisterBug::kOneWarp) {
      if (thread() < 32) setmaxnreg_dec<24>();  // bug: one_warp
    } else if (kBug == RegisterBug::kDecToMore) {
      setmaxnreg_dec<240>();  // bug: dec_to_more
    } else if (kBug == RegisterBug::kIncToFewer) {
      setmaxnreg_inc<24>();  // bug: inc_to_fewer
    } else if (kBug != RegisterBug::kNobodyGives) {
      setmaxnreg_dec<24>();
    }
  } else if (kBug == RegisterBug::kTooMany) {
    setmaxnreg_inc<248>();  // bug: too_many
  } else if (kBug == RegisterBug::kNobodyGives) {
    setmaxnreg_inc<240>();  // bug: nobody_gives
  }
  out[thread()] = 0;
}

struct RegisterMisuse {
  std::string_view name;
  void (*kernel)(int*);
};
constexpr RegisterMisuse kRegisterMisuses[] = {
    {"too_many", register_bug_kernel<RegisterBug::kTooMany>},
    {"nobody_gives", register_bug_kernel<RegisterBug::kNobodyGives>},
    {"dec_to_more", register_bug_kernel<RegisterBug::kDecToMore>},
    {"inc_to_fewer", register_bug_kernel<RegisterBug::kIncToFewer>},
    {"one_warp", register_bug_kernel<RegisterBug::kOneWarp>},
};

#endif

}  // namespace

const char* wgmma_kernels_file() { return __FILE__; }

void run_wgmma(const OneWgmma& shape, const unsigned* image, int bytes, std::uint64_t a,
               std::uint64_t b, const unsigned* registers, float* c) {
  const auto run = [&](auto kernel) {
    launch(kernel, 1, kThreads, static_cast<std::size_t>(bytes), nullptr, image, bytes / 4, a, b,
           registers, c, shape.accumulate);
  };
  if (shape.element == Element::kFloat16) {
    return run(shape.a_in_registers ? wgmma_kernel<float16, 16, true, false, false>
                                    : wgmma_kernel<float16, 16, false, false, false>);
  }
  switch (shape.n) {
    case 8:
      return run(wgmma_kernel<bfloat16, 1, false, false, false>);
    case 40:
      return run(wgmma_kernel<bfloat16, 5, true, false, false>);
    case 128:
      break;
    case 176:
      return run(wgmma_kernel<bfloat16, 22, false, false, false>);
    case 256:
      return run(wgmma_kernel<bfloat16, 32, true, false, false>);
    default:
      throw std::logic_error("no kernel for this N");
  }
  if (shape.a_in_registers) {
    return run(shape.b_mn_major ? wgmma_kernel<bfloat16, 16, true, false, true>
                                : wgmma_kernel<bfloat16, 16, true, false, false>);
  }
  if (shape.a_mn_major) {
    return run(shape.b_mn_major ? wgmma_kernel<bfloat16, 16, false, true, true>
                                : wgmma_kernel<bfloat16, 16, false, true, false>);
  }
  run(shape.b_mn_major ? wgmma_kernel<bfloat16, 16, false, false, true>
                       : wgmma_kernel<bfloat16, 16, false, false, false>);
}

void run_one_tile(Element element, const std::uint16_t* q, const std::uint16_t* k,
                  const std::uint16_t* v, float* o) {
  const auto run = [&]<class T>(T) {
    launch(one_tile_kernel<T>, 1, kThreads, 3 * kTileBytes, nullptr, reinterpret_cast<const T*>(q),
           reinterpret_cast<const T*>(k), reinterpret_cast<const T*>(v), o);
  };
  element == Element::kBfloat16 ? run(bfloat16{}) : run(float16{});
}

void run_two_products(const std::uint16_t* matrices, float* first, float* last) {
  launch(two_products_kernel, 1, kThreads, 2 * kTileBytes, nullptr,
         reinterpret_cast<const bfloat16*>(matrices), first, last);
}

#ifndef __CUDACC__
void run_wgmma_misuse(const std::string& name, const std::uint16_t* q, const std::uint16_t* k,
                      const std::uint16_t* v, float* o) {
  for (const Misuse& misuse : kMisuses) {
    if (misuse.name != name) continue;
    return launch(misuse.kernel, 1, misuse.threads, 3 * kTileBytes, nullptr,
                  reinterpret_cast<const bfloat16*>(q), reinterpret_cast<const bfloat16*>(k),
                  reinterpret_cast<const bfloat16*>(v), o);
  }
  throw std::logic_error("no kernel called " + name);
}
#endif

void run_tma_tiles(Tma variant, const std::uint16_t* q, const std::uint16_t* k, float* s) {
  const TensorMap map_q = device::make_tensor_map(tiles_of(q, kSide, Swizzle::k128));
  const TensorMap map_k = device::make_tensor_map(
      tiles_of(k, 2 * kSide, variant == Tma::kSwizzle ? Swizzle::kNone : Swizzle::k128));
  const auto run = [&](void (*kernel)(TensorMap, TensorMap, float*)) {
    launch(kernel, 1, kThreads + 32, 2 * kTileBytes + 3 * sizeof(Mbarrier), nullptr, map_q, map_k,
           s);
  };
  switch (variant) {
    case Tma::kRight:
    case Tma::kSwizzle:
      return run(tma_kernel<Tma::kRight>);
    case Tma::kNoWait:
      return run(tma_kernel<Tma::kNoWait>);
    case Tma::kReleasesEarly:
      return run(tma_kernel<Tma::kReleasesEarly>);
  }
}

void run_setmaxnreg(int* out) { launch(registers_kernel, 1, 3 * kThreads, 0, nullptr, out); }

#ifndef __CUDACC__
void run_setmaxnreg_misuse(const std::string& name, int* out) {
  for (const RegisterMisuse& misuse : kRegisterMisuses) {
    if (misuse.name == name) return launch(misuse.kernel, 1, 3 * kThreads, 0, nullptr, out);
  }
  throw std::logic_error("no kernel called " + name);
}
#endif

}  // namespace attn::simt_test
