// SPDX-License-Identifier: MIT
//
// The part of the CUDA runtime API that teaching code uses, on the CPU machine. Signatures and
// meaning are CUDA's; everything is synchronous, so streams and events only keep order.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <source_location>

#include "common/simt/cuda/vector_types.hpp"

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInvalidPitchValue = 12,
  cudaErrorInvalidSymbol = 13,
  cudaErrorInvalidDevicePointer = 17,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700,
  cudaErrorMisalignedAddress = 716,
  cudaErrorLaunchFailure = 719,
};
const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
/// The last error of this thread; reading it resets it.
cudaError_t cudaGetLastError();
/// The same without the reset.
cudaError_t cudaPeekAtLastError();
namespace attn::simt {
/// For launches that do not throw: makes this the last error and, of a launch that began, what
/// every later synchronisation returns.
void remember_failed_launch(cudaError_t error, bool began);
}  // namespace attn::simt

enum cudaMemcpyKind {
  cudaMemcpyHostToHost = 0,
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3,
  cudaMemcpyDefault = 4,
};

using cudaStream_t = struct CudaStream*;
using cudaEvent_t = struct CudaEvent*;

// The machine remembers where an array was allocated, and how wide its elements are, for reports.
cudaError_t cudaMalloc(void** pointer, std::size_t bytes,
                       std::source_location where = std::source_location::current(),
                       std::size_t element = 0);
template <class T>
cudaError_t cudaMalloc(T** pointer, std::size_t bytes,
                       std::source_location where = std::source_location::current()) {
  return cudaMalloc(reinterpret_cast<void**>(pointer), bytes, where, sizeof(T));
}
cudaError_t cudaFree(void* pointer);
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream = nullptr);
cudaError_t cudaMemset(void* to, int value, std::size_t bytes);
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream = nullptr);
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);

/// Rows of `width` bytes, `pitch` bytes apart.
cudaError_t cudaMallocPitch(void** pointer, std::size_t* pitch, std::size_t width,
                            std::size_t height,
                            std::source_location where = std::source_location::current(),
                            std::size_t element = 0);
template <class T>
cudaError_t cudaMallocPitch(T** pointer, std::size_t* pitch, std::size_t width, std::size_t height,
                            std::source_location where = std::source_location::current()) {
  return cudaMallocPitch(reinterpret_cast<void**>(pointer), pitch, width, height, where, sizeof(T));
}
cudaError_t cudaMemcpy2D(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                         std::size_t width, std::size_t height, cudaMemcpyKind kind);
cudaError_t cudaMemset2D(void* to, std::size_t pitch, int value, std::size_t width,
                         std::size_t height);

/// Memory that host and kernels share. The host's writes are not seen: all of it counts as written.
enum : unsigned { cudaMemAttachGlobal = 1, cudaMemAttachHost = 2 };
cudaError_t cudaMallocManaged(void** pointer, std::size_t bytes,
                              unsigned flags = cudaMemAttachGlobal,
                              std::source_location where = std::source_location::current(),
                              std::size_t element = 0);
template <class T>
cudaError_t cudaMallocManaged(T** pointer, std::size_t bytes, unsigned flags = cudaMemAttachGlobal,
                              std::source_location where = std::source_location::current()) {
  return cudaMallocManaged(reinterpret_cast<void**>(pointer), bytes, flags, where, sizeof(T));
}
/// Host memory; a kernel may not use it here.
enum : unsigned { cudaHostAllocDefault = 0, cudaHostAllocPortable = 1, cudaHostAllocMapped = 2 };
cudaError_t cudaMallocHost(void** pointer, std::size_t bytes);
template <class T>
cudaError_t cudaMallocHost(T** pointer, std::size_t bytes) {
  return cudaMallocHost(reinterpret_cast<void**>(pointer), bytes);
}
template <class T>
cudaError_t cudaHostAlloc(T** pointer, std::size_t bytes, unsigned /*flags*/) {
  return cudaMallocHost(reinterpret_cast<void**>(pointer), bytes);
}
cudaError_t cudaFreeHost(void* pointer);
template <class T>
cudaError_t cudaMallocAsync(T** pointer, std::size_t bytes, cudaStream_t /*stream*/,
                            std::source_location where = std::source_location::current()) {
  return cudaMalloc(reinterpret_cast<void**>(pointer), bytes, where, sizeof(T));
}
inline cudaError_t cudaFreeAsync(void* pointer, cudaStream_t /*stream*/) {
  return cudaFree(pointer);
}

