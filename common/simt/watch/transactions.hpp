// SPDX-License-Identifier: MIT
//
// What the memory system makes of one access of a warp: sectors of global memory, passes over the
// banks of shared memory. notes/cpu_machine.md has the rules and where they come from.
#pragma once

#include <cstdint>

#include "common/simt/watch/recorder.hpp"

namespace attn::simt {

inline constexpr std::uintptr_t kSectorBytes = 32;
inline constexpr std::uintptr_t kBankBytes = 4;
inline constexpr std::size_t kBanks = 32;

/// Distinct 32-byte sectors that a request to global memory touches.
std::uint64_t sectors_of(const Request& request);

/// Passes over the banks for a request to shared memory, and without conflicts.
struct Wavefronts {
  std::uint64_t needed = 0;
  std::uint64_t ideal = 0;
};
Wavefronts wavefronts_of(const Request& request);

/// How many neighbouring lanes the shared-memory unit serves together.
unsigned lanes_per_phase(const Request& request);

}  // namespace attn::simt
