// SPDX-License-Identifier: MIT
#include "common/simt/cuda/runtime.hpp"

#include <chrono>
#include <cstdint>
#include <cstring>
#include <utility>

#include "common/simt/machine/arena.hpp"
#include "common/simt/machine/device.hpp"
#include "common/simt/machine/image.hpp"

namespace {

using attn::simt::Arena;

thread_local cudaError_t last_error = cudaSuccess;
cudaError_t launch_error = cudaSuccess;  // of launches that do not throw

cudaError_t result(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

bool is_device_range(const void* pointer, std::size_t bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  const Arena& arena = Arena::get();
  return arena.contains(address) && arena.holds(address, bytes);
}

/// Whether a copy of this kind may have its device side, or its host side, there. A __device__
/// variable is both: it is the program's own.
bool may_be(const void* pointer, std::size_t bytes, bool on_device) {
  const attn::simt::AddressRange variables = attn::simt::program_variables();
  return is_device_range(pointer, bytes) == on_device ||
         variables.contains(reinterpret_cast<std::uintptr_t>(pointer));
}

}  // namespace

struct CudaStream {};
struct CudaEvent {
  std::chrono::steady_clock::time_point when;
};

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidPitchValue:
      return "cudaErrorInvalidPitchValue";
    case cudaErrorInvalidSymbol:
      return "cudaErrorInvalidSymbol";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorInvalidDevicePointer:
      return "cudaErrorInvalidDevicePointer";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorMisalignedAddress:
      return "cudaErrorMisalignedAddress";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInvalidPitchValue:
      return "invalid pitch argument";
    case cudaErrorInvalidSymbol:
      return "invalid device symbol";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorInvalidDevicePointer:
      return "invalid device pointer";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    case cudaErrorMisalignedAddress:
      return "misaligned address";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
  }
  return "unrecognized error code";
}

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last_error; }
void attn::simt::remember_failed_launch(cudaError_t error, bool began) {
  last_error = error;
  if (began) launch_error = error;
}

