// SPDX-License-Identifier: MIT
#include "common/simt/watch/tracer.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <mutex>
#include <tuple>
#include <utility>

#include "common/simt/machine/arena.hpp"
#include "common/simt/machine/image.hpp"

namespace attn::simt {
namespace {

constexpr std::uintptr_t kSectorBytes = 32;
constexpr std::uintptr_t kBankBytes = 4;
constexpr std::size_t kBanks = 32;

/// Distinct 32-byte sectors that a request touches.
std::uint64_t count_sectors(const Request& request) {
  std::array<std::uintptr_t, 2 * kWarpSize> sectors;  // an access spans two at most
  std::size_t n = 0;
  bool sorted = true;
  std::uintptr_t last = 0;
  for (unsigned rest = request.lanes; rest != 0; rest &= rest - 1) {
    const std::uintptr_t address = request.addresses[std::countr_zero(rest)];
    const std::uintptr_t end = (address + request.bytes - 1) / kSectorBytes;
    for (std::uintptr_t sector = address / kSectorBytes; sector <= end; ++sector) {
      if (n > 0 && sector == last) continue;
      sorted = sorted && (n == 0 || sector > last);
      sectors[n++] = last = sector;
    }
  }
  if (sorted) return n;
  const auto end = sectors.begin() + static_cast<std::ptrdiff_t>(n);
  std::sort(sectors.begin(), end);
  return static_cast<std::uint64_t>(std::unique(sectors.begin(), end) - sectors.begin());
}

/// Passes over the banks for the lanes of one phase: the largest number of different words that any
/// one bank has to deliver.
unsigned count_wavefronts(const Request& request, unsigned lanes) {
  std::array<std::array<std::uintptr_t, kWarpSize>, kBanks> words;
  std::array<std::uint8_t, kBanks> used{};
  unsigned most = 0;
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    const std::uintptr_t address = request.addresses[std::countr_zero(rest)];
    const std::uintptr_t end = (address + request.bytes - 1) / kBankBytes;
    for (std::uintptr_t word = address / kBankBytes; word <= end; ++word) {
      const std::size_t bank = word % kBanks;
      std::uint8_t& n = used[bank];
      if (std::find(words[bank].begin(), words[bank].begin() + n, word) !=
          words[bank].begin() + n) {
        continue;  // the same word again is a broadcast
      }
      words[bank][n++] = word;
      most = std::max<unsigned>(most, n);
    }
  }
  return most;
}

/// Whether every active lane n asks for the same address as lane n ^ partner. A lane that is not
/// active asks for nothing, so it agrees with everything.
bool agree(const Request& request, unsigned partner) {
  for (unsigned rest = request.lanes; rest != 0; rest &= rest - 1) {
    const auto lane = static_cast<unsigned>(std::countr_zero(rest));
    const unsigned other = lane ^ partner;
    if ((request.lanes >> other & 1u) != 0 && request.addresses[lane] != request.addresses[other]) {
      return false;
    }
  }
  return true;
}

/// How many lanes the shared-memory unit serves together: all with up to 4 bytes each, half a warp
/// with 8, a quarter with 16; twice as many where a load's lanes agree in pairs.
unsigned lanes_per_phase(const Request& request) {
  if (request.bytes < 8) return kWarpSize;
  const unsigned lanes = request.bytes == 8 ? 16 : 8;
  const bool pairs = request.access == Access::kLoad && (agree(request, 1) || agree(request, 2));
  return pairs ? 2 * lanes : lanes;
}

std::mutex launches_mutex;

// Made on first use, so that it outlives whoever asked for it before.
std::vector<LaunchRecord>& recorded_launches() {
  static std::vector<LaunchRecord> launches;
  return launches;
}

const char* access_name(Access access, Space space) {
  switch (access) {
    case Access::kLoad:
      return space == Space::kGlobal ? "global load" : "shared load";
    case Access::kStore:
      return space == Space::kGlobal ? "global store" : "shared store";
    default:
      return space == Space::kGlobal ? "global atomic" : "shared atomic";
  }
}

}  // namespace

Traffic& Traffic::operator+=(const Traffic& o) {
  global_load_bytes += o.global_load_bytes;
  global_store_bytes += o.global_store_bytes;
  global_load_requests += o.global_load_requests;
  global_store_requests += o.global_store_requests;
  global_load_sectors += o.global_load_sectors;
  global_store_sectors += o.global_store_sectors;
  global_atomic_bytes += o.global_atomic_bytes;
  global_atomic_requests += o.global_atomic_requests;
  global_atomic_sectors += o.global_atomic_sectors;
  global_async_bytes += o.global_async_bytes;
  global_read_bytes_compulsory += o.global_read_bytes_compulsory;
  global_write_bytes_compulsory += o.global_write_bytes_compulsory;
  global_sectors_compulsory += o.global_sectors_compulsory;
  shared_load_bytes += o.shared_load_bytes;
  shared_store_bytes += o.shared_store_bytes;
  shared_load_wavefronts += o.shared_load_wavefronts;
  shared_load_wavefronts_ideal += o.shared_load_wavefronts_ideal;
  shared_store_wavefronts += o.shared_store_wavefronts;
  shared_store_wavefronts_ideal += o.shared_store_wavefronts_ideal;
  shared_atomic_requests += o.shared_atomic_requests;
  barriers += o.barriers;
  special_functions += o.special_functions;
  shuffles += o.shuffles;
  votes += o.votes;
  return *this;
}

