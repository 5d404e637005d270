// SPDX-License-Identifier: MIT
#include "common/python/attn_c.h"

#include <fmt/format.h>

#include <exception>
#include <iterator>
#include <new>
#include <string>
#include <string_view>

#include "chapters/chapters.hpp"
#include "common/python/call.hpp"

#define ATTN_C_EXPORT extern "C" __attribute__((visibility("default")))

namespace attn {
namespace {

std::int32_t status_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kBadArgument:
      return ATTN_C_BAD_ARGUMENT;
    case ErrorKind::kUnsupported:
      return ATTN_C_UNSUPPORTED;
    case ErrorKind::kDeviceFailure:
      break;
  }
  return ATTN_C_DEVICE_FAILURE;
}

std::int32_t fail(attn_c_call& call, std::int32_t status, std::string_view message) {
  python::copy_text(message, call.message);
  return status;
}

template <class Pass>
std::string elements_of(const Pass& pass) {
  std::string names;
  for (const Element element : kAllElements) {
    if (pass.takes(element)) {
      names += fmt::format("{}{}", names.empty() ? "" : ",", to_string(element));
    }
  }
  return names;
}

std::string line_of(const Chapter& chapter, const Step& step) {
  const Support support = support_of(chapter, step);
  std::string features;
  for (int i = 0; i < kFeatures; ++i) {
    const auto feature = static_cast<Feature>(i);
    if (!support.features.has(feature)) continue;
    features += fmt::format("{}{}", features.empty() ? "" : ",", to_string(feature));
  }
  const bool loops = &memory_of(chapter, step) == &host_memory();
  return fmt::format("{}\t{}\t{}\t{}\t{}\t{}\n", chapter.id, step.id, loops ? "loops" : "kernel",
                     elements_of(step.forward), elements_of(step.backward), features);
}

}  // namespace
}  // namespace attn

ATTN_C_EXPORT std::uint32_t attn_c_version(void) { return ATTN_C_VERSION; }

ATTN_C_EXPORT std::int32_t attn_c_run(attn_c_call* call) {
  if (call->version != ATTN_C_VERSION || call->bytes != sizeof(attn_c_call)) {
    // Where `message` stands is not known either.
    return ATTN_C_BAD_ARGUMENT;
  }
  call->message[0] = call->ran_chapter[0] = call->ran_step[0] = 0;
  try {
    attn::python::run(*call);
    return ATTN_C_DONE;
  } catch (const attn::Error& error) {
    return attn::fail(*call, attn::status_of(error.kind()), error.what());
  } catch (const std::bad_alloc&) {
    return attn::fail(*call, ATTN_C_DEVICE_FAILURE, "memory: there is not enough for this call");
  } catch (const std::exception& error) {
    return attn::fail(*call, ATTN_C_DEVICE_FAILURE, error.what());
  }
}

ATTN_C_EXPORT const char* attn_c_steps(void) {
  static const std::string text = [] {
    std::string lines;
    const auto add = [&lines](const attn::Chapter& chapter) {
      for (const attn::Step& step : chapter.steps) lines += attn::line_of(chapter, step);
      for (const attn::Step* twin : attn::twins_of(chapter)) lines += attn::line_of(chapter, *twin);
    };
    for (const attn::Chapter* chapter : attn::chapters::all()) add(*chapter);
    add(attn::chapters::ch00_playground());
    return lines;
  }();
  return text.c_str();
}

ATTN_C_EXPORT const char* attn_c_counters(void) {
  static const std::string text = [] {
    std::string lines;
    for (const attn::simt::Counter& counter : attn::simt::kCounters) {
      lines += fmt::format("{}\n", counter.name);
    }
    return lines;
  }();
  return text.c_str();
}

ATTN_C_EXPORT attn_c_trace* attn_c_trace_new(void) { return new (std::nothrow) attn_c_trace; }

ATTN_C_EXPORT void attn_c_trace_delete(attn_c_trace* trace) { delete trace; }

ATTN_C_EXPORT std::int64_t attn_c_trace_launches(const attn_c_trace* trace) {
  return std::ssize(trace->launches);
}

ATTN_C_EXPORT void attn_c_trace_launch(const attn_c_trace* trace, std::int64_t index,
                                       attn_c_launch* launch) {
  const attn_c_trace::Launch& from = trace->launches[static_cast<std::size_t>(index)];
  const auto& record = from.record;
  *launch = {.kernel = record.kernel.c_str(),
             .grid = {record.grid.x, record.grid.y, record.grid.z},
             .block = {record.block.x, record.block.y, record.block.z},
             .shared_bytes = record.shared_bytes,
             .counts = from.counts.data()};
}

ATTN_C_EXPORT std::int64_t attn_c_trace_detections(const attn_c_trace* trace) {
  return std::ssize(trace->detections);
}

ATTN_C_EXPORT const char* attn_c_trace_detection(const attn_c_trace* trace, std::int64_t index) {
  return trace->detections[static_cast<std::size_t>(index)].c_str();
}
