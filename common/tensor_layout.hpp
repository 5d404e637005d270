// SPDX-License-Identifier: MIT
//
// What a tensor map describes: how a tensor of up to five dimensions lies in global memory, and
// which box of it one copy moves. The copy engine (TMA) knows nothing else of the tensor.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "common/element.hpp"
#include "common/host_device.hpp"

namespace attn {

/// How a box lies in shared memory: the 16-byte chunks of a row exchanged, so that the same chunk
/// of neighbouring rows lies in other banks. A row has 32, 64 or 128 bytes, and chunk c of row r
/// takes the place of chunk c ^ (r / 4) % 2, c ^ (r / 2) % 4 or c ^ r % 8, if the box begins at a
/// multiple of 1,024 bytes: bits 4 to 6 of the address are XORed with bits 7 to 9, as many as the
/// swizzle has.
enum class Swizzle : std::uint8_t { kNone, k32, k64, k128 };  // as the driver numbers them
inline constexpr Swizzle kAllSwizzles[] = {Swizzle::kNone, Swizzle::k32, Swizzle::k64,
                                           Swizzle::k128};

/// Bytes of a row; 0 for kNone, which takes any.
constexpr unsigned row_bytes(Swizzle swizzle) {
  return swizzle == Swizzle::kNone ? 0 : 16u << static_cast<unsigned>(swizzle);
}
/// "none", "32 bytes", "64 bytes", "128 bytes".
std::string_view to_string(Swizzle swizzle);

/// Where a byte of a box lies in shared memory: its address there if nothing were exchanged, to the
/// address that it has. Both count from a multiple of 1,024 bytes.
ATTN_HOST_DEVICE_INLINE constexpr std::uint32_t swizzled(Swizzle swizzle, std::uint32_t address) {
  const std::uint32_t rows = (1u << static_cast<unsigned>(swizzle)) - 1;
  return address ^ (address >> 7 & rows) << 4;
}

/// The arguments of cuTensorMapEncodeTiled, without those that stay the same here: no interleaving,
/// element strides of 1, and zeros for what lies outside of the tensor. Dimension 0 is the one
/// whose elements are neighbours in memory.
struct TensorLayout {
  static constexpr int kMostDimensions = 5;

  Element element = Element::kFloat32;
  void* address = nullptr;                             // of the first element, in global memory
  int rank = 0;                                        // dimensions in use
  std::array<std::uint64_t, kMostDimensions> sizes{};  // in elements
  std::array<std::uint64_t, kMostDimensions - 1> strides{};  // in bytes, of dimensions 1 and up
  std::array<std::uint32_t, kMostDimensions> box{};          // in elements
  Swizzle swizzle = Swizzle::kNone;
};

/// Throws Error(kBadArgument) with the first member that a GPU does not take: rank 1 to 5; address
/// a multiple of 16; sizes 1 to 2^32; strides multiples of 16 below 2^40; boxes of 1 to 256
/// elements in each dimension, their rows a multiple of 16 bytes. A swizzled box has rows of
/// exactly row_bytes(swizzle): a GPU takes shorter ones, but nothing here does.
/// (CUDA driver API, cuTensorMapEncodeTiled)
void check(const TensorLayout& layout);

/// Bytes of one box: what a copy of it announces to its mbarrier, also where it reaches beyond the
/// tensor's edges.
std::uint32_t box_bytes(const TensorLayout& layout);

}  // namespace attn
