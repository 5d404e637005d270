// SPDX-License-Identifier: MIT
#include "common/simt/models/async_copy.hpp"

#include <fmt/format.h>

#include "common/simt/machine/worker.hpp"
#include "common/simt/watch/recorder.hpp"

namespace attn::simt {
namespace {

void check(unsigned to, const void* from, int bytes, int valid, std::source_location where) {
  if (bytes != 4 && bytes != 8 && bytes != 16) {
    stop_thread("bad cp.async", fmt::format("bytes = {}; allowed: 4, 8, 16", bytes),
                "An asynchronous copy moves 4, 8 or 16 bytes for each thread.", where);
  }
  if (valid < 0 || valid > bytes) {
    stop_thread("bad cp.async",
                fmt::format("valid = {} of {} bytes; allowed: 0 to {}", valid, bytes, bytes),
                "So many bytes come from global memory, and the rest are zeros.", where);
  }
  const auto size = static_cast<unsigned>(bytes);
  const auto source = reinterpret_cast<std::uintptr_t>(from);
  if (to % size != 0 || source % size != 0) {
    const bool shared = to % size != 0;
    stop_thread(
        "misaligned access",
        fmt::format("cp.async of {} bytes {} an address in {} memory that is {} modulo {}", bytes,
                    shared ? "to" : "from", shared ? "shared" : "global",
                    shared ? to % size : source % size, bytes),
        "Both addresses are multiples of the size: is d, or the row stride, a multiple of it?",
        where);
  }
  const std::size_t shared_bytes = Worker::running().grid().config.shared_bytes;
  if (to + std::size_t{size} > shared_bytes) {
    stop_thread(
        "out of bounds",
        fmt::format("cp.async of {} bytes to byte {} of the {} bytes of dynamic shared memory",
                    bytes, to, shared_bytes),
        "Compare the shared_bytes of the launch with what the kernel lays out.", where);
  }
}

/// All of a thread's groups have arrived but the latest.
class GroupsArrived final : public Condition {
 public:
  GroupsArrived(const CopyGroups& groups, int rank, int pending)
      : groups_(groups), rank_(rank), pending_(pending) {}
  bool holds() const override { return groups_.arrived(rank_, pending_); }
  std::string state() const override {
    return fmt::format("cp.async: {} groups of copies are under way, {} may be",
                       groups_.under_way(rank_), pending_);
  }

 private:
  const CopyGroups& groups_;
  int rank_;
  int pending_;
};

}  // namespace

void cp_async(unsigned to, const void* from, int bytes, int valid, std::source_location where) {
  Recorder* recorder = active_recorder;
  active_recorder = nullptr;  // what comes now is none of the kernel
  check(to, from, bytes, valid, where);
  Worker& worker = Worker::running();
  const int rank = worker.current().rank;
  if (recorder != nullptr) {
    recorder->start_copy(reinterpret_cast<std::uintptr_t>(worker.shared_memory()) + to,
                         reinterpret_cast<std::uintptr_t>(from), static_cast<std::size_t>(bytes),
                         static_cast<std::size_t>(valid), worker.copy_groups().committed(rank) + 1,
                         reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)));
  }
  worker.copy_groups().start(rank, {.to = static_cast<char*>(worker.shared_memory()) + to,
                                    .from = static_cast<const char*>(from),
                                    .bytes = static_cast<std::uint8_t>(bytes),
                                    .valid = static_cast<std::uint8_t>(valid)});
  active_recorder = recorder;
}

void cp_async_commit() {
  Recorder* recorder = active_recorder;
  active_recorder = nullptr;
  Worker& worker = Worker::running();
  worker.copy_groups().commit(worker.current().rank, worker.async_work());
  active_recorder = recorder;
}

void cp_async_wait(int pending, std::source_location where) {
  Recorder* recorder = active_recorder;
  active_recorder = nullptr;
  Worker& worker = Worker::running();
  const int rank = worker.current().rank;
  const CopyGroups& groups = worker.copy_groups();
  worker.wait_for(GroupsArrived(groups, rank, pending), where);
  active_recorder = nullptr;  // resuming has set it
  const auto left = static_cast<std::uint32_t>(pending);
  if (recorder != nullptr && groups.committed(rank) > left) {
    recorder->copies_arrived(groups.committed(rank) - left,
                             reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)));
  }
  active_recorder = recorder;
}

}  // namespace attn::simt
