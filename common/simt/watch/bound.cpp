// SPDX-License-Identifier: MIT
#include "common/simt/watch/bound.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace attn::simt {
namespace {

constexpr double kSectorBytes = 32;
constexpr int kSchedulers = 4;  // per multiprocessor
constexpr double kLanes = 32;
constexpr double kFlopsOfMma = 2.0 * 16 * 8 * 16;
constexpr std::int64_t kMostBlocks = 2'147'483'647;  // on a grid's x

double number(std::uint64_t count) { return static_cast<double>(count); }

double tensor_flops_of(const Traffic& t) {
  return number(t.mma_instructions) * kFlopsOfMma + number(t.wgmma_flops);
}

/// Sectors that cross between L2 and the multiprocessors in the busier direction. Each
/// distinct sector does in one of the two, and a sector holds 32 bytes.
double sectors_one_way(const Traffic& t) {
  const double bytes =
      number(std::max(t.global_read_bytes_compulsory, t.global_write_bytes_compulsory));
  return std::max(number(t.global_sectors_compulsory) / 2, bytes / kSectorBytes);
}

LaunchBound bound_of_launch(const LaunchRecord& launch, const DeviceDescription& device) {
  LaunchBound bound{
      .kernel = launch.kernel, .occupancy = occupancy_of(launch, device), .parts = {}};
  const Traffic& t = launch.traffic;
  const double sms = bound.occupancy.multiprocessors;
  const double clock = device.clocks_per_second;

  double l2_rate = sms * device.l2_bytes_per_clock;
  if (device.l2_total_bytes_per_clock > 0) {
    l2_rate = std::min<double>(l2_rate, device.l2_total_bytes_per_clock);
  }
  const double requested_sectors =
      number(t.global_load_sectors + t.global_store_sectors + t.global_atomic_sectors);
  // An atomic takes at least one wavefront. What asynchronous copies store arrives from L2 and may
  // go past the loads and stores: nothing is published.
  const double wavefronts = number(t.shared_load_wavefronts + t.shared_store_wavefronts +
                                   t.shared_atomic_requests + t.matrix_load_wavefronts);
  const double special_rate =
      bound.occupancy.schedulers * device.special_functions_per_clock / kSchedulers;
  const double tensor_rate =
      bound.occupancy.schedulers * device.tensor_flops_per_clock / kSchedulers;

  bound.parts[Resource::kL2] = sectors_one_way(t) * kSectorBytes / l2_rate / clock;
  bound.parts[Resource::kL1] =
      requested_sectors * kSectorBytes / (sms * device.l1_bytes_per_clock) / clock;
  bound.parts[Resource::kShared] = wavefronts / (sms * device.wavefronts_per_clock) / clock;
  bound.parts[Resource::kSpecialFunctions] = number(t.special_functions) / special_rate / clock;
  bound.parts[Resource::kTensor] = tensor_flops_of(t) / tensor_rate / clock;
  bound.parts[Resource::kShuffles] =
      number(t.shuffles) * kLanes / (sms * device.shuffles_per_clock) / clock;
  bound.parts[Resource::kVotes] = number(t.votes) * kLanes / (sms * device.votes_per_clock) / clock;
  bound.seconds = bound.parts[bound.parts.largest()];
  return bound;
}

}  // namespace

std::string_view to_string(Resource resource) {
  static constexpr std::string_view kNames[kResources] = {
      "memory",       "L2",       "L1",    "shared memory", "special functions",
      "tensor cores", "shuffles", "votes", "FLOPs"};
  return kNames[static_cast<std::size_t>(resource)];
}

Resource Parts::largest() const {
  return static_cast<Resource>(std::max_element(seconds.begin(), seconds.end()) - seconds.begin());
}

PassWork work_of(const Shape& shape, const Mask& mask, Pass pass, Element element,
                 std::int64_t d_v) {
  std::int64_t pairs = 0;   // of a query and a key that it sees
  std::int64_t rows = 0;    // that see a key
  Range seen{shape.Nk, 0};  // keys that some row sees: rows that follow each other overlap
  for (std::int64_t i = 0; i < shape.Nq; ++i) {
    const Range visible = keys_of_row(mask, i, shape.Nq, shape.Nk);
    if (visible.empty()) continue;
    pairs += visible.size();
    rows += 1;
    seen = {std::min(seen.begin, visible.begin), std::max(seen.end, visible.end)};
  }
  const auto each = static_cast<double>(bytes_of(element));
  const auto d = static_cast<double>(shape.d);
  const auto dv = d_v == 0 ? d : static_cast<double>(d_v);
  const auto heads = static_cast<double>(shape.heads());
  const auto kv_heads = static_cast<double>(shape.B * shape.Hkv);
  const double all_pairs = heads * static_cast<double>(pairs);
  const double rows_read = heads * static_cast<double>(rows);  // of Q, and of dO
  const double keys_read = kv_heads * static_cast<double>(seen.size());
  const auto all_rows = static_cast<double>(shape.rows());
  const double all_keys = kv_heads * static_cast<double>(shape.Nk);
  const double inputs = rows_read * d + keys_read * (d + dv);  // Q, K, V
  if (pass == Pass::kForward) {
    return {.bytes = each * (inputs + all_rows * dv) + sizeof(float) * all_rows,
            .flops = 2 * all_pairs * (d + dv)};
  }
  const double gradients = all_rows * d + all_keys * (d + dv);  // dQ, dK, dV
  return {.bytes = each * (inputs + rows_read * dv + gradients),
          .flops = 2 * all_pairs * (3 * d + 2 * dv)};
}

