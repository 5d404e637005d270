// SPDX-License-Identifier: MIT
//
// What threads do to mbarriers, to the async proxy and through TMA, as the recorder's logs hold it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/tensor_layout.hpp"

namespace attn::simt {

/// 16 bytes of dynamic shared memory, of which some stand for bytes of global memory.
struct AsyncPiece {
  std::uintptr_t global;  // of the first of them
  std::uint32_t chunk;    // which 16 bytes of dynamic shared memory
  std::uint8_t first;     // the first of the 16 that stands for one
  std::uint8_t valid;     // how many do
};

struct AsyncEvent {
  enum class Kind : std::uint8_t {
    kInit,        // of an mbarrier
    kArrive,      // in `phase`; announces `bytes`
    kWait,        // the thread has seen that `phase` phases have ended
    kFence,       // between the proxies
    kLoad,        // TMA to shared memory; `phase` phases of the mbarrier say that it has arrived
    kStore,       // TMA from shared memory
    kStoresRead,  // all of the thread's stores but the `bytes` latest have read shared memory
  };
  Kind kind;
  Swizzle swizzle = Swizzle::kNone;  // of kLoad
  std::uint16_t barrier = 0;         // its number in the block
  std::uintptr_t address = 0;        // of the mbarrier
  std::uint32_t phase = 0;
  std::uint32_t bytes = 0;
  std::shared_ptr<const std::vector<AsyncPiece>> pieces{};  // of kLoad and kStore
};

}  // namespace attn::simt
