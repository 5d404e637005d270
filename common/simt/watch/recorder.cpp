// SPDX-License-Identifier: MIT
#include "common/simt/watch/recorder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/simt/machine/arena.hpp"
#include "common/simt/machine/device.hpp"
#include "common/simt/watch/detectors.hpp"
#include "common/simt/watch/observer.hpp"
#include "common/simt/watch/tracer.hpp"

namespace attn::simt {
namespace {

/// 32 bits that are equal where the bytes are, and of up to four bytes unequal where those are.
std::uint32_t fingerprint(const void* bytes, std::size_t count) {
  if (count == 4) return *static_cast<const std::uint32_t*>(bytes);  // by far the most
  std::uint32_t words[4] = {};
  std::memcpy(words, bytes, count);
  std::uint64_t mixed = words[0];
  for (std::size_t i = 1; i < (count + 3) / 4; ++i) {
    mixed = (mixed ^ mixed >> 29) * 0x9E3779B97F4A7C15u + words[i];
  }
  return static_cast<std::uint32_t>(mixed ^ mixed >> 32);
}

}  // namespace

constinit thread_local Recorder* active_recorder = nullptr;

const char* access_name(Access access) {
  return access == Access::kLoad ? "read" : access == Access::kStore ? "write" : "atomic";
}

void record_atomic(const void* address, std::size_t bytes, const void* return_address) {
  Recorder* recorder = active_recorder;
  if (recorder == nullptr) return;
  active_recorder = nullptr;  // as in hooks.cpp
  recorder->access(reinterpret_cast<std::uintptr_t>(address), bytes, Access::kAtomic,
                   reinterpret_cast<std::uintptr_t>(return_address));
  active_recorder = recorder;
}

bool Recorder::wanted() {
#if defined(__SANITIZE_ADDRESS__)
  return false;  // kernels are compiled without hooks: what is left to see would be half the story
#else
  return options().detectors || options().tracer || options().observer != nullptr;
#endif
}

Recorder::Recorder(const GridRun& grid)
    : grid_(grid),
      arena_(Arena::get()),
      image_(program_image()),
      logs_(std::make_unique<std::array<Log, kWarpSize>>()),
      observer_(options().observer) {
  if (options().detectors) {
    detectors_ = std::make_unique<Detectors>(*this);
    stored_ = std::make_unique<decltype(stored_)::element_type>();
    departures_.resize(std::size_t{grid.config.block.x} * grid.config.block.y *
                       grid.config.block.z);
  }
  if (options().tracer) tracer_ = std::make_unique<Tracer>(image_.begin);
  if (observer_ != nullptr) {
    observer_->begin_launch(kernel_name(grid.config), grid.config.grid, grid.config.block);
  }
}

Recorder::~Recorder() = default;

void Recorder::begin_block(Worker& worker) {
  worker_ = &worker;
  steps_ = 0;
  last_site_ = before_code_ = {};
  wgmmas_issued_ = {};
  static_shared_ = thread_locals();
  dynamic_shared_.begin = reinterpret_cast<std::uintptr_t>(worker.shared_memory());
  dynamic_shared_.end = dynamic_shared_.begin + grid_.config.shared_bytes;
  ++intervals_;
  stores_.clear();
  if (detectors_) detectors_->begin_block();
  if (observer_ != nullptr) observer_->begin_block(worker.block());
}

void Recorder::end_block() {
  if (detectors_) detectors_->end_block();
  worker_ = nullptr;
}

void Recorder::abandon_block() {
  active_recorder = nullptr;
  unseen_store_ = nullptr;
  for (Log& log : *logs_) log.head = log.size = 0;
  events_.clear();
  if (detectors_) detectors_->finish();
}

void Recorder::end_interval() {
  ++barriers_;
  ++intervals_;
  if (detectors_) detectors_->end_interval();
  if (observer_ == nullptr) return;
  int rank = 0;
  while (worker_->thread(rank).state == State::kDone) ++rank;  // somebody has waited
  observer_->barrier(worker_->thread(rank).posted.where);
}

void Recorder::release(Knowledge& knowledge) {
  if (!detectors_) return;
  drain(/*to_the_end=*/true);  // all lanes stand still, and what they have done comes before
  detectors_->release(knowledge);
}

void Recorder::acquire(int warp, const Knowledge& knowledge) {
  if (detectors_) detectors_->acquire(static_cast<std::size_t>(warp), knowledge);
}

void Recorder::begin_warp(std::span<Thread> lanes) {
  lanes_ = lanes;
  warp_ = lanes.front().rank / kWarpSize;
}

void Recorder::end_warp() {
  drain(/*to_the_end=*/true);
  events_.clear();
}

void Recorder::enter(Thread& thread) {
  current_lane_ = thread.rank % kWarpSize;
  rank_ = static_cast<std::size_t>(thread.rank);
  active_recorder = this;
}

void Recorder::leave() {
  active_recorder = nullptr;
  if (unseen_store_ != nullptr) note_stored_value();
  if (detectors_ && worker_->current().state == State::kDone) {
    // Its last entry is the kernel's end, where all lanes come; the one before says where it was.
    const Log& own = log(static_cast<std::size_t>(current_lane_));
    if (own.size >= 2) {
      const Entry& before = own.entries[static_cast<std::size_t>(own.size - 2)];
      departures_[static_cast<std::size_t>(worker_->current().rank)] = {intervals_,
                                                                        image_.begin + before.site};
    }
  }
}

void Recorder::warn(Detection detection) {
  if (!detectors_) return;
  if (warnings_.insert(detection.kind + detection.file + std::to_string(detection.line)).second) {
    report(std::move(detection));
  }
}

bool Recorder::barrier_opens() {
  if (!detectors_) return false;
  bool any = false;
  for (int first = 0; first < worker_->thread_count(); first += kWarpSize) {
    const int end = std::min(first + kWarpSize, worker_->thread_count());
    for (int rank = first; rank < end; ++rank) {
      const Thread& waits = worker_->thread(rank);
      if (waits.state != State::kAtBarrier) continue;
      int gone = 0;
      Departure last;
      for (int other = first; other < end; ++other) {
        const Departure& departure = departures_[static_cast<std::size_t>(other)];
        if (worker_->thread(other).state != State::kDone || departure.interval != intervals_ ||
            departure.site <= waits.posted.site) {
          continue;
        }
        ++gone;
        last = departure;
      }
      // Code addresses tell what comes after what within one function only.
      if (gone == 0 || symbol_at(last.site).begin != symbol_at(waits.posted.site).begin) break;
      Detection found =
          detection_at(grid_, worker_->block(), waits.index, "skipped barrier", waits.posted.where);
      const SourceLine there = source_line(last.site);
      found.what = fmt::format(
          "{} lane{} of this warp did not come here: they ran on to {}:{}, and left the kernel",
          gone, gone == 1 ? "" : "s", there.file, there.line);
      found.advice =
          "Move the __syncthreads out of the condition, so that all lanes of a warp reach it as "
          "often.";
      warn(std::move(found));
      any = true;
      break;
    }
  }
  return any;
}

void Recorder::access_struct(std::uintptr_t address, std::size_t bytes, Access kind,
                             std::uintptr_t return_address) {
  constexpr std::size_t kWidest = 16;
  for (std::size_t done = 0; done < bytes; done += kWidest) {
    access(address + done, std::min(bytes - done, kWidest), kind, return_address);
    if (unseen_store_ != nullptr) {
      // No part has been stored yet: take it for a value of its own.
      const auto lane = static_cast<std::size_t>(current_lane_);
      unknown_value_ += 0x9E3779B9u;
      (*stored_)[lane][static_cast<std::size_t>(log(lane).size - 1)] = unknown_value_;
      unseen_store_ = nullptr;
    }
  }
}

/// The store that the last entry of the running lane's log announced has been done by now, and no
/// other lane has run since.
void Recorder::note_stored_value() {
  const auto lane = static_cast<std::size_t>(current_lane_);
  const auto last = static_cast<std::size_t>(log(lane).size - 1);
  (*stored_)[lane][last] = fingerprint(unseen_store_, log(lane).entries[last].bytes);
  unseen_store_ = nullptr;
}

void Recorder::compare_and_swap(std::uintptr_t address) {
  if (!detectors_) return;
  if (image_.contains(address)) address += Arena::get().shift_of_variables();
  const Log& own = log(static_cast<std::size_t>(current_lane_));
  constexpr int kNear = 8;
  for (int i = own.size - 1; i >= std::max(0, own.size - kNear); --i) {
    const Entry& entry = own.entries[static_cast<std::size_t>(i)];
    if (entry.access == Access::kLoad && entry.address == address) {
      detectors_->first_step_of_a_loop(entry.site);
      return;
    }
  }
}

/// The arena's address that stands for a variable of the program, or 0 for a constant.
std::uintptr_t Recorder::variable(std::uintptr_t address, std::size_t bytes, Access kind,
                                  std::uintptr_t return_address) {
  const bool constant = program_constants().contains(address);
  if (program_variables().contains(address) && !constant) {
    return address + Arena::get().shift_of_variables();
  }
  if (image_.contains(address)) {
    if (kind == Access::kLoad) return 0;
    const Symbol symbol = symbol_at(address);
    stop_at("out of bounds", return_address,
            fmt::format("write of {} bytes to {}, which is constant", bytes, symbol.name),
            "A kernel may write __device__ variables, and memory from cudaMalloc.");
  }
  stop_at("out of bounds", return_address,
          fmt::format("{} of {} bytes at an address that is neither global nor shared memory",
                      access_name(kind), bytes),
          "A kernel may use pointers from cudaMalloc only; is this one a host pointer, or null?");
}

void Recorder::access(std::uintptr_t address, std::size_t bytes, Access kind,
                      std::uintptr_t return_address) {
  step(return_address);
  Space space = Space::kGlobal;
  std::uintptr_t noted = address;  // where the notes about it are kept
  if (arena_.contains(address)) {
    if (detectors_ && !arena_.is_allocated(address, bytes)) {
      stop_at("out of bounds", return_address,
              fmt::format("{} of {} bytes: {}", access_name(kind), bytes,
                          arena_.describe(address, bytes)),
              "Compare the index with the array's size, and look at ragged tiles and row strides.");
    }
  } else if (static_shared_.contains(address)) {
    if (bytes == 1 && is_guard(address - static_shared_.begin)) return;
    space = Space::kShared;
    static_touched_.begin = std::min(static_touched_.begin, address);
    static_touched_.end = std::max(static_touched_.end, address + bytes);
  } else if (address - dynamic_shared_.begin < kLargestSharedBytesPerBlock) {
    space = Space::kShared;
    if (address + bytes > dynamic_shared_.end) {
      stop_at("out of bounds", return_address,
              fmt::format("{} of {} bytes at byte {} of the {} bytes of dynamic shared memory",
                          access_name(kind), bytes, address - dynamic_shared_.begin,
                          grid_.config.shared_bytes),
              "Compare the shared_bytes of the launch with what the kernel lays out.");
    }
  } else {
    const Fiber& fiber = worker_->current().fiber;
    const auto stack_begin = reinterpret_cast<std::uintptr_t>(fiber.stack_begin());
    const auto stack_end = reinterpret_cast<std::uintptr_t>(fiber.stack_end());
    if (address - stack_begin < stack_end - stack_begin) {  // the thread's own locals
      if (detectors_ && worker_->warpgroups().in_use()) {
        check_registers(address, bytes, kind, return_address);
      }
      return;
    }
    noted = variable(address, bytes, kind, return_address);
    if (noted == 0) return;
  }
  if (bytes <= 16 && (bytes & (bytes - 1)) == 0 && (address & (bytes - 1)) != 0) {
    stop_at(
        "misaligned access", return_address,
        fmt::format("{} bytes at an address that is {} modulo {}", bytes, address % bytes, bytes),
        "A vector access needs an address that is a multiple of its size: is d, or the row "
        "stride, a multiple of the vector's width?");
  }
  append({noted, static_cast<std::uint32_t>(return_address - image_.begin),
          static_cast<std::uint8_t>(bytes), kind, space});
  if (stored_ && kind == Access::kStore) unseen_store_ = reinterpret_cast<const void*>(address);
}

void Recorder::collective(unsigned mask, bool orders_memory, std::uintptr_t return_address,
                          WarpInstructions instructions) {
  const auto site = static_cast<std::uint32_t>(return_address - image_.begin);
  if (instructions.row != nullptr) {
    append({reinterpret_cast<std::uintptr_t>(instructions.row), site, instructions.row_bytes,
            Access::kMatrixLoad, Space::kShared});
    return;
  }
  const Access access = orders_memory                     ? Access::kSyncWarp
                        : instructions.shuffles != 0      ? Access::kShuffle
                        : instructions.votes != 0         ? Access::kVote
                        : instructions.multiply_adds != 0 ? Access::kMultiplyAdd
                                                          : Access::kCollective;
  append({mask, site,
          static_cast<std::uint8_t>(instructions.shuffles + instructions.votes +
                                    instructions.multiply_adds),
          access, Space::kGlobal});
}

void Recorder::start_copy(std::uintptr_t to, std::uintptr_t from, std::size_t bytes,
                          std::size_t valid, std::uint32_t group, std::uintptr_t return_address) {
  step(return_address);
  std::uintptr_t noted = from;
  if (valid > 0 && arena_.contains(from)) {
    if (detectors_ && !arena_.is_allocated(from, valid)) {
      stop_at("out of bounds", return_address,
              fmt::format("asynchronous copy of {} bytes: {}", valid, arena_.describe(from, valid)),
              "Rows beyond the end are not read if the copy is told that nothing is valid.");
    }
  } else if (valid > 0) {
    noted = image_.contains(from) ? variable(from, valid, Access::kLoad, return_address) : 0;
    if (noted == 0) {
      stop_at("out of bounds", return_address,
              fmt::format("asynchronous copy of {} bytes from an address that is not in global "
                          "memory",
                          valid),
              "An asynchronous copy reads memory from cudaMalloc, and writes shared memory.");
    }
  }
  const auto site = static_cast<std::uint32_t>(return_address - image_.begin);
  append({(to - dynamic_shared_.begin) | std::uint64_t{group} << 32, site,
          static_cast<std::uint8_t>(bytes), Access::kCopyStore, Space::kShared});
  // Also where nothing is read, so that the lanes' logs stay side by side.
  append({noted, site, static_cast<std::uint8_t>(valid), Access::kCopyLoad, Space::kGlobal});
}

void Recorder::copies_arrived(std::uint32_t group, std::uintptr_t return_address) {
  append({group, static_cast<std::uint32_t>(return_address - image_.begin), 0, Access::kCopyWait,
          Space::kShared});
}

void Recorder::append(Entry entry) {
  if (unseen_store_ != nullptr) note_stored_value();
  Log& own = log(static_cast<std::size_t>(current_lane_));
  if (own.size > 0 && entry.access < Access::kBlockOfCode) {
    const Entry& before = own.entries[static_cast<std::size_t>(own.size - 1)];
    // The access stands for the code around it; not where a call has returned to smaller addresses.
    if (before.access == Access::kBlockOfCode && before.site < entry.site) --own.size;
  }
  if (own.size == kLogEntries) worker_->suspend(State::kLogFull);
  own.entries[static_cast<std::size_t>(own.size++)] = entry;
}

bool Recorder::make_room() {
  const auto waits = [](const Thread& lane) { return lane.state == State::kLogFull; };
  if (std::none_of(lanes_.begin(), lanes_.end(), waits)) return false;
  bool any = false;
  // Only a kernel in which lanes wait for others that never come needs the second round.
  for (const bool to_the_end : {false, true}) {
    drain(to_the_end);
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      if (waits(lanes_[lane]) && log(lane).size < kLogEntries) {
        lanes_[lane].state = State::kReady;
        any = true;
      }
    }
    if (any) break;
  }
  return any;
}

