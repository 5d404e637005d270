// SPDX-License-Identifier: MIT
//
// What attn::forward and attn::backward refuse: first what no chapter could accept, then what this
// one does not take, then the arrays. Each message begins with the argument.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "common/attention.hpp"
#include "common/overlap.hpp"

namespace attn {
namespace {

[[noreturn]] void bad(const std::string& message) { throw Error(ErrorKind::kBadArgument, message); }

[[noreturn]] void unsupported(const std::string& message) {
  throw Error(ErrorKind::kUnsupported, message);
}

/// One array argument, for the checks that all arrays share.
struct Array {
  const char* name;
  const void* pointer;
  std::size_t bytes;
  bool written;
  std::size_t alignment = alignof(float);  // of the element
  std::size_t wanted = 1;                  // by the chapter
  std::size_t row_bytes = 0;               // with gaps between the rows; 0: none
  std::array<View::Axis, 3> axes = {};

  /// Which of its bytes are used.
  View view() const {
    return row_bytes == 0 ? View{pointer, bytes, {}} : View{pointer, row_bytes, axes};
  }
};

constexpr std::int64_t kMaxHeads = 0x7FFFFFFF;

/// Bytes of an array of these sizes, or an error that names it.
std::size_t checked_bytes(const char* name, std::initializer_list<std::int64_t> sizes,
                          std::size_t element_bytes = sizeof(float)) {
  std::int64_t product = 1;
  bool overflow = false;
  for (const std::int64_t size : sizes) {
    if (size == 0) return 0;
    overflow = overflow || __builtin_mul_overflow(product, size, &product);
  }
  constexpr auto kLimit = std::numeric_limits<std::int64_t>::max() / std::int64_t{sizeof(float)};
  if (overflow || product > kLimit) {
    bad(fmt::format("{}: its sizes multiply to more than 2^61 elements; allowed: at most 2^61 - 1",
                    name));
  }
  return static_cast<std::size_t>(product) * element_bytes;
}

void check_shape(const Shape& shape) {
  const std::array<std::pair<const char*, std::int64_t>, 5> sizes{
      {{"B", shape.B}, {"H", shape.H}, {"Hkv", shape.Hkv}, {"Nq", shape.Nq}, {"Nk", shape.Nk}}};
  for (const auto& [name, size] : sizes) {
    if (size < 0) bad(fmt::format("{} = {}: allowed: 0 or more", name, size));
  }
  if (shape.d < 1) bad(fmt::format("d = {}: allowed: 1 or more", shape.d));
  if (shape.Hkv == 0 ? shape.H != 0 : shape.H % shape.Hkv != 0) {
    bad(fmt::format("Hkv = {}: allowed: a divisor of H = {}", shape.Hkv, shape.H));
  }
}

void check_numbers(const Mask& mask, float scale, const Extras& extras) {
  for (const std::int64_t bound : {mask.before, mask.after}) {
    if (bound < 0) bad(fmt::format("mask = {}: {}; allowed: 0 or more", to_string(mask), bound));
  }
  if (!std::isfinite(scale)) bad(fmt::format("scale = {}: allowed: any finite number", scale));
  if (extras.d_v < 0) bad(fmt::format("d_v = {}: allowed: 0 or more", extras.d_v));
  if (extras.sink_keys < 0) {
    bad(fmt::format("sink_keys = {}: allowed: 0 or more", extras.sink_keys));
  }
  for (const auto& [name, number] :
       {std::pair{"page_keys", extras.page_keys}, std::pair{"pages", extras.pages}}) {
    if (number < 0) bad(fmt::format("{} = {}: allowed: 0 or more", name, number));
  }
  if (!std::isfinite(extras.softcap) || extras.softcap < 0) {
    bad(fmt::format("softcap = {}: allowed: 0 (none), or a positive number", extras.softcap));
  }
  if (!(extras.dropout >= 0 && extras.dropout < 1)) {
    bad(fmt::format("dropout = {}: allowed: from 0 to less than 1", extras.dropout));
  }
  if (extras.ranges_per_row < 0 || extras.ranges_per_row > 2) {
    bad(fmt::format("ranges_per_row = {}: allowed: 0, 1, 2", extras.ranges_per_row));
  }
}

/// Offsets of packed sequences: B + 1 of them, from 0 on, not decreasing, N the longest step.
void check_offsets(const char* name, const Integers& offsets, std::int64_t B, std::int64_t N) {
  const auto& host = offsets.host;
  if (static_cast<std::int64_t>(host.size()) - 1 != B) {
    bad(fmt::format("{}: {} of them; allowed: {}, one more than B", name, host.size(),
                    static_cast<std::uint64_t>(B) + 1));
  }
  if (host.front() != 0) bad(fmt::format("{}[0] = {}: allowed: 0", name, host.front()));
  std::int64_t longest = 0;
  for (std::size_t b = 1; b < host.size(); ++b) {
    if (host[b] < host[b - 1]) {
      bad(fmt::format("{}[{}] = {}: allowed: at least {}, the offset before it", name, b, host[b],
                      host[b - 1]));
    }
    longest = std::max(longest, host[b] - host[b - 1]);
  }
  if (longest != N) {
    bad(fmt::format("{}: the longest sequence has {} rows; allowed: {}, as in the shape", name,
                    longest, N));
  }
}

void check_packed(const Shape& shape, const Extras& extras) {
  if (!extras.packed()) return;
  check_offsets("q_offsets", extras.q_offsets, shape.B, shape.Nq);
  check_offsets("k_offsets", extras.k_offsets, shape.B, shape.Nk);
  const auto refuse = [](bool given, const char* name) {
    if (given) bad(fmt::format("{}: given with packed sequences; allowed: one of the two", name));
  };
  refuse(extras.mask != nullptr, "mask");
  refuse(extras.bias != nullptr, "bias");
  refuse(extras.ranges_per_row > 0, "ranges");
  for (const Strides& strides : {extras.q, extras.k, extras.v, extras.o}) {
    refuse(strides != Strides{}, "strides");
  }
}

/// The keys of batch b: those of its own sequence if they are packed.
std::int64_t keys_of_batch(const Shape& shape, const Extras& extras, std::size_t b) {
  const auto& offsets = extras.k_offsets.host;
  return offsets.empty() ? shape.Nk : offsets[b + 1] - offsets[b];
}

void check_counts(const Shape& shape, const Extras& extras) {
  const auto& begins = extras.key_begin.host;
  const auto& counts = extras.key_count.host;
  const auto check_length = [&](const char* name, std::span<const std::int64_t> host) {
    if (host.empty() || static_cast<std::int64_t>(host.size()) == shape.B) return;
    bad(fmt::format("{}: {} of them; allowed: B = {}", name, host.size(), shape.B));
  };
  check_length("key_begin", begins);
  check_length("key_count", counts);
  if (begins.empty() && counts.empty()) return;
  for (std::size_t b = 0; b < static_cast<std::size_t>(shape.B); ++b) {
    const std::int64_t keys = keys_of_batch(shape, extras, b);
    const std::int64_t begin = begins.empty() ? 0 : begins[b];
    if (begin < 0 || begin > keys) {
      bad(fmt::format("key_begin[{}] = {}: allowed: 0 to {}, the number of keys", b, begin, keys));
    }
    if (counts.empty()) continue;
    if (counts[b] < 0 || counts[b] > keys - begin) {
      bad(fmt::format("key_count[{}] = {}: allowed: 0 to {}, the keys from key_begin on", b,
                      counts[b], keys - begin));
    }
  }
}

void check_ranges(const Shape& shape, const Extras& extras) {
  if (extras.ranges_per_row == 0) return;
  const auto& host = extras.ranges.host;
  const std::size_t wanted =
      checked_bytes("ranges", {shape.B, shape.Nq, 2 * extras.ranges_per_row}, 1);
  if (host.size() != wanted) {
    bad(fmt::format("ranges: {} numbers; allowed: {}, B * Nq * {}", host.size(), wanted,
                    2 * extras.ranges_per_row));
  }
  for (std::size_t at = 0; at < host.size(); at += 2) {
    if (host[at] < 0 || host[at] > host[at + 1] || host[at + 1] > shape.Nk) {
      bad(fmt::format("ranges[{}] = {}, {}: allowed: 0 <= begin <= end <= Nk = {}", at / 2,
                      host[at], host[at + 1], shape.Nk));
    }
  }
}

/// The valid keys of batch b, of a whole Nk.
Range valid_keys(const Shape& shape, const Extras& extras, std::size_t b) {
  const auto& counts = extras.key_count.host;
  const std::int64_t begin = extras.key_begin.host.empty() ? 0 : extras.key_begin.host[b];
  return {begin, counts.empty() ? shape.Nk : begin + counts[b]};
}

/// The table of a paged cache: its entries count where a valid key lies. After check_counts().
void check_pages(const Shape& shape, const Extras& extras) {
  const auto& table = extras.block_table.host;
  if (!extras.paged()) {
    if (extras.pages > 0) {
      bad(fmt::format("pages = {}: given without page_keys; allowed: both together", extras.pages));
    }
    if (!table.empty()) bad("block_table: given without page_keys; allowed: both together");
    return;
  }
  const auto refuse = [](bool given, const char* name) {
    if (given) bad(fmt::format("{}: given with a paged cache; allowed: one of the two", name));
  };
  refuse(extras.packed(), "q_offsets");
  for (const Strides& strides : {extras.q, extras.k, extras.v, extras.o}) {
    refuse(strides != Strides{}, "strides");
  }
  const std::int64_t columns = extras.pages_of(shape.Nk);
  const std::size_t wanted = checked_bytes("block_table", {shape.B, columns}, 1);
  if (table.size() != wanted) {
    bad(fmt::format("block_table: {} numbers; allowed: {}, B * {} pages for Nk = {} keys",
                    table.size(), wanted, columns, shape.Nk));
  }
  for (std::size_t b = 0; b < static_cast<std::size_t>(shape.B); ++b) {
    const Range valid = valid_keys(shape, extras, b);
    if (valid.empty()) continue;
    const std::int64_t end = extras.pages_of(valid.end);
    for (std::int64_t n = valid.begin / extras.page_keys; n < end; ++n) {
      const std::int64_t id =
          table[b * static_cast<std::size_t>(columns) + static_cast<std::size_t>(n)];
      if (id >= 0 && id < extras.pages) continue;
      bad(fmt::format("block_table[{}][{}] = {}: allowed: 0 to pages - 1 = {}", b, n, id,
                      extras.pages - 1));
    }
  }
}

void check_broadcast(const char* name, const PairShape& array, const Shape& shape) {
  const std::array<std::tuple<const char*, std::int64_t, std::int64_t>, 4> axes{
      {{"B", array.B, shape.B},
       {"H", array.H, shape.H},
       {"Nq", array.Nq, shape.Nq},
       {"Nk", array.Nk, shape.Nk}}};
  for (const auto& [axis, size, whole] : axes) {
    if (size == 1 || size == whole) continue;
    bad(fmt::format("{}_shape {} = {}: allowed: 1 or {}", name, axis, size, whole));
  }
}

void check_extras(const Shape& shape, const Extras& extras) {
  check_packed(shape, extras);
  check_counts(shape, extras);
  check_ranges(shape, extras);
  check_pages(shape, extras);
  if (extras.mask != nullptr) check_broadcast("mask", extras.mask_shape, shape);
  if (extras.bias != nullptr) check_broadcast("bias", extras.bias_shape, shape);
  if (extras.grad_bias != nullptr && extras.bias == nullptr) {
    bad("grad_bias: given without a bias; allowed: both together");
  }
  if (extras.grad_sink_logits != nullptr && extras.sink_logits == nullptr) {
    bad("grad_sink_logits: given without sink_logits; allowed: both together");
  }
  // Philox counts rows, heads and quarters of keys in 32 bits.
  constexpr std::int64_t kMost = std::int64_t{1} << 32;
  if (extras.dropout > 0 && std::max(shape.Nq, shape.Nk) > kMost) {
    bad(fmt::format("dropout: Nq = {}, Nk = {}; allowed with it: at most {}", shape.Nq, shape.Nk,
                    kMost));
  }
}

/// What a request needs beyond one diagonal, and the argument that asks for it.
std::vector<std::pair<Feature, std::string>> needs_of(const Shape& shape, const Mask& mask,
                                                      const Extras& e) {
  std::vector<std::pair<Feature, std::string>> needs;
  const auto need = [&](Feature feature, bool needed, std::string argument) {
    if (needed) needs.emplace_back(feature, std::move(argument));
  };
  const bool contiguous =
      e.q == Strides{} && e.k == Strides{} && e.v == Strides{} && e.o == Strides{};
  need(Feature::kGroupedHeads, shape.Hkv != shape.H,
       fmt::format("Hkv = {}: H = {}", shape.Hkv, shape.H));
  need(Feature::kValueWidth, value_width(shape, e) != shape.d,
       fmt::format("d_v = {}: d = {}", e.d_v, shape.d));
  need(Feature::kStrides, !contiguous, "strides: given");
  need(Feature::kPacked, e.packed(), "q_offsets: given");
  need(Feature::kWindows, !mask.is_prefix(), fmt::format("mask = {}: a window", to_string(mask)));
  need(Feature::kSinkKeys, e.sink_keys > 0, fmt::format("sink_keys = {}: given", e.sink_keys));
  need(Feature::kKeyCounts, !e.key_begin.host.empty(), "key_begin: given");
  need(Feature::kKeyCounts, !e.key_count.host.empty(), "key_count: given");
  need(Feature::kRanges, e.ranges_per_row > 0, "ranges: given");
  need(Feature::kMaskArray, e.mask != nullptr, "mask: an array");
  need(Feature::kBias, e.bias != nullptr, "bias: given");
  need(Feature::kAlibi, e.alibi != nullptr, "alibi: given");
  need(Feature::kSoftcap, e.softcap > 0, fmt::format("softcap = {}: given", e.softcap));
  need(Feature::kSinkLogits, e.sink_logits != nullptr, "sink_logits: given");
  need(Feature::kDropout, e.dropout > 0, fmt::format("dropout = {}: given", e.dropout));
  need(Feature::kGradLse, e.grad_lse != nullptr, "grad_lse: given");
  need(Feature::kPages, e.paged(), fmt::format("page_keys = {}: given", e.page_keys));
  return needs;
}

/// What fits a grid. After everything that no chapter could accept.
void check_extent(const Shape& shape, const Support& support) {
  if (shape.H > 0 && shape.B > kMaxHeads / shape.H) {
    unsupported(fmt::format("B * H = {} * {}: supported: a product of at most {}, a grid's width",
                            shape.B, shape.H, kMaxHeads));
  }
  for (const auto& [name, size] : {std::pair{"Nq", shape.Nq}, std::pair{"Nk", shape.Nk}}) {
    if (size > support.max_n) {
      unsupported(
          fmt::format("{} = {}: this chapter supports at most {}", name, size, support.max_n));
    }
  }
}

/// Elements from the first to behind the last of a strided array [B, H, N, width]; `written`: its
/// rows must lie apart.
std::int64_t checked_reach(const char* name, const Strides& strides, std::int64_t B, std::int64_t H,
                           std::int64_t N, std::int64_t width, bool written) {
  std::array<std::pair<std::int64_t, std::int64_t>, 3> axes{
      {{strides.batch, B}, {strides.head, H}, {strides.row, N}}};
  if (B == 0 || H == 0 || N == 0) return 0;
  std::sort(axes.begin(), axes.end());
  std::int64_t reach = width;
  for (const auto& [stride, count] : axes) {
    if (stride < 0) bad(fmt::format("{} strides: {}; allowed: 0 or more", name, stride));
    if (count == 1) continue;
    if (written && stride < reach) {
      bad(fmt::format("{} strides: {}, and {} elements lie between; allowed: rows apart", name,
                      stride, reach));
    }
    std::int64_t step = 0;
    if (__builtin_mul_overflow(stride, count - 1, &step) ||
        __builtin_add_overflow(reach, step, &reach)) {
      bad(fmt::format("{} strides: {} times {}; allowed: at most 2^63 elements", name, stride,
                      count));
    }
  }
  return reach;
}

/// The arrays of rows of one pass, all others added by the caller.
class ArrayList {
 public:
  ArrayList(Element element, const Shape& shape, const Extras& extras, const Support& support)
      : element_(element), shape_(shape), extras_(extras), alignment_(support.alignment) {}

