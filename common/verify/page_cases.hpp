// SPDX-License-Identifier: MIT
#pragma once

#include <optional>

#include "common/verify/case_builder.hpp"

namespace attn::verify {

/// The part of the case table that is about a paged cache, where the chapter takes one: pages of 16
/// to 256 keys and of 17, in no order; sequences that end within a page, at its end, a key behind
/// it, that begin within one, that have no key; prefixes that sequences share. What is no valid
/// key's is NaN, and entries of pages without a valid key name none. A thin table has a third.
void add_pages(CaseBuilder& builder, const std::optional<Mask>& only_mask, bool thin);

}  // namespace attn::verify
