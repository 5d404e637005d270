// SPDX-License-Identifier: MIT
#include "common/python/call.hpp"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "chapters/chapters.hpp"
#include "common/append.hpp"
#include "common/run/run.hpp"
#include "common/simt/machine/options.hpp"

namespace attn::python {
namespace {

[[noreturn]] void bad(const std::string& message) { throw Error(ErrorKind::kBadArgument, message); }

[[noreturn]] void unsupported(const std::string& message) {
  throw Error(ErrorKind::kUnsupported, message);
}

/// One array of a call.
struct Array {
  const char* name;
  attn_c_array attn_c_call::*member;
  bool written;
  bool kept = false;          // what is not written stays: a cache
  std::size_t bytes = 0;      // from its first byte to behind the last that is used
  std::size_t row_bytes = 0;  // of rows that may lie apart; 0: all bytes are used
  std::array<std::int64_t, 3> strides = {}, counts = {};  // of such rows; strides in bytes
};

struct Chosen {
  const Chapter* chapter;
  const Step* step;
};

/// The request in the contract's terms. `Pointer` says where the step finds an array.
struct Request {
  attn_c_call& call;
  bool appends;
  Pass pass;  // that of the steps that may be named; of an append, forward
  Element element;
  Shape shape;
  Mask mask;