  void add_queries(const char* name, const void* pointer, bool written, bool of_values) {
    add_rows(name, pointer, written, of_values ? extras_.o : extras_.q, extras_.q_offsets, shape_.B,
             shape_.H, shape_.Nq, of_values ? value_width(shape_, extras_) : shape_.d);
  }
  void add_keys(const char* name, const void* pointer, bool written, bool of_values) {
    const std::int64_t batches = extras_.paged() ? extras_.pages : shape_.B;
    const std::int64_t keys = extras_.paged() ? extras_.page_keys : shape_.Nk;
    add_rows(name, pointer, written, of_values ? extras_.v : extras_.k, extras_.k_offsets, batches,
             shape_.Hkv, keys, of_values ? value_width(shape_, extras_) : shape_.d);
  }
  void add_lse(const char* name, const void* pointer, bool written) {
    const bool packed = !extras_.q_offsets.host.empty();
    add(name, pointer,
        packed ? checked_bytes(name, {shape_.H, extras_.q_offsets.host.back()})
               : checked_bytes(name, {shape_.B, shape_.H, shape_.Nq}),
        written);
  }
  void add(const char* name, const void* pointer, std::size_t bytes, bool written) {
    arrays_.push_back({name, pointer, bytes, written});
  }
  /// Where a null pointer means that it is not wanted.
  void add_optional(const char* name, const void* pointer, std::size_t bytes, bool written) {
    if (pointer != nullptr) add(name, pointer, bytes, written);
  }
  void add_integers(const char* name, const Integers& integers) {
    add(name, integers.device, integers.host.size_bytes(), false);
  }
  void add_extras(bool backward);

