// SPDX-License-Identifier: MIT
#include "common/simt/draw/requests.hpp"

#include <algorithm>
#include <bit>
#include <set>

#include "common/simt/machine/arena.hpp"
#include "common/simt/machine/image.hpp"
#include "common/simt/watch/transactions.hpp"

namespace attn::simt::draw {
namespace {

/// Sectors that the distinct bytes of a request would fill.
std::uint64_t ideal_sectors(const Request& request) {
  std::set<std::uintptr_t> distinct;
  for (unsigned rest = request.lanes; rest != 0; rest &= rest - 1) {
    distinct.insert(request.addresses[std::countr_zero(rest)]);
  }
  return (distinct.size() * request.bytes + kSectorBytes - 1) / kSectorBytes;
}

}  // namespace

void WorstRequests::begin_launch(const std::string& kernel, dim3 /*grid*/, dim3 /*block*/) {
  kernel_ = kernel;
  statics_ = thread_locals();
  image_begin_ = program_image().begin;
}

SeenAccess& WorstRequests::entry_of(const Request& request) {
  const std::uintptr_t address = request.addresses[std::countr_zero(request.lanes)];
  const bool shared = request.space == Space::kShared;
  std::optional<Arena::Array> array;
  if (!shared && address - array_begin_ >= array_bytes_) {
    array = Arena::get().array_at(address);
    array_begin_ = array ? array->begin : 0;
    array_bytes_ = array ? array->bytes : 0;
  }
  const auto [entry, fresh] = seen_.try_emplace(
      Key{kernel_, request.site, request.space, shared ? 0 : array_begin_}, SeenAccess{});
  SeenAccess& seen = entry->second;
  if (!fresh) return seen;
  seen.kernel = kernel_;
  const SourceLine source = source_line(image_begin_ + request.site);
  seen.file = source.file;
  seen.line = source.line;
  seen.access = request.access;
  seen.space = request.space;
  seen.unit = request.unit;
  seen.bytes = request.bytes;
  if (shared) return seen;
  if (!array) array = Arena::get().array_at(address);
  if (!array) return seen;  // a variable of the program
  seen.array = array->name;
  seen.base = array->begin;
  seen.element = array->element > 0 ? array->element : request.bytes;
  for (const KnownArray& known : known_) {
    if (known.label != array->name) continue;
    seen.array = known.name;
    seen.row_bytes = known.row_bytes;
  }
  return seen;
}

void WorstRequests::request(int /*warp*/, const Request& request) {
  SeenAccess& seen = entry_of(request);
  std::uint64_t cost = 0;
  if (request.space == Space::kGlobal) {
    cost = sectors_of(request);
  } else {
    cost = wavefronts_of(request).needed;
    for (unsigned rest = request.lanes; rest != 0; rest &= rest - 1) {
      const std::uintptr_t address = request.addresses[std::countr_zero(rest)];
      if (!statics_.contains(address)) continue;
      std::uintptr_t& lowest = static_base_.try_emplace(kernel_, address).first->second;
      lowest = std::min(lowest, address);
    }
  }
  ++seen.requests;
  seen.cost += cost;
  if (cost <= seen.worst) return;
  seen.worst = cost;
  seen.lanes = request.lanes;
  seen.ideal =
      request.space == Space::kGlobal ? ideal_sectors(request) : wavefronts_of(request).ideal;
  for (unsigned rest = request.lanes; rest != 0; rest &= rest - 1) {
    const auto lane = static_cast<std::size_t>(std::countr_zero(rest));
    seen.addresses[lane] = request.addresses[lane];
  }
}

std::vector<SeenAccess> WorstRequests::accesses() const {
  std::map<std::tuple<std::string, int, std::string, Access, Space, Unit, std::string>, SeenAccess>
      merged;
  for (const auto& [key, seen] : seen_) {
    const auto [entry, first] = merged.try_emplace(
        {seen.file, seen.line, seen.kernel, seen.access, seen.space, seen.unit, seen.array}, seen);
    SeenAccess& sum = entry->second;
    if (!first) {
      const std::uint64_t requests = sum.requests + seen.requests;
      const std::uint64_t cost = sum.cost + seen.cost;
      if (seen.worst > sum.worst) sum = seen;
      sum.requests = requests;
      sum.cost = cost;
    }
  }
  std::vector<SeenAccess> all;
  for (auto& [key, seen] : merged) {
    if (seen.space == Space::kShared) {
      // A GPU's static shared memory begins at an address of 0 in every bank's sense; here it lies
      // among a thread's variables. Dynamic shared memory begins at a multiple of 1,024 bytes.
      const std::uintptr_t first =
          seen.addresses[static_cast<std::size_t>(std::countr_zero(seen.lanes))];
      seen.base = statics_.contains(first) ? static_base_.at(seen.kernel) : 0;
    }
    all.push_back(std::move(seen));
  }
  return all;
}

}  // namespace attn::simt::draw
