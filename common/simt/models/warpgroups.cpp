// SPDX-License-Identifier: MIT
#include "common/simt/models/warpgroups.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string_view>
#include <tuple>
#include <utility>

#include "common/simt/machine/worker.hpp"
#include "common/simt/models/matrix_descriptor.hpp"
#include "common/simt/models/product.hpp"

namespace attn::simt {
namespace {

constexpr int kRows = 64;   // of A and D
constexpr int kDepth = 16;  // columns of A, rows of B
constexpr int kChunk = 8;   // elements, neighbours in memory
constexpr unsigned kChunkBytes = 16;
constexpr std::size_t kMostTouched = 512;

using Kind = Warpgroups::Kind;

std::size_t size(int count) { return static_cast<std::size_t>(count); }

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::kFence:
      return "wgmma_fence";
    case Kind::kProduct:
      return "wgmma";
    case Kind::kCommit:
      return "wgmma_commit";
    case Kind::kWait:
      return "wgmma_wait";
    case Kind::kIncrease:
      return "setmaxnreg_inc";
    case Kind::kDecrease:
      return "setmaxnreg_dec";
  }
  return "";
}

std::string place_of(const std::source_location& where) {
  return fmt::format("{}:{}", where.file_name(), where.line());
}

bool same_place(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         std::string_view(a.file_name()) == b.file_name();
}

/// The row of A and D, and the column of a tile of 64 x 8, of a thread's first element.
int row_of(std::size_t thread) { return static_cast<int>(thread / 32 * 16 + thread % 32 / 4); }
int column_of(std::size_t thread) { return static_cast<int>(2 * (thread % 4)); }

/// Where element i of a thread's tile lies in D of `tiles` tiles.
std::size_t place_in_sum(std::size_t thread, int tiles, int tile, int i) {
  return size((row_of(thread) + 8 * (i / 2)) * 8 * tiles + 8 * tile + column_of(thread) + i % 2);
}

/// Calls visit(mn, k) for the first element of each chunk of 16 k and `mn_count` mn.
template <class Visit>
void for_each_chunk(int mn_count, bool mn_major, Visit visit) {
  const int mn_step = mn_major ? kChunk : 1, k_step = mn_major ? 1 : kChunk;
  for (int mn = 0; mn < mn_count; mn += mn_step) {
    for (int k = 0; k < kDepth; k += k_step) visit(mn, k);
  }
}

constexpr const char* kTogether =
    "All 128 threads of a warpgroup (four warps, the first a multiple of four) execute the same "
    "wgmma instructions: move them out of the branch, or does it part a warpgroup?";

}  // namespace

void Warpgroups::begin_block(int threads) {
  if (!in_use_ && threads_.size() == size(threads)) return;
  in_use_ = false;
  threads_.assign(size(threads), {});
  groups_.assign(size((threads + kThreads - 1) / kThreads), {});
}

Warpgroups::Thread& Warpgroups::current_thread() {
  return threads_[size(Worker::running().current().rank)];
}

Warpgroups::Group& Warpgroups::current_group() {
  return groups_[size(Worker::running().current().rank / kThreads)];
}

void Warpgroups::step(Kind kind, int number, std::source_location where) {
  in_use_ = true;
  const std::size_t group = size(Worker::running().current().rank / kThreads);
  if ((group + 1) * kThreads > threads_.size()) {
    stop_thread(
        "incomplete warpgroup",
        fmt::format("{} by a thread of warpgroup {}, of which the block has {} threads",
                    name_of(kind), group, threads_.size() - group * kThreads),
        "A warpgroup is four warps, the first a multiple of four: 128 threads of one block.",
        where);
  }
  Thread& thread = current_thread();
  std::vector<Instruction>& all = groups_[group].instructions;
  if (thread.instructions == all.size()) all.push_back({kind, number, where});
  const Instruction& first = all[thread.instructions++];
  if (first.kind == kind && first.number == number && same_place(first.where, where)) return;
  const bool registers = kind == Kind::kIncrease || kind == Kind::kDecrease;
  stop_thread(registers ? "divergent setmaxnreg" : "divergent wgmma",
              fmt::format("{} here; another thread of warpgroup {} has come to {} at {} instead",
                          name_of(kind), group, name_of(first.kind), place_of(first.where)),
              kTogether, where);
}

