// SPDX-License-Identifier: MIT
//
// Where a chapter's arrays live. Tests, the `attn` program and benchmarks allocate and copy through
// this interface, so that they are the same for plain C++, for the CPU machine and for a GPU.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace attn {

/// A bug that a detector saw while a kernel ran: what compute-sanitizer reports on a GPU.
struct Detection {
  std::string kind;    // "race", "out of bounds", "uninitialised read", "divergent barrier", ...
  std::string kernel;  // "scores_kernel"
  std::string block;   // "(0,3,1)"
  std::string thread;  // "(17,0,0)"
  std::string file;    // source file of the access, empty if unknown
  int line = 0;
  std::string what;      // the access, and the other party where there is one
  std::string advice;    // one sentence: what to look for
  bool warning = false;  // legal, but often a mistake: fails nothing
};

/// The kind of a kernel that was stopped because it would not end.
inline constexpr std::string_view kEndlessKernel = "endless kernel";

/// All of it in a few lines, for people.
std::string to_string(const Detection& detection);

/// What a kernel takes of a GPU's multiprocessor.
struct KernelUse {
  int registers = 0;                  // of a thread
  int blocks_per_multiprocessor = 0;  // at a time; 0 if one asks for more shared memory than it may
};

/// One kind of memory. Sizes in bytes. Every member may throw attn::Error(kDeviceFailure).
class Memory {
 public:
  virtual ~Memory() = default;

  /// "host", "CPU machine", or the GPU's name.
  virtual std::string name() const = 0;

  /// 90 for a GPU of compute capability 9.0; 0 where there is no such limit.
  virtual int compute_capability() const { return 0; }

  /// Of a kernel's address, the threads of a block and its dynamic shared memory; nothing but where
  /// a GPU can be asked.
  virtual std::optional<KernelUse> kernel_use(const void* /*kernel*/, int /*threads*/,
                                              std::size_t /*shared_bytes*/) {
    return std::nullopt;
  }

  /// At least 256-byte aligned; contents undefined. `label` names the buffer in reports ("q").
  virtual void* allocate(std::size_t bytes, std::string_view label) = 0;
  virtual void release(void* pointer) noexcept = 0;

  virtual void write(void* to, const void* host_from, std::size_t bytes) = 0;
  virtual void read(void* host_to, const void* from, std::size_t bytes) = 0;

  /// Fills with a byte pattern that still counts as uninitialised: where a detector watches,
  /// reading it is reported.
  virtual void fill_undefined(void* to, unsigned char pattern, std::size_t bytes) = 0;

  /// Leaves kernels only `bytes` from byte `begin` of an allocation, a guarded array with elements
  /// of `element` bytes. Where a detector watches, using what lies around them is reported.
  virtual void set_contents(void* /*allocation*/, std::size_t /*begin*/, std::size_t /*bytes*/,
                            std::size_t /*element*/) {}

  /// Waits for everything launched so far; throws what it failed with.
  virtual void synchronize() = 0;

  /// Switches the detectors on or off, where there are any (the CPU machine has them).
  virtual void watch(bool /*on*/) {}
  /// What they saw since the last call.
  virtual std::vector<Detection> take_detections() { return {}; }

  /// Says how many memory accesses and pieces of straight-line code are plenty for one block of the
  /// launches to come. The CPU machine stops a block that takes more, as one that never ends.
  virtual void expect_steps(double /*steps*/) {}

  /// From here on a launch runs only so many blocks at either end of its grid; 0: all of them
  /// again. False where that cannot be, as on a GPU, and all run.
  virtual bool run_only_ends(std::int64_t /*blocks*/) { return false; }

  /// Bytes allocated now through this interface or, on a device, by anyone.
  virtual std::size_t allocated_bytes() const = 0;
};

/// Plain host memory.
Memory& host_memory();

/// The device's memory: the CPU machine's, or a GPU's in programs built with nvcc. Defined in
/// common/device/device_memory.cpp.
Memory& device_memory();

}  // namespace attn
