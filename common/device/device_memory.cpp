// SPDX-License-Identifier: MIT
//
// Device memory behind the Memory interface: through the CUDA runtime on a GPU, and through the
// same calls on the CPU machine, which in addition labels buffers and watches accesses.
#include <fmt/format.h>

#include <algorithm>

#include "common/device/check.hpp"

#ifndef ATTN_USE_CUDA
#include "common/simt/machine/arena.hpp"
#include "common/simt/machine/options.hpp"
#include "common/simt/machine/worker.hpp"
#endif

namespace attn {

void check_cuda(cudaError_t status, const char* call, std::source_location where) {
  if (status == cudaSuccess) return;
  // Reported here, so that the next launch starts clean; but after a fault inside a kernel (a bad
  // address, say) a GPU refuses everything until the program ends.
  static_cast<void>(cudaGetLastError());
  throw Error(ErrorKind::kDeviceFailure,
              fmt::format("{}:{}: {}: {} ({})", where.file_name(), where.line(), call,
                          cudaGetErrorString(status), cudaGetErrorName(status)));
}

namespace {

class DeviceMemory final : public Memory {
 public:
  std::string name() const override {
    cudaDeviceProp properties;
    int device = 0;
    CUDA_CHECK(cudaGetDevice(&device));
    CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
    return properties.name;
  }

#ifdef ATTN_USE_CUDA
  int compute_capability() const override {
    int device = 0, major = 0, minor = 0;
    CUDA_CHECK(cudaGetDevice(&device));
    CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
    CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
    return 10 * major + minor;
  }

  std::optional<KernelUse> kernel_use(const void* kernel, int threads,
                                      std::size_t shared_bytes) override {
    KernelUse use;
    cudaFuncAttributes attributes;
    CUDA_CHECK(cudaFuncGetAttributes(&attributes, kernel));
    use.registers = attributes.numRegs;
    int device = 0, most = 0;
    CUDA_CHECK(cudaGetDevice(&device));
    CUDA_CHECK(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    const std::size_t all = shared_bytes + attributes.sharedSizeBytes;
    if (all > static_cast<std::size_t>(most)) return use;
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared_bytes)));
    CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&use.blocks_per_multiprocessor, kernel,
                                                             threads, shared_bytes));
    return use;
  }
#endif

  void* allocate(std::size_t bytes, std::string_view label) override {
    void* pointer = nullptr;
    const std::size_t at_least_one = bytes == 0 ? 1 : bytes;
#ifdef ATTN_USE_CUDA
    check_cuda(cudaMalloc(&pointer, at_least_one),
               fmt::format("cudaMalloc({} bytes for {})", bytes, label).c_str());
#else
    pointer = simt::Arena::get().allocate(at_least_one, label);
    check_cuda(pointer == nullptr ? cudaErrorMemoryAllocation : cudaSuccess,
               fmt::format("cudaMalloc({} bytes for {})", bytes, label).c_str());
#endif
    return pointer;
  }

  void release(void* pointer) noexcept override { static_cast<void>(cudaFree(pointer)); }

  void write(void* to, const void* from, std::size_t bytes) override {
    if (bytes > 0) CUDA_CHECK(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice));
  }
  void read(void* to, const void* from, std::size_t bytes) override {
    if (bytes > 0) CUDA_CHECK(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost));
  }
  void fill_undefined(void* to, unsigned char pattern, std::size_t bytes) override {
    if (bytes == 0) return;
    CUDA_CHECK(cudaMemset(to, pattern, bytes));
#ifndef ATTN_USE_CUDA
    simt::Arena::get().initialised().clear(reinterpret_cast<std::uintptr_t>(to), bytes);
#endif
  }

  void synchronize() override { CUDA_CHECK(cudaDeviceSynchronize()); }

#ifndef ATTN_USE_CUDA
  void watch(bool on) override { simt::options().detectors = on; }
  bool run_only_ends(std::int64_t blocks) override {
    simt::options().end_blocks = blocks;
    return true;
  }
  std::vector<Detection> take_detections() override { return simt::take_detections(); }
  void set_contents(void* allocation, std::size_t begin, std::size_t bytes,
                    std::size_t element) override {
    simt::Arena::get().set_contents(allocation, begin, bytes, element);
  }
  void expect_steps(double steps) override {
    simt::options().expected_steps = static_cast<std::int64_t>(std::min(steps, 0x1p62));
  }
#endif

  std::size_t allocated_bytes() const override {
    std::size_t free = 0;
    std::size_t total = 0;
    CUDA_CHECK(cudaMemGetInfo(&free, &total));
    return total - free;
  }
};

}  // namespace

Memory& device_memory() {
  static DeviceMemory memory;
  return memory;
}

}  // namespace attn
