// SPDX-License-Identifier: MIT
#include "bench/attn/trace_report.hpp"

#if ATTN_CAN_TRACE

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <tuple>

#include "common/io/table.hpp"

namespace attn::cli {
namespace {

using Json = nlohmann::ordered_json;
using enum io::Table::Align;
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
};
static_assert(sizeof(Traffic) == std::size(kCounters) * sizeof(std::uint64_t));

/// "12,345,678"
std::string grouped(std::uint64_t count) {
  if (count < 1000) return fmt::format("{}", count);
  return fmt::format("{},{:03}", grouped(count / 1000), count % 1000);
}

/// Grouped; nothing for 0, so that a table shows what is there.
std::string count_text(std::uint64_t count) { return count == 0 ? "" : grouped(count); }

std::string bytes_text(std::uint64_t bytes) { return bytes == 0 ? "" : io::human_bytes(bytes); }

/// "16.5"; nothing where there is no `whole`.
std::string ratio_text(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return "";
  return fmt::format("{:.3g}", static_cast<double>(part) / static_cast<double>(whole));
}

/// "4,096 (2x)": the wavefronts, and how many times the ideal.
std::string wavefronts_text(std::uint64_t wavefronts, std::uint64_t ideal) {
  if (ideal == 0) return "";
  return fmt::format("{} ({}x)", grouped(wavefronts), ratio_text(wavefronts, ideal));
}

std::string seconds_text(double seconds) { return seconds == 0 ? "" : io::human_seconds(seconds); }

std::string to_text(dim3 size) { return fmt::format("({},{},{})", size.x, size.y, size.z); }

std::uint64_t compulsory_bytes(const Traffic& t) {
  return t.global_read_bytes_compulsory + t.global_write_bytes_compulsory;
}

/// Calls row(name, launch or null, traffic) for each launch and, where there are several, the sum.
template <class Row>
void for_each_row(const Trace& trace, Row&& row) {
  for (const LaunchRecord& launch : trace.launches) row(launch.kernel, &launch, launch.traffic);
  if (trace.launches.size() > 1) row("all", nullptr, trace.total());
}

/// A table without the columns that hold nothing.
class Filled {
 public:
  explicit Filled(std::vector<io::Table::Column> columns) : columns_(std::move(columns)) {}

  void add_row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  std::string to_string(bool styled) const {
    std::vector<std::size_t> used;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      const auto filled = [c](const auto& row) { return !row[c].empty(); };
      if (std::any_of(rows_.begin(), rows_.end(), filled)) used.push_back(c);
    }
    const auto pick = [&used](const auto& from) {
      std::decay_t<decltype(from)> some;
      for (const std::size_t c : used) some.push_back(from[c]);
      return some;
    };
    io::Table table(pick(columns_));
    for (const auto& row : rows_) table.add_row(pick(row));
    return table.to_string(styled);
  }