Occupancy occupancy_of(const LaunchRecord& launch, const DeviceDescription& device, int registers) {
  const std::int64_t blocks = std::int64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  const int threads = static_cast<int>(launch.block.x * launch.block.y * launch.block.z);
  const int warps = (threads + 31) / 32;
  const std::size_t shared =
      launch.shared_bytes + launch.static_shared_bytes + device.shared_bytes_reserved_per_block;
  int fit =
      std::min(device.blocks_per_multiprocessor, device.threads_per_multiprocessor / (32 * warps));
  if (shared > 0) {
    fit = std::min(fit, static_cast<int>(device.shared_bytes_per_multiprocessor / shared));
  }
  if (registers > 0) {
    // Each scheduler has a quarter of them, and gives a warp a multiple of 8 for each lane.
    const int of_warp = (registers + 7) / 8 * 8 * 32;
    const int resident = device.registers_per_multiprocessor / kSchedulers / of_warp * kSchedulers;
    fit = std::min(fit, resident / warps);
  }
  fit = std::max(fit, 1);
  const std::int64_t sms = std::min<std::int64_t>(device.multiprocessors, blocks);
  const std::int64_t resident = std::min<std::int64_t>(sms * fit, blocks);
  return {.blocks_per_multiprocessor = fit,
          .multiprocessors = static_cast<int>(sms),
          .schedulers = static_cast<double>(std::min(sms * kSchedulers, resident * warps))};
}

std::vector<LaunchRecord> times_heads(std::span<const LaunchRecord> launches, std::int64_t times) {
  if (times < 1 || times > kMostBlocks) {
    throw Error(ErrorKind::kBadArgument,
                fmt::format("{}: allowed: 1 to {} times as many heads", times, kMostBlocks));
  }
  std::vector<LaunchRecord> many;
  for (const LaunchRecord& one : launches) {
    if (times > kMostBlocks / std::max(1u, one.grid.x)) {
      throw Error(ErrorKind::kBadArgument,
                  fmt::format("{}: {} would have more than {} blocks; allowed: 1 to {}", times,
                              one.kernel, kMostBlocks, kMostBlocks / std::max(1u, one.grid.x)));
    }
    LaunchRecord& launch = many.emplace_back(one);
    launch.grid.x *= static_cast<unsigned>(times);
    launch.sites.clear();
    // By doubling, so that it holds for every counter there is.
    launch.traffic = {};
    Traffic doubled = one.traffic;
    for (std::int64_t rest = times; rest > 0; rest /= 2) {
      if (rest % 2 != 0) launch.traffic += doubled;
      doubled += doubled;
    }
  }
  return many;
}

Bound bound_of(std::span<const LaunchRecord> launches, const PassWork& work,
               const DeviceDescription& device) {
  Bound bound{.device = device.name, .work = work, .parts = {}, .limit = {}, .by_launch = {}};
  double schedulers = 0;  // of the launch that keeps most of them busy
  double compulsory_bytes = 0;
  for (const LaunchRecord& launch : launches) {
    const LaunchBound& one = bound.by_launch.emplace_back(bound_of_launch(launch, device));
    for (const Resource part : kLaunchResources) bound.parts[part] += one.parts[part];
    bound.launches += one.seconds;
    schedulers = std::max(schedulers, one.occupancy.schedulers);
    bound.tensor_flops += tensor_flops_of(launch.traffic);
    compulsory_bytes += number(launch.traffic.global_read_bytes_compulsory +
                               launch.traffic.global_write_bytes_compulsory);
  }
  if (launches.empty()) return bound;
  // Which launch does which of the FLOPs is not known: all of them in the best one.
  const double flops_rate = schedulers * device.flops_per_clock / kSchedulers;
  const double other_flops = std::max(0.0, work.flops - bound.tensor_flops);

  bound.limit = to_string(bound.parts.largest());
  bound.seconds = bound.launches;
  for (const auto& [part, seconds] :
       {std::pair{Resource::kMemory, work.bytes / device.memory_bytes_per_second},
        std::pair{Resource::kFlops, other_flops / flops_rate / device.clocks_per_second}}) {
    bound.parts[part] = seconds;
    if (seconds > bound.seconds) {
      bound.seconds = seconds;
      bound.limit = to_string(part);
    }
  }
  bound.cold_estimate = compulsory_bytes / device.memory_bytes_per_second;
  return bound;
}

}  // namespace attn::simt
