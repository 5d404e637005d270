// SPDX-License-Identifier: MIT
//
// How fast could a device run what was counted? A lower bound: every part assumes that its resource
// works at its highest rate all the time and that all others are infinitely fast. A real run takes
// longer, usually much longer. It may never take less, so wherever a cache could help, it is
// assumed to. The only thing that counts as traffic to the device's memory is therefore what must
// cross that border whatever the implementation: the problem's inputs and outputs, once, for a
// problem that lies there before and after. An intermediate result that one launch hands to the
// next may stay in L2.
//
// What the bound takes as given: the counts are those of the source, so nvcc may not have merged
// two accesses of one thread; and launches run one after the other, as on one stream.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/attention.hpp"
#include "common/simt/machine/device.hpp"
#include "common/simt/watch/counters.hpp"

namespace attn::simt {

/// What a device has to offer.
enum class Resource {
  kMemory,            // bytes of the problem's inputs and outputs: HBM or GDDR
  kL2,                // compulsory sectors of a launch: each comes from L2, or goes there, once
  kL1,                // requested sectors
  kShared,            // shared wavefronts: of loads, stores, atomics and ldmatrix
  kSpecialFunctions,  // exponentials and the like
  kTensor,            // products of matrices: mma, wgmma
  kShuffles,          // between the lanes of a warp
  kVotes,             // of a warp
  kFlops,             // multiply-adds of the problem that no tensor core does, two FLOPs each
};
inline constexpr int kResources = 9;
/// Those that a launch has a part for.
inline constexpr std::array kLaunchResources = {
    Resource::kL2,     Resource::kL1,       Resource::kShared, Resource::kSpecialFunctions,
    Resource::kTensor, Resource::kShuffles, Resource::kVotes};
std::string_view to_string(Resource resource);

/// Seconds, by resource.
struct Parts {
  std::array<double, kResources> seconds{};
  double& operator[](Resource r) { return seconds[static_cast<std::size_t>(r)]; }
  double operator[](Resource r) const { return seconds[static_cast<std::size_t>(r)]; }
  /// The resource that needs most; the first of them if several do.
  Resource largest() const;
};

/// What one pass has to do, whatever the implementation.
struct PassWork {
  double bytes = 0;  // distinct bytes of the inputs that are needed, and of the outputs
  double flops = 0;
};

/// One pass of attention, with rows of V and O of d_v elements (0: d). FLOPs for each query and key
/// that it sees, a multiply-add being two: 2 (d + d_v), of Q K^T and P V; backward 2 (3 d + 2 d_v),
/// of Q K^T, dS K, dS^T Q and of dO V^T, P^T dO. Bytes: rows and keys that meet no partner need not
/// be read, and backward, O and LSE need not be: both follow from Q, K, V and dO.
PassWork work_of(const Shape& shape, const Mask& mask, Pass pass,
                 Element element = Element::kFloat32, std::int64_t d_v = 0);

/// How much of a device a launch can use at a time, from its grid, its block and its shared memory.
struct Occupancy {
  int blocks_per_multiprocessor;  // that fit together
  int multiprocessors;            // that have a block at all
  /// A multiprocessor has four schedulers with a quarter of its arithmetic each, and a warp stays
  /// with one of them: fewer than four warps leave some idle.
  double schedulers;
};
/// registers: of a thread, 0 where they are not known and so limit nothing.
Occupancy occupancy_of(const LaunchRecord& launch, const DeviceDescription& device,
                       int registers = 0);

struct LaunchBound {
  std::string kernel;
  Occupancy occupancy;
  Parts parts;         // kLaunchResources
  double seconds = 0;  // the largest part
};

struct Bound {
  std::string_view device;
  PassWork work;
  double tensor_flops = 0;   // of all launches: what only fills a tile up, too
  Parts parts;               // kMemory, kFlops of the pass; the others summed over its launches
  double launches = 0;       // launches one after the other: the sum of their bounds
  double seconds = 0;        // the bound: the largest of kMemory, kFlops and `launches`
  std::string_view limit;    // which one that is; of `launches`, its largest part
  double cold_estimate = 0;  // not a bound: compulsory bytes of all launches at the memory's rate
  std::vector<LaunchBound> by_launch;
};

/// The launches as they are with `times` as many heads: heads share no byte, so every count and the
/// grid's x, on which they lie, grow by that factor. (A kernel whose blocks hold rows of several
/// heads may need fewer blocks, where one head's rows do not fill them.) Without the sites. Throws
/// Error(kBadArgument) below 1, and where a grid would become larger than CUDA allows.
std::vector<LaunchRecord> times_heads(std::span<const LaunchRecord> launches, std::int64_t times);

/// The launches of one pass on one device.
Bound bound_of(std::span<const LaunchRecord> launches, const PassWork& work,
               const DeviceDescription& device);

}  // namespace attn::simt