std::vector<LaunchRecord> take_launches() {
  const std::lock_guard lock(launches_mutex);
  return std::exchange(recorded_launches(), {});
}

void publish(LaunchRecord record) {
  const std::lock_guard lock(launches_mutex);
  recorded_launches().push_back(std::move(record));
}

Tracer::Tracer(std::uintptr_t image_base) : image_base_(image_base), arena_(Arena::get()) {
  arena_.clear_touched();
}

Tracer::Site& Tracer::site_of(const Request& request) {
  const std::uint64_t key =
      std::uint64_t{request.site} << 1 | (request.space == Space::kShared ? 1u : 0u);
  if (last_site_ == nullptr || key != last_key_) {
    last_key_ = key;
    last_site_ = &sites_.try_emplace(key, Site{request.access, request.space, {}}).first->second;
    last_site_->traffic.lane_bytes = request.bytes;
  }
  return *last_site_;
}

void Tracer::request(const Request& request) {
  SiteTraffic& site = site_of(request).traffic;
  ++site.requests;
  site.bytes += std::uint64_t{request.lane_count} * request.bytes;
  if (request.space == Space::kGlobal) {
    global(request, site);
  } else {
    shared(request, site);
  }
}

void Tracer::global(const Request& request, SiteTraffic& site) {
  const auto bytes = std::uint64_t{request.lane_count} * request.bytes;
  const std::uint64_t sectors = count_sectors(request);
  site.sectors += sectors;
  std::uint64_t fresh_reads = 0;
  std::uint64_t fresh_writes = 0;
  std::uintptr_t last = 0;
  for (unsigned rest = request.lanes; rest != 0; rest &= rest - 1) {
    const std::uintptr_t address = request.addresses[std::countr_zero(rest)];
    if (address == last) continue;
    last = address;
    if (request.access != Access::kStore) {
      fresh_reads += arena_.touched_by_reads().set_new(address, request.bytes);
    }
    if (request.access != Access::kLoad) {
      fresh_writes += arena_.touched_by_writes().set_new(address, request.bytes);
    }
  }
  total_.global_read_bytes_compulsory += fresh_reads;
  total_.global_write_bytes_compulsory += fresh_writes;
  switch (request.access) {
    case Access::kLoad:
      total_.global_load_bytes += bytes;
      ++total_.global_load_requests;
      total_.global_load_sectors += sectors;
      break;
    case Access::kStore:
      total_.global_store_bytes += bytes;
      ++total_.global_store_requests;
      total_.global_store_sectors += sectors;
      break;
    default:
      total_.global_atomic_bytes += bytes;
      ++total_.global_atomic_requests;
      total_.global_atomic_sectors += sectors;
      break;
  }
}

void Tracer::shared(const Request& request, SiteTraffic& site) {
  const unsigned together = lanes_per_phase(request);
  const unsigned phase_mask = together == kWarpSize ? ~0u : (1u << together) - 1;
  std::uint64_t wavefronts = 0;
  std::uint64_t ideal = 0;
  for (unsigned first = 0; first < kWarpSize; first += together) {
    const unsigned lanes = request.lanes & phase_mask << first;
    if (lanes == 0) continue;
    ++ideal;
    wavefronts += count_wavefronts(request, lanes);
  }
  site.wavefronts += wavefronts;
  site.wavefronts_ideal += ideal;
  const auto bytes = std::uint64_t{request.lane_count} * request.bytes;
  switch (request.access) {
    case Access::kLoad:
      total_.shared_load_bytes += bytes;
      total_.shared_load_wavefronts += wavefronts;
      total_.shared_load_wavefronts_ideal += ideal;
      break;
    case Access::kStore:
      total_.shared_store_bytes += bytes;
      total_.shared_store_wavefronts += wavefronts;
      total_.shared_store_wavefronts_ideal += ideal;
      break;
    default:
      ++total_.shared_atomic_requests;
      break;
  }
}

LaunchRecord Tracer::finish() {
  LaunchRecord record;
  record.traffic = total_;
  record.traffic.global_sectors_compulsory = arena_.touched_sectors();
  for (auto& [key, site] : sites_) {
    const SourceLine source = source_line(image_base_ + static_cast<std::uintptr_t>(key >> 1));
    site.traffic.file = source.file;
    site.traffic.line = source.line;
    site.traffic.access = access_name(site.access, site.space);
    record.sites.push_back(std::move(site.traffic));
  }
  std::sort(record.sites.begin(), record.sites.end(), [](const auto& a, const auto& b) {
    return std::tie(a.file, a.line, a.access) < std::tie(b.file, b.line, b.access);
  });
  return record;
}

}  // namespace attn::simt
