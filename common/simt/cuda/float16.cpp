// SPDX-License-Identifier: MIT
#include "common/simt/cuda/float16.hpp"

#include <algorithm>
#include <atomic>

#include "common/simt/watch/recorder.hpp"

namespace attn::simt {

std::uint16_t encode_float16(double x, int exponent_bits, int mantissa_bits) {
  const int infinity = ((1 << exponent_bits) - 1) << mantissa_bits;
  const int lowest = 2 - (1 << (exponent_bits - 1));  // exponent of the smallest normal number
  int bits = 0;
  if (std::isnan(x)) {
    bits = infinity | 1 << (mantissa_bits - 1);
  } else if (std::isinf(x)) {
    bits = infinity;
  } else if (x != 0.0) {
    const int exponent = std::max(std::ilogb(x), lowest);
    const double steps = std::nearbyint(std::ldexp(std::abs(x), mantissa_bits - exponent));
    // A normal number's steps carry its leading one, which counts the exponent field up to 1.
    bits = exponent > 1 - lowest ? infinity
                                 : std::min(infinity, (exponent - lowest) * (1 << mantissa_bits) +
                                                          static_cast<int>(steps));
  }
  return static_cast<std::uint16_t>(bits | (std::signbit(x) ? 0x8000 : 0));
}

float decode_float16(std::uint16_t bits, int exponent_bits, int mantissa_bits) {
  const int lowest = 2 - (1 << (exponent_bits - 1));
  const int field = bits >> mantissa_bits & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const float sign = (bits & 0x8000) != 0 ? -1.0f : 1.0f;
  if (field == (1 << exponent_bits) - 1) {
    return sign * (mantissa != 0 ? std::numeric_limits<float>::quiet_NaN()
                                 : std::numeric_limits<float>::infinity());
  }
  const int steps = field == 0 ? mantissa : mantissa | 1 << mantissa_bits;
  return sign *
         static_cast<float>(std::ldexp(steps, lowest + std::max(field - 1, 0) - mantissa_bits));
}

namespace {

template <class T>
T add(T* address, T value) {
  std::atomic_ref<std::uint16_t> cell(address->bits);
  std::uint16_t old = cell.load(std::memory_order_relaxed);
  while (!cell.compare_exchange_weak(old, (T::from_bits(old) + value).bits,
                                     std::memory_order_relaxed)) {
  }
  return T::from_bits(old);
}

}  // namespace
}  // namespace attn::simt

#define ATTN_ATOMIC_ADD(T, T2)                                                             \
  T atomicAdd(T* address, T value) {                                                       \
    attn::simt::record_atomic(address, sizeof(T), __builtin_return_address(0));            \
    return attn::simt::add(address, value);                                                \
  }                                                                                        \
  T2 atomicAdd(T2* address, T2 value) {                                                    \
    attn::simt::record_atomic(address, sizeof(T2), __builtin_return_address(0));           \
    return {attn::simt::add(&address->x, value.x), attn::simt::add(&address->y, value.y)}; \
  }
ATTN_ATOMIC_ADD(__half, __half2)
ATTN_ATOMIC_ADD(__nv_bfloat16, __nv_bfloat162)
