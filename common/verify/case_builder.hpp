// SPDX-License-Identifier: MIT
//
// How the parts of the battery's table (cases.hpp) put their cases in.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "common/verify/cases.hpp"

namespace attn::verify {

/// Multiply-adds of Q K^T.
std::int64_t work(const Shape& shape);

/// More heads than the second or third dimension of a grid can count (65,535).
inline constexpr std::int64_t kManyHeads = 70'000;

/// Keys that are visible beside what a mask says, in place of random ones.
struct VisibleKeys {
  std::optional<std::int64_t> sink_keys = {};
  std::vector<std::int64_t> begin = {}, count = {};          // of each batch
  std::vector<std::int64_t> q_offsets = {}, k_offsets = {};  // of packed sequences
  std::vector<std::int64_t> ranges = {};
  int ranges_per_row = 0;
  std::string_view ranges_name = {};
  std::vector<std::uint8_t> mask = {};
  PairShape mask_shape = {};
  std::string_view mask_name = {};
  std::int64_t page_keys = 0, shared_keys = 0;  // 0: of those that people use; none
};

/// Cycles through inputs, scales, offsets and repeats with periods that share no factor.
class CaseBuilder {
 public:
  CaseBuilder(const Support& support, std::span<const Element> elements,
              std::span<const int> tile_edges, Pass pass, std::uint64_t seed,
              const std::optional<Mask>& only_mask);

  const std::vector<int>& edges() const { return edges_; }
  const Support& support() const { return support_; }
  /// Those that the chapter takes.
  std::span<const Mask> masks() const { return masks_; }
  /// Three of them in turn, or in a thin table the one whose turn it is.
  std::span<const Mask> masks(std::size_t turn, bool thin) const;
  const std::vector<InputKind>& kinds() const { return kinds_; }
  InputKind next_kind() { return kinds_[kind_++ % kinds_.size()]; }

  /// `scale_turn`: 0 default, 1 negative, 2 zero; ignored where the inputs prescribe their scale.
  void add(Shape shape, const Mask& mask, InputKind kind, std::size_t scale_turn,
           const Features& features = {}, const VisibleKeys& keys = {},
           const ScoreValues& scores = {});
  /// Default scale mostly, negative often, zero now and then.
  void add(const Shape& shape, const Mask& mask, InputKind kind);

  /// Gives the case that was added last another width of V's rows, if d_v is not 0, and gaps where
  /// rows may begin anywhere.
  void lay_out_last(std::int64_t d_v, int gap);

  /// The plainest inputs first, and among them the smallest problem.
  std::vector<Case> take();

 private:
  /// A width of V's rows that is not d, if the chapter takes another one.
  std::int64_t other_width(Element element, std::int64_t d) const;
  /// The least misalignment that the chapter must bear, in elements.
  int offset(Element element) const;

  Support support_;
  std::vector<Element> elements_;
  std::vector<int> edges_;
  std::uint64_t seed_;
  std::vector<Mask> masks_;
  std::vector<InputKind> kinds_;
  std::vector<std::string_view> arrays_;  // whose rows a kernel may want to move 16 bytes at a time
  std::vector<Case> cases_;
  std::size_t kind_ = 0;
  std::size_t scale_ = 0;
};

}  // namespace attn::verify
