// SPDX-License-Identifier: MIT
//
// Inside the machine: how the lanes of a warp do something together. Each lane posts a pointer to
// what it brings; when all that the mask names have come, one function gets the 32 pointers, reads
// what they bring, and leaves each lane's result where they point. Shuffles, votes, matches and
// reductions (warp.cpp) and arrivals at named barriers are such functions.
#pragma once

#include <array>
#include <cstdint>
#include <source_location>

namespace attn::simt {

class Worker;

/// The lanes that have met.
struct Meeting {
  Worker& worker;
  int warp;
  unsigned lanes;                  // that have come: those of the mask that have not exited
  std::array<void*, 32> operands;  // what each has posted; of `lanes` only
};

/// What a collective makes a warp execute.
struct WarpInstructions {
  std::uint8_t shuffles = 0;
  std::uint8_t votes = 0;
  std::uint8_t multiply_adds = 0;  // mma
  std::uint8_t row_bytes = 0;      // ldmatrix: that this lane reads at `row`, 0 if it names none
  const void* row = nullptr;       // null: no ldmatrix
};

/// Something that lanes do together. Two calls are the same if they name the same object.
struct Collective {
  /// Called once, outside of all lanes, which wait meanwhile.
  void (*run)(const Meeting& meeting);
  bool orders_memory = false;  // between the lanes, as __syncwarp does
  /// Of an instruction that all lanes of a warp must execute together, at one place in the code:
  /// its name, for the report if they do not. Null: the lanes of any mask may, wherever they are.
  const char* aligned = nullptr;
};

/// Waits for all lanes in `mask` that have not exited. `operand` stays valid meanwhile, since the
/// lane's stack does. `site`: the kernel's code address.
void meet(const Collective& collective, unsigned mask, void* operand, std::source_location where,
          const void* site, WarpInstructions instructions = {});

}  // namespace attn::simt
