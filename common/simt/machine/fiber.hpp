// SPDX-License-Identifier: MIT
//
// A fiber: a function with a stack of its own that can be left and re-entered. Thin on purpose;
// Boost.Context does the switch (about 10 ns), AddressSanitizer is told about it.
//
// Boost's fcontext layer is used, not boost::context::fiber: when a detector stops a kernel, its
// threads are abandoned in the middle of a memory access, where unwinding the stack is not
// possible. fcontext lets us simply start the stack anew.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace attn::simt {

class Fiber {
 public:
  using Entry = void (*)(void* argument);

  /// The stack lies in [top - bytes, top); nothing is allocated or freed.
  void set_stack(void* top, std::size_t bytes) {
    top_ = top;
    bytes_ = bytes;
  }

  /// The next resume() starts entry(argument) on an empty stack. entry never returns: it suspends
  /// for the last time.
  void start(Entry entry, void* argument) {
    entry_ = entry;
    argument_ = argument;
#if defined(__SANITIZE_ADDRESS__)
    // Frames that were abandoned on this stack left their locals marked.
    __asan_unpoison_memory_region(static_cast<char*>(top_) - bytes_, bytes_);
#endif
    inside_ = boost::context::detail::make_fcontext(top_, bytes_, &Fiber::run);
  }

  /// Scheduler's side: run the fiber until it suspends.
  void resume() {
#if defined(__SANITIZE_ADDRESS__)
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, static_cast<char*>(top_) - bytes_, bytes_);
#endif
    inside_ = boost::context::detail::jump_fcontext(inside_, this).fctx;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
  }

  /// Fiber's side: back to the scheduler, until the next resume().
  void suspend() {
#if defined(__SANITIZE_ADDRESS__)
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, scheduler_bottom_, scheduler_bytes_);
#endif
    outside_ = boost::context::detail::jump_fcontext(outside_, nullptr).fctx;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake_stack, &scheduler_bottom_, &scheduler_bytes_);
#endif
  }

  const char* stack_begin() const { return static_cast<const char*>(top_) - bytes_; }
  const char* stack_end() const { return static_cast<const char*>(top_); }

 private:
  static void run(boost::context::detail::transfer_t transfer) {
    Fiber* self = static_cast<Fiber*>(transfer.data);
    self->outside_ = transfer.fctx;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &self->scheduler_bottom_, &self->scheduler_bytes_);
#endif
    self->entry_(self->argument_);
  }

  boost::context::detail::fcontext_t inside_ = nullptr;
  boost::context::detail::fcontext_t outside_ = nullptr;
  void* top_ = nullptr;
  std::size_t bytes_ = 0;
  Entry entry_ = nullptr;
  void* argument_ = nullptr;
#if defined(__SANITIZE_ADDRESS__)
  const void* scheduler_bottom_ = nullptr;
  std::size_t scheduler_bytes_ = 0;
#endif
};

}  // namespace attn::simt
