// SPDX-License-Identifier: MIT
//
// attn_shared_widths-cuda [FILE.json]: how many clocks a GPU takes for shared loads and stores of 8
// and 16 bytes per lane, by address pattern, beside the wavefronts that two rules predict.
//
//   parts   a 128-bit access is served in four quarter warps, a 64-bit one in two halves
//   pairs   the same, but in half as many parts if every active lane n has the address of lane
//           n ^ 1, or every one that of lane n ^ 2: what the CPU machine counts for loads
//
// Warps that issue such an access again and again fill the shared-memory unit, which serves one
// wavefront per clock. So clocks per access are wavefronts, unless something else is slower: the
// way back into the registers is at most 128 bytes wide, which would make every 128-bit load take
// four clocks. The profiler then still tells: five launches for each row, kAccesses accesses each,
//   ncu --metrics l1tex__data_pipe_lsu_wavefronts_mem_shared.sum attn_shared_widths-cuda
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <set>

#include "common/attention.hpp"
#include "common/device/cuda.cuh"

namespace attn {
namespace {

constexpr int kLanes = 32;
constexpr int kThreads = 256;
constexpr int kRounds = 1024;
constexpr int kUnrolled = 8;
constexpr int kAccesses = kThreads / kLanes * kRounds * kUnrolled;  // of a launch, by warp
constexpr int kSharedBytes = 8192;

struct Pattern {
  const char* name;
  unsigned lanes;         // which take part
  int (*slot)(int lane);  // in units of the access
};

constexpr Pattern kPatterns[] = {
    {"side by side", ~0u, [](int lane) { return lane; }},
    {"two addresses, n = n ^ 1", ~0u, [](int lane) { return 2 * (lane / 16); }},
    {"two addresses, n = n ^ 2", ~0u, [](int lane) { return 2 * (lane % 2); }},
    {"16 addresses, n = n ^ 1", ~0u, [](int lane) { return lane / 2; }},
    {"16 addresses, n = n ^ 2", ~0u, [](int lane) { return lane % 2 + lane / 4 * 2; }},
    {"8 addresses, n = n ^ 4", ~0u, [](int lane) { return lane % 4 + lane / 8 * 4 % 8; }},
    {"16 even lanes, side by side", 0x55555555u, [](int lane) { return lane / 2; }},
    {"conflicts: 8 apart", ~0u, [](int lane) { return 8 * lane; }},
};

struct Addresses {
  int bytes[kLanes];
};

Addresses addresses_of(const Pattern& pattern, int width) {
  Addresses addresses{};
  for (int lane = 0; lane < kLanes; ++lane) addresses.bytes[lane] = width * pattern.slot(lane);
  return addresses;
}

/// Wavefronts if `together` lanes are served at a time: in each part, the most words of one bank.
int wavefronts(const Pattern& pattern, int width, int together) {
  const Addresses addresses = addresses_of(pattern, width);
  int sum = 0;
  for (int first = 0; first < kLanes; first += together) {
    std::array<std::set<int>, 32> words;  // by bank
    std::size_t most = 0;
    for (int lane = first; lane < first + together; ++lane) {
      if ((pattern.lanes >> lane & 1u) == 0) continue;
      const int word = addresses.bytes[lane] / 4;
      for (int w = word; w < word + width / 4; ++w) {
        std::set<int>& bank = words[static_cast<std::size_t>(w % 32)];
        bank.insert(w);
        most = bank.size() > most ? bank.size() : most;
      }
    }
    sum += static_cast<int>(most);
  }
  return sum;
}

bool agree(const Pattern& pattern, int partner) {
  for (int lane = 0; lane < kLanes; ++lane) {
    const bool both = (pattern.lanes >> lane & pattern.lanes >> (lane ^ partner) & 1u) != 0;
    if (both && pattern.slot(lane) != pattern.slot(lane ^ partner)) return false;
  }
  return true;
}

template <int kBytes, bool kStore>
__device__ __forceinline__ void access(unsigned address) {
  if constexpr (kStore && kBytes == 16) {
    asm volatile("st.volatile.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(address), "r"(0));
  } else if constexpr (kStore) {
    asm volatile("st.volatile.shared.v2.u32 [%0], {%1, %1};" ::"r"(address), "r"(0));
  } else if constexpr (kBytes == 16) {
    unsigned a, b, c, d;
    asm volatile("ld.volatile.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
                 : "r"(address));
  } else {
    unsigned a, b;
    asm volatile("ld.volatile.shared.v2.u32 {%0, %1}, [%2];" : "=r"(a), "=r"(b) : "r"(address));
  }
}

template <int kBytes, bool kStore>
__global__ void access_kernel(Addresses addresses, unsigned lanes, long long* clocks) {
  __shared__ __align__(16) unsigned char tile[kSharedBytes];
  for (int i = threadIdx.x; i < kSharedBytes; i += kThreads) tile[i] = 0;
  const unsigned lane = threadIdx.x % kLanes;
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(tile)) +
                       static_cast<unsigned>(addresses.bytes[lane]);
  __syncthreads();  // the tile is zero, and every warp starts now
  const long long begin = clock64();
  if ((lanes >> lane & 1u) != 0) {
    for (int r = 0; r < kRounds; ++r) {
#pragma unroll
      for (int u = 0; u < kUnrolled; ++u) access<kBytes, kStore>(address);
    }
  }
  __syncthreads();  // every warp has finished
  if (threadIdx.x == 0) *clocks = clock64() - begin;
}

/// Clocks per access of a warp, the fastest of a few launches.
template <int kBytes, bool kStore>
double measure(const Pattern& pattern, long long* clocks) {
  long long best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    launch(access_kernel<kBytes, kStore>, 1, kThreads, 0, nullptr, addresses_of(pattern, kBytes),
           pattern.lanes, clocks);
    long long now = 0;
    CUDA_CHECK(cudaMemcpy(&now, clocks, sizeof now, cudaMemcpyDeviceToHost));
    if (repeat == 0 || now < best) best = now;
  }
  return static_cast<double>(best) / kAccesses;
}

template <int kBytes, bool kStore>
void measure_all(long long* clocks, std::FILE* json, const char* separator) {
  const char* kind = kStore ? "store" : "load";
  for (const Pattern& pattern : kPatterns) {
    const int part = kBytes == 16 ? 8 : 16;
    const bool pairs = agree(pattern, 1) || agree(pattern, 2);
    const int by_parts = wavefronts(pattern, kBytes, part);
    const int by_pairs = wavefronts(pattern, kBytes, pairs ? 2 * part : part);
    const double measured = measure<kBytes, kStore>(pattern, clocks);
    std::printf("%-6s %3d bit  %-30s %6d %6d %9.2f\n", kind, 8 * kBytes, pattern.name, by_parts,
                by_pairs, measured);
    if (json != nullptr) {
      std::fprintf(json,
                   "%s\n  {\"access\": \"%s\", \"bytes\": %d, \"pattern\": \"%s\", "
                   "\"wavefronts_parts\": %d, \"wavefronts_pairs\": %d, "
                   "\"clocks_per_access\": %.3f}",
                   separator, kind, kBytes, pattern.name, by_parts, by_pairs, measured);
    }
    separator = ",";
  }
}

int run(const char* path) {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    std::printf("skipped: no CUDA device\n");
    return 0;
  }
  cudaDeviceProp device;
  CUDA_CHECK(cudaGetDeviceProperties(&device, 0));
  std::FILE* json = path == nullptr ? nullptr : std::fopen(path, "w");
  if (path != nullptr && json == nullptr) {
    std::fprintf(stderr, "%s: %s\n", path, std::strerror(errno));
    return 2;
  }
  long long* clocks = nullptr;
  CUDA_CHECK(cudaMalloc(&clocks, sizeof *clocks));
  std::printf("%s\n%-6s %7s  %-30s %6s %6s %9s\n", device.name, "access", "width", "pattern",
              "parts", "pairs", "clocks");
  if (json != nullptr) std::fprintf(json, "{\"device\": \"%s\", \"patterns\": [", device.name);
  measure_all<8, false>(clocks, json, "");
  measure_all<16, false>(clocks, json, ",");
  measure_all<8, true>(clocks, json, ",");
  measure_all<16, true>(clocks, json, ",");
  CUDA_CHECK(cudaFree(clocks));
  if (json == nullptr) return 0;
  std::fprintf(json, "\n]}\n");
  if (std::fclose(json) != 0) {
    std::fprintf(stderr, "%s: %s\n", path, std::strerror(errno));
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace attn

int main(int argc, char** argv) {
  if (argc > 2) {
    std::fprintf(stderr, "arguments: allowed: none, or a file for the results as JSON\n");
    return 2;
  }
  try {
    return attn::run(argc == 2 ? argv[1] : nullptr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "attn_shared_widths: %s\n", error.what());
    return 1;
  }
}
