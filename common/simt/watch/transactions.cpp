// SPDX-License-Identifier: MIT
#include "common/simt/watch/transactions.hpp"

#include <algorithm>
#include <array>
#include <bit>

namespace attn::simt {
namespace {

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

}  // namespace

/// All with up to 4 bytes each, half a warp with 8, a quarter with 16; twice as many where a load's
/// lanes agree in pairs. A matrix of ldmatrix is always a phase of its own.
unsigned lanes_per_phase(const Request& request) {
  if (request.bytes < 8) return kWarpSize;
  const unsigned lanes = request.bytes == 8 ? 16 : 8;
  const bool pairs = request.access == Access::kLoad && request.unit == Unit::kLoadStore &&
                     (agree(request, 1) || agree(request, 2));
  return pairs ? 2 * lanes : lanes;
}

std::uint64_t sectors_of(const Request& request) {
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

Wavefronts wavefronts_of(const Request& request) {
  const unsigned together = lanes_per_phase(request);
  const unsigned phase_mask = together == kWarpSize ? ~0u : (1u << together) - 1;
  Wavefronts sum;
  for (unsigned first = 0; first < kWarpSize; first += together) {
    const unsigned lanes = request.lanes & phase_mask << first;
    if (lanes == 0) continue;
    ++sum.ideal;
    sum.needed += count_wavefronts(request, lanes);
  }
  return sum;
}

}  // namespace attn::simt
