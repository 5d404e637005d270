// SPDX-License-Identifier: MIT
#include "common/io/npy.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "common/attention.hpp"

static_assert(std::endian::native == std::endian::little, "files are read without swapping bytes");

namespace attn::io {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kAlignment = 64;       // of the data, from the start of the file
constexpr std::size_t kMaxHeader = 1 << 16;  // NumPy itself writes about 100 bytes

[[noreturn]] void bad(const std::string& path, const std::string& message) {
  throw Error(ErrorKind::kBadArgument, fmt::format("{}: {}", path, message));
}

struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
};

/// Parses the one Python dictionary a header holds:
///   {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
/// with its keys in any order. Every member returns false where the text is something else, and
/// too_large() is then the size, if there was one, that does not fit in 64 bits.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : rest_(text) {}

  std::string_view too_large() const { return too_large_; }

  std::optional<Header> parse() {
    Header header;
    bool descr = false;
    bool order = false;
    bool shape = false;
    if (!take('{')) return std::nullopt;
    while (!take('}')) {
      std::string key;
      if (!quoted(key) || !take(':')) return std::nullopt;
      bool* seen = key == "descr"           ? &descr
                   : key == "fortran_order" ? &order
                   : key == "shape"         ? &shape
                                            : nullptr;
      if (seen == nullptr || *seen) return std::nullopt;
      *seen = true;
      const bool good = seen == &descr   ? type(header.descr)
                        : seen == &order ? boolean(header.fortran_order)
                                         : tuple(header.shape);
      if (!good) return std::nullopt;
      if (!take(',') && !peek('}')) return std::nullopt;
    }
    skip_space();
    if (!rest_.empty() || !descr || !order || !shape) return std::nullopt;
    return header;
  }

 private:
  void skip_space() {
    while (!rest_.empty() && std::isspace(static_cast<unsigned char>(rest_.front()))) {
      rest_.remove_prefix(1);
    }
  }

  bool peek(char c) {
    skip_space();
    return !rest_.empty() && rest_.front() == c;
  }

  bool take(char c) {
    if (!peek(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }

  bool word(std::string_view expected) {
    skip_space();
    if (!rest_.starts_with(expected)) return false;
    rest_.remove_prefix(expected.size());
    return true;
  }

  bool quoted(std::string& out) {
    const char quote = peek('"') ? '"' : '\'';
    if (!take(quote)) return false;
    const std::size_t end = rest_.find(quote);
    if (end == std::string_view::npos) return false;
    out = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return true;
  }

  // A plain type is a string; a structured one is a list of fields, kept as text for the message.
  bool type(std::string& out) {
    if (!peek('[')) return quoted(out);
    int depth = 0;
    std::size_t end = 0;
    do {
      if (end == rest_.size()) return false;
      depth += rest_[end] == '[' ? 1 : rest_[end] == ']' ? -1 : 0;
      ++end;
    } while (depth > 0);
    out = rest_.substr(0, end);
    rest_.remove_prefix(end);
    return true;
  }

  bool boolean(bool& out) {
    out = word("True");
    return out || word("False");
  }

  // "()", "(3,)", "(2, 3)", "(2, 3,)"; "(3)" is an integer in Python, so it is not a shape.
  bool tuple(std::vector<std::int64_t>& out) {
    if (!take('(')) return false;
    bool comma = true;
    while (!take(')')) {
      skip_space();
      std::int64_t size = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), size);
      if (error == std::errc::result_out_of_range && !rest_.starts_with('-')) {
        too_large_ = rest_.substr(0, static_cast<std::size_t>(end - rest_.data()));
      }
      if (!comma || error != std::errc{} || size < 0) return false;
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      out.push_back(size);
      comma = take(',');
    }
    return out.size() != 1 || comma;
  }

  std::string_view rest_;
  std::string_view too_large_;
};

/// Bytes that an array of this shape takes, or nothing if that does not fit in 63 bits.
std::optional<std::int64_t> data_bytes(std::span<const std::int64_t> shape, std::int64_t item) {
  std::int64_t bytes = item;
  bool overflow = false;
  for (const std::int64_t size : shape) {
    if (size == 0) return 0;
    overflow = overflow || __builtin_mul_overflow(bytes, size, &bytes);
  }
  return overflow ? std::nullopt : std::optional(bytes);
}

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {
    std::error_code error;
    const std::filesystem::file_status status = std::filesystem::status(path, error);
    if (!std::filesystem::exists(status)) bad(path, "no such file; allowed: a .npy file");
    if (!std::filesystem::is_regular_file(status)) bad(path, "not a file; allowed: a .npy file");
    left_ = std::filesystem::file_size(path, error);
    file_.open(path, std::ios::binary);
    if (error || !file_) bad(path, "cannot be opened; allowed: a readable .npy file");
  }

  void read(void* to, std::size_t bytes, const char* what) {
    if (bytes > left_) {
      bad(path_, fmt::format("truncated: it ends within its {}; allowed: a whole .npy file", what));
    }
    file_.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes));
    if (!file_)
      bad(path_, fmt::format("cannot be read (its {}); allowed: a whole .npy file", what));
    left_ -= bytes;
  }

  std::uintmax_t left() const { return left_; }

 private:
  std::string path_;
  std::ifstream file_;
  std::uintmax_t left_ = 0;
};

