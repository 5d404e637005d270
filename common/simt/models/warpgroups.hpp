// SPDX-License-Identifier: MIT
//
// Inside the machine: what the warpgroups of a block have issued. A warpgroup is four warps, the
// first a multiple of four; all its threads must come to the same instructions in the same order,
// but no thread waits for the others: the n-th wgmma of each of them is the same product, which can
// be done once all have issued it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>
#include <vector>

#include "common/simt/models/wgmma.hpp"
#include "common/tensor_layout.hpp"

namespace attn::simt {

class Worker;

class Warpgroups {
 public:
  static constexpr int kThreads = 128;

  /// Instructions that all threads of a warpgroup execute.
  enum class Kind : std::uint8_t { kFence, kProduct, kCommit, kWait, kIncrease, kDecrease };

  struct Product {
    Wgmma call;  // as the thread that came first has issued it
    std::source_location where;
    bool chained;             // on an accumulator in use
    std::size_t accumulator;  // which of the warpgroup's
    int issued = 0;           // by so many threads
    // By thread of the warpgroup, if A is in registers. They are read when the product is done.
    std::vector<const unsigned*> a_registers{};
    // The chunks of 16 bytes of shared memory that the operands lie in, first those of A, if it is
    // not in registers.
    std::vector<std::uint32_t> chunks{};
    std::size_t chunks_of_b = 0;
    Swizzle a_swizzle{}, b_swizzle{};
  };

  /// Registers of a thread that a product uses and the thread has not waited for.
  struct InUse {
    std::uintptr_t begin, end;
    std::size_t product;  // the last one
    std::size_t accumulator;
    bool is_accumulator;  // or else A
  };

  void begin_block(int threads);

  // The running thread issues.
  /// `number`: groups that may be under way, or registers.
  void step(Kind kind, int number, std::source_location where);
  void fence();
  /// Returns the product's number in its warpgroup.
  std::size_t issue(const Wgmma& call, std::source_location where);
  void commit();
  /// Returns the number of products that the thread knows to be done.
  std::size_t wait(int pending, std::source_location where);
  void require_delivered(const float* accumulator, int tiles, std::source_location where);

  const Product& product(int warp, std::size_t number) const {
    return groups_[static_cast<std::size_t>(warp / 4)].products[number];
  }
  /// How many of the warpgroup's products are done.
  std::size_t done(int warpgroup) const {
    return groups_[static_cast<std::size_t>(warpgroup)].done;
  }
  /// How many threads have issued the first that is not, for the report of a deadlock.
  std::string state(int warpgroup) const;

  /// Whether any thread of the block has issued anything.
  bool in_use() const { return in_use_; }
  /// Those of the thread's registers in use that these bytes of its stack belong to, or null.
  const InUse* find_in_use(int rank, std::uintptr_t address, std::size_t bytes) const;
  /// The thread reads or writes these bytes of its stack.
  void touch(int rank, std::uintptr_t address, std::size_t bytes);

  /// Nobody can run: reports a warpgroup of which some threads wait for a product that others have
  /// not issued and never will.
  void report_stuck(Worker& worker) const;
  /// The block has ended: reports a warpgroup not all of whose threads have come to the same.
  void end_block(Worker& worker) const;

 private:
  struct Instruction {
    Kind kind;
    int number;
    std::source_location where;
  };
  struct Touched {
    std::uintptr_t begin, end;
  };
  struct Thread {
    std::size_t instructions = 0, products = 0;  // that it has come to
    std::vector<std::size_t> groups;             // products issued at each commit
    std::vector<InUse> in_use;
    bool waits = false;   // for products
    bool fenced = false;  // once
    // Bytes of its stack that it has used since its last fence, if it has had one; too many to
    // remember count as all.
    std::vector<Touched> touched;
    bool touched_all = false;
  };
  /// Accumulators in use: those that products without a wait between them share are one.
  struct Accumulator {
    std::vector<float> values;  // (64, N)
    int delivered = 0;          // to so many threads
  };
  struct Group {
    std::vector<Instruction> instructions;
    std::vector<Product> products;
    std::size_t done = 0;
    std::vector<Accumulator> accumulators;
  };

  Thread& current_thread();
  Group& current_group();
  void check_registers(const Thread& thread, const Wgmma& call, bool chained,
                       std::source_location where) const;
  void check_same(const Product& first, const Wgmma& call, bool same_accumulator,
                  std::source_location where) const;
  void find_operands(Product& product) const;
  void multiply(std::size_t group);
  void deliver(Thread& thread, std::size_t products);
  [[noreturn]] void report_missing(Worker& worker, std::size_t group, std::size_t thread,
                                   std::size_t missing) const;

  bool in_use_ = false;
  std::vector<Thread> threads_;
  std::vector<Group> groups_;
};

}  // namespace attn::simt
