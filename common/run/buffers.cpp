// SPDX-License-Identifier: MIT
#include "common/run/buffers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace attn {
namespace {

/// A band's byte differs from buffer to buffer, so that guard bytes copied from one array's band
/// over another's are seen too.
unsigned char band_byte(const std::string& label, bool back) {
  unsigned char byte = back ? 0x5B : 0xA5;
  for (const char letter : label) byte = static_cast<unsigned char>(byte * 31 + letter);
  return byte;
}

}  // namespace

GuardedBuffer::GuardedBuffer(Memory& memory, std::string label, std::size_t bytes,
                             std::size_t offset, std::size_t each)
    : memory_(memory),
      label_(std::move(label)),
      bytes_(bytes),
      offset_(offset),
      each_(each),
      base_(
          static_cast<unsigned char*>(memory.allocate(bytes + offset + 2 * kGuardBytes, label_))) {
  memory_.fill_undefined(base_, band_byte(label_, false), kGuardBytes + offset_);
  memory_.fill_undefined(base_ + kGuardBytes + offset_ + bytes_, band_byte(label_, true),
                         kGuardBytes);
  memory_.set_contents(base_, kGuardBytes + offset_, bytes_, each_);
}

GuardedBuffer::GuardedBuffer(GuardedBuffer&& other) noexcept
    : memory_(other.memory_),
      label_(std::move(other.label_)),
      bytes_(other.bytes_),
      offset_(other.offset_),
      each_(other.each_),
      base_(std::exchange(other.base_, nullptr)) {}

GuardedBuffer::~GuardedBuffer() {
  if (base_ != nullptr) memory_.release(base_);
}

void GuardedBuffer::fill_undefined(unsigned char pattern) {
  memory_.fill_undefined(data(), pattern, bytes_);
}

void GuardedBuffer::write(const void* from) { memory_.write(data(), from, bytes_); }

void GuardedBuffer::read(void* to) const { memory_.read(to, data(), bytes_); }

std::vector<std::string> GuardedBuffer::check() const {
  std::vector<std::string> damage;
  std::vector<unsigned char> band(kGuardBytes + offset_);
  memory_.read(band.data(), base_, band.size());
  const auto front = std::find_if(band.rbegin(), band.rend(), [this](unsigned char byte) {
    return byte != band_byte(label_, false);
  });
  if (front != band.rend()) {
    const auto byte = static_cast<std::size_t>(front - band.rbegin());
    damage.push_back(fmt::format("{0}: {0}[-{1}] was written, {1} before the first element", label_,
                                 byte / each_ + 1));
  }
  band.resize(kGuardBytes);
  memory_.read(band.data(), base_ + kGuardBytes + offset_ + bytes_, band.size());
  const auto back = std::find_if(band.begin(), band.end(), [this](unsigned char byte) {
    return byte != band_byte(label_, true);
  });
  if (back != band.end()) {
    const std::size_t byte = bytes_ + static_cast<std::size_t>(back - band.begin());
    damage.push_back(fmt::format("{0}: {0}[{1}] was written; it has {2} elements", label_,
                                 byte / each_, bytes_ / each_));
  }
  return damage;
}

}  // namespace attn