void Recorder::drain(bool to_the_end) {
  constexpr std::uint32_t kNowhere = ~std::uint32_t{0};
  std::array<std::uint32_t, kWarpSize> heads;  // code address at the head of each lane's log
  heads.fill(kNowhere);
  unsigned at_collective = 0;
  unsigned moved = ~0u;  // lanes whose head has changed
  bool certain = true;
  while (true) {
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      if ((moved >> lane & 1u) == 0) continue;
      at_collective &= ~(1u << lane);
      heads[lane] = kNowhere;
      if (log(lane).empty()) {
        // A lane that will run on may write an access that comes before all others.
        const State state = lanes_[lane].state;
        certain = certain && (to_the_end || state == State::kDone || state == State::kAtBarrier);
      } else {
        heads[lane] = log(lane).front().site;
        if (log(lane).front().access >= Access::kCollective) at_collective |= 1u << lane;
      }
    }
    if (!certain) break;
    // The lanes at the smallest code address go on. If that is a collective whose mask names lanes
    // that have not come yet, they wait, and those at the next address go on.
    unsigned blocked = 0;
    moved = 0;
    while (moved == 0) {
      std::uint32_t smallest = kNowhere;
      for (std::size_t lane = 0; lane < kWarpSize; ++lane) {
        if ((blocked >> lane & 1u) == 0) smallest = std::min(smallest, heads[lane]);
      }
      if (smallest == kNowhere) break;
      unsigned here = 0;
      for (std::size_t lane = 0; lane < kWarpSize; ++lane) {
        here |= (heads[lane] == smallest && (blocked >> lane & 1u) == 0 ? 1u : 0u) << lane;
      }
      if ((here & at_collective) == 0) {
        moved = here;
        serve(moved);
      } else {
        moved = pop_collective(here, at_collective, /*force=*/false);
        if (moved == 0) blocked |= here;
      }
    }
    if (moved == 0 && to_the_end) {
      moved = pop_collective(at_collective, at_collective, /*force=*/true);
    }
    if (moved == 0) break;
  }
  for (std::size_t lane = 0; lane < kWarpSize; ++lane) {
    Log& l = log(lane);
    std::copy(l.entries.begin() + l.head, l.entries.begin() + l.size, l.entries.begin());
    if (stored_ && l.head > 0) {
      auto& values = (*stored_)[lane];
      std::copy(values.begin() + l.head, values.begin() + l.size, values.begin());
    }
    l.size -= l.head;
    l.head = 0;
  }
}