  explicit Request(attn_c_call& from);
  std::vector<Array> arrays(const Extras& extras) const;
  template <class Pointer>
  Extras extras(const Pointer& at) const;
  template <class Pointer>
  ForwardArgsOf<void> forward(const Pointer& at) const;
  template <class Pointer>
  BackwardArgsOf<void> backward(const Pointer& at) const;
  template <class Pointer>
  AppendArgs append(const Pointer& at) const;
};

Request::Request(attn_c_call& from)
    : call(from),
      appends(from.pass == ATTN_C_APPEND),
      pass(from.pass == ATTN_C_BACKWARD ? Pass::kBackward : Pass::kForward),
      shape{.B = from.B, .H = from.H, .Hkv = from.Hkv, .Nq = from.Nq, .Nk = from.Nk, .d = from.d},
      mask{.before = from.before, .after = from.after, .top_left = from.top_left != 0} {
  if (from.pass < ATTN_C_FORWARD || from.pass > ATTN_C_APPEND) {
    bad(fmt::format("pass = {}: allowed: {} to {}", from.pass, int{ATTN_C_FORWARD},
                    int{ATTN_C_APPEND}));
  }
  if (from.element < 0 || from.element >= std::ssize(kAllElements)) {
    bad(fmt::format("element = {}: allowed: 0 to {}", from.element, std::ssize(kAllElements) - 1));
  }
  element = kAllElements[from.element];
  if (!appends) return;
  shape.H = from.Hkv;
  shape.Nq = from.N_new;
  if (element != Element::kFloat32) {
    unsupported(fmt::format("element = {}: appended are float32 only", to_string(element)));
  }
  if (from.d_v != 0 && from.d_v != from.d) {
    unsupported(fmt::format("d_v = {}: d = {}; appended are rows of one length", from.d_v, from.d));
  }
}

Strides strides_of(const std::int64_t (&strides)[3]) {
  return {strides[0], strides[1], strides[2]};
}

PairShape pair_shape(const std::int64_t (&sizes)[4]) {
  return {sizes[0], sizes[1], sizes[2], sizes[3]};
}

std::span<const std::int64_t> integers(const char* name, const attn_c_array& array) {
  if (array.data == nullptr) return {};
  if (array.bytes < 0 || array.bytes % std::int64_t{sizeof(std::int64_t)} != 0) {
    bad(fmt::format("{} = {} bytes: allowed: a multiple of 8", name, array.bytes));
  }
  return {static_cast<const std::int64_t*>(array.data),
          static_cast<std::size_t>(array.bytes) / sizeof(std::int64_t)};
}

template <class Pointer>
Extras Request::extras(const Pointer& at) const {
  const attn_c_call& c = call;
  const auto numbers = [&](const char* name, attn_c_array attn_c_call::*member) {
    return Integers{integers(name, c.*member), static_cast<const std::int64_t*>(at(member))};
  };
  const auto floats = [&](attn_c_array attn_c_call::*member) {
    return static_cast<float*>(at(member));
  };
  return {.d_v = c.d_v,
          .q = strides_of(c.q_strides),
          .k = strides_of(c.k_strides),
          .v = strides_of(c.v_strides),
          .o = strides_of(c.o_strides),
          .q_offsets = numbers("q_offsets", &attn_c_call::q_offsets),
          .k_offsets = numbers("k_offsets", &attn_c_call::k_offsets),
          .page_keys = c.page_keys,
          .pages = c.pages,
          .block_table = numbers("block_table", &attn_c_call::block_table),
          .key_begin = numbers("key_begin", &attn_c_call::key_begin),
          .key_count = numbers("key_count", &attn_c_call::key_count),
          .sink_keys = c.sink_keys,
          .ranges_per_row = c.ranges_per_row,
          .ranges = numbers("ranges", &attn_c_call::ranges),
          .mask = static_cast<const std::uint8_t*>(at(&attn_c_call::mask)),
          .mask_shape = pair_shape(c.mask_sizes),
          .softcap = c.softcap,
          .bias = floats(&attn_c_call::bias),
          .bias_shape = pair_shape(c.bias_sizes),
          .alibi = floats(&attn_c_call::alibi),
          .sink_logits = floats(&attn_c_call::sink_logits),
          .dropout = c.dropout,
          .dropout_seed = c.dropout_seed,
          .grad_lse = floats(&attn_c_call::grad_lse),
          .grad_bias = floats(&attn_c_call::grad_bias),
          .grad_sink_logits = floats(&attn_c_call::grad_sink_logits)};
}

template <class Pointer>
ForwardArgsOf<void> Request::forward(const Pointer& at) const {
  return {.shape = shape,
          .mask = mask,
          .scale = call.scale,
          .q = at(&attn_c_call::q),
          .k = at(&attn_c_call::k),
          .v = at(&attn_c_call::v),
          .o = at(&attn_c_call::o),
          .lse = static_cast<float*>(at(&attn_c_call::lse)),
          .extras = extras(at)};
}

template <class Pointer>
BackwardArgsOf<void> Request::backward(const Pointer& at) const {
  return {.shape = shape,
          .mask = mask,
          .scale = call.scale,
          .q = at(&attn_c_call::q),
          .k = at(&attn_c_call::k),
          .v = at(&attn_c_call::v),
          .o = at(&attn_c_call::o),
          .lse = static_cast<const float*>(at(&attn_c_call::lse)),
          .grad_o = at(&attn_c_call::grad_o),
          .grad_q = at(&attn_c_call::grad_q),
          .grad_k = at(&attn_c_call::grad_k),
          .grad_v = at(&attn_c_call::grad_v),
          .extras = extras(at)};
}

template <class Pointer>
AppendArgs Request::append(const Pointer& at) const {
  const auto floats = [&](attn_c_array attn_c_call::*member) {
    return static_cast<float*>(at(member));
  };
  const Extras cache = extras(at);
  return {.B = shape.B,
          .Hkv = shape.Hkv,
          .N_new = shape.Nq,
          .Nk = shape.Nk,
          .d = shape.d,
          .new_k = floats(&attn_c_call::new_k),
          .new_v = floats(&attn_c_call::new_v),
          .k = floats(&attn_c_call::k),
          .v = floats(&attn_c_call::v),
          .key_begin = cache.key_begin,
          .key_count = cache.key_count,
          .page_keys = cache.page_keys,
          .pages = cache.pages,
          .block_table = cache.block_table};
}

/// A product, or the largest number if it is beyond it; 0 where a size is negative, which
/// attn::validate() refuses.
std::int64_t product(std::initializer_list<std::int64_t> sizes) {
  std::int64_t all = 1;
  for (const std::int64_t size : sizes) {
    if (size <= 0) return 0;
    if (__builtin_mul_overflow(all, size, &all)) return std::numeric_limits<std::int64_t>::max();
  }
  return all;
}

std::int64_t sum(std::int64_t a, std::int64_t b) {
  std::int64_t both = 0;
  const bool beyond = __builtin_add_overflow(a, b, &both);
  return beyond ? std::numeric_limits<std::int64_t>::max() : both;
}

/// All arrays of the pass that are given, and how many bytes of each the sizes ask for. Of a
/// request that nobody has found right yet: a wrong number may make it too few, never too many.
std::vector<Array> Request::arrays(const Extras& e) const {
  std::vector<Array> list;
  const bool forward = pass == Pass::kForward;
  const auto stored = static_cast<std::int64_t>(bytes_of(element));
  constexpr auto kFloat = std::int64_t{sizeof(float)};
  const std::int64_t d_v = value_width(shape, e);
  const auto add = [&](const char* name, attn_c_array attn_c_call::*member, std::int64_t bytes,
                       bool written = false) {
    if ((call.*member).data == nullptr) return;  // not wanted, or refused by attn::validate()
    list.push_back({name, member, written, appends && written, static_cast<std::size_t>(bytes)});
  };
  const auto add_rows = [&](const char* name, attn_c_array attn_c_call::*member, bool written,
                            const Strides& strides, const Integers& offsets, std::int64_t B,
                            std::int64_t heads, std::int64_t N, std::int64_t width,
                            std::int64_t each) {
    if ((call.*member).data == nullptr) return;
    const std::int64_t rows =
        offsets.host.empty() ? product({B, heads, N}) : product({heads, offsets.host.back()});
    Array array{name, member, written, false,
                static_cast<std::size_t>(product({rows, width, each}))};
    if (strides != Strides{} && array.bytes > 0) {
      array.counts = {B, heads, N};
      array.row_bytes = static_cast<std::size_t>(product({width, each}));
      std::int64_t reach = product({width, each});
      const std::array<std::int64_t, 3> apart{strides.batch, strides.head, strides.row};
      for (std::size_t axis = 0; axis < apart.size(); ++axis) {
        if (array.counts[axis] > 1) array.strides[axis] = product({apart[axis], each});
        reach = sum(reach, product({array.strides[axis], array.counts[axis] - 1}));
      }
      array.bytes = static_cast<std::size_t>(reach);
    }
    list.push_back(array);
  };
  const auto add_queries = [&](const char* name, attn_c_array attn_c_call::*member, bool written) {
    add_rows(name, member, written, e.q, e.q_offsets, shape.B, shape.H, shape.Nq, shape.d, stored);
  };
  const auto add_outputs = [&](const char* name, attn_c_array attn_c_call::*member, bool written) {
    add_rows(name, member, written, e.o, e.q_offsets, shape.B, shape.H, shape.Nq, d_v, stored);
  };
  const std::int64_t batches = e.paged() ? e.pages : shape.B;
  const std::int64_t keys = e.paged() ? e.page_keys : shape.Nk;
  const auto add_keys = [&](const char* name, attn_c_array attn_c_call::*member, bool written) {
    add_rows(name, member, written, e.k, e.k_offsets, batches, shape.Hkv, keys, shape.d, stored);
  };
  const auto add_values = [&](const char* name, attn_c_array attn_c_call::*member, bool written) {
    add_rows(name, member, written, e.v, e.k_offsets, batches, shape.Hkv, keys, d_v, stored);
  };
  const auto add_lse = [&](const char* name, attn_c_array attn_c_call::*member, bool written) {
    add_rows(name, member, written, {}, e.q_offsets, shape.B, shape.H, shape.Nq, 1, kFloat);
  };
  const auto add_integers = [&](const char* name, attn_c_array attn_c_call::*member,
                                const Integers& values) {
    add(name, member, static_cast<std::int64_t>(values.host.size_bytes()));
  };
  const auto pairs = [](const PairShape& sizes, std::int64_t bytes) {
    return product({sizes.B, sizes.H, sizes.Nq, sizes.Nk, bytes});
  };
  add_integers("key_begin", &attn_c_call::key_begin, e.key_begin);
  add_integers("key_count", &attn_c_call::key_count, e.key_count);
  add_integers("block_table", &attn_c_call::block_table, e.block_table);
  if (appends) {
    const std::int64_t fresh = product({shape.B, shape.Hkv, shape.Nq, shape.d, kFloat});
    const std::int64_t cache = product({batches, shape.Hkv, keys, shape.d, kFloat});
    add("new_k", &attn_c_call::new_k, fresh);
    add("new_v", &attn_c_call::new_v, fresh);
    add("k", &attn_c_call::k, cache, true);
    add("v", &attn_c_call::v, cache, true);
    return list;
  }
  add_queries("q", &attn_c_call::q, false);
  add_keys("k", &attn_c_call::k, false);
  add_values("v", &attn_c_call::v, false);
  add_outputs("o", &attn_c_call::o, forward);
  add_lse("lse", &attn_c_call::lse, forward);
  add_integers("q_offsets", &attn_c_call::q_offsets, e.q_offsets);
  add_integers("k_offsets", &attn_c_call::k_offsets, e.k_offsets);
  add_integers("ranges", &attn_c_call::ranges, e.ranges);
  add("mask", &attn_c_call::mask, pairs(e.mask_shape, 1));
  add("bias", &attn_c_call::bias, pairs(e.bias_shape, kFloat));
  add("alibi", &attn_c_call::alibi, product({shape.H, kFloat}));
  add("sink_logits", &attn_c_call::sink_logits, product({shape.H, kFloat}));
  if (forward) return list;
  add_outputs("grad_o", &attn_c_call::grad_o, false);
  add_queries("grad_q", &attn_c_call::grad_q, true);
  add_keys("grad_k", &attn_c_call::grad_k, true);
  add_values("grad_v", &attn_c_call::grad_v, true);
  add_lse("grad_lse", &attn_c_call::grad_lse, false);
  add("grad_bias", &attn_c_call::grad_bias, pairs(e.bias_shape, kFloat), true);
  add("grad_sink_logits", &attn_c_call::grad_sink_logits, product({shape.H, kFloat}), true);
  return list;
}

/// The chapter's twin of this id, or null.
const Step* twin_called(const Chapter& chapter, std::string_view step) {
  for (const Step* twin : twins_of(chapter)) {
    if (twin->id == step) return twin;
  }
  return nullptr;
}

const Step* pass_of(const Chapter& chapter, Pass pass, std::string_view step) {
  const auto has = [pass](const Step& one) {
    return pass == Pass::kForward ? bool(one.forward) : bool(one.backward);
  };
  if (step.empty()) return default_step(chapter, pass);
  const Step* twin = twin_called(chapter, step);
  const Step& named = twin != nullptr ? *twin : find_step(chapter, step);
  return has(named) ? &named : nullptr;
}

/// What a request names, or the fastest plain loops that take it.
Chosen choose(const Request& request, const Extras& extras) {
  const attn_c_call& call = request.call;
  const auto text = [](const char* given) { return std::string_view(given ? given : ""); };
  if (text(call.chapter).empty()) {
    if (!text(call.step).empty()) {
      bad(fmt::format("step = {}: given without a chapter; allowed: both, or neither", call.step));
    }
    // 08's loops are the fastest there are for what every chapter takes; 16's take all there is,
    // but for pages.
    const Chapter& plain = chapters::ch08_register_tiles();
    const Chapter& all = chapters::ch16_heads();
    const bool enough =
        why_unsupported(request.element, request.shape, request.mask, extras, plain.support)
            .empty();
    const Chapter& arrays = request.appends ? chapters::ch17_decode() : enough ? plain : all;
    const Chapter& chapter = extras.paged() ? chapters::ch18_paged() : arrays;
    return {&chapter, chapter.twin};
  }
  const Chapter& chapter = chapters::find(call.chapter);
  const Step* step = pass_of(chapter, request.pass, text(call.step));
  if (step != nullptr) return {&chapter, step};
  if (request.pass == Pass::kForward && !chapter.forward_of.empty()) {
    const Chapter& lender = chapters::find(chapter.forward_of);
    const bool by_twin = twin_called(chapter, text(call.step)) != nullptr && lender.twin != nullptr;
    step = pass_of(lender, request.pass, by_twin ? lender.twin->id : "");
    if (step != nullptr) return {&lender, step};
  }
  unsupported(fmt::format("pass = {}: {}{}{} has none", to_string(request.pass), chapter.id,
                          text(call.step).empty() ? "" : " ", text(call.step)));
}

void check_bytes(const Request& request, std::span<const Array> arrays) {
  for (const Array& array : arrays) {
    const std::int64_t given = (request.call.*array.member).bytes;
    if (given >= 0 && static_cast<std::size_t>(given) >= array.bytes) continue;
    bad(fmt::format("{} = {} bytes: this call needs {}", array.name, given, array.bytes));
  }
}

/// Bytes in some memory for as long as this lives.
class Buffer {
 public:
  Buffer(Memory& memory, std::size_t bytes, std::string_view label)
      : memory_(memory), bytes_(bytes), data_(memory.allocate(bytes, label)) {}
  Buffer(Buffer&& other) noexcept
      : memory_(other.memory_), bytes_(other.bytes_), data_(std::exchange(other.data_, nullptr)) {}
  Buffer& operator=(Buffer&&) = delete;
  ~Buffer() { memory_.release(data_); }

