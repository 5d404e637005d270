// SPDX-License-Identifier: MIT
//
// Sources.
//   [guide]   NVIDIA, CUDA C++ Programming Guide, tables "Technical Specifications per Compute
//             Capability" (limits, registers, threads and blocks per multiprocessor, shared memory)
//             and "Throughput of Native Arithmetic Instructions" (float32 multiply-adds, special
//             functions, warp shuffles and warp votes per clock: results, so a multiply-add counts
//             as two FLOPs here, and a shuffle of a warp as 32). Section
//             "Shared Memory" of each compute capability: 32 banks of 32 bits per clock, which is
//             one wavefront of 128 bytes, and 1 KiB reserved per block from 8.0 on.
//   [h200]    NVIDIA, H200 Tensor Core GPU datasheet: 141 GB, 4.8 TB/s.
//   [h100]    NVIDIA, H100 Tensor Core GPU Architecture (white paper) and datasheet: 132 SMs, 50 MB
//             of L2, 80 GB, 2,619 MHz x 5,120 bits x 2 = 3,352 GB/s; 989.4 TFLOP/s at 1,830 MHz are
//             4,096 per SM and clock.
//   [a100]    NVIDIA, A100 Tensor Core GPU Architecture (white paper) and 80 GB datasheet: 108 SMs,
//             40 MB of L2 that reads 5,120 bytes per clock, 80 GB, 2,039 GB/s; 312 TFLOP/s at
//             1,410 MHz are 2,048 per SM and clock.
//   [ad102]   NVIDIA, Ada GPU Architecture (white paper), RTX 4090: 128 SMs, 72 MB of L2, 24 GB,
//             1,008 GB/s; 165.2 TFLOP/s at 2,520 MHz are 512 per SM and clock.
//   [ga102]   NVIDIA, Ampere GA102 GPU Architecture (white paper), RTX 3090: 82 SMs, 6 MB of L2,
//             24 GB, 936 GB/s; 71 TFLOP/s at 1,695 MHz are 512 per SM and clock.
//   [t4]      NVIDIA, Turing GPU Architecture (white paper), Tesla T4: 40 SMs, 4 MB of L2, 16 GB,
//             320 GB/s; 65 TFLOP/s at 1,590 MHz are 1,024 per SM and clock (float16 only).
//   [clocks]  The highest SM clock that the driver lists for the stock card (`nvidia-smi -q -d
//             CLOCK`, "Max Clocks"). For the two GeForce cards it lies above the boost clock of the
//             white paper, which they exceed in practice.
//   [no source] Where nothing is published, a rate that is certainly too fast is taken, since a
//             lower bound may be loose and must not be wrong:
//             - L2 to one SM: 64 bytes per clock, two sectors. The A100's published 5,120 bytes per
//               clock are 47 per SM; no published measurement of any of these devices reaches 64.
//             - Global accesses in L1: 128 bytes per clock, what the 32 banks hold that L1 and
//               shared memory have in common. The T4 is said to reach half of that.
#include "common/simt/machine/device.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <string>

#include "common/attention.hpp"