Header read_header(Reader& reader, const std::string& path) {
  std::array<char, 8> start{};  // magic, major and minor version
  const std::size_t present = std::min<std::uintmax_t>(kMagic.size(), reader.left());
  reader.read(start.data(), present, "header");
  if (std::string_view(start.data(), present) != kMagic.substr(0, present) || present == 0) {
    bad(path, "not a .npy file; allowed: a file that starts with \\x93NUMPY");
  }
  reader.read(start.data() + present, start.size() - present, "header");
  const int major = static_cast<unsigned char>(start[6]);
  const int minor = static_cast<unsigned char>(start[7]);
  if (major < 1 || major > 3 || minor != 0) {
    bad(path, fmt::format("format version {}.{}; allowed: 1.0, 2.0, 3.0", major, minor));
  }
  std::uint32_t length = 0;  // two bytes in version 1, four later
  reader.read(&length, major == 1 ? 2 : 4, "header");
  if (length > kMaxHeader) {
    bad(path, fmt::format("a header of {} bytes; allowed: at most {}", length, kMaxHeader));
  }
  std::string text(length, '\0');
  reader.read(text.data(), text.size(), "header");
  HeaderParser parser(text);
  std::optional<Header> header = parser.parse();
  if (!parser.too_large().empty()) {
    bad(path, fmt::format("a size of {} in its shape; allowed: at most {}", parser.too_large(),
                          std::numeric_limits<std::int64_t>::max()));
  }
  if (!header) {
    bad(path,
        "corrupt header; allowed: {'descr': '<f4', 'fortran_order': False, 'shape': (...), }");
  }
  return *std::move(header);
}

/// Reads `From` in pieces and hands each value to `convert`, with its number: the file may be twice
/// as large as the result.
template <class From, class T, class Convert>
void read_converted(Reader& reader, std::vector<T>& values, Convert convert) {
  std::vector<From> piece(std::size_t{1} << 16);
  for (std::size_t done = 0; done < values.size();) {
    const std::size_t count = std::min(piece.size(), values.size() - done);
    reader.read(piece.data(), count * sizeof(From), "data");
    for (std::size_t i = 0; i < count; ++i) values[done + i] = convert(piece[i], done + i);
    done += count;
  }
}

/// A file behind its header, which is of one of these types.
struct Opened {
  Reader reader;
  Header header;
  std::int64_t elements;
};

Opened open(const std::string& path, std::initializer_list<std::string_view> types,
            std::string_view allowed) {
  Reader reader(path);
  Header header = read_header(reader, path);
  if (std::find(types.begin(), types.end(), header.descr) == types.end()) {
    bad(path, fmt::format("type {}; allowed: {}, little-endian", header.descr, allowed));
  }
  if (header.fortran_order) bad(path, "Fortran order; allowed: C order");
  const std::int64_t each = header.descr.back() - '0';  // bytes, as every type here says
  const std::string shape = fmt::format("({})", fmt::join(header.shape, ","));
  const std::optional<std::int64_t> bytes = data_bytes(header.shape, each);
  if (!bytes) bad(path, fmt::format("shape {}; allowed: less than 2^63 bytes of data", shape));
  if (static_cast<std::uintmax_t>(*bytes) != reader.left()) {
    bad(path, fmt::format("{}: shape {} needs {} bytes of data, the file has {}; allowed: exactly "
                          "as many",
                          static_cast<std::uintmax_t>(*bytes) > reader.left() ? "truncated"
                                                                              : "trailing bytes",
                          shape, *bytes, reader.left()));
  }
  return {std::move(reader), std::move(header), *bytes / each};
}

template <class T>
NpyArrayOf<T> empty_array(const Opened& file) {
  return {file.header.shape, std::vector<T>(static_cast<std::size_t>(file.elements)),
          file.header.descr};
}

/// NumPy's name of the type that holds T.
template <class T>
constexpr std::string_view kDescr = "<f4";
template <>
constexpr std::string_view kDescr<double> = "<f8";
template <>
constexpr std::string_view kDescr<std::uint8_t> = "|b1";
template <>
constexpr std::string_view kDescr<std::int32_t> = "<i4";
template <>
constexpr std::string_view kDescr<std::int64_t> = "<i8";