  unsigned char* data() const { return static_cast<unsigned char*>(data_); }
  std::size_t bytes() const { return bytes_; }

 private:
  Memory& memory_;
  std::size_t bytes_;
  void* data_;
};

/// Copies of a call's arrays in the device's memory. Rows keep their distance, so that what a
/// kernel reads of a strided array is what it would read of the caller's.
class Copies {
 public:
  Copies(Memory& memory, const attn_c_call& call, std::span<const Array> arrays)
      : memory_(memory), call_(call), arrays_(arrays) {
    for (const Array& array : arrays) {
      const Buffer& copy = buffers_.emplace_back(memory, array.bytes, array.name);
      if (array.written && !array.kept) {
        memory.fill_undefined(copy.data(), 0xFF, array.bytes);
      } else {
        memory.write(copy.data(), (call.*array.member).data, array.bytes);
      }
    }
  }

  void* operator()(attn_c_array attn_c_call::*member) const {
    for (std::size_t i = 0; i < arrays_.size(); ++i) {
      if (arrays_[i].member == member) return buffers_[i].data();
    }
    return nullptr;
  }

  /// Puts what was written where the caller wants it.
  void collect() const {
    for (std::size_t i = 0; i < arrays_.size(); ++i) {
      const Array& array = arrays_[i];
      if (!array.written) continue;
      auto* to = static_cast<unsigned char*>((call_.*array.member).data);
      if (array.row_bytes == 0) {
        memory_.read(to, buffers_[i].data(), array.bytes);
        continue;
      }
      const auto& [batches, heads, rows] = array.counts;
      for (std::int64_t row = 0; row < batches * heads * rows; ++row) {
        const std::int64_t at = row / rows / heads * array.strides[0] +
                                row / rows % heads * array.strides[1] +
                                row % rows * array.strides[2];
        memory_.read(to + at, buffers_[i].data() + at, array.row_bytes);
      }
    }
  }

