// SPDX-License-Identifier: MIT
//
// ldmatrix and mma: which lane brings and gets which elements.
#include "common/simt/models/tensor_core.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <utility>

#include "common/simt/machine/collective.hpp"
#include "common/simt/machine/device.hpp"
#include "common/simt/machine/worker.hpp"
#include "common/simt/models/product.hpp"
#include "common/simt/watch/recorder.hpp"

namespace attn::simt {
namespace {

constexpr int kRowBytes = 16;  // of a matrix of 8 x 8

/// An instruction for 32 lanes finds fewer.
void require_whole_warp(const Meeting& meeting, const char* name) {
  if (meeting.lanes == ~0u) return;
  Worker& worker = meeting.worker;
  const int present = std::countr_zero(meeting.lanes);
  const int absent = std::countr_one(meeting.lanes);
  const Thread& thread = worker.thread(meeting.warp * kWarpSize + present);
  Detection detection = detection_at(worker.grid(), worker.block(), thread.index,
                                     fmt::format("divergent {}", name), thread.posted.where);
  const bool exists = meeting.warp * kWarpSize + absent < worker.thread_count();
  detection.what = fmt::format("lane {} waits here for its whole warp; lane {} {}", present, absent,
                               exists ? "has left the kernel" : "does not exist");
  detection.advice = fmt::format("All 32 lanes of a warp must come to a {} together.", name);
  worker.stop_block(std::move(detection));
}

template <class Operand>
Operand& operand_of(const Meeting& meeting, int lane) {
  return *static_cast<Operand*>(meeting.operands[static_cast<std::size_t>(lane)]);
}

struct Load {
  const char* row;
  int count;
  bool transposed;
  FourWords x;
};

constexpr const char* kLoadName = "ldmatrix";

void load_together(const Meeting& meeting) {
  require_whole_warp(meeting, kLoadName);
  const auto load_of = [&meeting](int lane) -> Load& { return operand_of<Load>(meeting, lane); };
  const Load& first = load_of(0);
  for (int j = 0; j < first.count; ++j) {
    std::uint16_t matrix[8][8];
    for (int r = 0; r < 8; ++r) std::memcpy(matrix[r], load_of(8 * j + r).row, kRowBytes);
    for (int lane = 0; lane < kWarpSize; ++lane) {
      const int g = lane / 4, t = lane % 4;
      const unsigned low = first.transposed ? matrix[2 * t][g] : matrix[g][2 * t];
      const unsigned high = first.transposed ? matrix[2 * t + 1][g] : matrix[g][2 * t + 1];
      load_of(lane).x.x[j] = low | high << 16;
    }
  }
}
constexpr Collective kLoad{.run = load_together, .aligned = kLoadName};

struct MultiplyAdd {
  FourFloats c;
  FourWords a;
  unsigned b[2];
};

constexpr const char* kMultiplyName = "mma";

template <Element kElement>
void multiply_together(const Meeting& meeting) {
  require_whole_warp(meeting, kMultiplyName);
  const auto of = [&meeting](int lane) -> MultiplyAdd& {
    return operand_of<MultiplyAdd>(meeting, lane);
  };
  std::uint16_t a[16][16], b[16][8];
  Product product;
  const auto put = [](std::uint16_t* low, std::uint16_t* high, unsigned word) {
    *low = static_cast<std::uint16_t>(word);
    *high = static_cast<std::uint16_t>(word >> 16);
  };
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const int g = lane / 4, t = lane % 4;
    const MultiplyAdd& own = of(lane);
    for (int r = 0; r < 4; ++r) {
      std::uint16_t* at = &a[g + 8 * (r % 2)][2 * t + 8 * (r / 2)];
      put(at, at + 1, own.a.x[r]);
    }
    for (int r = 0; r < 2; ++r) put(&b[2 * t + 8 * r][g], &b[2 * t + 8 * r + 1][g], own.b[r]);
    for (int i = 0; i < 4; ++i) product.c[g + 8 * (i / 2)][2 * t + i % 2] = own.c.x[i];
  }
  decode_elements(kElement, &a[0][0], 256, &product.a[0][0]);
  decode_elements(kElement, &b[0][0], 128, &product.b[0][0]);
  multiply(product, options().accumulation);
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) of(lane).c.x[i] = product.c[g + 8 * (i / 2)][2 * t + i % 2];
  }
}
constexpr Collective kMultiplyBfloat16{.run = multiply_together<Element::kBfloat16>,
                                       .aligned = kMultiplyName};
constexpr Collective kMultiplyFloat16{.run = multiply_together<Element::kFloat16>,
                                      .aligned = kMultiplyName};

}  // namespace

unsigned pack(Element element, float first, float second) {
  if (element == Element::kBfloat16) {
    return to_bfloat16(first).bits | unsigned{to_bfloat16(second).bits} << 16;
  }
  return to_float16(first).bits | unsigned{to_float16(second).bits} << 16;
}

unsigned shared_address(const void* p, std::source_location where) {
  Worker& worker = Worker::running();
  const auto offset = reinterpret_cast<std::uintptr_t>(p) -
                      reinterpret_cast<std::uintptr_t>(worker.shared_memory());
  if (offset > kLargestSharedBytesPerBlock) {
    stop_thread(
        "bad shared address", "this address does not lie in the block's dynamic shared memory",
        "ldmatrix and cp.async take dynamic shared memory here: what shared_memory() returns.",
        where);
  }
  return static_cast<unsigned>(offset);
}

FourWords load_matrices(int count, unsigned row, bool transposed, std::source_location where) {
  Worker& worker = Worker::running();
  const int lane = worker.current().rank % kWarpSize;
  if (lane < 8 * count) {
    if (row % kRowBytes != 0) {
      stop_thread(
          "misaligned access",
          fmt::format("ldmatrix of a row at byte {} of dynamic shared memory, which is {} modulo "
                      "16",
                      row, row % kRowBytes),
          "A row has 16 bytes, and its address is a multiple of 16: is the row stride one?", where);
    }
    const std::size_t size = worker.grid().config.shared_bytes;
    if (row + std::size_t{kRowBytes} > size) {
      stop_thread(
          "out of bounds",
          fmt::format("ldmatrix of a row at byte {} of the {} bytes of dynamic shared memory", row,
                      size),
          "Compare the shared_bytes of the launch with what the kernel lays out.", where);
    }
  }
  Load load{.row = static_cast<const char*>(worker.shared_memory()) + row,
            .count = count,
            .transposed = transposed,
            .x = {}};
  meet(kLoad, ~0u, &load, where, __builtin_return_address(0),
       {.row_bytes = static_cast<std::uint8_t>(lane < 8 * count ? kRowBytes : 0), .row = load.row});
  return load.x;
}

FourFloats multiply_add(Element element, FourFloats c, FourWords a, unsigned b0, unsigned b1,
                        std::source_location where) {
  MultiplyAdd operands{.c = c, .a = a, .b = {b0, b1}};
  meet(element == Element::kBfloat16 ? kMultiplyBfloat16 : kMultiplyFloat16, ~0u, &operands, where,
       __builtin_return_address(0), {.multiply_adds = 1});
  return operands.c;
}

}  // namespace attn::simt