  std::span<const Array> arrays() const { return arrays_; }

 private:
  void add_rows(const char* name, const void* pointer, bool written, const Strides& strides,
                const Integers& offsets, std::int64_t B, std::int64_t heads, std::int64_t N,
                std::int64_t width) {
    const std::size_t each = bytes_of(element_);
    Array array{name, pointer, 0, written, each, alignment_};
    if (!offsets.host.empty()) {
      array.bytes = checked_bytes(name, {heads, offsets.host.back(), width}, each);
    } else if (strides == Strides{}) {
      array.bytes = checked_bytes(name, {B, heads, N, width}, each);
    } else {
      array.bytes =
          checked_bytes(name, {checked_reach(name, strides, B, heads, N, width, written)}, each);
      const auto in_bytes = [each](std::int64_t elements) {  // unsigned: one that no row takes
        return static_cast<std::int64_t>(static_cast<std::size_t>(elements) * each);
      };
      array.row_bytes = static_cast<std::size_t>(in_bytes(width));
      array.axes = {{{in_bytes(strides.batch), B},
                     {in_bytes(strides.head), heads},
                     {in_bytes(strides.row), N}}};
      for (const std::int64_t stride : {strides.batch, strides.head, strides.row}) {
        if (static_cast<std::size_t>(stride) * each % alignment_ == 0) continue;
        unsupported(fmt::format("{} strides: {}; this chapter supports multiples of {} bytes", name,
                                stride, alignment_));
      }
    }
    arrays_.push_back(array);
  }