 private:
  Memory& memory_;
  const attn_c_call& call_;
  std::span<const Array> arrays_;
  std::vector<Buffer> buffers_;
};

/// Switches tracer and detectors on for one call and hands over what they saw.
class Watch {
 public:
  Watch(Memory& memory, attn_c_trace& trace) : memory_(memory), trace_(trace) {
    memory_.take_detections();  // what an earlier call left behind is not this one's
    simt::take_launches();
    simt::options().tracer = simt::options().detectors = true;
  }
  ~Watch() {
    simt::options().tracer = simt::options().detectors = false;
    for (simt::LaunchRecord& record : simt::take_launches()) {
      attn_c_trace::Launch launch{std::move(record), {}};
      for (const simt::Counter& counter : simt::kCounters) {
        launch.counts.push_back(launch.record.traffic.*counter.member);
      }
      trace_.launches.push_back(std::move(launch));
    }
    for (const Detection& seen : memory_.take_detections()) {
      trace_.detections.push_back(to_string(seen));
    }
  }

 private:
  Memory& memory_;
  attn_c_trace& trace_;
};

template <class Pointer>
void call_step(const Chosen& chosen, const Request& request, Memory& memory, const Pointer& at) {
  if (request.appends) {
    const bool on_host = &memory == &host_memory();
    (on_host ? append_on_host : append)(*chosen.chapter, request.append(at));
    return;
  }
  const Buffer workspace(memory, workspace_bytes(*chosen.step, request.pass, request.shape),
                         "workspace");
  memory.fill_undefined(workspace.data(), 0xFF, &memory == &host_memory() ? 0 : workspace.bytes());
  const auto run = [&](auto args, auto pass) {
    args.workspace = workspace.data();
    args.workspace_bytes = workspace.bytes();
    pass(*chosen.chapter, *chosen.step, request.element, args);
  };
  if (request.pass == Pass::kForward) {
    run(request.forward(at), [](auto&&... args) { attn::forward(args...); });
  } else {
    run(request.backward(at), [](auto&&... args) { attn::backward(args...); });
  }
}

void run_on_device(const Chosen& chosen, const Request& request, std::span<const Array> arrays) {
  static std::mutex one_at_a_time;  // the machine's options and its traces are the process's
  const std::lock_guard lock(one_at_a_time);
  Memory& memory = chosen.chapter->memory();
  const Copies copies(memory, request.call, arrays);
  const std::int64_t d_v = request.call.d_v == 0 ? request.shape.d : request.call.d_v;
  memory.expect_steps(plenty_of_steps(request.shape, d_v, request.pass));
  std::optional<Watch> watch;
  if (request.call.trace != nullptr) watch.emplace(memory, *request.call.trace);
  call_step(chosen, request, memory, copies);
  memory.synchronize();
  watch.reset();
  copies.collect();
}

}  // namespace

void copy_text(std::string_view from, std::span<char> to) {
  const std::size_t bytes = std::min(from.size(), to.size() - 1);
  std::memcpy(to.data(), from.data(), bytes);
  to[bytes] = 0;
}

void run(attn_c_call& call) {
  const Request request(call);
  const auto in_place = [&call](attn_c_array attn_c_call::*member) { return (call.*member).data; };
  const Extras extras = request.extras(in_place);
  const Chosen chosen = choose(request, extras);
  copy_text(chosen.chapter->id, call.ran_chapter);
  copy_text(chosen.step->id, call.ran_step);
  const bool on_host = &memory_of(*chosen.chapter, *chosen.step) == &host_memory();
  Support support = support_of(*chosen.chapter, *chosen.step);
  if (!on_host) support.alignment = 1;  // the copies are aligned
  const std::vector<Array> arrays = request.arrays(extras);
  check_bytes(request, arrays);
  if (request.appends) {
    check_append(*chosen.chapter, request.append(in_place));
  } else if (request.pass == Pass::kForward) {
    validate(request.element, request.forward(in_place), support);
  } else {
    validate(request.element, request.backward(in_place), support);
  }
  if (!on_host) return run_on_device(chosen, request, arrays);
  if (call.trace != nullptr) {
    unsupported(
        fmt::format("trace: {} {} is plain C++, whose accesses nobody counts; allowed: a "
                    "step with kernels",
                    chosen.chapter->id, chosen.step->id));
  }
  call_step(chosen, request, host_memory(), in_place);
}

}  // namespace attn::python
