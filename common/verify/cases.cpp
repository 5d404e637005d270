// SPDX-License-Identifier: MIT
#include "common/verify/cases.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

namespace attn::verify {
namespace {

constexpr Mask kMasks[] = {Mask::kFull, Mask::kCausal, Mask::kCausalTopLeft};
constexpr std::int64_t kHeadDimensions[] = {16, 1, 64, 8, 40, 32, 80, 128};
constexpr std::pair<std::int64_t, std::int64_t> kBatchAndHeads[] = {{1, 1}, {1, 3}, {1, 1},
                                                                    {3, 1}, {1, 1}, {3, 3}};
constexpr std::pair<std::int64_t, std::int64_t> kAwkwardPairs[] = {
    {113, 203}, {203, 113}, {37, 50}, {53, 42}, {1, 239}, {127, 513}};

/// Multiply-adds of Q K^T that one case of the covering array may cost; the CPU machine with its
/// detectors on does a few million of them per second.
constexpr std::int64_t kWork = 160'000;
/// More heads than the second or third dimension of a grid can count (65,535).
constexpr std::int64_t kManyHeads = 70'000;
/// With no edge of its own a chapter still gets sizes in the usual places.
constexpr int kDefaultEdge = 16;

std::int64_t work(const Shape& s) { return s.heads() * s.Nq * s.Nk * s.d; }

std::vector<std::int64_t> sizes_around(std::span<const int> tile_edges) {
  std::set<std::int64_t> sizes{0, 1, 2, 17};
  for (const std::int64_t T : tile_edges) {
    sizes.insert({T - 1, T, T + 1, 2 * T + 1, 3 * T + 5});
  }
  return {sizes.begin(), sizes.end()};
}

std::vector<std::int64_t> head_dimensions(const Support& support) {
  std::vector<std::int64_t> result;
  for (const std::int64_t d : kHeadDimensions) {
    if (d <= support.max_d) result.push_back(d);
  }
  return result;
}

std::vector<int> edges_or_default(std::span<const int> tile_edges) {
  if (tile_edges.empty()) return {kDefaultEdge};
  return {tile_edges.begin(), tile_edges.end()};
}

/// Cycles through inputs, scales, offsets and repeats with periods that share no factor.
class Builder {
 public:
  Builder(const Support& support, std::span<const int> tile_edges, Pass pass, std::uint64_t seed)
      : support_(support), edges_(edges_or_default(tile_edges)), seed_(seed) {
    for (const InputKind kind : kAllInputKinds) {
      if (kind == InputKind::kHuge) continue;  // has cases of its own, at the table's end
      if (pass == Pass::kForward || !has_visible_infinity(kind)) kinds_.push_back(kind);
    }
  }

  const std::vector<int>& edges() const { return edges_; }
  const std::vector<InputKind>& kinds() const { return kinds_; }
  InputKind next_kind() { return kinds_[kind_++ % kinds_.size()]; }

  /// `scale_turn`: 0 default, 1 negative, 2 zero; ignored where the inputs prescribe their scale.
  void add(const Shape& shape, Mask mask, InputKind kind, std::size_t scale_turn) {
    const std::uint64_t number = cases_.size();
    const float standard = default_scale(shape.d);
    float scale = scale_turn == 0 ? standard : scale_turn == 1 ? -standard : 0.0f;
    if (has_prescribed_logits(kind)) scale = kPrescribedScale;
    cases_.push_back({.spec = {.shape = shape,
                               .mask = mask,
                               .scale = scale,
                               .kind = kind,
                               .tile_edge = edges_[number % edges_.size()],
                               .seed = seed_ + number},
                      .offset = number % 5 == 4 ? 1 : 0,
                      .repeat = number % 8 == 3,
                      .watched = shape.heads() < kManyHeads});
  }

  /// Default scale mostly, negative often, zero now and then.
  void add(const Shape& shape, Mask mask, InputKind kind) {
    static constexpr std::size_t kTurns[] = {0, 0, 1, 0, 1, 0, 2};
    add(shape, mask, kind, kTurns[scale_++ % std::size(kTurns)]);
  }

  /// Grouped heads where the chapter takes them: pairs of query heads share keys.
  void add_grouped() {
    if (!support_.features.has(Feature::kGroupedHeads)) return;
    for (const Mask mask : kMasks) {
      add({.B = 2, .H = 4, .Hkv = 2, .Nq = 19, .Nk = 35, .d = 16}, mask, InputKind::kNormal);
    }
  }

  /// The plainest inputs first, and among them the smallest problem.
  std::vector<Case> take() {
    const auto order = [](const Case& one) {
      return std::pair(one.spec.kind, work(one.spec.shape));
    };
    std::stable_sort(cases_.begin(), cases_.end(),
                     [&](const Case& a, const Case& b) { return order(a) < order(b); });
    return std::move(cases_);
  }