void Warpgroups::fence() {
  Thread& thread = current_thread();
  thread.fenced = true;
  thread.touched.clear();
  thread.touched_all = false;
}

const Warpgroups::InUse* Warpgroups::find_in_use(int rank, std::uintptr_t address,
                                                 std::size_t bytes) const {
  for (const InUse& registers : threads_[size(rank)].in_use) {
    if (address < registers.end && registers.begin < address + bytes) return &registers;
  }
  return nullptr;
}

void Warpgroups::touch(int rank, std::uintptr_t address, std::size_t bytes) {
  Thread& thread = threads_[size(rank)];
  if (!thread.fenced || thread.touched_all) return;
  if (!thread.touched.empty()) {  // most accesses go up through an array
    Touched& last = thread.touched.back();
    if (last.begin <= address && address <= last.end) {
      last.end = std::max(last.end, address + bytes);
      return;
    }
  }
  if (thread.touched.size() == kMostTouched) {
    thread.touched.clear();
    thread.touched_all = true;
    return;
  }
  thread.touched.push_back({address, address + bytes});
}

/// A thread's registers must be fit for a product.
void Warpgroups::check_registers(const Thread& thread, const Wgmma& call, bool chained,
                                 std::source_location where) const {
  const int rank = Worker::running().current().rank;
  const auto check = [&](const void* registers, std::size_t bytes, const char* what, bool chains) {
    const auto begin = reinterpret_cast<std::uintptr_t>(registers);
    const InUse* in_use = chains ? nullptr : find_in_use(rank, begin, bytes);
    // A may be read by any number of products.
    if (in_use != nullptr && (registers == call.accumulator || in_use->is_accumulator)) {
      const Product& other = product(rank / kWarpSize, in_use->product);
      stop_thread(
          "registers in flight",
          fmt::format("{} of this wgmma are {} of the one at {}, which is under way", what,
                      in_use->is_accumulator ? "accumulators" : "A registers",
                      place_of(other.where)),
          "Only products of one shape may follow each other on the same accumulators without a "
          "wgmma_wait between them.",
          where);
    }
    const auto overlaps = [&](const Touched& touched) {
      return touched.begin < begin + bytes && begin < touched.end;
    };
    if (thread.touched_all || std::any_of(thread.touched.begin(), thread.touched.end(), overlaps)) {
      stop_thread(
          "missing wgmma_fence",
          fmt::format("the thread has used the {} of this wgmma since its last wgmma_fence", what),
          "A wgmma_fence goes between whatever uses the registers and the wgmma that does.", where);
    }
  };
  if (!thread.fenced) {
    stop_thread("missing wgmma_fence", "the thread has had no wgmma_fence at all",
                "A wgmma_fence goes in front of the first wgmma.", where);
  }
  check(call.accumulator, size(16 * call.tiles), "accumulators", chained);
  if (call.a_registers != nullptr) check(call.a_registers, 16, "A registers", false);
}

/// A thread must bring what the first thread of its warpgroup has brought.
void Warpgroups::check_same(const Product& first, const Wgmma& call, bool same_accumulator,
                            std::source_location where) const {
  const auto check = [&](const char* what, std::uint64_t here, std::uint64_t there) {
    if (here == there) return;
    stop_thread(
        "unequal descriptors",
        fmt::format("descriptor of {}: {:#x} here, {:#x} from another thread of the warpgroup",
                    what, here, there),
        "A product is one matrix times another: a descriptor may depend on the warpgroup, not on "
        "the warp or the lane.",
        where);
  };
  check("A", call.a, first.call.a);
  check("B", call.b, first.call.b);
  const auto shape = [](const Wgmma& product) {
    return std::tuple(product.element, product.tiles, product.a_registers != nullptr,
                      product.a_mn_major, product.b_mn_major, product.accumulate);
  };
  if (shape(call) != shape(first.call) || !same_accumulator) {
    stop_thread("divergent wgmma",
                "another thread of the warpgroup has issued this wgmma with another shape, another "
                "scale-d or other accumulators",
                kTogether, where);
  }
}

