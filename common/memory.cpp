// SPDX-License-Identifier: MIT
#include "common/memory.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>

namespace attn {
namespace {

class HostMemory final : public Memory {
 public:
  std::string name() const override { return "host"; }

  void* allocate(std::size_t bytes, std::string_view) override {
    void* pointer = ::operator new (bytes == 0 ? 1 : bytes, std::align_val_t{256});
    const std::lock_guard lock(mutex_);
    sizes_[pointer] = bytes;
    allocated_ += bytes;
    return pointer;
  }

  void release(void* pointer) noexcept override {
    if (pointer == nullptr) return;
    {
      const std::lock_guard lock(mutex_);
      const auto entry = sizes_.find(pointer);
      allocated_ -= entry->second;
      sizes_.erase(entry);
    }
    ::operator delete (pointer, std::align_val_t{256});
  }

  void write(void* to, const void* from, std::size_t bytes) override { copy(to, from, bytes); }
  void read(void* to, const void* from, std::size_t bytes) override { copy(to, from, bytes); }
  void fill_undefined(void* to, unsigned char pattern, std::size_t bytes) override {
    if (bytes > 0) std::memset(to, pattern, bytes);
  }
  void synchronize() override {}

  std::size_t allocated_bytes() const override {
    const std::lock_guard lock(mutex_);
    return allocated_;
  }

 private:
  static void copy(void* to, const void* from, std::size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }

  mutable std::mutex mutex_;
  std::map<void*, std::size_t> sizes_;
  std::size_t allocated_ = 0;
};

}  // namespace

std::string to_string(const Detection& d) {
  const std::string where = d.file.empty() ? "" : fmt::format("\n  at    {}:{}", d.file, d.line);
  return fmt::format("{}{}: kernel {}, block {}, thread {}{}\n  what  {}\n  try   {}",
                     d.warning ? "warning: " : "", d.kind, d.kernel, d.block, d.thread, where,
                     d.what, d.advice);
}

Memory& host_memory() {
  static HostMemory memory;
  return memory;
}

}  // namespace attn
