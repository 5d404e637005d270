// SPDX-License-Identifier: MIT
//
// Where the bits of the pairs lie: a word says which of a tile's keys a row sees.
#pragma once

#include <cstdint>
#include <type_traits>

#include "common/host_device.hpp"

namespace attn::masks {

/// As many bits as a tile has keys.
template <int kKeys>
using Word = std::conditional_t<kKeys == 16, std::uint16_t, std::uint32_t>;

/// Words [heads, key tiles, Nq]: those that a block reads together lie side by side.
template <int kKeys>
struct Words {
  Word<kKeys>* first;
  std::int64_t Nq, key_tiles;

  /// The words of all rows, for one tile of keys and one head of the array.
  ATTN_HOST_DEVICE constexpr Word<kKeys>* of_keys(std::int64_t head, std::int64_t tile) const {
    return first + (head * key_tiles + tile) * Nq;
  }
  constexpr std::int64_t elements(std::int64_t heads) const { return heads * key_tiles * Nq; }
};

}  // namespace attn::masks
