// SPDX-License-Identifier: MIT
#include "common/simt/models/tensor_copy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/simt/machine/device.hpp"
#include "common/simt/machine/worker.hpp"
#include "common/simt/watch/recorder.hpp"

namespace attn::simt {
namespace {

constexpr std::int64_t kChunk = ProxyMarks::kChunk;

std::uint32_t chunk_of(std::uint32_t address) { return address / static_cast<unsigned>(kChunk); }

const char* const kBad = "bad tensor copy";

/// The box at `corner`, 16 bytes at a time, from this shared address on.
std::vector<AsyncPiece> pieces_of(const TensorLayout& layout, const Corner& corner, unsigned to) {
  const auto size = static_cast<std::int64_t>(bytes_of(layout.element));
  const std::int64_t row_bytes = layout.box[0] * size;
  const std::int64_t length = static_cast<std::int64_t>(layout.sizes[0]) * size;
  const auto rank = static_cast<std::size_t>(layout.rank);
  std::array<std::uint32_t, TensorLayout::kMostDimensions> row{};  // in the box
  std::vector<AsyncPiece> pieces;
  pieces.reserve(box_bytes(layout) / kChunk);
  while (row[rank - 1] < layout.box[rank - 1]) {
    bool inside = true;
    auto begin = reinterpret_cast<std::uintptr_t>(layout.address);
    for (std::size_t i = 1; i < rank; ++i) {
      const std::int64_t at = std::int64_t{corner.at[i]} + row[i];
      inside = inside && at >= 0 && at < static_cast<std::int64_t>(layout.sizes[i]);
      begin += static_cast<std::uintptr_t>(at) * layout.strides[i - 1];
    }
    for (std::int64_t byte = 0; byte < row_bytes; byte += kChunk) {
      const std::int64_t column = corner.at[0] * size + byte;
      const std::int64_t first = std::clamp<std::int64_t>(-column, 0, kChunk);
      const std::int64_t end =
          inside ? std::clamp<std::int64_t>(length - column, first, kChunk) : first;
      pieces.push_back({.global = begin + static_cast<std::uintptr_t>(column + first),
                        .chunk = chunk_of(swizzled(layout.swizzle, to)),
                        .first = static_cast<std::uint8_t>(first),
                        .valid = static_cast<std::uint8_t>(end - first)});
      to += kChunk;
    }
    if (rank == 1) break;
    for (std::size_t i = 1; ++row[i] == layout.box[i] && i + 1 < rank; ++i) row[i] = 0;
  }
  return pieces;
}

/// What both directions have in common.
void check_copy(const TensorMap& map, const Corner& corner, unsigned shared,
                std::source_location where) {
  constexpr unsigned kAlignment = 128;
  const TensorLayout& layout = map.layout;
  Worker& worker = Worker::running();
  if (current_device().major < 9) {
    stop_thread(kBad, fmt::format("the {} has no TMA", current_device().name),
                "TMA needs compute capability 9.0.", where);
  }
  if (corner.rank != layout.rank) {
    stop_thread(kBad,
                fmt::format("{} coordinates for a tensor map of rank {}", corner.rank, layout.rank),
                "A copy names one coordinate for each dimension, the innermost first.", where);
  }
  if (shared % kAlignment != 0) {
    stop_thread("misaligned access",
                fmt::format("tensor copy {} byte {} of dynamic shared memory, which is {} modulo "
                            "{}",
                            "at", shared, shared % kAlignment, kAlignment),
                "A box begins at a multiple of 128 bytes in shared memory; at one of 1,024, the "
                "swizzle counts from its first row.",
                where);
  }
  const std::size_t size = worker.grid().config.shared_bytes;
  if (shared + std::size_t{box_bytes(layout)} > size) {
    stop_thread("out of bounds",
                fmt::format("tensor copy of {} bytes at byte {} of the {} bytes of dynamic shared "
                            "memory",
                            box_bytes(layout), shared, size),
                "Compare the shared_bytes of the launch with what the kernel lays out.", where);
  }
}

void check_array(const std::vector<AsyncPiece>& pieces, Access access, Recorder* recorder,
                 const void* return_address) {
  if (recorder == nullptr) return;
  for (const AsyncPiece& piece : pieces) {
    if (piece.valid == 0) continue;
    recorder->check_global(piece.global, piece.valid, access,
                           reinterpret_cast<std::uintptr_t>(return_address));
  }
}

char* place_of(Worker& worker, const AsyncPiece& piece) {
  return static_cast<char*>(worker.shared_memory()) + piece.chunk * kChunk;
}

/// A copy to shared memory, until it has arrived.
struct Load {
  Worker& worker;
  std::shared_ptr<const std::vector<AsyncPiece>> pieces;
  std::uint16_t barrier;
  std::uint32_t phase;
  uint3 thread;
  std::source_location where;

