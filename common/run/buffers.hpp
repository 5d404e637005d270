// SPDX-License-Identifier: MIT
//
// Arrays that notice what should not happen to them.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "common/memory.hpp"

namespace attn {

/// An array in some memory between two guard bands of 1 KiB, each filled with its own byte. Where a
/// detector watches, a kernel that touches them is stopped; elsewhere check() finds writes. The
/// last band starts right after the array's last byte. Reports count elements of `each` bytes.
class GuardedBuffer {
 public:
  /// `bytes` of contents, elements of `each` bytes, starting `offset` bytes behind a 256-byte
  /// boundary. Contents undefined.
  GuardedBuffer(Memory& memory, std::string label, std::size_t bytes, std::size_t offset,
                std::size_t each = sizeof(float));
  GuardedBuffer(GuardedBuffer&& other) noexcept;
  GuardedBuffer& operator=(GuardedBuffer&&) = delete;
  ~GuardedBuffer();

  const std::string& label() const { return label_; }
  std::size_t bytes() const { return bytes_; }
  void* data() const { return base_ + kGuardBytes + offset_; }
  float* floats() const { return static_cast<float*>(data()); }

  /// Fills the contents with a byte; they count as uninitialised. 0xFF makes every float a NaN.
  void fill_undefined(unsigned char pattern);
  void write(const void* from);
  void read(void* to) const;

  /// Which guard bands were overwritten, the element nearest to the array, one line each; none if
  /// all is well.
  std::vector<std::string> check() const;

 private:
  static constexpr std::size_t kGuardBytes = 1024;

  Memory& memory_;
  std::string label_;
  std::size_t bytes_;
  std::size_t offset_;
  std::size_t each_;
  unsigned char* base_;
};

}  // namespace attn
