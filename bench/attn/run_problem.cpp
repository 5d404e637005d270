// SPDX-License-Identifier: MIT
#include "bench/attn/run_problem.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <tuple>
#include <utility>

#include "common/io/npy.hpp"
#include "common/run/pages.hpp"

namespace attn::cli {
namespace {

/// One of the arrays of rows: where it came from and its sizes as [B, heads, N, width].
struct Rows {
  std::string name;
  std::size_t rank = 0;
  std::vector<std::int64_t> sizes;
  std::array<const char*, 4> axis_names = {"B", "H", "N", "d"};

  /// Throws unless this array has the rank of `other` and the same size in `axes`.
  void expect_same(const Rows& other, std::initializer_list<std::size_t> axes) const {
    if (rank != other.rank) {
      bad(fmt::format("{}: rank {}; allowed: {}, the rank of {}", name, rank, other.rank,
                      other.name));
    }
    for (const std::size_t axis : axes) {
      if (sizes[axis] == other.sizes[axis]) continue;
      bad(fmt::format("{}: {} = {}; allowed: {}, as in {}", name, axis_names[axis], sizes[axis],
                      other.sizes[axis], other.name));
    }
  }
};

/// What all arrays of one command share.
struct Form {
  bool packed = false;
  bool rows_first = false;
  bool halves = false;  // float16 files are read
};

/// An array of rows and its sizes. Packed arrays become one batch of [1, heads, total, width].
template <class Real>
Rows read_rows(const char* option, const std::string& path, const Form& form,
               io::NpyArrayOf<Real>& array) {
  return naming(option, [&] {
    array = io::read_floats<Real>(path, form.halves);
    const std::size_t rank = array.shape.size();
    Rows rows{fmt::format("{} {}", option, path), rank, array.shape};
    if (form.packed) {
      if (rank != 3) bad(fmt::format("{}: rank {}; allowed: [H,total,d]", path, rank));
      rows.sizes.insert(rows.sizes.begin(), 1);
    } else if (form.rows_first) {
      if (rank != 4) bad(fmt::format("{}: rank {}; allowed: [B,N,H,d]", path, rank));
      array.values = swap_axes(array.values, array.shape);
      std::swap(rows.sizes[1], rows.sizes[2]);
    } else {
      if (rank != 2 && rank != 4) {
        bad(fmt::format("{}: rank {}; allowed: [N,d] or [B,H,N,d]", path, rank));
      }
      if (rank == 2) rows.sizes.insert(rows.sizes.begin(), 2, 1);
    }
    return rows;
  });
}

Shape shape_of(const Rows& q, const Rows& k, const Rows& v, bool packed) {
  if (q.sizes[3] == 0) bad(fmt::format("{}: d = 0; allowed: 1 or more", q.name));
  if (v.rank == k.rank && v.sizes[3] == 0)
    bad(fmt::format("{}: d = 0; allowed: 1 or more", v.name));
  k.expect_same(q, {0, 3});
  v.expect_same(k, {0, 1, 2});
  Shape shape = make_shape(q.sizes[0], q.sizes[1], q.sizes[2], k.sizes[2], q.sizes[3]);
  shape.Hkv = k.sizes[1];
  if (shape.Hkv == 0 ? shape.H != 0 : shape.H % shape.Hkv != 0) {
    bad(fmt::format("{}: {} heads; allowed: a divisor of {}, the heads of {}", k.name, shape.Hkv,
                    shape.H, q.name));
  }
  if (packed) shape.B = 0;  // read_offsets() knows it
  return shape;
}

/// Integers of one axis, or of these sizes.
std::vector<std::int64_t> read_integers(const char* option, const std::string& path,
                                        std::span<const std::int64_t> sizes,
                                        std::string* type = nullptr) {
  return naming(option, [&] {
    io::NpyArrayOf<std::int64_t> array = io::read_integers(path);
    if (type != nullptr) *type = array.type;
    if (!std::equal(sizes.begin(), sizes.end(), array.shape.begin(), array.shape.end())) {
      bad(fmt::format("{}: shape ({}); allowed: ({})", path, fmt::join(array.shape, ","),
                      fmt::join(sizes, ",")));
    }
    return std::move(array.values);
  });
}

std::int64_t longest_step(const std::vector<std::int64_t>& offsets) {
  std::int64_t longest = 0;
  for (std::size_t b = 1; b < offsets.size(); ++b) {
    longest = std::max(longest, offsets[b] - offsets[b - 1]);
  }
  return longest;
}

/// Offsets of packed sequences: 1-D, from 0 to `total`, not decreasing.
std::vector<std::int64_t> read_offsets(const std::string& path, std::int64_t total,
                                       const std::string& of) {
  return naming("--cu-seqlens", [&] {
    io::NpyArrayOf<std::int64_t> array = io::read_integers(path);
    if (array.shape.size() != 1 || array.values.empty()) {
      bad(fmt::format("{}: shape ({}); allowed: one axis of B + 1 offsets", path,
                      fmt::join(array.shape, ",")));
    }
    if (array.values.front() != 0 || array.values.back() != total) {
      bad(fmt::format("{}: offsets from {} to {}; allowed: from 0 to {}, the rows of {}", path,
                      array.values.front(), array.values.back(), total, of));
    }
    const auto falls = std::is_sorted_until(array.values.begin(), array.values.end());
    if (falls != array.values.end()) {
      bad(fmt::format("{}: {} behind {}; allowed: offsets that do not decrease", path, *falls,
                      *(falls - 1)));
    }
    return std::move(array.values);
  });
}

template <class Real>
void read_packed(const RunArguments& arguments, RunInputs<Real>& in, const Rows& q, const Rows& k) {
  const std::string& text = arguments.cu_seqlens;
  const auto [q_path, k_path] = offset_files(arguments);
  if (q_path.empty() || k_path.empty()) {
    bad(fmt::format("--cu-seqlens {}: allowed: Q.npy or Q.npy,K.npy", text));
  }
  in.extras.q_offsets = read_offsets(q_path, in.shape.Nq, q.name);
  in.extras.k_offsets = read_offsets(k_path, in.shape.Nk, k.name);
  if (in.extras.q_offsets.size() != in.extras.k_offsets.size()) {
    bad(fmt::format("--cu-seqlens {}: {} and {} offsets; allowed: as many for K as for Q", text,
                    in.extras.q_offsets.size(), in.extras.k_offsets.size()));
  }
  in.shape.B = static_cast<std::int64_t>(in.extras.q_offsets.size()) - 1;
  in.shape.Nq = longest_step(in.extras.q_offsets);
  in.shape.Nk = longest_step(in.extras.k_offsets);
}

/// Sizes of an array that is broadcast to [B, H, Nq, Nk] as NumPy does it.
PairShape broadcast(const char* option, const std::string& path,
                    const std::vector<std::int64_t>& sizes, const Shape& shape) {
  const std::int64_t whole[] = {shape.B, shape.H, shape.Nq, shape.Nk};
  std::int64_t result[] = {1, 1, 1, 1};
  bool fits = sizes.size() <= 4;
  for (std::size_t n = 0; fits && n < sizes.size(); ++n) {
    const std::size_t axis = 4 - sizes.size() + n;
    fits = sizes[n] == 1 || sizes[n] == whole[axis];
    result[axis] = sizes[n];
  }
  if (!fits) {
    bad(fmt::format("{} {}: shape ({}); allowed: what broadcasts to ({})", option, path,
                    fmt::join(sizes, ","), fmt::join(whole, ",")));
  }
  return {result[0], result[1], result[2], result[3]};
}

/// One number for every head.
template <class Real>
std::vector<Real> read_of_heads(const char* option, const std::string& path, std::int64_t H) {
  return naming(option, [&] {
    io::NpyArrayOf<Real> array = io::read_floats<Real>(path);
    if (array.shape != std::vector<std::int64_t>{H}) {
      bad(fmt::format("{}: shape ({}); allowed: ({}), the heads of --q", path,
                      fmt::join(array.shape, ","), H));
    }
    return std::move(array.values);
  });
}

template <class Integer>
Integer parse_integer(const char* option, const std::string& text) {
  Integer value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || std::cmp_less(value, 0)) {
    bad(fmt::format("{} {}: allowed: an integer from 0 to {}", option, text,
                    std::numeric_limits<Integer>::max()));
  }
  return value;
}

void refuse_with_packed(const RunArguments& arguments) {
  const std::pair<const char*, const std::string*> options[] = {{"--mask", &arguments.mask},
                                                                {"--bias", &arguments.bias},
                                                                {"--ranges", &arguments.ranges},
                                                                {"--layout", &arguments.layout}};
  for (const auto& [option, value] : options) {
    if (value->empty()) continue;
    bad(fmt::format("{} {}: given with --cu-seqlens; allowed: one of the two", option, *value));
  }
}

template <class Real>
void read_visibility(const RunArguments& arguments, RunInputs<Real>& in) {
  const Shape& shape = in.shape;
  auto& extras = in.extras;
  if (!arguments.sinks.empty()) {
    extras.sink_keys = parse_integer<std::int64_t>("--sinks", arguments.sinks);
  }
  const std::int64_t batches[] = {shape.B};
  if (!arguments.key_begin.empty()) {
    extras.key_begin = read_integers("--key-begin", arguments.key_begin, batches);
  }
  if (!arguments.key_count.empty()) {
    extras.key_count = read_integers("--key-count", arguments.key_count, batches, &in.counts_type);
  }
  if (!arguments.ranges.empty()) {
    extras.ranges = naming("--ranges", [&] {
      io::NpyArrayOf<std::int64_t> array = io::read_integers(arguments.ranges);
      const auto& sizes = array.shape;
      const bool right = sizes.size() == 3 && sizes[0] == shape.B && sizes[1] == shape.Nq &&
                         (sizes[2] == 2 || sizes[2] == 4);
      if (!right) {
        bad(fmt::format("{}: shape ({}); allowed: ({},{},2) or ({},{},4)", arguments.ranges,
                        fmt::join(sizes, ","), shape.B, shape.Nq, shape.B, shape.Nq));
      }
      extras.ranges_per_row = static_cast<int>(sizes[2] / 2);
      return std::move(array.values);
    });
  }
  if (!arguments.mask.empty()) {
    auto array = naming("--mask", [&] { return io::read_booleans(arguments.mask); });
    extras.mask_shape = broadcast("--mask", arguments.mask, array.shape, shape);
    extras.mask = std::move(array.values);
  }
}

template <class Real>
void read_scores(const RunArguments& arguments, RunInputs<Real>& in) {
  auto& extras = in.extras;
  if (!arguments.softcap.empty()) {
    const FloatRange range{.least = 0, .allowed = "0 (none), or a float32 above 0"};
    extras.softcap = static_cast<Real>(parse_float("--softcap", arguments.softcap, range));
  }
  if (!arguments.bias.empty()) {
    auto array = naming("--bias", [&] { return io::read_floats<Real>(arguments.bias); });
    extras.bias_shape = broadcast("--bias", arguments.bias, array.shape, in.shape);
    extras.bias = std::move(array.values);
    in.bias_sizes = std::move(array.shape);
  }
  if (!arguments.alibi.empty()) {
    extras.alibi = read_of_heads<Real>("--alibi", arguments.alibi, in.shape.H);
  }
  if (!arguments.sink_logits.empty()) {
    extras.sink_logits = read_of_heads<Real>("--sink-logits", arguments.sink_logits, in.shape.H);
  }
}

template <class Real>
void read_dropout(const RunArguments& arguments, RunInputs<Real>& in) {
  for (const auto& [option, value] : {std::pair{"--seed", &arguments.seed},
                                      std::pair{"--dropout-mask", &arguments.dropout_mask}}) {
    if (!value->empty() && arguments.dropout.empty()) {
      bad(fmt::format("{} {}: given without --dropout; allowed: both together", option, *value));
    }
  }
  if (arguments.dropout.empty()) return;
  in.extras.dropout =
      parse_float("--dropout", arguments.dropout,
                  {.least = 0, .below = 1, .allowed = "a float32 from 0 to below 1"});
  if (arguments.seed.empty()) {
    bad(fmt::format("--dropout {}: given without --seed; allowed: both together",
                    arguments.dropout));
  }
  in.extras.dropout_seed = parse_integer<std::uint64_t>("--seed", arguments.seed);
}

/// What a cache needs, and what does not go with one.
void check_cache_options(const RunArguments& arguments) {
  using Option = std::pair<const char*, const std::string*>;
  const Option k{"--k", &arguments.k}, v{"--v", &arguments.v};
  const Option cache_k{"--cache-k", &arguments.cache_k}, cache_v{"--cache-v", &arguments.cache_v};
  const auto is_given = [](const Option& option) { return !option.second->empty(); };
  const auto needs = [&](const Option& option, const Option& other) {
    if (!is_given(option) || is_given(other)) return;
    bad(fmt::format("{} {}: given without {}; allowed: both together", option.first, *option.second,
                    other.first));
  };
  const auto refuse = [&](const Option& option, const char* with, const char* allowed) {
    if (!is_given(option)) return;
    bad(fmt::format("{} {}: given with {}; allowed: {}", option.first, *option.second, with,
                    allowed));
  };
  needs(cache_k, cache_v);
  needs(cache_v, cache_k);
  needs({"--block-table", &arguments.block_table}, cache_k);
  if (arguments.append) {
    for (const Option& needed : {cache_k, {"--key-count", &arguments.key_count}}) {
      if (!is_given(needed)) {
        bad(fmt::format("--append: given without {}; allowed: both together", needed.first));
      }
    }
  }
  const bool cached = is_given(cache_k);
  for (const Option& keys : {k, v}) {
    if (cached && !arguments.append) {
      refuse(keys, "--cache-k", "one of the two, or --append, which puts it into the cache");
    } else if (!is_given(keys)) {
      bad(fmt::format(
          "{}: missing; allowed: a file{}", keys.first,
          cached ? " of new keys, with --append" : ", or a cache by --cache-k and --cache-v"));
    }
  }
  if (!cached) return;
  for (const Option& other : {Option{"--layout", &arguments.layout},
                              {"--cu-seqlens", &arguments.cu_seqlens},
                              {"--do", &arguments.grad_o}}) {
    refuse(other, "--cache-k", "one of the two");
  }
}

/// The pools of a paged cache into `k` and `v`, its table into `in`; returns what K and V are as
/// arrays, [B,Hkv,Nk,d].
template <class Real>
std::pair<Rows, Rows> read_pools(const RunArguments& arguments, const Rows& q, const Form& form,
                                 RunInputs<Real>& in, io::NpyArrayOf<Real>& k,
                                 io::NpyArrayOf<Real>& v) {
  Rows k_pool = read_rows("--cache-k", arguments.cache_k, form, k);
  Rows v_pool = read_rows("--cache-v", arguments.cache_v, form, v);
  for (Rows* pool : {&k_pool, &v_pool}) {
    pool->axis_names = {"pages", "H", "page_keys", "d"};
    if (pool->rank != 4) {
      bad(fmt::format("{}: rank {}; allowed: [pages,Hkv,page_keys,d]", pool->name, pool->rank));
    }
  }
  v_pool.expect_same(k_pool, {0, 1, 2});
  auto& extras = in.extras;
  extras.pages = k_pool.sizes[0];
  extras.page_keys = k_pool.sizes[2];
  if (extras.page_keys == 0) {
    bad(fmt::format("{}: pages of 0 keys; allowed: 1 or more", k_pool.name));
  }
  const std::int64_t B = q.sizes[0];
  std::int64_t Nk = 0;
  extras.block_table = naming("--block-table", [&] {
    io::NpyArrayOf<std::int64_t> table = io::read_integers(arguments.block_table);
    const auto& sizes = table.shape;
    if (sizes.size() != 2 || sizes[0] != B ||
        __builtin_mul_overflow(sizes[1], extras.page_keys, &Nk)) {
      bad(fmt::format("{}: shape ({}); allowed: ({},n), n pages of a sequence",
                      arguments.block_table, fmt::join(sizes, ","), B));
    }
    return std::move(table.values);
  });
  for (Rows* pool : {&k_pool, &v_pool}) {
    pool->sizes = {B, pool->sizes[1], Nk, pool->sizes[3]};
  }
  return {k_pool, v_pool};
}

/// --k and --v as what is appended to the cache.
template <class Real>
void read_new_keys(const RunArguments& arguments, const Rows& q, const Rows& cache,
                   const Form& form, RunInputs<Real>& in) {
  if (in.extras.d_v != 0) {
    bad(fmt::format("--cache-v {}: d = {}; allowed: {}, with --append", arguments.cache_v,
                    in.extras.d_v, in.shape.d));
  }
  io::NpyArrayOf<Real> k, v;
  const Rows k_rows = read_rows("--k", arguments.k, form, k);
  const Rows v_rows = read_rows("--v", arguments.v, form, v);
  k_rows.expect_same(q, {0, 3});
  Rows heads = cache;
  heads.rank = q.rank;
  k_rows.expect_same(heads, {1});
  v_rows.expect_same(k_rows, {0, 1, 2, 3});
  in.N_new = k_rows.sizes[2];
  in.new_k = std::move(k.values);
  in.new_v = std::move(v.values);
}

}  // namespace

