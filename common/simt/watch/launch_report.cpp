// SPDX-License-Identifier: MIT
#include "common/simt/watch/launch_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <tuple>

#include "common/io/table.hpp"

namespace attn::simt {
namespace {

using enum io::Table::Align;

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

/// Calls row(name, launch or null, traffic) for each launch and, where there are several, the sum.
template <class Row>
void for_each_row(std::span<const LaunchRecord> launches, Row&& row) {
  for (const LaunchRecord& launch : launches) row(launch.kernel, &launch, launch.traffic);
  if (launches.size() > 1) row("all", nullptr, total(launches));
}

/// A table without the columns that hold nothing. "requested: store" is "store" behind another
/// column of "requested".
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
    std::vector<io::Table::Column> columns = pick(columns_);
    std::string before;
    for (io::Table::Column& column : columns) {
      const std::size_t colon = column.title.find(": ");
      const std::string group = colon == std::string::npos ? "" : column.title.substr(0, colon + 2);
      if (group == before) column.title.erase(0, group.size());
      before = group;
    }
    io::Table table(std::move(columns));
    for (const auto& row : rows_) table.add_row(pick(row));
    return table.to_string(styled);
  }

 private:
  std::vector<io::Table::Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

void print_global(std::span<const LaunchRecord> launches, bool styled, Element element) {
  Filled table({{"kernel"},
                {"grid"},
                {"block"},
                {"requested: load", kRight},
                {"requested: store", kRight},
                {"requested: atomic", kRight},
                {"requested: async", kRight},
                {"requested: async store", kRight},
                {"sectors/request: load", kRight},
                {"sectors/request: store", kRight},
                {"sectors/request: async", kRight},
                {"compulsory: read", kRight},
                {"compulsory: write", kRight}});
  for_each_row(launches, [&](const std::string& name, const LaunchRecord* launch,
                             const Traffic& t) {
    table.add_row({name, launch == nullptr ? "" : to_text(launch->grid),
                   launch == nullptr ? "" : to_text(launch->block), bytes_text(t.global_load_bytes),
                   bytes_text(t.global_store_bytes), bytes_text(t.global_atomic_bytes),
                   bytes_text(t.global_async_bytes), bytes_text(t.global_async_store_bytes),
                   ratio_text(t.global_load_sectors, t.global_load_requests),
                   ratio_text(t.global_store_sectors, t.global_store_requests),
                   t.global_async_bytes == 0 || t.tensor_copies > 0
                       ? ""
                       : ratio_text(t.global_async_sectors, t.global_async_requests),
                   bytes_text(t.global_read_bytes_compulsory),
                   bytes_text(t.global_write_bytes_compulsory)});
  });
  const Traffic t = total(launches);
  const std::uint64_t requested = requested_bytes(t);
  const std::uint64_t compulsory = compulsory_bytes(t);
  const std::uint64_t each = bytes_of(element);
  fmt::print(
      "Global memory\n{}"
      "In {} elements{}: {} requested, {} compulsory: {} to 1.\n\n",
      table.to_string(styled), to_string(element),
      element == Element::kFloat32 ? "" : ", a float32 being two", grouped(requested / each),
      grouped(compulsory / each), ratio_text(requested, compulsory));
}

void print_inside(std::span<const LaunchRecord> launches, bool styled) {
  Filled table({{"kernel"},
                {"shared memory", kRight},
                {"wavefronts: load", kRight},
                {"wavefronts: store", kRight},
                {"wavefronts: ldmatrix", kRight},
                {"wavefronts: async", kRight},
                {"atomic requests", kRight},
                {"barriers", kRight},
                {"special functions", kRight},
                {"shuffles", kRight},
                {"votes", kRight},
                {"mma", kRight},
                {"wgmma", kRight},
                {"TMA", kRight},
                {"waits for mbarriers", kRight}});
  bool any = false;
  for_each_row(
      launches, [&](const std::string& name, const LaunchRecord* launch, const Traffic& t) {
        const std::size_t shared =
            launch == nullptr ? 0 : launch->shared_bytes + launch->static_shared_bytes;
        table.add_row({name, bytes_text(shared),
                       wavefronts_text(t.shared_load_wavefronts, t.shared_load_wavefronts_ideal),
                       wavefronts_text(t.shared_store_wavefronts, t.shared_store_wavefronts_ideal),
                       wavefronts_text(t.matrix_load_wavefronts, t.matrix_load_wavefronts_ideal),
                       wavefronts_text(t.shared_async_wavefronts, t.shared_async_wavefronts_ideal),
                       count_text(t.shared_atomic_requests), count_text(t.barriers),
                       count_text(t.special_functions), count_text(t.shuffles), count_text(t.votes),
                       count_text(t.mma_instructions), count_text(t.wgmma_instructions),
                       count_text(t.tensor_copies), count_text(t.mbarrier_waits)});
        any = any || shared + t.barriers + t.special_functions + t.shuffles + t.votes > 0;
      });
  if (any) fmt::print("Inside the multiprocessors\n{}\n", table.to_string(styled));
}

std::string place(const SiteTraffic& line) {
  if (line.file.empty()) return "unknown";
  return fmt::format("{}:{}", std::filesystem::path(line.file).filename().string(), line.line);
}

}  // namespace