/// Lets the groups that lanes of `from` belong to pass their collective: the lanes that one mask
/// names, wherever in the code they have called it. A group of which some lane is not there yet
/// waits; with `force`, the first group passes as it is. Returns the lanes that passed.
unsigned Recorder::pop_collective(unsigned from, unsigned at_collective, bool force) {
  unsigned passed = 0;
  Entry executed{};                              // by all groups that pass together
  const auto mask_of = [](const Entry& entry) {  // all lanes execute an ldmatrix or wgmma
    return entry.access >= Access::kMatrixLoad ? ~0u : static_cast<unsigned>(entry.address);
  };
  for (std::size_t first = 0; first < lanes_.size(); ++first) {
    if (((from & ~passed) >> first & 1u) == 0) continue;
    const Entry entry = log(first).front();
    const unsigned mask = mask_of(entry);
    unsigned group = 0;
    bool complete = true;
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      if ((mask >> lane & 1u) == 0) continue;
      const bool here = ((at_collective & ~passed) >> lane & 1u) != 0 &&
                        mask_of(log(lane).front()) == mask &&
                        log(lane).front().access == entry.access;
      if (here) group |= 1u << lane;
      complete = complete && (here || (log(lane).empty() && lanes_[lane].state == State::kDone));
    }
    if (!complete && !force) continue;
    if (entry.access == Access::kMatrixLoad) serve_matrix_load(group);
    if (entry.access == Access::kWgmma) serve_wgmma(entry.address, entry.site);
    if (entry.access == Access::kWgmmaDone && detectors_) detectors_->wgmma_done(entry.address);
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      if ((group >> lane & 1u) != 0) ++log(lane).head;
    }
    if (entry.access == Access::kSyncWarp && detectors_) detectors_->sync_warp(group);
    passed |= group;
    executed = entry;
    if (force) break;
  }
  if (executed.access == Access::kShuffle) shuffles_ += executed.bytes;
  if (executed.access == Access::kVote) votes_ += executed.bytes;
  if (executed.access == Access::kMultiplyAdd) multiply_adds_ += executed.bytes;
  return passed;
}