 private:
  Support support_;
  std::vector<int> edges_;
  std::uint64_t seed_;
  std::vector<InputKind> kinds_;
  std::vector<Case> cases_;
  std::size_t kind_ = 0;
  std::size_t scale_ = 0;
};

/// All masks, or in a thin table the one whose turn it is.
std::span<const Mask> masks_of(std::size_t turn, bool thin) {
  const std::span<const Mask> all(kMasks);
  return thin ? all.subspan(turn % all.size(), 1) : all;
}

/// Every (Nq, Nk) once per mask, or once with the masks taken in turn; d, B and H cycle, as large
/// as kWork allows.
void add_covering_array(Builder& builder, const std::vector<std::int64_t>& sizes,
                        const std::vector<std::int64_t>& dims, bool thin) {
  std::size_t turn = 0, pair = 0;
  const auto add = [&](std::int64_t Nq, std::int64_t Nk) {
    for (const Mask mask : masks_of(pair++, thin)) {
      const auto [B, H] = kBatchAndHeads[turn % std::size(kBatchAndHeads)];
      Shape shape = make_shape(B, H, Nq, Nk, dims[turn % dims.size()]);
      if (work(shape) > kWork) shape = make_shape(1, 1, Nq, Nk, shape.d);
      if (work(shape) > kWork) shape.d = std::min<std::int64_t>(shape.d, 16);
      if (work(shape) > kWork) shape.d = Nq * Nk > kWork ? 1 : 8;
      builder.add(shape, mask, builder.next_kind());
      ++turn;
    }
    ++turn;  // so that a mask does not always meet the same d
  };
  for (const std::int64_t Nq : sizes) {
    for (const std::int64_t Nk : sizes) add(Nq, Nk);
  }
  for (const auto& [Nq, Nk] : kAwkwardPairs) add(Nq, Nk);
}

/// The largest d with masks that cut tiles where no row or column of threads ends. The covering
/// array keeps d small wherever there are many pairs.
void add_large_d(Builder& builder, const std::vector<std::int64_t>& dims) {
  for (const std::int64_t d : dims) {
    if (d <= 64) continue;
    for (const Mask mask : kMasks) {
      builder.add(make_shape(1, 1, 21, 38, d), mask, InputKind::kNormal, 0);
    }
  }
}

/// Rows of many tiles, of which the covering array has few.
void add_long_rows(Builder& builder) {
  for (const Mask mask : kMasks) {
    builder.add(make_shape(1, 1, 5, 1100, 8), mask, InputKind::kNormal, 0);
  }
}

void add_full_product(Builder& builder, const std::vector<std::int64_t>& sizes,
                      const std::vector<std::int64_t>& dims) {
  const auto add = [&](std::int64_t Nq, std::int64_t Nk) {
    for (const Mask mask : kMasks) {
      for (const std::int64_t d : dims) {
        for (const std::int64_t B : {1, 3}) {
          for (const std::int64_t H : {1, 3}) {
            for (const std::size_t scale : {0u, 1u, 2u}) {
              builder.add(make_shape(B, H, Nq, Nk, d), mask, builder.next_kind(), scale);
            }
          }
        }
      }
    }
  };
  for (const std::int64_t Nq : sizes) {
    for (const std::int64_t Nk : sizes) add(Nq, Nk);
  }
  for (const auto& [Nq, Nk] : kAwkwardPairs) add(Nq, Nk);
}

/// Small enough to follow by hand: what a wrong kernel fails first.
void add_starters(Builder& builder) {
  for (const Mask mask : kMasks) {
    builder.add(make_shape(1, 1, 2, 3, 4), mask, InputKind::kNormal, 0);
  }
}

/// These input distributions with every mask, with more keys than queries, fewer and as many (in a
/// thin table each of these with another mask), at a d whose default scale is a power of two.
void add_distributions(Builder& builder, std::span<const InputKind> kinds, bool thin) {
  const std::int64_t T = builder.edges().back();
  const Shape shapes[] = {make_shape(1, 1, 7, T + 3, 16), make_shape(1, 1, T + 2, 5, 16),
                          make_shape(1, 2, 12, 12, 64)};
  std::size_t turn = 0;
  for (const InputKind kind : kinds) {
    for (const Shape& shape : shapes) {
      for (const Mask mask : masks_of(turn++, thin)) builder.add(shape, mask, kind, 0);
    }
    ++turn;  // so that a shape does not always meet the same mask
  }
}

/// No batch, no heads, and more heads than the second and third grid dimension can count.
void add_extremes(Builder& builder) {
  builder.add(make_shape(0, 2, 5, 5, 8), Mask::kFull, InputKind::kNormal, 0);
  builder.add(make_shape(2, 0, 5, 5, 8), Mask::kFull, InputKind::kNormal, 0);
  builder.add(make_shape(kManyHeads, 1, 1, 1, 1), Mask::kFull, InputKind::kNormal, 0);
}

}  // namespace

std::string to_string(const Case& one) {
  const InputSpec& spec = one.spec;
  return fmt::format("{}, {}, scale={:.4g}, {} inputs, seed={}{}", to_string(spec.shape),
                     to_string(spec.mask), spec.scale, to_string(spec.kind), spec.seed,
                     one.offset == 0 ? "" : ", unaligned");
}

std::vector<Case> case_table(const Support& support, std::span<const int> tile_edges, Pass pass,
                             Extent extent, std::uint64_t seed) {
  Builder builder(support, tile_edges, pass, seed);
  const std::vector<std::int64_t> sizes = sizes_around(builder.edges());
  const std::vector<std::int64_t> dims = head_dimensions(support);
  add_starters(builder);
  const bool thin = extent == Extent::kThin;
  add_distributions(builder, builder.kinds(), thin);
  builder.add_grouped();
  add_extremes(builder);
  if (extent == Extent::kFull) {
    add_full_product(builder, sizes, dims);
  } else {
    add_covering_array(builder, sizes, dims, thin);
    add_large_d(builder, dims);
    add_long_rows(builder);
  }
  add_distributions(builder, std::array{InputKind::kHuge}, thin);
  return builder.take();
}

}  // namespace attn::verify