 private:
  std::vector<io::Table::Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

void print_global(const Trace& trace, bool styled) {
  Filled table({{"kernel"},
                {"grid"},
                {"block"},
                {"requested: load", kRight},
                {"store", kRight},
                {"atomic", kRight},
                {"sectors/request: load", kRight},
                {"store", kRight},
                {"compulsory: read", kRight},
                {"write", kRight}});
  for_each_row(trace, [&](const std::string& name, const LaunchRecord* launch, const Traffic& t) {
    table.add_row({name, launch == nullptr ? "" : to_text(launch->grid),
                   launch == nullptr ? "" : to_text(launch->block), bytes_text(t.global_load_bytes),
                   bytes_text(t.global_store_bytes), bytes_text(t.global_atomic_bytes),
                   ratio_text(t.global_load_sectors, t.global_load_requests),
                   ratio_text(t.global_store_sectors, t.global_store_requests),
                   bytes_text(t.global_read_bytes_compulsory),
                   bytes_text(t.global_write_bytes_compulsory)});
  });
  const Traffic t = trace.total();
  const std::uint64_t requested =
      t.global_load_bytes + t.global_store_bytes + t.global_atomic_bytes + t.global_async_bytes;
  const std::uint64_t compulsory = compulsory_bytes(t);
  fmt::print(
      "Global memory\n{}"
      "In float32 elements: {} requested, {} compulsory: {} to 1.\n\n",
      table.to_string(styled), grouped(requested / sizeof(float)),
      grouped(compulsory / sizeof(float)), ratio_text(requested, compulsory));
}

void print_inside(const Trace& trace, bool styled) {
  Filled table({{"kernel"},
                {"shared memory", kRight},
                {"wavefronts: load", kRight},
                {"store", kRight},
                {"atomic requests", kRight},
                {"barriers", kRight},
                {"special functions", kRight},
                {"shuffles", kRight},
                {"votes", kRight}});
  bool any = false;
  for_each_row(trace, [&](const std::string& name, const LaunchRecord* launch, const Traffic& t) {
    const std::size_t shared =
        launch == nullptr ? 0 : launch->shared_bytes + launch->static_shared_bytes;
    table.add_row({name, bytes_text(shared),
                   wavefronts_text(t.shared_load_wavefronts, t.shared_load_wavefronts_ideal),
                   wavefronts_text(t.shared_store_wavefronts, t.shared_store_wavefronts_ideal),
                   count_text(t.shared_atomic_requests), count_text(t.barriers),
                   count_text(t.special_functions), count_text(t.shuffles), count_text(t.votes)});
    any = any || shared + t.barriers + t.special_functions + t.shuffles + t.votes > 0;
  });
  if (any) fmt::print("Inside the multiprocessors\n{}\n", table.to_string(styled));
}

void print_bound(const Trace& trace, bool styled) {
  const simt::Bound& bound = trace.bound;
  const simt::DeviceDescription& device = simt::find_device(bound.device);
  Filled table({{"kernel"},
                {"SMs used", kRight},
                {"L2", kRight},
                {"L1", kRight},
                {"shared memory", kRight},
                {"special functions", kRight},
                {"shuffles", kRight},
                {"votes", kRight},
                {"at least", kRight}});
  const auto add_row = [&table](const std::string& name, const std::string& sms, const Parts& parts,
                                double seconds) {
    std::vector<std::string> cells = {name, sms};
    for (const Resource part : simt::kLaunchResources) cells.push_back(seconds_text(parts[part]));
    cells.push_back(seconds_text(seconds));
    table.add_row(std::move(cells));
  };
  for (const simt::LaunchBound& launch : bound.by_launch) {
    add_row(launch.kernel,
            fmt::format("{} of {}", launch.occupancy.multiprocessors, device.multiprocessors),
            launch.parts, launch.seconds);
  }
  if (bound.by_launch.size() > 1) add_row("one after the other", "", bound.parts, bound.launches);
  const std::string many =
      trace.times_heads == 1 ? "" : fmt::format(" for {} times these heads", trace.times_heads);
  fmt::print("Lower bound on {}{}: {}, set by {}\n{}", device.product, many,
             io::human_seconds(bound.seconds), bound.limit, table.to_string(styled));
  fmt::print(
      "The whole pass: {} for its inputs and outputs ({}) at {:.3g} TB/s, {} for {:.3g} FLOPs.\n",
      io::human_seconds(bound.parts[Resource::kMemory]),
      io::human_bytes(static_cast<std::size_t>(bound.work.bytes)),
      device.memory_bytes_per_second / 1e12, io::human_seconds(bound.parts[Resource::kFlops]),
      bound.work.flops);
  fmt::print("Cold-cache estimate, no bound: {} for the compulsory {} at {:.3g} TB/s.\n\n",
             io::human_seconds(bound.cold_estimate),
             io::human_bytes(compulsory_bytes(trace.total()) *
                             static_cast<std::uint64_t>(trace.times_heads)),
             device.memory_bytes_per_second / 1e12);
}

constexpr const char* kLegend =
    "requested: what the threads ask for. compulsory: each distinct byte once per launch. request: "
    "one\n"
    "warp executing one access. sector: 32 aligned bytes. wavefront: one pass over the 32 banks of "
    "shared\n"
    "memory; (2x) is twice what conflict-free accesses need. A real run takes longer than the "
    "bound.\n";

/// The sites of one launch, those on one line with one kind of access together; most bytes first.
std::vector<SiteTraffic> lines_of(const LaunchRecord& launch) {
  std::map<std::tuple<std::string, int, std::string>, SiteTraffic> merged;
  for (const SiteTraffic& site : launch.sites) {
    const auto [entry, first] = merged.try_emplace({site.file, site.line, site.access}, site);
    if (first) continue;
    SiteTraffic& line = entry->second;
    line.bytes += site.bytes;
    line.requests += site.requests;
    line.sectors += site.sectors;
    line.wavefronts += site.wavefronts;
    line.wavefronts_ideal += site.wavefronts_ideal;
  }
  std::vector<SiteTraffic> lines;
  for (auto& [key, line] : merged) lines.push_back(std::move(line));
  std::stable_sort(lines.begin(), lines.end(),
                   [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  return lines;
}

/// Lines of source files, without the blanks around them; empty where there is no such line.
class Sources {
 public:
  std::string line(const std::string& file, int number) {
    const auto [entry, first] = files_.try_emplace(file);
    std::vector<std::string>& lines = entry->second;
    if (first) {
      std::ifstream in(file);
      for (std::string text; std::getline(in, text);) lines.push_back(text);
    }
    if (number < 1 || number > std::ssize(lines)) return {};
    const std::string& text = lines[static_cast<std::size_t>(number) - 1];
    const std::size_t begin = text.find_first_not_of(" \t");
    return begin == std::string::npos ? "" : text.substr(begin);
  }

 private:
  std::map<std::string, std::vector<std::string>> files_;
};

std::string place(const SiteTraffic& line) {
  if (line.file.empty()) return "unknown";
  return fmt::format("{}:{}", std::filesystem::path(line.file).filename().string(), line.line);
}

void print_lines_of(const LaunchRecord& launch, Sources& sources, bool styled) {
  Filled table({{"line"},
                {"access"},
                {"bytes", kRight},
                {"requests", kRight},
                {"sectors/request", kRight},
                {"wavefronts", kRight},
                {"source"}});
  for (const SiteTraffic& line : lines_of(launch)) {
    table.add_row({place(line), line.access, io::human_bytes(line.bytes), grouped(line.requests),
                   line.sectors == 0 ? "" : ratio_text(line.sectors, line.requests),
                   wavefronts_text(line.wavefronts, line.wavefronts_ideal),
                   sources.line(line.file, line.line)});
  }
  fmt::print("\n{}, by source line\n{}", launch.kernel, table.to_string(styled));
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
  Sources sources;
  for (const SiteTraffic& line : lines_of(launch)) {
    list.push_back({{"file", line.file},
                    {"line", line.line},
                    {"access", line.access},
                    {"bytes", line.bytes},
                    {"requests", line.requests},
                    {"sectors", line.sectors},
                    {"wavefronts", line.wavefronts},
                    {"wavefronts_ideal", line.wavefronts_ideal},
                    {"source", sources.line(line.file, line.line)}});
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

}  // namespace

simt::Traffic Trace::total() const {
  Traffic sum;
  for (const LaunchRecord& launch : launches) sum += launch.traffic;
  return sum;
}

void print_trace(const Trace& trace, bool styled) {
  fmt::print("{} {}, {} pass: {}, mask {}{}{}\n\n", trace.chapter->id, trace.step->id,
             to_string(trace.pass), to_string(trace.shape), to_string(trace.mask),
             trace.scaled.empty() ? "" : "\n", trace.scaled);
  if (trace.launches.empty()) {
    fmt::print("{}, so there is nothing to count.\n",
               trace.stopped ? "The first launch was stopped" : "Nothing was launched");
  } else {
    print_global(trace, styled);
    print_inside(trace, styled);
    if (trace.stopped) {
      fmt::print("The next launch was stopped: no bound, since the pass is not complete.\n\n");
    } else {
      print_bound(trace, styled);
    }
    fmt::print("{}", kLegend);
  }
  for (const Detection& detection : trace.detections) fmt::print("\n{}\n", to_string(detection));
  for (const std::string& line : trace.damage) fmt::print("\n{}\n", line);
}

void print_lines(const Trace& trace, bool styled) {
  Sources sources;
  for (const LaunchRecord& launch : trace.launches) print_lines_of(launch, sources, styled);
}

Json to_json(const Trace& trace, bool lines) {
  Json launches = Json::array();
  for (const LaunchRecord& launch : trace.launches) launches.push_back(to_json(launch, lines));
  Json detections = Json::array();
  for (const Detection& detection : trace.detections) detections.push_back(to_json(detection));
  const Shape& s = trace.shape;
  return {
      {"chapter", trace.chapter->id},
      {"step", trace.step->id},
      {"pass", to_string(trace.pass)},
      {"shape", {{"B", s.B}, {"H", s.H}, {"Hkv", s.Hkv}, {"Nq", s.Nq}, {"Nk", s.Nk}, {"d", s.d}}},
      {"causal", trace.mask != Mask::kFull},
      {"launches", launches},
      {"total", counters(trace.total())},
      {"detections", detections},
      {"bound", trace.stopped ? Json::object() : to_json(trace.bound)},
      {"times_heads", trace.times_heads},
      {"mask", to_string(trace.mask)},
      {"damage", trace.damage}};
}

}  // namespace attn::cli

#endif  // ATTN_CAN_TRACE