/// The accesses at the heads of these lanes' logs, all from one place in the code.
void Recorder::serve(unsigned lanes) {
  std::array<std::uintptr_t, kWarpSize> addresses;
  std::array<std::uint32_t, kWarpSize> values;
  while (lanes != 0) {  // more than once only where a pointer is shared for some, global for others
    const Entry entry = log(static_cast<std::size_t>(std::countr_zero(lanes))).front();
    if (entry.access == Access::kBlockOfCode) {
      for (; lanes != 0; lanes &= lanes - 1) {
        ++log(static_cast<std::size_t>(std::countr_zero(lanes))).head;
      }
      return;
    }
    if (entry.access == Access::kAsync) return serve_async(lanes);
    if (entry.access >= Access::kCopyStore) return serve_copies(lanes);
    Request request{.access = entry.access,
                    .space = entry.space,
                    .unit = Unit::kLoadStore,
                    .bytes = entry.bytes,
                    .site = entry.site,
                    .lanes = 0,
                    .lane_count = 0,
                    .addresses = addresses.data(),
                    .values = values.data()};
    count(kRequest);
    const bool with_values = stored_ && entry.access == Access::kStore;
    for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
      const auto lane = static_cast<std::size_t>(std::countr_zero(rest));
      Log& own = log(lane);
      if (own.front().space != entry.space) continue;
      addresses[lane] = own.front().address;
      if (with_values) values[lane] = (*stored_)[lane][static_cast<std::size_t>(own.head)];
      request.lanes |= 1u << lane;
      ++request.lane_count;
      ++own.head;
    }
    lanes &= ~request.lanes;
    show(request);
    if (detectors_) detectors_->request(request);
  }
}

