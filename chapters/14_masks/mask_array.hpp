// SPDX-License-Identifier: MIT
//
// Which pairs a problem has: those of the band that an array of bytes does not hide.
#pragma once

#include "common/device/band.hpp"
#include "common/extras.hpp"

namespace attn::masks {

/// The array's bytes from the corner of a tile on.
struct TileBytes {
  const std::uint8_t* corner;           // null: there is no array
  std::int64_t row_stride, key_stride;  // to the next row and key; 0 where all share a byte

  ATTN_HOST_DEVICE constexpr bool sees(int r, int j) const {
    return corner == nullptr || corner[r * row_stride + j * key_stride] != 0;
  }
};

/// The pairs of a tile that has `rows` rows.
struct TilePairs {
  device::TileBand band;
  TileBytes bytes;
  int rows;

  /// Reads the byte of a pair only where the band has it.
  ATTN_HOST_DEVICE constexpr bool sees(int r, int j) const {
    return r < rows && band.sees(r, j) && bytes.sees(r, j);
  }
};

/// The array, which may have fewer batches and heads than the problem: B * H `heads` of its own.
struct MaskArray {
  const std::uint8_t* bytes;  // null: there is none, and all sizes of `shape` are 1
  PairShape shape;

  ATTN_HOST_DEVICE constexpr std::int64_t heads() const { return shape.B * shape.H; }
  /// The one that head h of batch b sees by.
  ATTN_HOST_DEVICE constexpr std::int64_t head_of(std::int64_t b, std::int64_t h) const {
    return (shape.B == 1 ? 0 : b) * shape.H + (shape.H == 1 ? 0 : h);
  }
  /// Its bytes from row i0 and key j0 on.
  ATTN_HOST_DEVICE constexpr TileBytes in_tile(std::int64_t head, std::int64_t i0,
                                               std::int64_t j0) const {
    const std::int64_t row = head * shape.Nq + (shape.Nq == 1 ? 0 : i0);
    return {bytes + row * shape.Nk + (shape.Nk == 1 ? 0 : j0), shape.Nq == 1 ? 0 : shape.Nk,
            shape.Nk == 1 ? 0 : 1};
  }
};

constexpr MaskArray mask_array_of(const Extras& extras) {
  return {extras.mask, extras.mask == nullptr ? PairShape{} : extras.mask_shape};
}

/// Array and band of a problem with Nq rows.
struct Pairs {
  MaskArray array;
  device::Band band;
  std::int64_t Nq;

  /// The pairs of the tile of up to Br rows from i0 on and Bc keys from j0 on, of one head of the
  /// array.
  ATTN_HOST_DEVICE constexpr TilePairs in_tile(std::int64_t head, std::int64_t i0, std::int64_t j0,
                                               int Br, int Bc) const {
    return {band.in_tile(i0, j0, Bc), array.in_tile(head, i0, j0),
            Nq - i0 < Br ? static_cast<int>(Nq - i0) : Br};
  }
};

template <class Args>
constexpr Pairs pairs_of(const Args& args) {
  return {mask_array_of(args.extras), device::band_of(args.mask, args.shape.Nq, args.shape.Nk),
          args.shape.Nq};
}

}  // namespace attn::masks
