// SPDX-License-Identifier: MIT
#include "bench/attn/trace_report.hpp"

#if ATTN_CAN_TRACE

#include <fmt/format.h>

#include "common/io/table.hpp"
#include "common/run/run.hpp"
#include "common/simt/machine/options.hpp"
#include "common/simt/watch/launch_report.hpp"

namespace attn::cli {
namespace {

using Json = nlohmann::ordered_json;
using simt::LaunchRecord;
using simt::Parts;
using simt::Resource;
using simt::SiteTraffic;
using simt::Traffic;

struct Counter {
  const char* name;
  std::uint64_t Traffic::*member;
};
// The order of the JSON file.
constexpr Counter kCounters[] = {
    {"global_load_bytes", &Traffic::global_load_bytes},
    {"global_store_bytes", &Traffic::global_store_bytes},
    {"global_load_requests", &Traffic::global_load_requests},
    {"global_load_sectors", &Traffic::global_load_sectors},
    {"global_store_requests", &Traffic::global_store_requests},
    {"global_store_sectors", &Traffic::global_store_sectors},
    {"global_atomic_requests", &Traffic::global_atomic_requests},
    {"global_async_bytes", &Traffic::global_async_bytes},
    {"global_read_bytes_compulsory", &Traffic::global_read_bytes_compulsory},
    {"global_write_bytes_compulsory", &Traffic::global_write_bytes_compulsory},
    {"shared_load_wavefronts", &Traffic::shared_load_wavefronts},
    {"shared_load_wavefronts_ideal", &Traffic::shared_load_wavefronts_ideal},
    {"shared_store_wavefronts", &Traffic::shared_store_wavefronts},
    {"shared_store_wavefronts_ideal", &Traffic::shared_store_wavefronts_ideal},
    {"barriers", &Traffic::barriers},
    {"global_atomic_bytes", &Traffic::global_atomic_bytes},
    {"global_atomic_sectors", &Traffic::global_atomic_sectors},
    {"global_sectors_compulsory", &Traffic::global_sectors_compulsory},
    {"shared_load_bytes", &Traffic::shared_load_bytes},
    {"shared_store_bytes", &Traffic::shared_store_bytes},
    {"shared_atomic_requests", &Traffic::shared_atomic_requests},
    {"special_functions", &Traffic::special_functions},
    {"shuffles", &Traffic::shuffles},
    {"votes", &Traffic::votes},
    {"global_async_requests", &Traffic::global_async_requests},
    {"global_async_sectors", &Traffic::global_async_sectors},
    {"shared_async_wavefronts", &Traffic::shared_async_wavefronts},
    {"shared_async_wavefronts_ideal", &Traffic::shared_async_wavefronts_ideal},
    {"matrix_load_bytes", &Traffic::matrix_load_bytes},
    {"matrix_load_requests", &Traffic::matrix_load_requests},
    {"matrix_load_wavefronts", &Traffic::matrix_load_wavefronts},
    {"matrix_load_wavefronts_ideal", &Traffic::matrix_load_wavefronts_ideal},
    {"mma_instructions", &Traffic::mma_instructions},
    {"wgmma_instructions", &Traffic::wgmma_instructions},
    {"wgmma_flops", &Traffic::wgmma_flops},
    {"tensor_copies", &Traffic::tensor_copies},
    {"global_async_store_bytes", &Traffic::global_async_store_bytes},
    {"global_async_store_sectors", &Traffic::global_async_store_sectors},
    {"mbarrier_waits", &Traffic::mbarrier_waits},
    {"announced_bytes", &Traffic::announced_bytes},
};
static_assert(sizeof(Traffic) == std::size(kCounters) * sizeof(std::uint64_t));

/// "1.00 us for 6.71e+07 FLOPs": where tensor cores do some, how long the others take.
std::string flops_text(const simt::Bound& bound) {
  const std::string seconds = io::human_seconds(bound.parts[Resource::kFlops]);
  if (bound.tensor_flops == 0) return fmt::format("{} for {:.3g} FLOPs", seconds, bound.work.flops);
  const std::string all = fmt::format("{:.3g} FLOPs, of which tensor cores", bound.work.flops);
  if (bound.tensor_flops >= bound.work.flops) return all + " do all";
  return fmt::format("{} do {:.3g}; {} for the others", all, bound.tensor_flops, seconds);
}

/// The bound of the whole pass.
void print_bound(const Trace& trace, bool styled) {
  const simt::Bound& bound = trace.bound;
  const simt::DeviceDescription& device = simt::find_device(bound.device);
  const std::string many =
      trace.times_heads == 1 ? "" : fmt::format(" for {} times these heads", trace.times_heads);
  print_bound_by_launch(bound, styled, many);
  fmt::print("The whole pass: {} for its inputs and outputs ({}) at {:.3g} TB/s, {}.\n",
             io::human_seconds(bound.parts[Resource::kMemory]),
             io::human_bytes(static_cast<std::size_t>(bound.work.bytes)),
             device.memory_bytes_per_second / 1e12, flops_text(bound));
  fmt::print("Cold-cache estimate, no bound: {} for the compulsory {} at {:.3g} TB/s.\n\n",
             io::human_seconds(bound.cold_estimate),
             io::human_bytes(compulsory_bytes(total(trace.launches)) *
                             static_cast<std::uint64_t>(trace.times_heads)),
             device.memory_bytes_per_second / 1e12);
}

Json to_json(dim3 size) { return {size.x, size.y, size.z}; }

Json counters(const Traffic& traffic) {
  Json json = Json::object();
  for (const Counter& counter : kCounters) json[counter.name] = traffic.*counter.member;
  return json;
}

Json to_json(const LaunchRecord& launch, bool lines) {
  Json json = {{"kernel", launch.kernel},
               {"grid", to_json(launch.grid)},
               {"block", to_json(launch.block)},
               {"shared_bytes", launch.shared_bytes}};
  json.update(counters(launch.traffic));
  json["static_shared_bytes"] = launch.static_shared_bytes;
  if (!lines) return json;
  Json list = Json::array();
  for (const SiteTraffic& line : lines_of(launch)) {
    list.push_back({{"file", line.file},
                    {"line", line.line},
                    {"access", line.access},
                    {"bytes", line.bytes},
                    {"requests", line.requests},
                    {"sectors", line.sectors},
                    {"wavefronts", line.wavefronts},
                    {"wavefronts_ideal", line.wavefronts_ideal},
                    {"source", simt::source_text(line.file, line.line)}});
  }
  json["lines"] = list;
  return json;
}

Json to_json(const Parts& parts) {
  Json json = Json::object();
  for (const Resource part : simt::kLaunchResources) json[to_string(part)] = parts[part];
  return json;
}

Json to_json(const simt::Bound& bound) {
  Json launches = Json::array();
  for (const simt::LaunchBound& launch : bound.by_launch) {
    launches.push_back({{"kernel", launch.kernel},
                        {"seconds", launch.seconds},
                        {"parts", to_json(launch.parts)},
                        {"multiprocessors", launch.occupancy.multiprocessors},
                        {"blocks_per_multiprocessor", launch.occupancy.blocks_per_multiprocessor}});
  }
  Json parts = {{to_string(Resource::kMemory), bound.parts[Resource::kMemory]}};
  parts.update(to_json(bound.parts));
  parts[to_string(Resource::kFlops)] = bound.parts[Resource::kFlops];
  return {{"device", bound.device},
          {"seconds", bound.seconds},
          {"limit", bound.limit},
          {"parts", parts},
          {"launches_seconds", bound.launches},
          {"launches", launches},
          {"input_output_bytes", bound.work.bytes},
          {"flops", bound.work.flops},
          {"cold_cache_estimate_seconds", bound.cold_estimate}};
}

Json to_json(const Detection& d) {
  return {{"kind", d.kind}, {"kernel", d.kernel}, {"block", d.block}, {"thread", d.thread},
          {"file", d.file}, {"line", d.line},     {"what", d.what},   {"advice", d.advice}};
}

/// The bounds as --window takes them: -1 for none.
Json to_json(const Mask& mask) {
  const auto bound = [](std::int64_t keys) { return keys == kUnbounded ? -1 : keys; };
  return {{"name", to_string(mask)},
          {"before", bound(mask.before)},
          {"after", bound(mask.after)},
          {"top_left", mask.top_left}};
}

}  // namespace

std::string scores_text(const Trace& trace) {
  std::string text;
  for (int number = 0; number < kFeatures; ++number) {
    const auto feature = static_cast<Feature>(number);
    if (!trace.scores.has(feature)) continue;
    text += fmt::format(", {}", to_string(feature));
    const PairShape& bias = trace.bias;
    if (feature == Feature::kBias) {
      text += fmt::format(" [{},{},{},{}]", bias.B, bias.H, bias.Nq, bias.Nk);
    }
  }
  return text;
}

void print_trace(const Trace& trace, bool styled) {
  fmt::print("{} {}, {} pass: {}, mask {}{}{}{}\n\n", trace.chapter->id, trace.step->id,
             to_string(trace.pass), to_string(trace.sizes), to_string(trace.mask),
             scores_text(trace), trace.scaled.empty() ? "" : "\n", trace.scaled);
  if (trace.launches.empty()) {
    fmt::print("{}, so there is nothing to count.\n",
               trace.stopped ? "The first launch was stopped" : "Nothing was launched");
  } else {
    print_counts(trace.launches, styled, trace.element);
    if (trace.stopped) {
      fmt::print("The next launch was stopped: no bound, since the pass is not complete.\n\n");
    } else {
      print_bound(trace, styled);
    }
    fmt::print("{}", simt::kCountsLegend);
  }
  for (const Detection& detection : trace.detections) fmt::print("\n{}\n", to_string(detection));
  for (const std::string& line : trace.damage) fmt::print("\n{}\n", line);
}

void print_lines(const Trace& trace, bool styled) {
  for (const LaunchRecord& launch : trace.launches) print_lines(launch, styled);
}

Json to_json(const Trace& trace, bool lines) {
  Json launches = Json::array();
  for (const LaunchRecord& launch : trace.launches) launches.push_back(to_json(launch, lines));
  Json detections = Json::array();
  for (const Detection& detection : trace.detections) detections.push_back(to_json(detection));
  const bool random = simt::options().completion == simt::Completion::kRandom;
  Json scores = Json::array();
  for (int number = 0; number < kFeatures; ++number) {
    const auto feature = static_cast<Feature>(number);
    if (trace.scores.has(feature)) scores.push_back(to_string(feature));
  }
  return {{"chapter", trace.chapter->id},
          {"step", trace.step->id},
          {"pass", to_string(trace.pass)},
          {"shape", to_json(trace.sizes)},
          {"causal", trace.mask != Mask::kFull},
          {"launches", launches},
          {"total", counters(total(trace.launches))},
          {"workspace_bytes", workspace_bytes(*trace.step, trace.pass, trace.sizes.shape)},
          {"detections", detections},
          {"bound", trace.stopped ? Json::object() : to_json(trace.bound)},
          {"times_heads", trace.times_heads},
          {"mask", to_json(trace.mask)},
          {"scores", scores},
          {"element", to_string(trace.element)},
          {"damage", trace.damage},
          {"completion", to_string(simt::options().completion)},
          {"completion_seed", random ? Json(simt::options().shuffle_seed) : Json(nullptr)}};
}

}  // namespace attn::cli

#endif  // ATTN_CAN_TRACE
