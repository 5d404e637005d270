// SPDX-License-Identifier: MIT
//
// g++ -fsanitize=thread puts a call before every memory access that is not a register. Kernel files
// are compiled that way and linked with these functions instead of ThreadSanitizer's library: each
// call is one access of the source, and its return address says which. -fsanitize-coverage=trace-pc
// puts another call at the start of every piece of straight-line code. Both are steps of the
// thread, and a block may take only so many: what runs on and on is stopped here.
#include <cstddef>
#include <cstdint>

#include "common/simt/machine/worker.hpp"
#include "common/simt/watch/recorder.hpp"

namespace attn::simt {
constinit thread_local std::int64_t steps_left = kUncounted;
}

namespace {

using attn::simt::Access;

/// Where the steps of an unwatched block run out; called by the recorder's own code, it does
/// nothing.
[[gnu::noinline]] void out_of_steps(void* return_address) {
  attn::simt::Worker& worker = attn::simt::Worker::running();
  if (worker.grid().recorder != nullptr) return;
  worker.stop_endless(reinterpret_cast<std::uintptr_t>(return_address));
}

[[gnu::always_inline]] inline void hook(void* address, std::size_t bytes, Access kind,
                                        void* return_address) {
  if (--attn::simt::steps_left >= 0) [[likely]] {
    return;
  }
  attn::simt::Recorder* recorder = attn::simt::active_recorder;
  if (recorder == nullptr) return out_of_steps(return_address);
  // Nothing that the recorder itself calls may come back here: the linker may have chosen a kernel
  // file's instrumented copy of a library function.
  attn::simt::active_recorder = nullptr;
  const auto where = reinterpret_cast<std::uintptr_t>(address);
  const auto from = reinterpret_cast<std::uintptr_t>(return_address);
  constexpr std::size_t kWidest = 16;
  if (bytes <= kWidest) {
    recorder->access(where, bytes, kind, from);
  } else {
    recorder->access_struct(where, bytes, kind, from);
  }
  attn::simt::active_recorder = recorder;
}

}  // namespace

#define ATTN_HOOKS(bytes)                                              \
  void __tsan_read##bytes(void* address) {                             \
    hook(address, bytes, Access::kLoad, __builtin_return_address(0));  \
  }                                                                    \
  void __tsan_write##bytes(void* address) {                            \
    hook(address, bytes, Access::kStore, __builtin_return_address(0)); \
  }                                                                    \
  void __tsan_unaligned_read##bytes(void* address) {                   \
    hook(address, bytes, Access::kLoad, __builtin_return_address(0));  \
  }                                                                    \
  void __tsan_unaligned_write##bytes(void* address) {                  \
    hook(address, bytes, Access::kStore, __builtin_return_address(0)); \
  }                                                                    \
  void __tsan_volatile_read##bytes(void* address) {                    \
    hook(address, bytes, Access::kLoad, __builtin_return_address(0));  \
  }                                                                    \
  void __tsan_volatile_write##bytes(void* address) {                   \
    hook(address, bytes, Access::kStore, __builtin_return_address(0)); \
  }

extern "C" {
ATTN_HOOKS(1)
ATTN_HOOKS(2)
ATTN_HOOKS(4)
ATTN_HOOKS(8)
ATTN_HOOKS(16)

void __tsan_read_range(void* address, std::size_t bytes) {
  hook(address, bytes, Access::kLoad, __builtin_return_address(0));
}
void __tsan_write_range(void* address, std::size_t bytes) {
  hook(address, bytes, Access::kStore, __builtin_return_address(0));
}
void __sanitizer_cov_trace_pc() {
  if (--attn::simt::steps_left >= 0) [[likely]] {
    return;
  }
  attn::simt::Recorder* recorder = attn::simt::active_recorder;
  if (recorder == nullptr) return out_of_steps(__builtin_return_address(0));
  attn::simt::active_recorder = nullptr;
  recorder->block_of_code(reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)));
  attn::simt::active_recorder = recorder;
}
void __tsan_vptr_read(void**) {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
}