void Recorder::show(const Request& request) {
  if (tracer_) tracer_->request(request);
  if (observer_ != nullptr) observer_->request(warp_, request);
}

/// These lanes have met in an ldmatrix; the first 8, 16 or all of them name a row.
void Recorder::serve_matrix_load(unsigned lanes) {
  std::array<std::uintptr_t, kWarpSize> addresses;
  Request request{.access = Access::kLoad,
                  .space = Space::kShared,
                  .unit = Unit::kMatrixLoad,
                  .bytes = 16,
                  .site = log(static_cast<std::size_t>(std::countr_zero(lanes))).front().site,
                  .lanes = 0,
                  .lane_count = 0,
                  .addresses = addresses.data(),
                  .values = nullptr};
  for (; lanes != 0; lanes &= lanes - 1) {
    const auto lane = static_cast<std::size_t>(std::countr_zero(lanes));
    const Entry& entry = log(lane).front();
    if (entry.bytes == 0) continue;
    addresses[lane] = entry.address;
    request.lanes |= 1u << lane;
    ++request.lane_count;
  }
  count(kRequest);
  show(request);
  if (detectors_) detectors_->request(request);
}

/// The parts of asynchronous copies, and the waits for them, at the heads of these lanes' logs.
void Recorder::serve_copies(unsigned lanes) {
  std::array<std::uintptr_t, kWarpSize> addresses;
  std::array<std::uint32_t, kWarpSize> groups;
  while (lanes != 0) {  // more than once only where lanes copy different sizes
    const Entry entry = log(static_cast<std::size_t>(std::countr_zero(lanes))).front();
    const bool store = entry.access == Access::kCopyStore;
    Request request{.access = store ? Access::kStore : Access::kLoad,
                    .space = entry.space,
                    .unit = Unit::kAsyncCopy,
                    .bytes = entry.bytes,
                    .site = entry.site,
                    .lanes = 0,
                    .lane_count = 0,
                    .addresses = addresses.data(),
                    .values = nullptr};
    for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
      const auto lane = static_cast<std::size_t>(std::countr_zero(rest));
      Log& own = log(lane);
      if (own.front().access != entry.access || own.front().bytes != entry.bytes) continue;
      const std::uintptr_t address = own.front().address;
      groups[lane] = static_cast<std::uint32_t>(store ? address >> 32 : address);
      addresses[lane] = store ? dynamic_shared_.begin + (address & 0xFFFFFFFFu) : address;
      request.lanes |= 1u << lane;
      ++request.lane_count;
      ++own.head;
    }
    lanes &= ~request.lanes;
    if (entry.access == Access::kCopyWait) {
      if (detectors_) detectors_->copies_arrived(request.lanes, groups);
      continue;
    }
    if (entry.bytes == 0) continue;  // zeros arrive
    count(kRequest);
    show(request);
    if (!detectors_) continue;
    if (store) {
      detectors_->start_copies(request, groups);
    } else {
      detectors_->request(request);
    }
  }
}

