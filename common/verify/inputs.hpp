// SPDX-License-Identifier: MIT
//
// The input distributions of the battery. Each has a bug that it is there to catch.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "common/verify/check.hpp"

namespace attn::verify {

enum class InputKind {
  kNormal,          // the ordinary case
  kIntegers,        // small integers: exact logits where the scale is a power of two
  kLarge,           // standard deviation 10: peaked softmax, exp underflows
  kConstantV,       // every row of V is the same: O is that row, whatever P; a wrong sum shows
  kEqualRows,       // all rows of Q equal, all rows of K equal: P is uniform
  kRising,          // logits grow from key to key: an online softmax rescales at every tile
  kFalling,         // logits fall: it never rescales
  kVeryNegative,    // all logits <= -1e5: a maximum that starts at 0 or -1e4 gives 0/0
  kPeakFirst,       // one logit of +200, the others small: at the first key,
  kPeakLast,        // at the last key,
  kPeakAtEdge,      // at the first key of a tile, or the last one of the tile before
  kSaw,             // logits +1e4 and -1e4 in turn: exp overflows without the maximum
  kHuge,            // logits of 2^23 and a few units more, or of +-2^100: a large number that is
                    // rounded before the maximum is subtracted has lost the few units
  kOrthogonal,      // Q and K orthogonal: all logits 0, P uniform over the visible keys
  kHiddenPoison,    // NaN and Inf in the keys that no row sees: no influence
  kNanInSharedK,    // NaN in one key of K that some rows see: reaches exactly those rows
  kNanInSharedV,    // the same in V
  kMinusInfLogits,  // every logit -Inf: such a row is NaN, not empty
  kInfInSharedK,    // +Inf: a logit of +Inf or -Inf
  kInfInSharedV,    // +Inf in one column of V
  kNanInQuery,      // NaN in one row of Q: reaches that row only
  kNanInGradO,      // NaN in one row of dO: reaches the keys that the row sees only
};

inline constexpr std::array kAllInputKinds{
    InputKind::kNormal,       InputKind::kIntegers,     InputKind::kLarge,
    InputKind::kConstantV,    InputKind::kEqualRows,    InputKind::kRising,
    InputKind::kFalling,      InputKind::kVeryNegative, InputKind::kPeakFirst,
    InputKind::kPeakLast,     InputKind::kPeakAtEdge,   InputKind::kSaw,
    InputKind::kHuge,         InputKind::kOrthogonal,   InputKind::kHiddenPoison,
    InputKind::kNanInSharedK, InputKind::kNanInSharedV, InputKind::kMinusInfLogits,
    InputKind::kInfInSharedK, InputKind::kInfInSharedV, InputKind::kNanInQuery,
    InputKind::kNanInGradO};

/// The scale that the kinds with prescribed logits are made for. A power of two,
/// so that logits are exact, and not 1, so that a forgotten scale shows.
inline constexpr float kPrescribedScale = 0.5f;

std::string_view to_string(InputKind kind);

/// True for the kinds whose logits are prescribed: they need scale = kPrescribedScale.
bool has_prescribed_logits(InputKind kind);

/// True for the kinds with an infinity in an input that is used: in float32 its weight may
/// underflow to 0 where float64 keeps it, and 0 * Inf is a NaN, so backward passes leave them out.
bool has_visible_infinity(InputKind kind);

/// What a bias is made of.
enum class BiasKind {
  kNormal,  // random numbers, one in ten -Inf
  kFinite,  // random numbers, none of them -Inf
  kHoles,   // multiples of 1/2, and -Inf for every third key, every fifth row, and in every second
            // row for all keys before the tile's edge
  kLowest,  // multiples of 1/2, and the lowest finite float for every third key and every fifth
            // row, with -Inf in turn in the row behind it, and the largest float in the next one
};

/// What is made up for the features of scores.
struct ScoreValues {
  BiasKind bias = BiasKind::kNormal;
  std::optional<PairShape> bias_shape = {};  // none: one of those that people use
  float softcap = 1.5f;
  float alibi = 0.5f;              // slope of the first head; each of the next has half as much
  std::optional<float> sink = {};  // logit of heads 0, 2, ...; the others have the negative; none:
                                   // random ones
  float dropout = 0.3f;
};

/// What determines a problem, apart from the random numbers.
struct InputSpec {
  Shape shape;
  Mask mask = Mask::kFull;
  float scale = 0.0f;
  InputKind kind = InputKind::kNormal;
  int tile_edge = 16;      // where kPeakAtEdge puts its peak
  std::uint64_t seed = 0;  // the same seed gives the same numbers on every machine
  Element element = Element::kFloat32;
  std::int64_t d_v = 0;    // elements of a row of V and O; 0: d
  int gap = 0;             // between rows, for kStrides; Problem::gap
  Features features = {};  // extras to make up; those that sizes and mask have are not of interest
  // In place of what would be made up for kSinkKeys and for kKeyCounts; with a value for one of
  // the two arrays only, the other one is not there.
  std::optional<std::int64_t> sink_keys = {};
  std::vector<std::int64_t> key_begin = {}, key_count = {};  // [B]
  // Likewise for kPacked, for kRanges, and for kMaskArray.
  std::vector<std::int64_t> q_offsets = {}, k_offsets = {};  // [B + 1]
  std::vector<std::int64_t> ranges = {};                     // [B, Nq, 2 ranges_per_row]
  int ranges_per_row = 0;
  std::string_view ranges_name = {};          // in a word
  std::vector<std::uint8_t> mask_array = {};  // mask_shape
  PairShape mask_shape = {};
  std::string_view mask_name = {};  // in a word; empty: the array is made up
  // For kPages: keys of a page, 0: 16; and keys with which all sequences begin: pages that are full
  // of them are one page for all.
  std::int64_t page_keys = 0, shared_keys = 0;
  ScoreValues scores = {};
};

/// Makes the inputs, rounded to the element; grad_o (standard normal) for a backward pass only.
Problem make_problem(const InputSpec& spec, Pass pass);

}  // namespace attn::verify
