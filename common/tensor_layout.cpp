// SPDX-License-Identifier: MIT
#include "common/tensor_layout.hpp"

#include <fmt/format.h>

#include <string>

#include "common/attention.hpp"

namespace attn {
namespace {

constexpr std::uint64_t kMostElements = std::uint64_t{1} << 32;
constexpr std::uint64_t kStridesEnd = std::uint64_t{1} << 40;
constexpr std::uint32_t kLargestBox = 256;
constexpr unsigned kUnit = 16;  // bytes that the copy engine moves at least

[[noreturn]] void bad(const std::string& message) {
  throw Error(ErrorKind::kBadArgument, "tensor map: " + message);
}

}  // namespace

std::string_view to_string(Swizzle swizzle) {
  constexpr std::string_view kNames[] = {"none", "32 bytes", "64 bytes", "128 bytes"};
  return kNames[static_cast<std::size_t>(swizzle)];
}

void check(const TensorLayout& layout) {
  if (layout.rank < 1 || layout.rank > TensorLayout::kMostDimensions) {
    bad(fmt::format("rank = {}: allowed: 1 to {}", layout.rank, TensorLayout::kMostDimensions));
  }
  const auto address = reinterpret_cast<std::uintptr_t>(layout.address);
  if (address == 0) bad("address = null: allowed: an address in global memory");
  if (address % kUnit != 0) {
    bad(fmt::format("address = {} modulo 16: allowed: multiples of 16", address % kUnit));
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(layout.rank); ++i) {
    if (layout.sizes[i] < 1 || layout.sizes[i] > kMostElements) {
      bad(fmt::format("sizes[{}] = {}: allowed: 1 to 2^32; of an empty tensor there is no map", i,
                      layout.sizes[i]));
    }
    if (layout.box[i] < 1 || layout.box[i] > kLargestBox) {
      bad(fmt::format("box[{}] = {}: allowed: 1 to {}", i, layout.box[i], kLargestBox));
    }
    if (i == 0) continue;
    const std::uint64_t stride = layout.strides[i - 1];
    if (stride % kUnit != 0 || stride >= kStridesEnd) {
      bad(fmt::format("strides[{}] = {} bytes: allowed: multiples of 16 below 2^40", i - 1,
                      stride));
    }
  }
  const std::size_t row = layout.box[0] * bytes_of(layout.element);
  const unsigned wanted = row_bytes(layout.swizzle);
  if (wanted != 0 && row != wanted) {
    bad(fmt::format("box[0] = {}: {} bytes; allowed with the swizzle of {}: {}", layout.box[0], row,
                    to_string(layout.swizzle), wanted / bytes_of(layout.element)));
  }
  if (row % kUnit != 0) {
    bad(fmt::format("box[0] = {}: {} bytes; allowed: a multiple of 16 bytes", layout.box[0], row));
  }
}

std::uint32_t box_bytes(const TensorLayout& layout) {
  auto bytes = static_cast<std::uint32_t>(bytes_of(layout.element));
  for (std::size_t i = 0; i < static_cast<std::size_t>(layout.rank); ++i) bytes *= layout.box[i];
  return bytes;
}

}  // namespace attn