namespace attn::simt {
namespace {

constexpr std::size_t kKiB = 1024;
constexpr std::size_t kMiB = 1024 * kKiB;

/// What the devices have in common.
constexpr DeviceDescription common(std::string_view name, std::string_view product, int major,
                                   int minor) {
  DeviceDescription device{};
  device.name = name;
  device.product = product;
  device.major = major;
  device.minor = minor;
  device.max_threads_per_block = 1024;            // [guide]
  device.shared_bytes_reserved_per_block = kKiB;  // [guide]
  device.registers_per_multiprocessor = 65536;    // [guide]
  device.l2_bytes_per_clock = 64;                 // [no source]
  device.l1_bytes_per_clock = 128;                // [no source]
  device.wavefronts_per_clock = 1;                // [guide]
  device.special_functions_per_clock = 16;        // [guide]
  device.shuffles_per_clock = 32;                 // [guide]
  device.votes_per_clock = 64;                    // [guide]
  return device;
}

constexpr DeviceDescription hopper(std::string_view name, std::string_view product) {
  DeviceDescription device = common(name, product, 9, 0);
  device.shared_bytes_per_block = 227 * kKiB;           // [guide]
  device.shared_bytes_per_multiprocessor = 228 * kKiB;  // [guide]
  device.threads_per_multiprocessor = 2048;             // [guide]
  device.blocks_per_multiprocessor = 32;                // [guide]
  device.multiprocessors = 132;                         // [h100]
  device.l2_bytes = 50 * kMiB;                          // [h100]
  device.clocks_per_second = 1980e6;                    // [clocks]
  device.flops_per_clock = 2 * 128;                     // [guide]
  device.tensor_flops_per_clock = 4096;                 // [h100]
  return device;
}

constexpr DeviceDescription h200() {
  DeviceDescription device = hopper("H200", "NVIDIA H200 SXM");  // the H100's chip
  device.memory_bytes = 141'000'000'000;                         // [h200]
  device.memory_bytes_per_second = 4.8e12;                       // [h200]
  return device;
}

constexpr DeviceDescription h100() {
  DeviceDescription device = hopper("H100", "NVIDIA H100 SXM");
  device.memory_bytes = 80'000'000'000;       // [h100]
  device.memory_bytes_per_second = 3.352e12;  // [h100]
  return device;
}

constexpr DeviceDescription a100() {
  DeviceDescription device = common("A100", "NVIDIA A100 SXM 80 GB", 8, 0);
  device.shared_bytes_per_block = 163 * kKiB;           // [guide]
  device.shared_bytes_per_multiprocessor = 164 * kKiB;  // [guide]
  device.threads_per_multiprocessor = 2048;             // [guide]
  device.blocks_per_multiprocessor = 32;                // [guide]
  device.multiprocessors = 108;                         // [a100]
  device.memory_bytes = 80'000'000'000;                 // [a100]
  device.memory_bytes_per_second = 2.039e12;            // [a100]
  device.l2_bytes = 40 * kMiB;                          // [a100]
  device.l2_total_bytes_per_clock = 5120;               // [a100]
  device.clocks_per_second = 1410e6;                    // [clocks]
  device.flops_per_clock = 2 * 64;                      // [guide]
  device.tensor_flops_per_clock = 2048;                 // [a100]
  return device;
}

constexpr DeviceDescription rtx4090() {
  DeviceDescription device = common("RTX4090", "NVIDIA GeForce RTX 4090", 8, 9);
  device.shared_bytes_per_block = 99 * kKiB;            // [guide]
  device.shared_bytes_per_multiprocessor = 100 * kKiB;  // [guide]
  device.threads_per_multiprocessor = 1536;             // [guide]
  device.blocks_per_multiprocessor = 24;                // [guide]
  device.multiprocessors = 128;                         // [ad102]
  device.memory_bytes = 24'000'000'000;                 // [ad102]
  device.memory_bytes_per_second = 1.008e12;            // [ad102]
  device.l2_bytes = 72 * kMiB;                          // [ad102]
  device.clocks_per_second = 3105e6;                    // [clocks]
  device.flops_per_clock = 2 * 128;                     // [guide]
  device.tensor_flops_per_clock = 512;                  // [ad102]
  return device;
}

constexpr DeviceDescription rtx3090() {
  DeviceDescription device = common("RTX3090", "NVIDIA GeForce RTX 3090", 8, 6);
  device.shared_bytes_per_block = 99 * kKiB;            // [guide]
  device.shared_bytes_per_multiprocessor = 100 * kKiB;  // [guide]
  device.threads_per_multiprocessor = 1536;             // [guide]
  device.blocks_per_multiprocessor = 16;                // [guide]
  device.multiprocessors = 82;                          // [ga102]
  device.memory_bytes = 24'000'000'000;                 // [ga102]
  device.memory_bytes_per_second = 9.362e11;            // [ga102]: 384 bits x 19.5 Gbit/s
  device.l2_bytes = 6 * kMiB;                           // [ga102]
  device.clocks_per_second = 2100e6;                    // [clocks]
  device.flops_per_clock = 2 * 128;                     // [guide]
  device.tensor_flops_per_clock = 512;                  // [ga102]
  return device;
}

constexpr DeviceDescription t4() {
  DeviceDescription device = common("T4", "NVIDIA T4", 7, 5);
  device.shared_bytes_per_block = 64 * kKiB;           // [guide]
  device.shared_bytes_per_multiprocessor = 64 * kKiB;  // [guide]
  device.shared_bytes_reserved_per_block = 0;          // [guide]: from 8.0 on
  device.threads_per_multiprocessor = 1024;            // [guide]
  device.blocks_per_multiprocessor = 16;               // [guide]
  device.multiprocessors = 40;                         // [t4]
  device.memory_bytes = 16'000'000'000;                // [t4]
  device.memory_bytes_per_second = 3.2e11;             // [t4]
  device.l2_bytes = 4 * kMiB;                          // [t4]
  device.clocks_per_second = 1590e6;                   // [clocks]
  device.flops_per_clock = 2 * 64;                     // [guide]
  device.tensor_flops_per_clock = 1024;                // [t4]
  return device;
}

constexpr DeviceDescription kDevices[] = {h200(), h100(), a100(), rtx4090(), rtx3090(), t4()};

static_assert(std::all_of(std::begin(kDevices), std::end(kDevices), [](const auto& device) {
  return device.shared_bytes_per_block <= kLargestSharedBytesPerBlock;
}));

std::atomic<const DeviceDescription*> in_force = &kDevices[0];

bool same_name(std::string_view a, std::string_view b) {
  const auto upper = [](char c) { return std::toupper(static_cast<unsigned char>(c)); };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [upper](char x, char y) { return upper(x) == upper(y); });
}

}  // namespace

std::span<const DeviceDescription> devices() { return kDevices; }

const DeviceDescription& find_device(std::string_view name) {
  std::string known;
  for (const DeviceDescription& device : kDevices) {
    if (same_name(device.name, name)) return device;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", device.name);
  }
  throw Error(ErrorKind::kBadArgument, fmt::format("{}: allowed: {}", name, known));
}

const DeviceDescription& current_device() { return *in_force; }

void set_current_device(const DeviceDescription& device) { in_force = &device; }

}  // namespace attn::simt
