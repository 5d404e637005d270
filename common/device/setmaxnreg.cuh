// SPDX-License-Identifier: MIT
//
// Taught in chapter 11: the warps of a block hand registers to each other (compute capability
// 9.0a). Those that only start copies need few, those that multiply need many.
//
//   producer:  setmaxnreg_dec<24>();
//   consumer:  setmaxnreg_inc<240>();      waits until there are so many
#pragma once

#include <source_location>

#include "common/device/cuda.cuh"
#ifndef __CUDACC__
#include "common/simt/models/register_pool.hpp"
#endif

namespace attn::device {

// kRegisters: of a thread, 24 to 256, a multiple of 8. All warps of a warpgroup must come to the
// call. The kernel needs __launch_bounds__ with both numbers, threads and blocks: without them
// ptxas leaves the instruction out. The block's sum stays what it was at the launch: of 384 threads
// with 168 registers each, 128 can have 24 and the others 240.
// (PTX ISA, "setmaxnreg")
#ifdef __CUDACC__

/// The warpgroup has more registers from here on.
template <int kRegisters>
__device__ __forceinline__ void setmaxnreg_inc() {
  static_assert(kRegisters >= 24 && kRegisters <= 256 && kRegisters % 8 == 0);
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
/// The warpgroup has fewer from here on.
template <int kRegisters>
__device__ __forceinline__ void setmaxnreg_dec() {
  static_assert(kRegisters >= 24 && kRegisters <= 256 && kRegisters % 8 == 0);
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

#else

template <int kRegisters>
__forceinline__ void setmaxnreg_inc(std::source_location where = std::source_location::current()) {
  simt::set_registers(kRegisters, true, where);
}
template <int kRegisters>
__forceinline__ void setmaxnreg_dec(std::source_location where = std::source_location::current()) {
  simt::set_registers(kRegisters, false, where);
}

#endif

}  // namespace attn::device