/// Where the operands lie in shared memory, or a report that they do not.
void Warpgroups::find_operands(Product& product) const {
  const std::size_t shared_bytes = Worker::running().grid().config.shared_bytes;
  const auto find = [&](const char* name, std::uint64_t bits, int mn_count, bool mn_major) {
    const MatrixDescriptor matrix = decode_descriptor(bits);
    if (matrix.base_offset != 0) {
      stop_thread(
          "bad descriptor",
          fmt::format("{}: base offset = {}; allowed here: 0", name, matrix.base_offset),
          "Tiles start at multiples of 1024, 512 or 256 bytes for swizzles of 128, 64 or 32: "
          "then the base offset is 0.",
          product.where);
    }
    for_each_chunk(mn_count, mn_major, [&](int mn, int k) {
      const unsigned address = chunk_address(matrix, mn, k, mn_major);
      if (address + kChunkBytes > shared_bytes) {
        stop_thread(
            "out of bounds",
            fmt::format("wgmma reads {} ({}, k) = ({}, {}) at byte {} of the {} bytes of dynamic "
                        "shared memory; its descriptor: start {}, leading {}, stride {} bytes, "
                        "swizzle: {}",
                        name, name[0] == 'A' ? "m" : "n", mn, k, address, shared_bytes,
                        matrix.start, matrix.leading, matrix.stride, to_string(matrix.swizzle)),
            "Do the strides of the descriptor, and the major-ness, fit how the tile was written?",
            product.where);
      }
      product.chunks.push_back(address / kChunkBytes);
    });
    return matrix.swizzle;
  };
  const Wgmma& call = product.call;
  if (call.a_registers == nullptr) {
    product.a_swizzle = find("A", call.a, kRows, call.a_mn_major);
  }
  const std::size_t of_a = product.chunks.size();
  product.b_swizzle = find("B", call.b, 8 * call.tiles, call.b_mn_major);
  product.chunks_of_b = product.chunks.size() - of_a;
}

std::size_t Warpgroups::issue(const Wgmma& call, std::source_location where) {
  step(Kind::kProduct, call.tiles, where);
  const int rank = Worker::running().current().rank;
  const std::size_t member = size(rank % kThreads);
  Thread& thread = current_thread();
  Group& group = current_group();
  const auto registers = reinterpret_cast<std::uintptr_t>(call.accumulator);
  const std::size_t bytes = size(16 * call.tiles);
  // Products follow each other on one accumulator.
  const auto chain = std::find_if(thread.in_use.begin(), thread.in_use.end(), [&](const InUse& u) {
    return u.is_accumulator && u.begin == registers && u.end == registers + bytes;
  });
  const bool chained = chain != thread.in_use.end();
  check_registers(thread, call, chained, where);

  const std::size_t number = thread.products++;
  if (number == group.products.size()) {
    Product first{.call = call, .where = where, .chained = chained, .accumulator = 0};
    first.accumulator = chained ? chain->accumulator : group.accumulators.size();
    if (call.a_registers != nullptr) first.a_registers.resize(kThreads);
    find_operands(first);
    if (!chained) group.accumulators.emplace_back().values.resize(size(kRows * 8 * call.tiles));
    group.products.push_back(std::move(first));
  }
  Product& product = group.products[number];
  check_same(product, call,
             chained == product.chained && (!chained || chain->accumulator == product.accumulator),
             where);
  if (chained) {
    chain->product = number;
  } else {
    thread.in_use.push_back({registers, registers + bytes, number, product.accumulator, true});
    std::vector<float>& values = group.accumulators[product.accumulator].values;
    for (int tile = 0; tile < call.tiles; ++tile) {
      for (int i = 0; i < 4; ++i) {
        float& element = call.accumulator[4 * tile + i];
        values[place_in_sum(member, call.tiles, tile, i)] = element;
        element = std::nanf("");  // until the thread has waited
      }
    }
  }
  if (call.a_registers != nullptr) {
    product.a_registers[member] = call.a_registers;
    const auto a = reinterpret_cast<std::uintptr_t>(call.a_registers);
    thread.in_use.push_back({a, a + 16, number, 0, false});
  }
  if (++product.issued == kThreads) {
    Worker::running().async_work().start(
        [this, index = size(rank / kThreads)] { multiply(index); });
  }
  return number;
}