/// __device__ and __constant__ variables are the program's own, so a symbol is a variable.
cudaError_t copy_to_variable(void* variable, std::size_t size, const void* from, std::size_t bytes,
                             std::size_t offset);
cudaError_t copy_from_variable(void* to, const void* variable, std::size_t size, std::size_t bytes,
                               std::size_t offset);
template <class T>
cudaError_t cudaMemcpyToSymbol(T& symbol, const void* from, std::size_t bytes,
                               std::size_t offset = 0,
                               cudaMemcpyKind /*kind*/ = cudaMemcpyHostToDevice) {
  return copy_to_variable(const_cast<void*>(static_cast<const volatile void*>(&symbol)), sizeof(T),
                          from, bytes, offset);
}
template <class T>
cudaError_t cudaMemcpyFromSymbol(void* to, const T& symbol, std::size_t bytes,
                                 std::size_t offset = 0,
                                 cudaMemcpyKind /*kind*/ = cudaMemcpyDeviceToHost) {
  return copy_from_variable(to, const_cast<const void*>(static_cast<const volatile void*>(&symbol)),
                            sizeof(T), bytes, offset);
}
template <class T>
cudaError_t cudaGetSymbolAddress(void** pointer, T& symbol) {
  *pointer = const_cast<void*>(static_cast<const volatile void*>(&symbol));
  return cudaSuccess;
}
template <class T>
cudaError_t cudaGetSymbolSize(std::size_t* bytes, const T& /*symbol*/) {
  *bytes = sizeof(T);
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize();
cudaError_t cudaDeviceReset();
enum : unsigned { cudaStreamDefault = 0, cudaStreamNonBlocking = 1 };
cudaError_t cudaStreamCreate(cudaStream_t* stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);

enum : unsigned { cudaEventDefault = 0, cudaEventBlockingSync = 1, cudaEventDisableTiming = 2 };
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
/// Host milliseconds between two events: the CPU machine's own speed, never a GPU time.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop);

struct cudaDeviceProp {
  char name[256];
  std::size_t totalGlobalMem;
  std::size_t sharedMemPerBlock;
  std::size_t sharedMemPerBlockOptin;
  std::size_t sharedMemPerMultiprocessor;
  int regsPerBlock;
  int warpSize;
  int maxThreadsPerBlock;
  int maxThreadsDim[3];
  int maxGridSize[3];
  int major;
  int minor;
  int multiProcessorCount;
  int l2CacheSize;
  std::size_t totalConstMem;
  int maxThreadsPerMultiProcessor;
  int maxBlocksPerMultiProcessor;
  int regsPerMultiprocessor;
  int memoryBusWidth;  // 0: the CPU machine has no bus
  int concurrentKernels;
  int unifiedAddressing;
  int managedMemory;
  int cooperativeLaunch;
  int integrated;
};
enum cudaDeviceAttr {
  cudaDevAttrMaxThreadsPerBlock = 1,
  cudaDevAttrMaxSharedMemoryPerBlock = 8,
  cudaDevAttrWarpSize = 10,
  cudaDevAttrMaxRegistersPerBlock = 12,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrL2CacheSize = 38,
  cudaDevAttrMaxThreadsPerMultiProcessor = 39,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerMultiprocessor = 81,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceCount(int* count);

enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
  cudaFuncAttributePreferredSharedMemoryCarveout = 9,
};
cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value);
template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute attribute,
                                 int value) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, value);
}