  Element element_;
  const Shape& shape_;
  const Extras& extras_;
  std::size_t alignment_;
  std::vector<Array> arrays_;
};

void ArrayList::add_extras(bool backward) {
  const auto heads = static_cast<std::size_t>(shape_.H) * sizeof(float);
  const auto pairs = [](const PairShape& shape, std::size_t each) {
    return static_cast<std::size_t>(shape.elements()) * each;
  };
  add_integers("q_offsets", extras_.q_offsets);
  add_integers("k_offsets", extras_.k_offsets);
  add_integers("block_table", extras_.block_table);
  add_integers("key_begin", extras_.key_begin);
  add_integers("key_count", extras_.key_count);
  add_integers("ranges", extras_.ranges);
  if (extras_.mask != nullptr) {
    arrays_.push_back({"mask", extras_.mask, pairs(extras_.mask_shape, 1), false, 1});
  }
  add_optional("bias", extras_.bias, pairs(extras_.bias_shape, sizeof(float)), false);
  add_optional("alibi", extras_.alibi, heads, false);
  add_optional("sink_logits", extras_.sink_logits, heads, false);
  if (!backward) return;
  if (extras_.grad_lse != nullptr) add_lse("grad_lse", extras_.grad_lse, false);
  add_optional("grad_bias", extras_.grad_bias, pairs(extras_.bias_shape, sizeof(float)), true);
  add_optional("grad_sink_logits", extras_.grad_sink_logits, heads, true);
}

void check_arrays(std::span<const Array> arrays) {
  for (const Array& array : arrays) {
    if (array.bytes == 0) continue;
    if (array.pointer == nullptr) {
      bad(fmt::format("{} = null: allowed: a pointer to {} bytes", array.name, array.bytes));
    }
    const auto address = reinterpret_cast<std::uintptr_t>(array.pointer);
    if (address % array.alignment != 0) {
      bad(fmt::format("{} = {}: allowed: an address divisible by {}", array.name,
                      fmt::ptr(array.pointer), array.alignment));
    }
    if (address % array.wanted != 0) {
      unsupported(fmt::format("{} = {}: this chapter supports addresses divisible by {}",
                              array.name, fmt::ptr(array.pointer), array.wanted));
    }
  }
  const auto begin = [](const Array& a) { return reinterpret_cast<std::uintptr_t>(a.pointer); };
  for (const Array& output : arrays) {
    if (!output.written || output.bytes == 0) continue;
    for (const Array& other : arrays) {
      if (&other == &output || other.bytes == 0) continue;
      if (begin(output) < begin(other) + other.bytes &&
          begin(other) < begin(output) + output.bytes && share_bytes(output.view(), other.view())) {
        bad(fmt::format("{} = {}: it overlaps {}; allowed: an output apart from all other arrays",
                        output.name, fmt::ptr(output.pointer), other.name));
      }
    }
  }
}

template <class Args>
void check_request(Element element, const Args& args, const Support& support) {
  const Shape& s = args.shape;
  check_shape(s);
  check_numbers(args.mask, args.scale, args.extras);
  const std::string why = why_unsupported(element, s, args.mask, args.extras, support);
  if (!why.empty()) unsupported(why);
  check_extras(s, args.extras);
}

}  // namespace

std::string why_unsupported(Element element, const Shape& shape, const Mask& mask,
                            const Extras& extras, const Support& support) {
  for (const auto& [name, width] :
       {std::pair{"d", shape.d}, std::pair{"d_v", value_width(shape, extras)}}) {
    if (width > support.max_d) {
      return fmt::format("{} = {}: this chapter supports 1 <= d <= {}", name, width, support.max_d);
    }
    const auto& only = support.only_d;
    if (!only.empty() && std::find(only.begin(), only.end(), width) == only.end()) {
      std::string list;
      for (const std::int64_t d : only) list += fmt::format("{}{}", list.empty() ? "" : ", ", d);
      return fmt::format("{} = {}: this chapter supports {}", name, width, list);
    }
    const std::size_t row = static_cast<std::size_t>(width) * bytes_of(element);
    if (row % support.alignment != 0) {
      return fmt::format("{} = {}: rows of {} bytes; this chapter supports multiples of {}", name,
                         width, row, support.alignment);
    }
  }
  for (const auto& [feature, argument] : needs_of(shape, mask, extras)) {
    if (support.features.has(feature)) continue;
    return fmt::format("{}; this {} does not take {}", argument,
                       support.of_other_steps.has(feature) ? "step" : "chapter",
                       to_string(feature));
  }
  return {};
}

void validate(Element element, const ForwardArgsOf<void>& args, const Support& support) {
  const Shape& s = args.shape;
  check_request(element, args, support);
  ArrayList list(element, s, args.extras, support);
  list.add_queries("q", args.q, /*written=*/false, /*of_values=*/false);
  list.add_keys("k", args.k, false, false);
  list.add_keys("v", args.v, false, true);
  // Before the outputs: where it reaches into several arrays, it is the one to be named.
  list.add("workspace", args.workspace, args.workspace_bytes, true);
  list.add_queries("o", args.o, true, true);
  list.add_lse("lse", args.lse, true);
  checked_bytes("the score matrix", {s.B, s.H, s.Nq, s.Nk});  // and what is broadcast to it
  list.add_extras(/*backward=*/false);
  check_extent(s, support);
  check_arrays(list.arrays());
}

void validate(Element element, const BackwardArgsOf<void>& args, const Support& support) {
  const Shape& s = args.shape;
  check_request(element, args, support);
  if (args.extras.paged()) {
    bad(fmt::format("page_keys = {}: given to a backward pass; allowed: 0", args.extras.page_keys));
  }
  ArrayList list(element, s, args.extras, support);
  list.add_queries("q", args.q, /*written=*/false, /*of_values=*/false);
  list.add_keys("k", args.k, false, false);
  list.add_keys("v", args.v, false, true);
  list.add_queries("o", args.o, false, true);
  list.add_lse("lse", args.lse, false);
  list.add_queries("grad_o", args.grad_o, false, true);
  list.add("workspace", args.workspace, args.workspace_bytes, true);
  list.add_queries("grad_q", args.grad_q, true, false);
  list.add_keys("grad_k", args.grad_k, true, false);
  list.add_keys("grad_v", args.grad_v, true, true);
  checked_bytes("the score matrix", {s.B, s.H, s.Nq, s.Nk});  // and what is broadcast to it
  list.add_extras(/*backward=*/true);
  check_extent(s, support);
  check_arrays(list.arrays());
}

}  // namespace attn