/// Does the first of the group's products that is not done: they follow each other, as those on one
/// accumulator must.
void Warpgroups::multiply(std::size_t index) {
  Group& group = groups_[index];
  Product& product = group.products[group.done++];
  const Wgmma& call = product.call;
  const int columns = 8 * call.tiles;
  const char* shared = static_cast<const char*>(Worker::running().shared_memory());
  std::size_t next = 0;                                                     // chunk
  const auto fetch = [&](int mn_count, bool mn_major, std::uint16_t* to) {  // (mn, 16)
    for_each_chunk(mn_count, mn_major, [&](int mn, int k) {
      std::uint16_t chunk[kChunk];
      std::memcpy(chunk, shared + product.chunks[next++] * kChunkBytes, kChunkBytes);
      for (int i = 0; i < kChunk; ++i) {
        to[mn_major ? (mn + i) * kDepth + k : mn * kDepth + k + i] = chunk[i];
      }
    });
  };
  std::array<std::uint16_t, kRows * kDepth> a_bits;
  std::array<std::uint16_t, 256 * kDepth> b_bits;
  if (call.a_registers == nullptr) {
    fetch(kRows, call.a_mn_major, a_bits.data());
  } else {
    for (std::size_t thread = 0; thread < kThreads; ++thread) {
      for (int r = 0; r < 4; ++r) {
        const unsigned word = product.a_registers[thread][r];
        std::uint16_t* at = &a_bits[size((row_of(thread) + 8 * (r % 2)) * kDepth +
                                         column_of(thread) + 8 * (r / 2))];
        at[0] = static_cast<std::uint16_t>(word);
        at[1] = static_cast<std::uint16_t>(word >> 16);
      }
    }
  }
  fetch(columns, call.b_mn_major, b_bits.data());
  std::array<float, kRows * kDepth> a;
  std::array<float, 256 * kDepth> b;
  decode_elements(call.element, a_bits.data(), kRows * kDepth, a.data());
  decode_elements(call.element, b_bits.data(), columns * kDepth, b.data());

  std::vector<float>& sums = group.accumulators[product.accumulator].values;
  if (!call.accumulate) std::fill(sums.begin(), sums.end(), 0.0f);
  simt::Product block;
  for (int tile = 0; tile < call.tiles; ++tile) {
    for (int n = 0; n < 8; ++n) {
      for (int k = 0; k < kDepth; ++k) block.b[k][n] = b[size((8 * tile + n) * kDepth + k)];
    }
    for (int row = 0; row < kRows; row += 16) {
      std::memcpy(block.a, &a[size(row * kDepth)], sizeof block.a);
      float* sum = &sums[size(row * columns + 8 * tile)];
      for (int r = 0; r < 16; ++r) std::memcpy(block.c[r], sum + r * columns, sizeof block.c[r]);
      simt::multiply(block, options().accumulation);
      for (int r = 0; r < 16; ++r) std::memcpy(sum + r * columns, block.c[r], sizeof block.c[r]);
    }
  }
  product.a_registers = {};
  if (Worker::running().grid().recorder == nullptr) product.chunks = {};
}

void Warpgroups::commit() {
  Thread& thread = current_thread();
  thread.groups.push_back(thread.products);
}

namespace {

/// A warpgroup's products up to one of them are done.
class ProductsDone final : public Condition {
 public:
  ProductsDone(const Warpgroups& warpgroups, int warpgroup, std::size_t products)
      : warpgroups_(warpgroups), warpgroup_(warpgroup), products_(products) {}
  bool holds() const override { return warpgroups_.done(warpgroup_) >= products_; }
  std::string state() const override { return warpgroups_.state(warpgroup_); }

 private:
  const Warpgroups& warpgroups_;
  int warpgroup_;
  std::size_t products_;
};

}  // namespace

std::string Warpgroups::state(int warpgroup) const {
  const Group& group = groups_[size(warpgroup)];
  return fmt::format("wgmma: the one at {} has been issued by {} of {} threads",
                     place_of(group.products[group.done].where), group.products[group.done].issued,
                     kThreads);
}

std::size_t Warpgroups::wait(int pending, std::source_location where) {
  Worker& worker = Worker::running();
  const int rank = worker.current().rank;
  Thread& thread = current_thread();
  if (thread.groups.size() <= size(pending)) return 0;
  const std::size_t products = thread.groups[thread.groups.size() - 1 - size(pending)];
  thread.groups.erase(thread.groups.begin(), thread.groups.end() - pending);
  thread.waits = true;
  worker.wait_for(ProductsDone(*this, rank / kThreads, products), where, /*line_up=*/true);
  thread.waits = false;
  deliver(thread, products);
  return products;
}

