// SPDX-License-Identifier: MIT
#pragma once

#include "common/io/image_windows.hpp"

namespace attn::packed {

/// The tokens of the image, those of a segment side by side, and where segments begin; `window`
/// divides height and width. Written by the reader.
io::Segments shifted_windows(const io::ImageWindows& image);

}  // namespace attn::packed