template <class Real>
void gather_pages(RunInputs<Real>& in) {
  const std::int64_t d = in.shape.d, d_v = value_width(in.shape, in.extras.on_host());
  const auto size = [](std::int64_t elements) { return static_cast<std::size_t>(elements); };
  in.k.assign(size(in.shape.kv_elements()), Real{0});
  in.v.assign(size(in.shape.kv_elements() / d * d_v), Real{0});
  for_each_paged_row(in.shape, in.extras, [&](std::int64_t row, std::int64_t place) {
    std::copy_n(in.k_pool.begin() + place * d, d, in.k.begin() + row * d);
    std::copy_n(in.v_pool.begin() + place * d_v, d_v, in.v.begin() + row * d_v);
  });
}
template void gather_pages(RunInputs<float>&);
template void gather_pages(RunInputs<double>&);

template <class Real>
RunInputs<Real> read_inputs(const RunArguments& arguments, std::optional<Element> element) {
  if (!arguments.layout.empty() && arguments.layout != "BHNd" && arguments.layout != "BNHd") {
    bad(fmt::format("--layout {}: allowed: BHNd, BNHd", arguments.layout));
  }
  RunInputs<Real> in;
  in.rows_first = arguments.layout == "BNHd";
  const bool packed = !arguments.cu_seqlens.empty();
  if (packed) refuse_with_packed(arguments);
  const Form form{packed, in.rows_first, element.has_value()};
  io::NpyArrayOf<Real> q, k, v, grad_o;
  check_cache_options(arguments);
  const bool paged = !arguments.block_table.empty(), cached = !arguments.cache_k.empty();
  const Rows q_rows = read_rows("--q", arguments.q, form, q);
  Rows k_rows, v_rows;
  if (paged) {
    std::tie(k_rows, v_rows) = read_pools(arguments, q_rows, form, in, k, v);
  } else {
    k_rows = cached ? read_rows("--cache-k", arguments.cache_k, form, k)
                    : read_rows("--k", arguments.k, form, k);
    v_rows = cached ? read_rows("--cache-v", arguments.cache_v, form, v)
                    : read_rows("--v", arguments.v, form, v);
  }
  in.shape = shape_of(q_rows, k_rows, v_rows, packed);
  const std::int64_t d_v = v_rows.sizes[3];
  if (d_v != in.shape.d) in.extras.d_v = d_v;
  if (packed) read_packed(arguments, in, q_rows, k_rows);
  in.q_sizes = q.shape;
  in.k_sizes = k.shape;
  in.v_sizes = v.shape;
  in.o_sizes = q.shape;
  in.o_sizes.back() = d_v;
  in.lse_sizes = q.shape;
  in.lse_sizes.pop_back();
  if (in.rows_first) std::swap(in.lse_sizes[1], in.lse_sizes[2]);  // LSE is [B,H,Nq] always
  if (arguments.backward()) {
    const Rows rows = read_rows("--do", arguments.grad_o, form, grad_o);
    Rows like = q_rows;
    like.sizes[3] = d_v;
    if (d_v != in.shape.d) like.name = "O, with the rows of --q and the d of --v";
    rows.expect_same(like, {0, 1, 2, 3});
  }
  in.doubles = q.type == "<f8";
  in.q = std::move(q.values);
  in.k = std::move(k.values);
  in.v = std::move(v.values);
  in.grad_o = std::move(grad_o.values);
  if (arguments.append) {
    for (const auto& [rows, array] : {std::pair(&k_rows, &k), {&v_rows, &v}}) {
      if (array->type == "<f4") continue;
      bad(fmt::format("{}: type {}; allowed: <f4 (float32), with --append", rows->name,
                      array->type));
    }
    read_new_keys(arguments, q_rows, k_rows, form, in);
  }
  read_visibility(arguments, in);
  if (paged) {
    in.k_pool = std::move(in.k);
    in.v_pool = std::move(in.v);
    gather_pages(in);
  }
  read_scores(arguments, in);
  read_dropout(arguments, in);
  if (!arguments.grad_lse.empty()) {
    in.extras.grad_lse = naming("--dlse", [&] {
      io::NpyArrayOf<Real> array = io::read_floats<Real>(arguments.grad_lse);
      if (array.shape != in.lse_sizes) {
        bad(fmt::format("{}: shape ({}); allowed: ({}), as LSE", arguments.grad_lse,
                        fmt::join(array.shape, ","), fmt::join(in.lse_sizes, ",")));
      }
      return std::move(array.values);
    });
  }
  return in;
}
template RunInputs<float> read_inputs(const RunArguments&, std::optional<Element>);
template RunInputs<double> read_inputs(const RunArguments&, std::optional<Element>);