/// The thread gets what its registers hold after so many products.
void Warpgroups::deliver(Thread& thread, std::size_t products) {
  const std::size_t member = size(Worker::running().current().rank % kThreads);
  std::erase_if(thread.in_use, [&](const InUse& registers) {
    if (registers.product >= products) return false;
    if (!registers.is_accumulator) return true;
    Accumulator& accumulator = current_group().accumulators[registers.accumulator];
    auto* to = reinterpret_cast<float*>(registers.begin);
    const auto tiles = static_cast<int>((registers.end - registers.begin) / 16);
    for (int tile = 0; tile < tiles; ++tile) {
      for (int i = 0; i < 4; ++i) {
        to[4 * tile + i] = accumulator.values[place_in_sum(member, tiles, tile, i)];
      }
    }
    if (++accumulator.delivered == kThreads) accumulator.values = {};
    return true;
  });
}

void Warpgroups::require_delivered(const float* accumulator, int tiles,
                                   std::source_location where) {
  const int rank = Worker::running().current().rank;
  const InUse* in_use =
      find_in_use(rank, reinterpret_cast<std::uintptr_t>(accumulator), size(16 * tiles));
  if (in_use == nullptr) return;
  stop_thread(
      "registers in flight",
      fmt::format("the wgmma at {} may still write the accumulators that this wgmma_wait names",
                  place_of(product(rank / kWarpSize, in_use->product).where)),
      "Is a wgmma_commit missing, or does the wait leave one group too many?", where);
}

/// Why thread `missing` will not come to the instruction that `thread`, of the same warpgroup, has
/// come to.
void Warpgroups::report_missing(Worker& worker, std::size_t group, std::size_t thread,
                                std::size_t missing) const {
  const Instruction& lacks = groups_[group].instructions[threads_[missing].instructions];
  const simt::Thread& other = worker.thread(static_cast<int>(missing));
  const auto first = threads_.begin() + static_cast<std::ptrdiff_t>(group * kThreads);
  const auto come = std::count_if(first, first + kThreads, [&](const Thread& one) {
    return one.instructions > threads_[missing].instructions;
  });
  const bool registers = lacks.kind == Kind::kIncrease || lacks.kind == Kind::kDecrease;
  Detection detection =
      detection_at(worker.grid(), worker.block(), worker.thread(static_cast<int>(thread)).index,
                   registers ? "divergent setmaxnreg" : "divergent wgmma", lacks.where);
  detection.what =
      fmt::format("{} of the {} threads of warpgroup {} have come to this {}; thread {} {}", come,
                  kThreads, group, name_of(lacks.kind), to_string(other.index),
                  other.state == State::kDone ? "has left the kernel without it"
                                              : "waits at " + place_of(other.posted.where));
  detection.advice = kTogether;
  worker.stop_block(std::move(detection));
}

void Warpgroups::report_stuck(Worker& worker) const {
  for (std::size_t group = 0; group < groups_.size() && in_use_; ++group) {
    const std::size_t first = group * kThreads, end = std::min(first + kThreads, threads_.size());
    for (std::size_t waiting = first; waiting < end; ++waiting) {
      if (!threads_[waiting].waits) continue;
      for (std::size_t other = first; other < end; ++other) {
        const State state = worker.thread(static_cast<int>(other)).state;
        if (threads_[other].products > groups_[group].done) continue;
        // Whoever waits for something else is late, and the deadlock report says for what.
        if (state == State::kWaiting && !threads_[other].waits) continue;
        report_missing(worker, group, waiting, other);
      }
    }
  }
}

void Warpgroups::end_block(Worker& worker) const {
  for (std::size_t group = 0; group < groups_.size() && in_use_; ++group) {
    const std::size_t first = group * kThreads, end = std::min(first + kThreads, threads_.size());
    for (std::size_t thread = first; thread < end; ++thread) {
      if (threads_[thread].instructions == groups_[group].instructions.size()) continue;
      std::size_t most = first;
      while (threads_[most].instructions <= threads_[thread].instructions) ++most;
      report_missing(worker, group, most, thread);
    }
  }
}

}  // namespace attn::simt