template <class T>
OutputFile stage(const std::string& path, std::span<const std::int64_t> shape,
                 std::span<const T> values) {
  const std::string sizes =
      fmt::format("{}{}", fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", kDescr<T>, sizes);
  const std::size_t before = kMagic.size() + 2 + 2;  // magic, version, length of the header
  while ((before + header.size() + 1) % kAlignment != 0) header += ' ';
  header += '\n';

  OutputFile file(path);
  file.write(kMagic.data(), kMagic.size());
  const unsigned char version_and_length[] = {1, 0, static_cast<unsigned char>(header.size() % 256),
                                              static_cast<unsigned char>(header.size() / 256)};
  file.write(version_and_length, sizeof(version_and_length));
  file.write(header.data(), header.size());
  file.write(values.data(), values.size_bytes());
  file.close();
  return file;
}

}  // namespace

template <class T>
NpyArrayOf<T> read_floats(const std::string& path, bool halves) {
  Opened file = halves ? open(path, {"<f4", "<f8", "<f2"}, "<f4 (float32), <f8 or <f2")
                       : open(path, {"<f4", "<f8"}, "<f4 (float32) or <f8 (float64)");
  NpyArrayOf<T> array = empty_array<T>(file);
  const auto exact = [](auto x, std::size_t) { return static_cast<T>(x); };
  if (file.header.descr == "<f2") {
    read_converted<float16>(file.reader, array.values,
                            [](float16 x, std::size_t) { return T{to_float32(x)}; });
  } else if (file.header.descr == "<f4") {
    read_converted<float>(file.reader, array.values, exact);
  } else if constexpr (std::is_same_v<T, double>) {
    read_converted<double>(file.reader, array.values, exact);
  } else {
    read_converted<double>(file.reader, array.values, [&path](double x, std::size_t element) {
      const auto rounded = static_cast<float>(x);
      if (std::isinf(rounded) && !std::isinf(x)) {
        bad(path, fmt::format("element {} = {}; allowed: what float32 can hold, up to {:.4g}",
                              element, x, std::numeric_limits<float>::max()));
      }
      return rounded;
    });
  }
  return array;
}
template NpyArrayOf<float> read_floats(const std::string&, bool);
template NpyArrayOf<double> read_floats(const std::string&, bool);

NpyArrayOf<std::uint8_t> read_booleans(const std::string& path) {
  Opened file = open(path, {"|b1", "|u1"}, "|b1 (bool) or |u1 (uint8)");
  NpyArrayOf<std::uint8_t> array = empty_array<std::uint8_t>(file);
  read_converted<std::uint8_t>(file.reader, array.values, [](std::uint8_t x, std::size_t) {
    return static_cast<std::uint8_t>(x == 0 ? 0 : 1);
  });
  return array;
}

NpyArrayOf<std::int64_t> read_integers(const std::string& path) {
  Opened file = open(path, {"<i4", "<i8"}, "<i4 (int32) or <i8 (int64)");
  NpyArrayOf<std::int64_t> array = empty_array<std::int64_t>(file);
  const auto widen = [](auto x, std::size_t) { return static_cast<std::int64_t>(x); };
  if (file.header.descr == "<i4") {
    read_converted<std::int32_t>(file.reader, array.values, widen);
  } else {
    read_converted<std::int64_t>(file.reader, array.values, widen);
  }
  return array;
}

NpyArray read_heads(const std::string& path) {
  NpyArray array = read_npy(path);
  const std::size_t rank = array.shape.size();
  if (rank != 2 && rank != 4) {
    bad(path, fmt::format("rank {}; allowed: [N,d] or [B,H,N,d]", rank));
  }
  return array;
}

OutputFile stage_npy(const std::string& path, std::span<const std::int64_t> shape,
                     std::span<const float> values) {
  return stage(path, shape, values);
}

OutputFile stage_npy(const std::string& path, std::span<const std::int64_t> shape,
                     std::span<const double> values) {
  return stage(path, shape, values);
}

OutputFile stage_npy(const std::string& path, std::span<const std::int64_t> shape,
                     std::span<const std::uint8_t> values) {
  return stage(path, shape, values);
}

OutputFile stage_npy(const std::string& path, std::span<const std::int64_t> shape,
                     std::span<const std::int64_t> values, std::string_view type) {
  const auto fits = [](std::int64_t x) { return std::in_range<std::int32_t>(x); };
  if (type != kDescr<std::int32_t> || !std::all_of(values.begin(), values.end(), fits)) {
    return stage(path, shape, values);
  }
  const std::vector<std::int32_t> narrow(values.begin(), values.end());
  return stage(path, shape, std::span(narrow));
}

void write_npy(const std::string& path, std::span<const std::int64_t> shape,
               std::span<const float> values) {
  stage_npy(path, shape, values).commit();
}

}  // namespace attn::io