std::pair<std::string, std::string> offset_files(const RunArguments& arguments) {
  const std::string& text = arguments.cu_seqlens;
  const std::size_t comma = text.find(',');
  const std::string q_path = text.substr(0, comma);
  return {q_path, comma == std::string::npos ? q_path : text.substr(comma + 1)};
}

std::vector<Source> sources_of(const RunArguments& arguments) {
  return {{"Hkv", "--k " + arguments.k, true},
          {"d = ", "--q " + arguments.q, true},
          {"d_v", "--v " + arguments.v, true},
          {"key_begin", "--key-begin " + arguments.key_begin},
          {"key_count", "--key-count " + arguments.key_count},
          {"block_table", "--block-table " + arguments.block_table},
          {"page_keys", "--block-table " + arguments.block_table},
          {"ranges", "--ranges " + arguments.ranges},
          {"mask = window", "--window " + arguments.problem.window},
          {"mask: an array", "--mask " + arguments.mask},
          {"bias", "--bias " + arguments.bias},
          {"alibi", "--alibi " + arguments.alibi},
          {"softcap", "--softcap " + arguments.softcap},
          {"sink_keys", "--sinks " + arguments.sinks},
          {"sink_logits", "--sink-logits " + arguments.sink_logits},
          {"dropout", "--dropout " + arguments.dropout},
          {"grad_lse", "--dlse " + arguments.grad_lse},
          {"q_offsets", "--cu-seqlens " + arguments.cu_seqlens},
          {"strides", "--layout " + arguments.layout},
          {"append", "--append"},
          {"element", dtype_text(arguments.problem)}};
}

}  // namespace attn::cli