Traffic total(std::span<const LaunchRecord> launches) {
  Traffic sum;
  for (const LaunchRecord& launch : launches) sum += launch.traffic;
  return sum;
}

std::uint64_t requested_bytes(const Traffic& t) {
  return t.global_load_bytes + t.global_store_bytes + t.global_atomic_bytes + t.global_async_bytes +
         t.global_async_store_bytes;
}

std::uint64_t compulsory_bytes(const Traffic& t) {
  return t.global_read_bytes_compulsory + t.global_write_bytes_compulsory;
}

void print_counts(std::span<const LaunchRecord> launches, bool styled, Element element) {
  print_global(launches, styled, element);
  print_inside(launches, styled);
}

void print_bound_by_launch(const Bound& bound, bool styled, const std::string& of) {
  const DeviceDescription& device = find_device(bound.device);
  Filled table({{"kernel"},
                {"SMs used", kRight},
                {"L2", kRight},
                {"L1", kRight},
                {"shared memory", kRight},
                {"special functions", kRight},
                {"tensor cores", kRight},
                {"shuffles", kRight},
                {"votes", kRight},
                {"at least", kRight}});
  const auto add_row = [&table](const std::string& name, const std::string& sms, const Parts& parts,
                                double seconds) {
    std::vector<std::string> cells = {name, sms};
    for (const Resource part : kLaunchResources) cells.push_back(seconds_text(parts[part]));
    cells.push_back(seconds_text(seconds));
    table.add_row(std::move(cells));
  };
  for (const LaunchBound& launch : bound.by_launch) {
    add_row(launch.kernel,
            fmt::format("{} of {}", launch.occupancy.multiprocessors, device.multiprocessors),
            launch.parts, launch.seconds);
  }
  if (bound.by_launch.size() > 1) add_row("one after the other", "", bound.parts, bound.launches);
  fmt::print("Lower bound on {}{}: {}, set by {}\n{}", device.product, of,
             io::human_seconds(bound.seconds), bound.limit, table.to_string(styled));
}

const char* const kCountsLegend =
    "requested: what the threads ask for. compulsory: each distinct byte once per launch. request: "
    "one\n"
    "warp executing one access. sector: 32 aligned bytes. wavefront: one pass over the 32 banks of "
    "shared\n"
    "memory; (2x) is twice what conflict-free accesses need. A real run takes longer than the "
    "bound.\n";

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

std::string source_text(const std::string& file, int line) {
  std::ifstream in(file);
  std::string text;
  for (int number = 0; number < line; ++number) {
    if (!std::getline(in, text)) return {};
  }
  const std::size_t begin = text.find_first_not_of(" \t");
  return line < 1 || begin == std::string::npos ? "" : text.substr(begin);
}

void print_lines(const LaunchRecord& launch, bool styled) {
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
                   source_text(line.file, line.line)});
  }
  fmt::print("\n{}, by source line\n{}", launch.kernel, table.to_string(styled));
}

}  // namespace attn::simt
