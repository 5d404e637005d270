// SPDX-License-Identifier: MIT
//
// setmaxnreg: warps of a block hand registers to each other. What common/device/setmaxnreg.cuh
// names.
#pragma once

#include <source_location>
#include <vector>

namespace attn::simt {

class Worker;

/// The registers of the block that runs. It begins with as many for each thread as one block alone
/// on a multiprocessor can have (the machine does not know what nvcc makes of __launch_bounds__).
class RegisterPool {
 public:
  void begin_block(int threads, int registers_per_multiprocessor);
  /// The warp asks for so many registers a thread, more or fewer than it has. Fewer it has at once,
  /// and more as soon as others have given enough back.
  void request(Worker& worker, int warp, int registers, bool more, std::source_location where);
  bool granted(int warp) const { return of(warp).wants == 0; }
  /// Registers a thread that the warp waits for, and that the block has left for it.
  int wanted(int warp) const { return of(warp).wants; }
  int available(int warp) const { return of(warp).has + free_; }

 private:
  struct Warp {
    int has;
    int wants;  // 0: no more than it has
  };
  const Warp& of(int warp) const { return warps_[static_cast<std::size_t>(warp)]; }
  void grant();

  std::vector<Warp> warps_;
  int free_ = 0;  // times the 32 lanes of a warp
};

/// All lanes of the running thread's warp come to setmaxnreg.
void set_registers(int registers, bool more, std::source_location where);

}  // namespace attn::simt