Detection Recorder::detection(std::string kind, int lane, std::uint32_t site) const {
  Detection detection =
      detection_at(grid_, worker_->block(), worker_->thread(warp_ * kWarpSize + lane).index,
                   std::move(kind), {});
  const SourceLine source = source_line(image_.begin + site);
  detection.file = source.file;
  detection.line = source.line;
  return detection;
}

void Recorder::stop_at(std::string kind, std::uintptr_t return_address, std::string what,
                       std::string advice) {
  Detection found = detection(std::move(kind), current_lane_,
                              static_cast<std::uint32_t>(return_address - image_.begin));
  found.what = std::move(what);
  found.advice = std::move(advice);
  worker_->stop(std::move(found));
}

void Recorder::barrier_after_return(const Thread& waiting, const Thread& returned,
                                    int returned_count) {
  const std::source_location& where = waiting.posted.where;
  if (!detectors_ || !warned_.insert(where.line()).second) return;
  const auto rank = static_cast<std::size_t>(returned.rank);
  const std::uint32_t site = before_code_[rank] != 0 ? before_code_[rank] : last_site_[rank];
  const SourceLine there = last_line_from(image_.begin + site);
  Detection found =
      detection_at(grid_, worker_->block(), waiting.index, "barrier after a return", where);
  found.warning = true;
  found.what = fmt::format(
      "this thread waits here; thread {}{} had returned at {}:{}", to_string(returned.index),
      returned_count > 1 ? fmt::format(" and {} more", returned_count - 1) : "", there.file,
      there.line);
  found.advice =
      "Legal, since a barrier waits for the threads that are left; but what the others should have "
      "loaded is missing. Let every thread come to the barrier, and guard the work instead.";
  report(std::move(found));
}

void Recorder::finish() {
  if (detectors_) detectors_->finish();
  if (!tracer_) return;
  LaunchRecord record = tracer_->finish();
  record.kernel = kernel_name(grid_.config);
  record.grid = grid_.config.grid;
  record.block = grid_.config.block;
  record.shared_bytes = grid_.config.shared_bytes;
  if (static_touched_.end != 0) record.static_shared_bytes = static_touched_.size();
  record.traffic.barriers = barriers_;
  record.traffic.special_functions = special_functions_;
  record.traffic.shuffles = shuffles_;
  record.traffic.votes = votes_;
  record.traffic.mma_instructions = multiply_adds_;
  record.traffic.wgmma_instructions = wgmmas_;
  record.traffic.wgmma_flops = wgmma_flops_;
  publish(std::move(record));
}

}  // namespace attn::simt
