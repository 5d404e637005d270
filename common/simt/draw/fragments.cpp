// SPDX-License-Identifier: MIT
#include "common/simt/draw/fragments.hpp"

#include <fmt/format.h>

#include <functional>
#include <utility>
#include <vector>

#include "common/attention.hpp"
#include "common/simt/draw/svg.hpp"

namespace attn::simt::draw {
namespace {

constexpr int kExample = 5;  // the lane that is outlined
constexpr double kCell = 22, kRow = 18, kGap = 8;

constexpr std::string_view kGroupStyle = R"(
  .g0 { fill: #cfe3f7; } .g1 { fill: #fbe0c3; } .g2 { fill: #d3efd9; } .g3 { fill: #f6d3dd; }
  .g4 { fill: #e2d9f5; } .g5 { fill: #f7f0b8; } .g6 { fill: #c9eef0; } .g7 { fill: #e3dccf; }
  .mine { fill: none; stroke: #b3261e; stroke-width: 2; }
  @media (prefers-color-scheme: dark) {
    .g0 { fill: #1f4468; } .g1 { fill: #6b4416; } .g2 { fill: #22563a; } .g3 { fill: #6a2d42; }
    .g4 { fill: #4a3a73; } .g5 { fill: #5f5a1c; } .g6 { fill: #1c5a5e; } .g7 { fill: #57503f; }
    .mine { stroke: #ff9d94; }
  }
)";

using HolderOf = std::function<Holder(int row, int column)>;

/// A matrix, or a tile of one, and who holds its elements.
struct Matrix {
  std::string name;
  int rows, columns;
  HolderOf holder;
  bool upright = false;  // two elements that a lane holds lie below each other

  /// Whether the lane has taken this element with the one left of it or above it.
  bool is_second(int row, int column) const { return (upright ? row : column) % 2 == 1; }
};

Matrix matrix_a() { return {"A", 16, 16, holder_in_a}; }
Matrix matrix_b() { return {"B", 16, 8, holder_in_b, /*upright=*/true}; }
Matrix matrix_c() { return {"C", 16, 8, holder_in_c}; }
Matrix loaded_tile(bool transposed) {
  const auto holder = [transposed](int r, int c) { return holder_of_loaded(r, c, transposed); };
  return {"tile", 16, 16, holder, transposed};
}
/// Two tiles of C side by side.
Matrix two_tiles() {
  return {"S", 16, 16, [](int row, int column) { return holder_in_c(row, column % 8); }};
}

/// "a[1]: A[9][2], A[9][3]" for each register of the example's lane.
std::vector<std::string> holdings(const Matrix& matrix, char reg) {
  std::vector<std::string> lines;
  for (int n = 0; n < 4; ++n) {
    std::string elements;
    for (int half = 0; half < 2; ++half) {
      for (int row = 0; row < matrix.rows; ++row) {
        for (int column = 0; column < matrix.columns; ++column) {
          if (matrix.holder(row, column) != Holder{kExample, n, half}) continue;
          elements +=
              fmt::format("{}{}[{}][{}]", elements.empty() ? "" : ", ", matrix.name, row, column);
        }
      }
    }
    if (!elements.empty()) lines.push_back(fmt::format("{}[{}]: {}", reg, n, elements));
  }
  return lines;
}

/// Of A, B and C.
std::vector<std::string> all_holdings() {
  std::vector<std::string> lines;
  for (const auto& [matrix, reg] :
       {std::pair(matrix_a(), 'a'), std::pair(matrix_b(), 'b'), std::pair(matrix_c(), 'c')}) {
    for (std::string& line : holdings(matrix, reg)) lines.push_back(std::move(line));
  }
  return lines;
}

/// "a[0] = pack(c[0], c[1]) of the left tile" for each register of a fragment of A.
std::vector<std::string> packing() {
  std::vector<std::string> lines;
  for (int reg = 0; reg < 4; ++reg) {
    int from[2] = {};
    bool right = false;
    for (int row = 0; row < 16; ++row) {
      for (int column = 0; column < 16; ++column) {
        const Holder p = holder_in_a(row, column), s = holder_in_c(row, column % 8);
        if (p.lane != kExample || s.lane != kExample || p.reg != reg) continue;
        from[p.half] = s.reg;
        right = column >= 8;
      }
    }
    lines.push_back(fmt::format("a[{}] = pack(c[{}], c[{}]) of the {} tile", reg, from[0], from[1],
                                right ? "right" : "left"));
  }
  return lines;
}

// ---- As a picture -------------------------------------------------------------------------------

double column_at(double x, int column) { return x + column * kCell + column / 8 * kGap; }
double row_at(double y, int row) { return y + row * kRow + row / 8 * kGap; }

/// The elements, each pair that one lane holds as one rectangle with the number of the lane in it,
/// and the numbers of rows and columns.
void draw_matrix(Svg& svg, const Matrix& matrix, double x, double y, bool number_rows = true) {
  for (int row = 0; row < matrix.rows; ++row) {
    for (int column = 0; column < matrix.columns; ++column) {
      if (matrix.is_second(row, column)) continue;
      const double left = column_at(x, column), top = row_at(y, row);
      const double width = (matrix.upright ? 1 : 2) * kCell - 1;
      const double height = (matrix.upright ? 2 : 1) * kRow - 1;
      const int lane = matrix.holder(row, column).lane;
      svg.rect(fmt::format("g{}", lane / 4), left, top, width, height);
      if (lane == kExample) svg.rect("mine", left + 1, top + 1, width - 2, height - 2);
      svg.text("small", left + width / 2, top + height / 2 + 4, std::to_string(lane),
               Anchor::kMiddle);
    }
  }
  for (int column = 0; column < matrix.columns; ++column) {
    svg.text("axis", column_at(x, column) + kCell / 2, y - 5, std::to_string(column),
             Anchor::kMiddle);
  }
  for (int row = 0; row < matrix.rows && number_rows; ++row) {
    svg.text("axis", x - 6, row_at(y, row) + kRow / 2 + 4, std::to_string(row), Anchor::kEnd);
  }
}

/// A name for each half of 8 columns, above (or below) a matrix.
void name_halves(Svg& svg, double x, double y, std::string_view left, std::string_view right) {
  svg.text("code", column_at(x, 0) + 4 * kCell, y, left, Anchor::kMiddle);
  if (!right.empty()) svg.text("code", column_at(x, 8) + 4 * kCell, y, right, Anchor::kMiddle);
}

/// Lines of text below each other; returns where the next one goes.
double write(Svg& svg, std::string_view kind, double x, double y,
             const std::vector<std::string>& lines) {
  for (const std::string& line : lines) {
    svg.text(kind, x, y, line);
    y += 19;
  }
  return y;
}

std::string style() { return std::string(kGroupStyle) + "  .axis { font-size: 10px; }\n"; }

std::string legend_text() {
  return fmt::format("Outlined: lane {}, which has g = {} and t = {}.", kExample, kExample / 4,
                     kExample % 4);
}

const char* const kHolds = "A number is the lane that holds the element; lane = 4 g + t.";
const char* const kGets = "A number is the lane that gets the element; lane = 4 g + t.";
const char* const kColours = "One colour: the four lanes of one g.";

std::string mma_svg(const std::string& command) {
  Svg svg(style());
  const double left = 48, right = 600, upper = 74, lower = 438;
  svg.text("head", 16, 28, "mma.m16n8k16: one warp adds A B to C");
  const double y =
      write(svg, "", 16, 56,
            {kHolds, kColours, "A register holds two neighbours of 16 bits, the first in",
             "its lower half: side by side in A, below each other in B.",
             "Of C a register holds one float32.", "", legend_text()});
  write(svg, "code", 34, y, all_holdings());
  draw_matrix(svg, matrix_b(), right, upper);
  svg.text("head", right, upper - 42, "B (16 x 8)");
  svg.text("code", right + 8 * kCell + 10, row_at(upper, 4), "b[0]");
  svg.text("code", right + 8 * kCell + 10, row_at(upper, 12), "b[1]");
  draw_matrix(svg, matrix_a(), left, lower);
  svg.text("head", 16, lower - 42, "A (16 x 16)");
  name_halves(svg, left, lower - 22, "a[0]", "a[2]");
  name_halves(svg, left, row_at(lower, 16) + 12, "a[1]", "a[3]");
  draw_matrix(svg, matrix_c(), right, lower);
  svg.text("head", right, lower - 42, "C (16 x 8)");
  name_halves(svg, right, lower - 22, "c[0], c[1]", "");
  name_halves(svg, right, row_at(lower, 16) + 12, "c[2], c[3]", "");
  return svg.finish(row_at(lower, 16) + 30, "The fragments of mma.m16n8k16",
                    "Which lane of a warp holds which element of A, B and C, in which register.",
                    command);
}

std::string ldmatrix_svg(const std::string& command) {
  Svg svg(style());
  const double lefts[] = {62, 540}, top = 150;
  svg.text("head", 16, 28,
           "ldmatrix.x4: a tile of 16 x 16 in shared memory, four matrices of 8 x 8");
  write(svg, "", 16, 52,
        {fmt::format("{} {} {}", kGets, kColours, legend_text()),
         "Lane n names 16 bytes in shared memory, a row of a matrix: the numbers at the edges."});
  for (const bool transposed : {false, true}) {
    const Matrix tile = loaded_tile(transposed);
    const double x = lefts[transposed ? 1 : 0];
    svg.text("head", x, top - 46, transposed ? "with .trans" : "without .trans");
    name_halves(svg, x, top - 22, "x[0]", "x[2]");
    name_halves(svg, x, row_at(top, 16) + 12, "x[1]", "x[3]");
    draw_matrix(svg, tile, x, top, /*number_rows=*/false);
    for (int lane = 0; lane < 32; ++lane) {
      const bool second = lane >= 16;
      svg.text("axis", second ? column_at(x, 16) : x - 6, row_at(top, lane % 16) + kRow / 2 + 4,
               fmt::format("lane {}", lane), second ? Anchor::kStart : Anchor::kEnd);
    }
    write(svg, "", x, row_at(top, 16) + 38,
          transposed
              ? std::vector<std::string>{"x[j] of lane 4 g + t: of matrix j,",
                                         "column g, rows 2t and 2t + 1.",
                                         "Rows of V: x[0] and x[1] are b[0] and b[1] of",
                                         "columns 0 to 7 of B = V; x[2] and x[3] of 8 to 15."}
              : std::vector<std::string>{"x[j] of lane 4 g + t: of matrix j,",
                                         "row g, columns 2t and 2t + 1.",
                                         "Rows of Q: x[0] to x[3] are a[0] to a[3] of A = Q.",
                                         "Rows of K: x[0] and x[2] are b[0] and b[1] of",
                                         "keys 0 to 7 of B = K^T; x[1] and x[3] of 8 to 15."});
  }
  return svg.finish(
      row_at(top, 16) + 130, "What ldmatrix.x4 hands to whom",
      "Which lane of a warp gets which element of a tile of 16 x 16, with and without "
      ".trans.",
      command);
}

std::string packed_svg(const std::string& command) {
  Svg svg(style());
  const double left = 48, right = 560, top = 138;
  svg.text("head", 16, 28,
           "Two tiles of C, side by side, are one A: nothing moves to another lane");
  write(svg, "", 16, 52, {fmt::format("{} {}", kHolds, kColours), legend_text()});
  svg.text("head", left, top - 44, "S: two tiles of C, float32");
  name_halves(svg, left, top - 22, "c[0], c[1]", "c[0], c[1]");
  name_halves(svg, left, row_at(top, 16) + 12, "c[2], c[3]", "c[2], c[3]");
  draw_matrix(svg, two_tiles(), left, top);
  svg.text("head", (column_at(left, 16) + right) / 2 - 10, row_at(top, 8), "→", Anchor::kMiddle);
  Matrix p = matrix_a();
  svg.text("head", right, top - 44, "P: a fragment of A, 16 bits");
  name_halves(svg, right, top - 22, "a[0]", "a[2]");
  name_halves(svg, right, row_at(top, 16) + 12, "a[1]", "a[3]");
  draw_matrix(svg, p, right, top);
  write(svg, "code", left, row_at(top, 16) + 42, packing());
  return svg.finish(row_at(top, 16) + 116, "Two tiles of C are one fragment of A",
                    "Each lane holds the same elements of S, as C, and of P, as A.", command);
}

// ---- As text ------------------------------------------------------------------------------------

/// The numbers of the lanes, 8 columns to a group.
std::string row_text(const Matrix& matrix, int row) {
  std::string text = fmt::format("{:>4} ", row);
  for (int column = 0; column < matrix.columns; ++column) {
    text += fmt::format("{}{:>3}", column == 8 ? "  " : "", matrix.holder(row, column).lane);
  }
  return text;
}

std::string heading(const Matrix& matrix) {
  std::string text = "     ";
  for (int column = 0; column < matrix.columns; ++column) {
    text += fmt::format("{}{:>3}", column == 8 ? "  " : "", column);
  }
  return text;
}

/// Some matrices side by side.
std::string matrices_text(const std::vector<Matrix>& matrices) {
  constexpr std::string_view kBetween = "   ";
  std::string text;
  for (const Matrix& matrix : matrices) {
    text += fmt::format("{:<{}}", "  " + matrix.name, heading(matrix).size() + kBetween.size());
  }
  text += "\n";
  for (const Matrix& matrix : matrices) text += fmt::format("{}{}", heading(matrix), kBetween);
  for (int row = 0; row < 16; ++row) {
    text += row == 8 ? "\n\n" : "\n";
    for (const Matrix& matrix : matrices) {
      text += fmt::format("{}{}", row_text(matrix, row), kBetween);
    }
  }
  return text + "\n";
}

/// Without blanks at the ends of lines.
std::string trimmed(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      while (!out.empty() && out.back() == ' ') out.pop_back();
    }
    out += c;
  }
  return out;
}

std::string mma_text() {
  Matrix a = matrix_a(), b = matrix_b(), c = matrix_c();
  std::string text = fmt::format("mma.m16n8k16: one warp adds A B to C.\n{}\n\n", kHolds);
  a.name = "A: a[0] | a[2], below a[1] | a[3]";
  b.name = "B: b[0], below b[1]";
  c.name = "C: c[0], c[1], below c[2], c[3]";
  text += matrices_text({a, c});
  text += '\n' + matrices_text({b});
  text += fmt::format("\nLane {} holds\n", kExample);
  for (const std::string& line : all_holdings()) text += "  " + line + "\n";
  return text;
}

std::string ldmatrix_text() {
  std::string text = fmt::format(
      "A tile of 16 x 16 in shared memory, four matrices of 8 x 8.\n{}\n"
      "Lane n names the row n % 16, from column 8 * (n / 16) on.\n",
      kGets);
  for (const bool transposed : {false, true}) {
    Matrix tile = loaded_tile(transposed);
    tile.name =
        fmt::format("{} trans: x[0] | x[2], below x[1] | x[3]", transposed ? "with" : "without");
    text += '\n' + matrices_text({tile});
  }
  return text;
}

std::string packed_text() {
  std::string text = fmt::format(
      "Two tiles of C, side by side, are one A: nothing moves to another lane.\n{}\n\n", kHolds);
  Matrix s = two_tiles();
  s.name = "S, two tiles of C; and P, a fragment of A";
  text += matrices_text({s}) + '\n';
  for (const std::string& line : packing()) text += "  " + line + "\n";
  return text;
}

}  // namespace

Holder holder_in_a(int row, int column) {
  return {4 * (row % 8) + column % 8 / 2, row / 8 + 2 * (column / 8), column % 2};
}

Holder holder_in_b(int row, int column) { return {4 * column + row % 8 / 2, row / 8, row % 2}; }

Holder holder_in_c(int row, int column) {
  return {4 * (row % 8) + column / 2, 2 * (row / 8) + column % 2, 0};
}

Holder holder_of_loaded(int row, int column, bool transposed) {
  const int j = row / 8 + 2 * (column / 8);
  const int r = row % 8, c = column % 8;
  if (transposed) return {4 * c + r / 2, j, r % 2};
  return {4 * r + c / 2, j, c % 2};
}

Fragments parse_fragments(std::string_view text) {
  if (text == "mma") return Fragments::kMma;
  if (text == "ldmatrix") return Fragments::kLdmatrix;
  if (text == "p") return Fragments::kPacked;
  throw Error(ErrorKind::kBadArgument, fmt::format("{}: allowed: mma, ldmatrix, p", text));
}

Diagram draw_fragments(Fragments what, const std::string& command) {
  switch (what) {
    case Fragments::kMma:
      return {mma_svg(command), trimmed(mma_text())};
    case Fragments::kLdmatrix:
      return {ldmatrix_svg(command), trimmed(ldmatrix_text())};
    default:
      return {packed_svg(command), trimmed(packed_text())};
  }
}

}  // namespace attn::simt::draw