  void arrive() const {
    Mbarriers& barriers = worker.mbarriers();
    if (barriers[barrier].phase != phase) {
      Detection found =
          detection_at(worker.grid(), worker.block(), thread, "more bytes than announced", where);
      found.what = fmt::format(
          "the {} bytes of this copy land when phase {} of their mbarrier has ended without them: "
          "{}",
          pieces->size() * kChunk, phase, barriers.state(barriers[barrier]));
      found.advice =
          "A copy of a box announces all its bytes, also those beyond the tensor's edge.";
      worker.stop_block(std::move(found));
    }
    for (const AsyncPiece& piece : *pieces) {
      char* to = place_of(worker, piece);
      std::memset(to, 0, kChunk);
      if (piece.valid > 0) {
        std::memcpy(to + piece.first, reinterpret_cast<const char*>(piece.global), piece.valid);
      }
    }
    barriers.complete(barrier, pieces->size() * kChunk);
  }
};

void store(Worker& worker, const std::vector<AsyncPiece>& pieces) {
  for (const AsyncPiece& piece : pieces) {
    if (piece.valid == 0) continue;
    std::memcpy(reinterpret_cast<char*>(piece.global), place_of(worker, piece) + piece.first,
                piece.valid);
  }
}

class StoresDone final : public Condition {
 public:
  StoresDone(const TensorStores& stores, int rank, int pending)
      : stores_(stores), rank_(rank), pending_(pending) {}
  bool holds() const override { return stores_.done(rank_, pending_); }
  std::string state() const override {
    return fmt::format("TMA: {} groups of stores are under way, {} may be",
                       stores_.under_way(rank_), pending_);
  }

