// SPDX-License-Identifier: MIT
//
// The runtime API on the CPU machine, and CUDA_CHECK.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/attention.hpp"
#include "common/device/check.hpp"
#include "tests/simt/kernels.hpp"
#include "tests/simt/support.hpp"

namespace attn::simt_test {
namespace {

TEST_CASE_METHOD(EveryMode, "cudaMalloc, cudaMemcpy, cudaMemset, cudaFree", "[simt]") {
  std::vector<int> values(1000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int>(i * i);
  const std::size_t bytes = values.size() * sizeof(int);
  int *first = nullptr, *second = nullptr;
  REQUIRE(cudaMalloc(&first, bytes) == cudaSuccess);
  REQUIRE(cudaMalloc(&second, bytes) == cudaSuccess);
  CHECK(reinterpret_cast<std::uintptr_t>(first) % 256 == 0);
  CHECK(reinterpret_cast<std::uintptr_t>(second) % 256 == 0);

  REQUIRE(cudaMemcpy(first, values.data(), bytes, cudaMemcpyHostToDevice) == cudaSuccess);
  REQUIRE(cudaMemcpyAsync(second, first, bytes, cudaMemcpyDeviceToDevice) == cudaSuccess);
  REQUIRE(cudaMemset(first, 0xFF, bytes) == cudaSuccess);
  std::vector<int> back(values.size());
  REQUIRE(cudaMemcpyAsync(back.data(), second, bytes, cudaMemcpyDeviceToHost) == cudaSuccess);
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(back == values);
  REQUIRE(cudaMemcpy(back.data(), first, bytes, cudaMemcpyDefault) == cudaSuccess);
  CHECK(back == std::vector<int>(values.size(), -1));

  CHECK(cudaFree(first) == cudaSuccess);
  CHECK(cudaFree(second) == cudaSuccess);
  CHECK(cudaFree(nullptr) == cudaSuccess);
}

TEST_CASE_METHOD(EveryMode, "kernels and copies on a stream keep their order", "[simt]") {
  cudaStream_t stream = nullptr;
  cudaEvent_t start = nullptr, stop = nullptr;
  REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
  REQUIRE(cudaEventCreate(&start) == cudaSuccess);
  REQUIRE(cudaEventCreate(&stop) == cudaSuccess);
  DeviceArray<unsigned> counts(64, 0u);
  REQUIRE(cudaEventRecord(start, stream) == cudaSuccess);
  run_increment(2, 32, counts.data());
  std::vector<unsigned> back(64);
  REQUIRE(cudaMemcpyAsync(back.data(), counts.data(), 64 * sizeof(unsigned), cudaMemcpyDeviceToHost,
                          stream) == cudaSuccess);
  REQUIRE(cudaEventRecord(stop, stream) == cudaSuccess);
  REQUIRE(cudaEventSynchronize(stop) == cudaSuccess);
  REQUIRE(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(back == std::vector<unsigned>(64, 1u));
  float milliseconds = -1.0f;
  REQUIRE(cudaEventElapsedTime(&milliseconds, start, stop) == cudaSuccess);
  CHECK(milliseconds >= 0.0f);
  CHECK(cudaEventDestroy(start) == cudaSuccess);
  CHECK(cudaEventDestroy(stop) == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
}

TEST_CASE_METHOD(EveryMode, "errors have CUDA's names and texts", "[simt]") {
  CHECK(std::string(cudaGetErrorName(cudaSuccess)) == "cudaSuccess");
  CHECK(std::string(cudaGetErrorString(cudaSuccess)) == "no error");
  CHECK(std::string(cudaGetErrorName(cudaErrorInvalidValue)) == "cudaErrorInvalidValue");
  CHECK(std::string(cudaGetErrorString(cudaErrorInvalidValue)) == "invalid argument");
  CHECK(std::string(cudaGetErrorName(cudaErrorMemoryAllocation)) == "cudaErrorMemoryAllocation");
  CHECK(std::string(cudaGetErrorString(cudaErrorMemoryAllocation)) == "out of memory");
  CHECK(std::string(cudaGetErrorString(cudaErrorInvalidConfiguration)) ==
        "invalid configuration argument");
}

TEST_CASE_METHOD(EveryMode, "a failing call is remembered until it is read", "[simt]") {
  REQUIRE(cudaGetLastError() == cudaSuccess);
  int on_the_host = 0;
  const cudaError_t error = cudaFree(&on_the_host);
  CHECK(error != cudaSuccess);
  CHECK(cudaPeekAtLastError() == error);
  CHECK(cudaGetLastError() == error);
  CHECK(cudaGetLastError() == cudaSuccess);

  int* pointer = nullptr;
  REQUIRE(cudaMalloc(&pointer, 4) == cudaSuccess);
  REQUIRE(cudaFree(pointer) == cudaSuccess);
  CHECK(cudaFree(pointer) != cudaSuccess);
  CHECK(cudaGetLastError() != cudaSuccess);
  CHECK(cudaGetLastError() == cudaSuccess);

  CHECK(cudaMalloc(&pointer, std::size_t{1} << 60) == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
}

TEST_CASE_METHOD(EveryMode, "copies beyond the end of an allocation are refused", "[simt]") {
  std::vector<char> host(400);
  char* device = nullptr;
  REQUIRE(cudaMalloc(&device, 300) == cudaSuccess);
  CHECK(cudaMemcpy(device, host.data(), 400, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(host.data(), device, 400, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(cudaMemset(device, 0, 400) == cudaErrorInvalidValue);
  CHECK(cudaMemset(device, 0, 300) == cudaSuccess);
  CHECK(cudaFree(device) == cudaSuccess);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
}

TEST_CASE_METHOD(EveryMode, "CUDA_CHECK names file, line, call and CUDA's text", "[simt]") {
  void* pointer = nullptr;
  std::string message;
  int line = 0;
  try {
    line = __LINE__ + 1;
    CUDA_CHECK(cudaMalloc(&pointer, std::size_t{1} << 60));
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kDeviceFailure);
    message = error.what();
  }
  CAPTURE(message);
  CHECK(message.find("runtime_test.cpp:" + std::to_string(line)) != std::string::npos);
  CHECK(message.find("cudaMalloc(&pointer") != std::string::npos);
  CHECK(message.find("out of memory") != std::string::npos);
  CHECK(message.find('\n') == std::string::npos);
  CUDA_CHECK(cudaDeviceSynchronize());
  // The error is reported once; it must not fail the next launch as well.
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE_METHOD(EveryMode, "the device describes itself", "[simt]") {
  int count = 0, device = -1;
  CHECK(cudaGetDeviceCount(&count) == cudaSuccess);
  CHECK(count == 1);
  CHECK(cudaSetDevice(0) == cudaSuccess);
  CHECK(cudaGetDevice(&device) == cudaSuccess);
  CHECK(device == 0);
  cudaDeviceProp properties{};
  REQUIRE(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  CHECK(std::strlen(properties.name) > 0);
  CHECK(properties.warpSize == 32);
  CHECK(properties.maxThreadsPerBlock == 1024);
  CHECK(properties.maxThreadsDim[0] == 1024);
  CHECK(properties.maxThreadsDim[1] == 1024);
  CHECK(properties.maxThreadsDim[2] == 64);
  CHECK(properties.maxGridSize[0] == 2147483647);
  CHECK(properties.maxGridSize[1] == 65535);
  CHECK(properties.maxGridSize[2] == 65535);
  CHECK(properties.sharedMemPerBlock == 48 * 1024);
  CHECK(properties.major >= 8);
}

TEST_CASE_METHOD(EveryMode, "the allocator counts what is allocated", "[simt]") {
  Memory& memory = device_memory();
  const std::size_t before = memory.allocated_bytes();
  void* ours = memory.allocate(1000, "ours");
  CHECK(memory.allocated_bytes() == before + 1000);
  void* theirs = nullptr;
  REQUIRE(cudaMalloc(&theirs, 512) == cudaSuccess);
  CHECK(memory.allocated_bytes() == before + 1512);
  REQUIRE(cudaFree(theirs) == cudaSuccess);
  memory.release(ours);
  CHECK(memory.allocated_bytes() == before);
}

}  // namespace
}  // namespace attn::simt_test
