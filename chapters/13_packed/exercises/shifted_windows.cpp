// SPDX-License-Identifier: MIT
//
// Exercise: attention in the shifted windows of Swin, by the kernel of step 3 as it is. See
// "Exercises" in the lesson. The kernel knows sequences, not images; what is yours is the order of
// the tokens, and where the sequences begin. As it stands windows are not shifted:
//   cmake --build build --target ch13_exercise && ./build/ch13_exercise
#include "chapters/13_packed/exercises/shifted_windows.hpp"

namespace attn::packed {

/// Token y * width + x of an image stands in row y, column x. The image is rolled by `shift`: token
/// (y, x) comes to row y - shift, column x - shift, and what leaves at one edge comes in at the
/// opposite one. Then it is cut into windows. Two tokens see each other if they are in the same
/// window and were rolled across the same edges on the way there, or both across none.
io::Segments shifted_windows(const io::ImageWindows& image) {
  // Yours. So far a shift is ignored.
  io::Segments segments{.order = {}, .offsets = {0}};
  for (std::int64_t y0 = 0; y0 < image.height; y0 += image.window) {
    for (std::int64_t x0 = 0; x0 < image.width; x0 += image.window) {
      for (std::int64_t y = y0; y < y0 + image.window; ++y) {
        for (std::int64_t x = x0; x < x0 + image.window; ++x) {
          segments.order.push_back(y * image.width + x);
        }
      }
      segments.offsets.push_back(static_cast<std::int64_t>(segments.order.size()));
    }
  }
  return segments;
}

}  // namespace attn::packed