 private:
  const TensorStores& stores_;
  int rank_;
  int pending_;
};

}  // namespace

void TensorStores::begin_block(int threads) {
  threads_.resize(std::max(threads_.size(), static_cast<std::size_t>(threads)));
  if (!std::exchange(any_, false)) return;
  for (Thread& thread : threads_) thread = {};
}

void TensorStores::start(int rank, Pieces pieces) {
  Thread& thread = threads_[static_cast<std::size_t>(rank)];
  any_ = true;
  ++thread.open_stores;
  if (options().completion == Completion::kEager) {
    store(Worker::running(), *pieces);
  } else {
    thread.open.push_back(std::move(pieces));
  }
}

void TensorStores::commit(int rank, AsyncWork& work) {
  Thread& thread = threads_[static_cast<std::size_t>(rank)];
  any_ = true;
  const std::uint32_t number = ++thread.committed;
  thread.not_waited_for.push_back({number, std::exchange(thread.open_stores, 0)});
  if (thread.open.empty()) return;
  thread.under_way.push_back(number);
  work.start([this, rank, number, stores = std::exchange(thread.open, {})] {
    for (const Pieces& pieces : stores) store(Worker::mine(), *pieces);
    std::erase(threads_[static_cast<std::size_t>(rank)].under_way, number);
  });
}

bool TensorStores::done(int rank, int pending) const {
  const Thread& thread = of(rank);
  const auto needed = std::int64_t{thread.committed} - pending;
  return std::all_of(thread.under_way.begin(), thread.under_way.end(),
                     [needed](std::uint32_t group) { return group > needed; });
}

std::uint32_t TensorStores::wait(int rank, int pending) {
  Thread& thread = threads_[static_cast<std::size_t>(rank)];
  const auto needed = std::int64_t{thread.committed} - pending;
  std::erase_if(thread.not_waited_for,
                [needed](const Group& group) { return group.number <= needed; });
  std::uint32_t left = thread.open_stores;
  for (const Group& group : thread.not_waited_for) left += group.stores;
  return left;
}

void tensor_load(unsigned to, const TensorMap& map, void* at, const Corner& corner,
                 std::source_location where) {
  Recorder* recorder = std::exchange(active_recorder, nullptr);
  Worker& worker = Worker::running();
  check_copy(map, corner, to, where);
  const Mbarriers::Mbarrier& barrier = ready_barrier(at, where);
  if (!barrier.fenced) {
    stop_thread("missing init fence",
                fmt::format("the copy engine may not see the mbarrier that was initialised at "
                            "{}:{}",
                            barrier.init.file_name(), barrier.init.line()),
                "The thread that calls init() calls fence_mbarrier_init() behind it, before the "
                "__syncthreads.",
                where);
  }
  const auto pieces =
      std::make_shared<const std::vector<AsyncPiece>>(pieces_of(map.layout, corner, to));
  check_array(*pieces, Access::kLoad, recorder, __builtin_return_address(0));
  AsyncEvent event{.kind = AsyncEvent::Kind::kLoad,
                   .swizzle = map.layout.swizzle,
                   .barrier = barrier.number,
                   .address = barrier.address,
                   .phase = barrier.phase + 1,
                   .pieces = pieces};
  if (options().completion != Completion::kEager) {  // a NaN, whatever the element
    for (const AsyncPiece& piece : *pieces) std::memset(place_of(worker, piece), 0xFF, kChunk);
  }
  const Load load{.worker = worker,
                  .pieces = pieces,
                  .barrier = barrier.number,
                  .phase = barrier.phase,
                  .thread = worker.current().index,
                  .where = where};
  worker.async_work().start([load] { load.arrive(); });
  if (recorder != nullptr) {
    recorder->async_event(std::move(event),
                          reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)));
  }
  active_recorder = recorder;
}

void tensor_store(const TensorMap& map, const Corner& corner, unsigned from,
                  std::source_location where) {
  Recorder* recorder = std::exchange(active_recorder, nullptr);
  Worker& worker = Worker::running();
  check_copy(map, corner, from, where);
  const auto pieces =
      std::make_shared<const std::vector<AsyncPiece>>(pieces_of(map.layout, corner, from));
  check_array(*pieces, Access::kStore, recorder, __builtin_return_address(0));
  worker.tensor_stores().start(worker.current().rank, pieces);
  if (recorder != nullptr) {
    recorder->async_event({.kind = AsyncEvent::Kind::kStore, .pieces = pieces},
                          reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)));
  }
  active_recorder = recorder;
}

void tensor_commit() {
  Recorder* recorder = std::exchange(active_recorder, nullptr);
  Worker& worker = Worker::running();
  worker.tensor_stores().commit(worker.current().rank, worker.async_work());
  active_recorder = recorder;
}

void tensor_wait(int pending, std::source_location where) {
  Recorder* recorder = std::exchange(active_recorder, nullptr);
  Worker& worker = Worker::running();
  const int rank = worker.current().rank;
  TensorStores& stores = worker.tensor_stores();
  worker.wait_for(StoresDone(stores, rank, pending), where);
  active_recorder = nullptr;  // resuming has set it
  const std::uint32_t left = stores.wait(rank, pending);
  if (recorder != nullptr) {
    recorder->async_event({.kind = AsyncEvent::Kind::kStoresRead, .bytes = left},
                          reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)));
  }
  active_recorder = recorder;
}

}  // namespace attn::simt
