// SPDX-License-Identifier: MIT
//
// A picture as SVG text, 960 units wide, legible on a white page and on a dark one.
#pragma once

#include <string>
#include <string_view>

namespace attn::simt::draw {

inline constexpr double kWidth = 960;
inline constexpr double kLeft = 112;  // where time, lanes or banks begin; names stand left of it
inline constexpr double kRight = 944;

/// Where the point of a text lies: at its start, in its middle, at its end.
enum class Anchor { kStart, kMiddle, kEnd };

class Svg {
 public:
  /// `more_style`: rules for kinds that this picture alone has.
  explicit Svg(std::string_view more_style = {}) : more_style_(more_style) {}

  /// `kind` is the class that a shape gets its colour from: "load", "store", ... (svg.cpp has all).
  void rect(std::string_view kind, double x, double y, double width, double height);
  void line(std::string_view kind, double x1, double y1, double x2, double y2);
  /// A path that is given in SVG's own words.
  void path(std::string_view kind, std::string_view d);
  /// kind: empty, "head" (bold), "small" or "code".
  void text(std::string_view kind, double x, double y, std::string_view content,
            Anchor anchor = Anchor::kStart);
  /// A coloured square and what it stands for; returns where the next one goes.
  double legend(std::string_view kind, double x, double y, std::string_view content);

  /// The whole file. `title` and `description` are for readers who cannot see it; `command` is what
  /// made it.
  std::string finish(double height, std::string_view title, std::string_view description,
                     std::string_view command) const;

 private:
  std::string body_;
  std::string more_style_;
};

/// More style for ldmatrix ("matrix") and cp.async ("copy"), which few kernels have.
inline constexpr std::string_view kTensorStyle = R"(
  .matrix { fill: #7a9a2e; }
  .copy { fill: #c2477f; }
  @media (prefers-color-scheme: dark) {
    .matrix { fill: #b7d46a; }
    .copy { fill: #f08ab8; }
  }
)";

/// "12.5", "64": one decimal at most.
std::string number(double value);
/// "12,345,678"
std::string grouped(std::uint64_t count);
/// How wide a text of the usual size is, roughly.
double text_width(std::string_view content);

/// Rectangles of one colour as one path, a third of the bytes that <rect>s would take.
class Rectangles {
 public:
  void add(double x, double y, double width, double height);
  void put(Svg& svg, std::string_view kind) const;

 private:
  std::string d_;
};

}  // namespace attn::simt::draw