cudaError_t cudaMalloc(void** pointer, std::size_t bytes, std::source_location where,
                       std::size_t element) {
  if (pointer == nullptr) return result(cudaErrorInvalidValue);
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  *pointer = Arena::get().allocate(bytes, {}, element, where);
  return result(*pointer == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}

cudaError_t cudaFree(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  return result(Arena::get().release(pointer) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (bytes == 0) return cudaSuccess;
  if (to == nullptr || from == nullptr) return result(cudaErrorInvalidValue);
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (kind != cudaMemcpyDefault &&
      (!may_be(to, bytes, to_device) || !may_be(from, bytes, from_device))) {
    return result(cudaErrorInvalidValue);
  }
  std::memmove(to, from, bytes);
  if (is_device_range(to, bytes)) {
    Arena::get().initialised().set(reinterpret_cast<std::uintptr_t>(to), bytes);
  }
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t) {
  return cudaMemcpy(to, from, bytes, kind);
}

cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  if (bytes == 0) return cudaSuccess;
  if (!is_device_range(to, bytes)) return result(cudaErrorInvalidValue);
  std::memset(to, value, bytes);
  Arena::get().initialised().set(reinterpret_cast<std::uintptr_t>(to), bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t) {
  return cudaMemset(to, value, bytes);
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *total = Arena::kBytes;
  *free = Arena::kBytes - Arena::get().allocated_bytes();
  return cudaSuccess;
}

cudaError_t cudaMallocPitch(void** pointer, std::size_t* pitch, std::size_t width,
                            std::size_t height, std::source_location where, std::size_t element) {
  if (pitch == nullptr) return result(cudaErrorInvalidValue);
  *pitch = (width + 511) / 512 * 512;
  return cudaMalloc(pointer, *pitch * height, where, element);
}

cudaError_t cudaMemcpy2D(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                         std::size_t width, std::size_t height, cudaMemcpyKind kind) {
  if (width > to_pitch || width > from_pitch) return result(cudaErrorInvalidPitchValue);
  for (std::size_t row = 0; row < height; ++row) {
    const cudaError_t error =
        cudaMemcpy(static_cast<char*>(to) + row * to_pitch,
                   static_cast<const char*>(from) + row * from_pitch, width, kind);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t cudaMemset2D(void* to, std::size_t pitch, int value, std::size_t width,
                         std::size_t height) {
  if (width > pitch) return result(cudaErrorInvalidPitchValue);
  for (std::size_t row = 0; row < height; ++row) {
    const cudaError_t error = cudaMemset(static_cast<char*>(to) + row * pitch, value, width);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t cudaMallocManaged(void** pointer, std::size_t bytes, unsigned,
                              std::source_location where, std::size_t element) {
  const cudaError_t error = cudaMalloc(pointer, bytes, where, element);
  if (error == cudaSuccess && bytes > 0) {
    Arena::get().initialised().set(reinterpret_cast<std::uintptr_t>(*pointer), bytes);
  }
  return error;
}

cudaError_t cudaMallocHost(void** pointer, std::size_t bytes) {
  if (pointer == nullptr) return result(cudaErrorInvalidValue);
  *pointer = std::malloc(bytes);
  return result(*pointer == nullptr && bytes > 0 ? cudaErrorMemoryAllocation : cudaSuccess);
}
cudaError_t cudaFreeHost(void* pointer) {
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t copy_to_variable(void* variable, std::size_t size, const void* from, std::size_t bytes,
                             std::size_t offset) {
  if (offset > size || bytes > size - offset) return result(cudaErrorInvalidValue);
  std::memcpy(static_cast<char*>(variable) + offset, from, bytes);
  return cudaSuccess;
}
cudaError_t copy_from_variable(void* to, const void* variable, std::size_t size, std::size_t bytes,
                               std::size_t offset) {
  if (offset > size || bytes > size - offset) return result(cudaErrorInvalidValue);
  std::memcpy(to, static_cast<const char*>(variable) + offset, bytes);
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() { return launch_error; }
cudaError_t cudaDeviceReset() { return cudaSuccess; }
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  *stream = new CudaStream;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  return cudaStreamCreate(stream);
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return launch_error; }
cudaError_t cudaStreamQuery(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new CudaEvent;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  return cudaEventCreate(event);
}
cudaError_t cudaEventQuery(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  event->when = std::chrono::steady_clock::now();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop) {
  *milliseconds = std::chrono::duration<float, std::milli>(stop->when - start->when).count();
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return result(cudaErrorInvalidDevice);
  const attn::simt::DeviceDescription& d = attn::simt::current_device();
  *properties = {};
  std::strncpy(properties->name, "CPU machine", sizeof properties->name - 1);
  properties->totalGlobalMem = Arena::kBytes;
  properties->sharedMemPerBlock = 48 * 1024;
  properties->sharedMemPerBlockOptin = d.shared_bytes_per_block;
  properties->sharedMemPerMultiprocessor = d.shared_bytes_per_multiprocessor;
  properties->regsPerBlock = 65536;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = static_cast<int>(d.max_threads_per_block);
  properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = 1024;
  properties->maxThreadsDim[2] = 64;
  properties->maxGridSize[0] = 0x7FFFFFFF;
  properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
  properties->major = d.major;
  properties->minor = d.minor;
  properties->multiProcessorCount = d.multiprocessors;
  properties->l2CacheSize = static_cast<int>(d.l2_bytes);
  properties->totalConstMem = 65536;
  properties->maxThreadsPerMultiProcessor = d.threads_per_multiprocessor;
  properties->maxBlocksPerMultiProcessor = d.blocks_per_multiprocessor;
  properties->regsPerMultiprocessor = d.registers_per_multiprocessor;
  properties->concurrentKernels = properties->unifiedAddressing = properties->managedMemory = 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, device);
  if (error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = properties.maxThreadsPerBlock;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(properties.sharedMemPerBlock);
      return cudaSuccess;
    case cudaDevAttrWarpSize:
      *value = properties.warpSize;
      return cudaSuccess;
    case cudaDevAttrMaxRegistersPerBlock:
      *value = properties.regsPerBlock;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      return cudaSuccess;
    case cudaDevAttrL2CacheSize:
      *value = properties.l2CacheSize;
      return cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = properties.maxThreadsPerMultiProcessor;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(properties.sharedMemPerMultiprocessor);
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(properties.sharedMemPerBlockOptin);
      return cudaSuccess;
  }
  return result(cudaErrorInvalidValue);
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return result(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute attribute, int value) {
  const auto limit = static_cast<int>(attn::simt::current_device().shared_bytes_per_block);
  const bool legal =
      attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || (value >= 0 && value <= limit);
  return result(legal ? cudaSuccess : cudaErrorInvalidValue);
}
