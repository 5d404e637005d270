// SPDX-License-Identifier: MIT
#include "common/device/tensor_map.hpp"

#ifdef ATTN_USE_CUDA
#include <cudaTypedefs.h>
#include <fmt/format.h>

#include <algorithm>

#include "common/device/check.hpp"
#endif

namespace attn::device {

#ifdef ATTN_USE_CUDA

namespace {

constexpr const char* kEncode = "cuTensorMapEncodeTiled";
constexpr unsigned kVersion = 12000;  // of CUDA, whose form of the function is called

/// From the driver, without linking it: a program without TMA starts where there is none.
PFN_cuTensorMapEncodeTiled_v12000 encode_function() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result{};
  CUDA_CHECK(
      cudaGetDriverEntryPointByVersion(kEncode, &function, kVersion, cudaEnableDefault, &result));
  if (function == nullptr || result != cudaDriverEntryPointSuccess) {
    throw Error(ErrorKind::kDeviceFailure,
                fmt::format("the driver has no {} of CUDA 12.0: it is too old", kEncode));
  }
  return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
}

CUtensorMapDataType type_of(Element element) {
  switch (element) {
    case Element::kBfloat16:
      return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    case Element::kFloat16:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    default:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  }
}

}  // namespace

TensorMap make_tensor_map(const TensorLayout& layout) {
  check(layout);
  static const PFN_cuTensorMapEncodeTiled_v12000 encode = encode_function();
  constexpr std::size_t kMost = TensorLayout::kMostDimensions;
  cuuint64_t sizes[kMost], strides[kMost - 1];
  cuuint32_t box[kMost], ones[kMost];
  std::copy(layout.sizes.begin(), layout.sizes.end(), sizes);
  std::copy(layout.strides.begin(), layout.strides.end(), strides);
  std::copy(layout.box.begin(), layout.box.end(), box);
  std::fill(std::begin(ones), std::end(ones), 1u);
  TensorMap map;
  const CUresult status =
      encode(&map, type_of(layout.element), static_cast<cuuint32_t>(layout.rank), layout.address,
             sizes, strides, box, ones, CU_TENSOR_MAP_INTERLEAVE_NONE,
             static_cast<CUtensorMapSwizzle>(layout.swizzle), CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) {
    throw Error(ErrorKind::kDeviceFailure,
                fmt::format("{} failed with error {}", kEncode, static_cast<int>(status)));
  }
  return map;
}

#else

TensorMap make_tensor_map(const TensorLayout& layout) {
  check(layout);
  return {layout};
}

#endif

}  // namespace attn::device
