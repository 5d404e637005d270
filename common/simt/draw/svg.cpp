// SPDX-License-Identifier: MIT
#include "common/simt/draw/svg.hpp"

#include <fmt/format.h>

#include <cmath>

namespace attn::simt::draw {
namespace {

constexpr std::string_view kStyle = R"(
  text { font: 13px "DejaVu Sans", Verdana, sans-serif; fill: #1f2933; }
  .head { font-weight: bold; font-size: 14px; }
  .small { font-size: 12px; }
  .code { font: 12px "DejaVu Sans Mono", Menlo, monospace; }
  .on { font-size: 12px; fill: #ffffff; }
  .card { fill: #ffffff; }
  .array { fill: #eef2f7; }
  .load { fill: #2f6fb0; }
  .store { fill: #d9822b; }
  .atomic { fill: #8e4b9e; }
  .shared { fill: #3c8d7a; }
  .late { fill: #b3261e; }
  .unused { fill: #c9d6e6; }
  .wait { fill: #d5dbe3; }
  .wire { stroke: #2f6fb0; stroke-width: 1; fill: none; }
  .grid { stroke: #ffffff; stroke-width: 1; fill: none; }
  .mark { stroke: #52606d; stroke-width: 1; fill: none; }
  .barrier { stroke: #1f2933; stroke-width: 1.5; fill: none; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e7eb; }
    .on { fill: #161b22; }
    .card { fill: #161b22; }
    .array { fill: #222b36; }
    .load { fill: #6cb0f2; }
    .store { fill: #f0a04b; }
    .atomic { fill: #c58fd6; }
    .shared { fill: #63c2ab; }
    .late { fill: #ff9d94; }
    .unused { fill: #34465c; }
    .wait { fill: #3a4654; }
    .wire { stroke: #6cb0f2; }
    .grid { stroke: #161b22; }
    .mark { stroke: #9aa5b1; }
    .barrier { stroke: #e4e7eb; }
  }
)";

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        // XML has no place for other control characters.
        out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
  }
  return out;
}

}  // namespace

std::string number(double value) {
  const double tenths = std::round(value * 10) / 10;
  return fmt::format("{}", tenths == 0 ? 0.0 : tenths);
}

std::string grouped(std::uint64_t count) {
  if (count < 1000) return fmt::format("{}", count);
  return fmt::format("{},{:03}", grouped(count / 1000), count % 1000);
}

double text_width(std::string_view content) { return 8.0 * static_cast<double>(content.size()); }

void Svg::rect(std::string_view kind, double x, double y, double width, double height) {
  body_ += fmt::format("<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>\n", kind,
                       number(x), number(y), number(width), number(height));
}

void Svg::line(std::string_view kind, double x1, double y1, double x2, double y2) {
  body_ += fmt::format("<line class=\"{}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>\n", kind,
                       number(x1), number(y1), number(x2), number(y2));
}

void Svg::path(std::string_view kind, std::string_view d) {
  body_ += fmt::format("<path class=\"{}\" d=\"{}\"/>\n", kind, d);
}

void Svg::text(std::string_view kind, double x, double y, std::string_view content, Anchor anchor) {
  body_ += fmt::format("<text x=\"{}\" y=\"{}\"", number(x), number(y));
  if (!kind.empty()) body_ += fmt::format(" class=\"{}\"", kind);
  if (anchor == Anchor::kMiddle) body_ += " text-anchor=\"middle\"";
  if (anchor == Anchor::kEnd) body_ += " text-anchor=\"end\"";
  body_ += fmt::format(">{}</text>\n", escaped(content));
}

double Svg::legend(std::string_view kind, double x, double y, std::string_view content) {
  rect(kind, x, y - 11, 12, 12);
  text("", x + 18, y, content);
  return x + 18 + text_width(content) + 16;
}

std::string Svg::finish(double height, std::string_view title, std::string_view description,
                        std::string_view command) const {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
      "height=\"{1}\" role=\"img\" aria-labelledby=\"title desc\">\n"
      "<!-- SPDX-License-Identifier: MIT -->\n"
      "<title id=\"title\">{2}</title>\n"
      "<desc id=\"desc\">{3}</desc>\n"
      "<metadata>{4}</metadata>\n"
      "<style>{5}{7}</style>\n"
      "<rect class=\"card\" width=\"{0}\" height=\"{1}\"/>\n"
      "{6}</svg>\n",
      number(kWidth), number(height), escaped(title), escaped(description), escaped(command),
      kStyle, body_, more_style_);
}

void Rectangles::add(double x, double y, double width, double height) {
  d_ += fmt::format("M{} {}h{}v{}h{}z", number(x), number(y), number(width), number(height),
                    number(-width));
}

void Rectangles::put(Svg& svg, std::string_view kind) const {
  if (!d_.empty()) svg.path(kind, d_);
}

}  // namespace attn::simt::draw
