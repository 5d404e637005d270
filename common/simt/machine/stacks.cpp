// SPDX-License-Identifier: MIT
#include "common/simt/machine/stacks.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "common/attention.hpp"

namespace attn::simt {

void* map_memory(std::size_t bytes) {
  void* begin = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (begin == MAP_FAILED) {
    throw Error(ErrorKind::kDeviceFailure,
                fmt::format("CPU machine: cannot reserve {} bytes of address space: {}", bytes,
                            std::strerror(errno)));
  }
  return begin;
}

void forbid_access(void* begin, std::size_t bytes) { mprotect(begin, bytes, PROT_NONE); }
void release_pages(void* begin, std::size_t bytes) {
  constexpr std::uintptr_t kPage = 4096;
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  const std::uintptr_t first = (address + kPage - 1) / kPage * kPage;
  const std::uintptr_t last = (address + bytes) / kPage * kPage;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

void unmap_memory(void* begin, std::size_t bytes) { munmap(begin, bytes); }

namespace {

class Pool {
 public:
  ~Pool() {
    {
      const std::lock_guard lock(mutex_);
      quit_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void run(unsigned n, const std::function<void()>& work) {
    if (n <= 1) return work();
    while (threads_.size() + 1 < n) {
      threads_.emplace_back([this, index = threads_.size()] { loop(index); });
    }
    {
      const std::lock_guard lock(mutex_);
      work_ = &work;
      helpers_ = n - 1;
      running_ = n - 1;
      ++generation_;
    }
    wake_.notify_all();
    work();
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return running_ == 0; });
  }

 private:
  void loop(std::size_t index) {
    std::size_t seen = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return quit_ || (generation_ != seen && index < helpers_); });
      if (quit_) return;
      seen = generation_;
      const std::function<void()>* work = work_;
      lock.unlock();
      (*work)();
      lock.lock();
      if (--running_ == 0) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> threads_;
  const std::function<void()>* work_ = nullptr;
  std::size_t helpers_ = 0;
  std::size_t running_ = 0;
  std::size_t generation_ = 0;
  bool quit_ = false;
};

}  // namespace

void run_on_threads(unsigned n, const std::function<void()>& work) {
  static Pool pool;
  pool.run(n, work);
}

}  // namespace attn::simt
