// SPDX-License-Identifier: MIT
//
// What an attention problem may have beyond Q, K, V, a mask and a scale. Every default means: not
// there. A chapter says in `Support::features` which of these its kernels take; attn::validate()
// refuses the others by name. notes/semantics.md, "Beyond one diagonal", says what each means.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>

#include "common/host_device.hpp"

namespace attn {

enum class Feature {
  kGroupedHeads,  ///< Hkv < H: groups of query heads share a head of K and V (GQA, MQA)
  kValueWidth,    ///< rows of V and O of another length than those of Q and K
  kStrides,       ///< arrays in another order than [B, H, N, d]
  kPacked,        ///< sequences of different lengths, one behind the other
  kWindows,       ///< a mask with a lower bound
  kSinkKeys,      ///< the first keys stay visible, whatever the mask's lower bound
  kKeyCounts,     ///< padding: only some of the keys of a batch are valid
  kRanges,        ///< one or two ranges of keys for every row
  kMaskArray,     ///< a Boolean for every pair
  kBias,          ///< a number added to every logit
  kAlibi,         ///< a bias computed from the distance of row and key
  kSoftcap,       ///< logits squeezed into (-c, c)
  kSinkLogits,    ///< one more logit per head in the denominator
  kDropout,       ///< weights set to zero at random
  kGradLse,       ///< a gradient that arrives at LSE
  kPages,         ///< K and V in pages, which a table finds
};
inline constexpr int kFeatures = static_cast<int>(Feature::kPages) + 1;

/// "windows", "a bias", ...: what fits behind "this chapter does not take".
std::string_view to_string(Feature feature);

/// A set of features.
class Features {
 public:
  constexpr Features() = default;
  constexpr Features(std::initializer_list<Feature> list) {
    for (const Feature feature : list) bits_ |= bit(feature);
  }
  static constexpr Features all() {
    Features features;
    features.bits_ = (1u << kFeatures) - 1;
    return features;
  }
  /// All but pages, which exclude several others: what one kernel on arrays can take together.
  static constexpr Features of_arrays() {
    Features features = all();
    features.remove(Feature::kPages);
    return features;
  }

  constexpr bool has(Feature feature) const { return (bits_ & bit(feature)) != 0; }
  constexpr void add(Feature feature) { bits_ |= bit(feature); }
  constexpr void remove(Feature feature) { bits_ &= ~bit(feature); }
  constexpr void remove(const Features& others) { bits_ &= ~others.bits_; }
  constexpr bool empty() const { return bits_ == 0; }
  bool operator==(const Features&) const = default;

 private:
  static constexpr unsigned bit(Feature feature) { return 1u << static_cast<int>(feature); }
  unsigned bits_ = 0;
};

/// Distances in elements from one batch, head or row of an array to the next; the elements of a
/// row lie side by side. All zero stands for [B, H, N, d] without gaps. Gaps may hold other arrays,
/// outputs too: dQ, dK and dV in one [B, N, 3, H, d] have strides 3 N H d, d, 3 H d.
struct Strides {
  std::int64_t batch = 0, head = 0, row = 0;

  bool operator==(const Strides&) const = default;
};

/// Sizes of an array that is broadcast to [B, H, Nq, Nk], as NumPy does it: each is that of the
/// problem, or 1.
struct PairShape {
  std::int64_t B = 1, H = 1, Nq = 1, Nk = 1;

  constexpr std::int64_t elements() const { return B * H * Nq * Nk; }
  /// Where the element for batch b, head h, row i and key j lies.
  ATTN_HOST_DEVICE constexpr std::int64_t index(std::int64_t b, std::int64_t h, std::int64_t i,
                                                std::int64_t j) const {
    const std::int64_t row = ((B == 1 ? 0 : b) * H + (H == 1 ? 0 : h)) * Nq + (Nq == 1 ? 0 : i);
    return row * Nk + (Nk == 1 ? 0 : j);
  }
  bool operator==(const PairShape&) const = default;
};

/// A few integers that are checked on the host before a launch and read by kernels: both copies.
/// `device` points to where the chapter computes, and may be null where `host` is empty.
struct Integers {
  std::span<const std::int64_t> host = {};
  const std::int64_t* device = nullptr;
};

struct Extras {
  // Where the elements lie.
  std::int64_t d_v = 0;                    ///< elements of a row of V and O; 0: d, as in Q and K
  Strides q = {}, k = {}, v = {}, o = {};  ///< dQ, dK, dV and dO lie as Q, K, V and O do
  /// [B + 1] each, both or none: sequence b has the rows q_offsets[b] .. q_offsets[b + 1] - 1 of
  /// Q [H, total, d] and the keys k_offsets[b] .. of K and V [Hkv, total, d]; LSE is [H, total].
  /// Shape::Nq and Nk are then the longest sequences.
  Integers q_offsets = {}, k_offsets = {};
  /// Of a forward pass only. Not 0: K and V are pools of pages with so many keys each, K [pages,
  /// Hkv, page_keys, d], V [.., d_v], and Nk is how many keys a sequence may have. Key j of
  /// sequence b is row j % page_keys of page block_table[b, j / page_keys]. Sequences may share
  /// pages. Only valid keys are read, of the pools and of the table: what stands elsewhere may be
  /// anything, a table's entry too.
  std::int64_t page_keys = 0;
  std::int64_t pages = 0;     ///< of a pool
  Integers block_table = {};  ///< [B, pages_of(Nk)]

  // Which keys a row sees: those that all of these allow. Beside a valid part of the keys, mask,
  // sink keys and ALiBi count keys from its first one, and Nk stands for its length.
  Integers key_begin = {};     ///< [B] first valid key; none: 0
  Integers key_count = {};     ///< [B] number of valid keys; none: all from key_begin on
  std::int64_t sink_keys = 0;  ///< the first keys, which a window's lower bound does not hide
  int ranges_per_row = 0;      ///< 0, 1 or 2
  Integers ranges = {};        ///< [B, Nq, 2 ranges_per_row] begin, end of each; may overlap
  const std::uint8_t* mask = nullptr;  ///< mask_shape; not 0: the row sees the key
  PairShape mask_shape = {};

  // What is done to a logit, in this order.
  float softcap = 0;            ///< c > 0: s becomes c tanh(s / c); 0: nothing
  const float* bias = nullptr;  ///< bias_shape; added; -inf hides the key
  PairShape bias_shape = {};
  const float* alibi = nullptr;  ///< [H] slopes m: -m |own key of the row - key| is added

  // What is done to the weights.
  const float* sink_logits = nullptr;  ///< [H] exp of it joins the denominator of every row
  float dropout = 0;  ///< probability that a weight becomes 0; the others grow by 1 / (1 - dropout)
  std::uint64_t dropout_seed = 0;

  // Of the backward pass only.
  const float* grad_lse = nullptr;    ///< [B, H, Nq] dLSE; null: zeros
  float* grad_bias = nullptr;         ///< bias_shape, overwritten; null: not wanted
  float* grad_sink_logits = nullptr;  ///< [H], overwritten; null: not wanted

  bool packed() const { return !q_offsets.host.empty() || !k_offsets.host.empty(); }
  bool paged() const { return page_keys > 0; }
  /// Pages that hold `keys` keys, of a paged cache.
  std::int64_t pages_of(std::int64_t keys) const {
    return keys / page_keys + (keys % page_keys == 0 ? 0 : 1);
  }
};

}  // namespace attn
