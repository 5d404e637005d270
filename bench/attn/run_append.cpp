// SPDX-License-Identifier: MIT
#include "bench/attn/run_append.hpp"

#include <string>
#include <vector>

#include "common/append.hpp"
#include "common/run/buffers.hpp"

namespace attn::cli {
namespace {

template <class T>
GuardedBuffer upload(Memory& memory, const char* name, const std::vector<T>& values) {
  GuardedBuffer buffer(memory, name, values.size() * sizeof(T), 0, sizeof(T));
  buffer.write(values.data());
  return buffer;
}

Integers integers(const std::vector<std::int64_t>& host, const GuardedBuffer& device) {
  return {host, static_cast<const std::int64_t*>(device.data())};
}

}  // namespace

void append_keys(const Chapter& chapter, RunInputs<float>& in) {
  Memory& memory = chapter.memory();
  memory.take_detections();  // what an earlier run left behind is not ours
  auto& extras = in.extras;
  const bool paged = extras.page_keys > 0;
  std::vector<float>&k_values = paged ? in.k_pool : in.k, &v_values = paged ? in.v_pool : in.v;
  const GuardedBuffer k = upload(memory, "k", k_values), v = upload(memory, "v", v_values);
  const GuardedBuffer new_k = upload(memory, "new_k", in.new_k);
  const GuardedBuffer new_v = upload(memory, "new_v", in.new_v);
  const GuardedBuffer begins = upload(memory, "key_begin", extras.key_begin);
  const GuardedBuffer counts = upload(memory, "key_count", extras.key_count);
  const GuardedBuffer table = upload(memory, "block_table", extras.block_table);
  std::vector<std::int64_t> after =
      append(chapter, {.B = in.shape.B,
                       .Hkv = in.shape.Hkv,
                       .N_new = in.N_new,
                       .Nk = in.shape.Nk,
                       .d = in.shape.d,
                       .new_k = new_k.floats(),
                       .new_v = new_v.floats(),
                       .k = k.floats(),
                       .v = v.floats(),
                       .key_begin = integers(extras.key_begin, begins),
                       .key_count = integers(extras.key_count, counts),
                       .page_keys = extras.page_keys,
                       .pages = extras.pages,
                       .block_table = integers(extras.block_table, table)});
  memory.synchronize();
  for (const Detection& detection : memory.take_detections()) {
    if (!detection.warning) throw Error(ErrorKind::kDeviceFailure, to_string(detection));
  }
  for (const GuardedBuffer* buffer : {&k, &v, &new_k, &new_v, &begins, &counts, &table}) {
    for (const std::string& line : buffer->check()) throw Error(ErrorKind::kDeviceFailure, line);
  }
  k.read(k_values.data());
  v.read(v_values.data());
  extras.key_count = std::move(after);
  if (paged) gather_pages(in);
}

}  // namespace attn::cli
