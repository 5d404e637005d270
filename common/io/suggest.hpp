// SPDX-License-Identifier: MIT
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace attn::io {

/// "; did you mean 03_tiled?" for "03_tield": the names, three at most, that `given` is a part of
/// or a slip of the pen away from. Beginnings up to an underscore may be left out, as in "tield".
/// Empty if there are none.
std::string did_you_mean(std::string_view given, std::span<const std::string_view> names);

}  // namespace attn::io
