// SPDX-License-Identifier: MIT
#include "common/simt/watch/tracer.hpp"

#include <algorithm>
#include <bit>
#include <mutex>
#include <tuple>
#include <utility>

#include "common/simt/machine/arena.hpp"
#include "common/simt/machine/image.hpp"
#include "common/simt/watch/transactions.hpp"

namespace attn::simt {
namespace {

std::mutex launches_mutex;

// Made on first use, so that it outlives whoever asked for it before.
std::vector<LaunchRecord>& recorded_launches() {
  static std::vector<LaunchRecord> launches;
  return launches;
}

const char* access_name(Access access, Space space, Unit unit) {
  if (unit == Unit::kMatrixLoad) return "matrix load";
  if (unit == Unit::kAsyncCopy) return "async copy";
  if (unit == Unit::kTensor) return access == Access::kLoad ? "tensor load" : "tensor store";
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
  global_async_requests += o.global_async_requests;
  global_async_sectors += o.global_async_sectors;
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
  shared_async_wavefronts += o.shared_async_wavefronts;
  shared_async_wavefronts_ideal += o.shared_async_wavefronts_ideal;
  matrix_load_bytes += o.matrix_load_bytes;
  matrix_load_requests += o.matrix_load_requests;
  matrix_load_wavefronts += o.matrix_load_wavefronts;
  matrix_load_wavefronts_ideal += o.matrix_load_wavefronts_ideal;
  tensor_copies += o.tensor_copies;
  global_async_store_bytes += o.global_async_store_bytes;
  global_async_store_sectors += o.global_async_store_sectors;
  mbarrier_waits += o.mbarrier_waits;
  announced_bytes += o.announced_bytes;
  barriers += o.barriers;
  special_functions += o.special_functions;
  shuffles += o.shuffles;
  votes += o.votes;
  mma_instructions += o.mma_instructions;
  wgmma_instructions += o.wgmma_instructions;
  wgmma_flops += o.wgmma_flops;
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
  // An asynchronous copy is one access, whose store comes first.
  const bool shared = request.space == Space::kShared && request.unit != Unit::kAsyncCopy;
  const std::uint64_t key = std::uint64_t{request.site} << 1 | (shared ? 1u : 0u);
  if (last_site_ == nullptr || key != last_key_) {
    last_key_ = key;
    last_site_ = &sites_.try_emplace(key, Site{request.access, request.space, request.unit, {}})
                      .first->second;
    last_site_->traffic.lane_bytes = request.bytes;
  }
  return *last_site_;
}

void Tracer::request(const Request& request) {
  SiteTraffic& site = site_of(request).traffic;
  const bool copy = request.unit == Unit::kAsyncCopy;
  if (!copy || request.access == Access::kStore) ++site.requests;
  if (!copy || request.access == Access::kLoad) {
    site.bytes += std::uint64_t{request.lane_count} * request.bytes;
  }
  if (request.space == Space::kGlobal) {
    global(request, site);
  } else {
    shared(request, site);
  }
}

void Tracer::global(const Request& request, SiteTraffic& site) {
  const auto bytes = std::uint64_t{request.lane_count} * request.bytes;
  const std::uint64_t sectors = sectors_of(request);
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
  if (request.unit == Unit::kAsyncCopy) {
    total_.global_async_bytes += bytes;
    total_.global_async_sectors += sectors;
    return;
  }
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
  const auto [wavefronts, ideal] = wavefronts_of(request);
  site.wavefronts += wavefronts;
  site.wavefronts_ideal += ideal;
  const auto bytes = std::uint64_t{request.lane_count} * request.bytes;
  if (request.unit == Unit::kMatrixLoad) {
    total_.matrix_load_bytes += bytes;
    ++total_.matrix_load_requests;
    total_.matrix_load_wavefronts += wavefronts;
    total_.matrix_load_wavefronts_ideal += ideal;
    return;
  }
  if (request.unit == Unit::kAsyncCopy) {
    ++total_.global_async_requests;
    total_.shared_async_wavefronts += wavefronts;
    total_.shared_async_wavefronts_ideal += ideal;
    return;
  }
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

void Tracer::async_event(const AsyncEvent& event, unsigned lanes, std::uint32_t site) {
  if (event.kind == AsyncEvent::Kind::kWait) ++total_.mbarrier_waits;
  if (event.kind == AsyncEvent::Kind::kArrive) {
    total_.announced_bytes += std::uint64_t{event.bytes} * lanes;
  }
  if (event.pieces != nullptr) tensor_copy(event, site);
}

void Tracer::tensor_copy(const AsyncEvent& event, std::uint32_t site) {
  const bool load = event.kind == AsyncEvent::Kind::kLoad;
  std::uint64_t bytes = 0, fresh = 0;
  std::vector<std::uintptr_t> sectors;
  for (const AsyncPiece& piece : *event.pieces) {
    if (piece.valid == 0) continue;
    bytes += piece.valid;
    const std::uintptr_t end = (piece.global + piece.valid - 1) / kSectorBytes;
    for (std::uintptr_t sector = piece.global / kSectorBytes; sector <= end; ++sector) {
      if (sectors.empty() || sectors.back() != sector) sectors.push_back(sector);
    }
    ByteBits& touched = load ? arena_.touched_by_reads() : arena_.touched_by_writes();
    fresh += touched.set_new(piece.global, piece.valid);
  }
  std::sort(sectors.begin(), sectors.end());
  const auto distinct =
      static_cast<std::uint64_t>(std::unique(sectors.begin(), sectors.end()) - sectors.begin());
  ++total_.tensor_copies;
  (load ? total_.global_read_bytes_compulsory : total_.global_write_bytes_compulsory) += fresh;
  (load ? total_.global_async_bytes : total_.global_async_store_bytes) += bytes;
  (load ? total_.global_async_sectors : total_.global_async_store_sectors) += distinct;
  SiteTraffic& traffic = site_of({.access = load ? Access::kLoad : Access::kStore,
                                  .space = Space::kGlobal,
                                  .unit = Unit::kTensor,
                                  .bytes = ProxyMarks::kChunk,
                                  .site = site,
                                  .lanes = 1,
                                  .lane_count = 1,
                                  .addresses = nullptr,
                                  .values = nullptr})
                             .traffic;
  ++traffic.requests;
  traffic.bytes += bytes;
  traffic.sectors += distinct;
}

LaunchRecord Tracer::finish() {
  LaunchRecord record;
  record.traffic = total_;
  record.traffic.global_sectors_compulsory = arena_.touched_sectors();
  for (auto& [key, site] : sites_) {
    const SourceLine source = source_line(image_base_ + static_cast<std::uintptr_t>(key >> 1));
    site.traffic.file = source.file;
    site.traffic.line = source.line;
    site.traffic.access = access_name(site.access, site.space, site.unit);
    record.sites.push_back(std::move(site.traffic));
  }
  std::sort(record.sites.begin(), record.sites.end(), [](const auto& a, const auto& b) {
    return std::tie(a.file, a.line, a.access) < std::tie(b.file, b.line, b.access);
  });
  return record;
}

}  // namespace attn::simt
