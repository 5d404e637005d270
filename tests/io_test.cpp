// SPDX-License-Identifier: MIT
//
// .npy files, named workloads and text tables.
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "common/attention.hpp"
#include "common/io/image_windows.hpp"
#include "common/io/mask_arrays.hpp"
#include "common/io/npy.hpp"
#include "common/io/output_file.hpp"
#include "common/io/suggest.hpp"
#include "common/io/table.hpp"
#include "common/io/workloads.hpp"
#include "tests/catch.hpp"

namespace fs = std::filesystem;

namespace attn::io {
namespace {

using namespace std::string_literals;

/// A folder of its own that goes away with the test.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "io_test.XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(path_), fs::directory_iterator{}));
  }

 private:
  fs::path path_;
};

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void store(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

/// A file as NumPy writes it: the header padded with spaces to a multiple of 64 bytes.
std::string npy(const std::string& header, const std::string& data, char major = 1) {
  const std::size_t start = major == 1 ? 10 : 12;
  std::string text = header;
  while ((start + text.size() + 1) % 64 != 0) text += ' ';
  text += '\n';
  std::string file = "\x93NUMPY"s + major + '\0';
  for (std::size_t i = 0; i < start - 8; ++i)
    file += static_cast<char>((text.size() >> 8 * i) & 255);
  return file + text + data;
}

std::string header(const std::string& descr, const std::string& order, const std::string& shape) {
  return fmt::format("{{'descr': '{}', 'fortran_order': {}, 'shape': {}, }}", descr, order, shape);
}

const std::vector<float> kSix{1.5f, -2.0f, 0.0f, 3.25f, 1e-45f, 3.4e38f};
const std::string kSixBytes = bytes_of(kSix);

/// The message with which `action` is refused as a bad argument.
std::string refusal(auto&& action) {
  try {
    action();
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kBadArgument);
    return error.what();
  }
  return "accepted";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("a written array is read back, bit for bit", "[io]") {
  const Folder folder;
  const std::string path = folder / "a.npy";
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const std::vector<std::int64_t>& shape :
       std::vector<std::vector<std::int64_t>>{{}, {1}, {6}, {2, 3}, {1, 2, 3, 1}, {0}, {2, 0, 3}}) {
    std::size_t count = 1;
    for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
    std::vector<float> values{nan, -0.0f, -infinity, infinity, 1e-45f, -3.4e38f};
    values.resize(count);
    write_npy(path, shape, values);
    const NpyArray array = read_npy(path);
    CHECK(array.shape == shape);
    CHECK(bytes_of(array.values) == bytes_of(values));
    CHECK(folder.files() == 1);
  }
}

TEST_CASE("a written file is what NumPy writes", "[io]") {
  const Folder folder;
  const std::string path = folder / "a.npy";
  write_npy(path, std::vector<std::int64_t>{2, 3}, kSix);
  CHECK(contents(path) == npy(header("<f4", "False", "(2, 3)"), kSixBytes));
  write_npy(path, std::vector<std::int64_t>{6}, kSix);
  CHECK(contents(path) == npy(header("<f4", "False", "(6,)"), kSixBytes));
  // Data starts at a multiple of 64 bytes for every length of header.
  for (std::int64_t size = 1; size < 1'000'000'000'000'000'000; size *= 10) {
    write_npy(path, std::vector<std::int64_t>{0, size}, {});
    CHECK(contents(path).size() % 64 == 0);
    CHECK(read_npy(path).shape == std::vector<std::int64_t>{0, size});
  }
}

TEST_CASE("every legal header is read", "[io]") {
  const Folder folder;
  const std::string path = folder / "a.npy";
  const std::string text = header("<f4", "False", "(2, 3)");
  const std::vector<std::string> files{
      npy(text, kSixBytes, 1),
      npy(text, kSixBytes, 2),
      npy(text, kSixBytes, 3),
      npy("{\"shape\": (2, 3,), \"descr\": \"<f4\", \"fortran_order\": False}", kSixBytes),
      npy("{'descr':'<f4','fortran_order':False,'shape':(2,3)}", kSixBytes),
      npy("  {  'descr' :  '<f4' , 'fortran_order' : False , 'shape' : ( 2 , 3 ) , }  ", kSixBytes),
      npy(text + std::string(2000, ' '), kSixBytes),
      // Older writers align to 16 bytes, and do not end the header with a line break.
      "\x93NUMPY\x01\0"s + static_cast<char>(text.size()) + '\0' + text + kSixBytes,
  };
  for (const std::string& file : files) {
    store(path, file);
    const NpyArray array = read_npy(path);
    CHECK(array.shape == std::vector<std::int64_t>{2, 3});
    CHECK(bytes_of(array.values) == kSixBytes);
  }
}

TEST_CASE("float64 is rounded to float32", "[io]") {
  const Folder folder;
  const std::string path = folder / "a.npy";
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<double> values{0.1, -1.0 / 3, 1e-60, -infinity, std::nan(""), 3.4e38};
  store(path, npy(header("<f8", "False", "(6,)"), bytes_of(values)));
  const NpyArray array = read_npy(path);
  REQUIRE(array.values.size() == 6);
  for (const std::size_t i : {0, 1, 2, 3, 5}) {
    CHECK(array.values[i] == static_cast<float>(values[i]));
  }
  CHECK(std::isnan(array.values[4]));

  // Longer than one piece of the reader.
  std::vector<double> many(200'001);
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = static_cast<double>(i);
  store(path, npy(header("<f8", "False", "(200001,)"), bytes_of(many)));
  const NpyArray long_array = read_npy(path);
  REQUIRE(long_array.values.size() == many.size());
  for (std::size_t i = 0; i < many.size(); i += 997) {
    REQUIRE(long_array.values[i] == static_cast<float>(i));
  }
}

TEST_CASE("everything else is refused by name", "[io]") {
  const Folder folder;
  const std::string path = folder / "bad.npy";
  const std::string good = npy(header("<f4", "False", "(2, 3)"), kSixBytes);
  const auto with_shape = [](const std::string& shape) {
    return npy(header("<f4", "False", shape), kSixBytes);
  };
  const auto with_type = [](const std::string& descr) {
    return npy(header(descr, "False", "(2, 3)"), kSixBytes);
  };
  struct Case {
    std::string file;
    std::string expected;
  };
  const std::vector<Case> cases{
      {"", "not a .npy file"},
      {"\x93", "truncated"},
      {"\x93NUMP", "truncated"},
      {"\x93NUMPY", "truncated"},
      {"\x93NUMPZ", "not a .npy file"},
      {"PK\x03\x04 an .npz file", "not a .npy file"},
      {good.substr(0, 7), "truncated"},
      {good.substr(0, 9), "truncated"},
      {good.substr(0, 127), "truncated: it ends within its header"},
      {good.substr(0, 128), "truncated: shape (2,3) needs 24 bytes of data, the file has 0"},
      {good.substr(0, good.size() - 1), "truncated: shape (2,3) needs 24 bytes"},
      {good + '\0', "trailing bytes: shape (2,3) needs 24 bytes of data, the file has 25"},
      {good + good, "trailing bytes"},
      {"\x93NUMPY\x00\x00"s + good.substr(8), "format version 0.0; allowed: 1.0, 2.0, 3.0"},
      {"\x93NUMPY\x04\x00"s + good.substr(8), "format version 4.0"},
      {"\x93NUMPY\x01\x01"s + good.substr(8), "format version 1.1"},
      {"\x93NUMPY\x01\x00\xff\xff"s + good.substr(10), "truncated: it ends within its header"},
      {"\x93NUMPY\x02\x00\xff\xff\xff\xff"s + good.substr(10), "a header of 4294967295 bytes"},
      {"\x93NUMPY\x02\x00\x01\x00\x01\x00"s + good.substr(10), "a header of 65537 bytes"},
      {npy(header("<f4", "True", "(2, 3)"), kSixBytes), "Fortran order; allowed: C order"},
      {with_type(">f4"), "type >f4; allowed: <f4 (float32) or <f8 (float64), little-endian"},
      {with_type("=f4"), "type =f4"},
      {with_type("f4"), "type f4"},
      {with_type("<f2"), "type <f2"},
      {with_type("<i4"), "type <i4"},
      {with_type("<c8"), "type <c8"},
      {with_type("|b1"), "type |b1"},
      {with_type("|O"), "type |O"},
      {npy("{'descr': [('x', '<f4'), ('y', '<f4', (2,))], 'fortran_order': False, 'shape': (2,), }",
           kSixBytes),
       "type [('x', '<f4'), ('y', '<f4', (2,))]"},
      {npy("{'descr': [('x', '<f4'", kSixBytes), "corrupt header"},
      {npy("", kSixBytes), "corrupt header"},
      {npy("{", kSixBytes), "corrupt header"},
      {npy("{}", kSixBytes), "corrupt header"},
      {npy(std::string(60'000, '{'), kSixBytes), "corrupt header"},
      {npy(std::string(60'000, '\xff'), kSixBytes), "corrupt header"},
      {npy(std::string(1'000, '\0'), kSixBytes), "corrupt header"},
      {npy("{'descr': '<f4', 'fortran_order': False}", kSixBytes), "corrupt header"},
      {npy("{'descr': '<f4', 'shape': (2, 3)}", kSixBytes), "corrupt header"},
      {npy("{'fortran_order': False, 'shape': (2, 3)}", kSixBytes), "corrupt header"},
      {npy("{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3)}", kSixBytes), "corrupt header"},
      {npy("{'descr': '<f4, 'fortran_order': False, 'shape': (2, 3)}", kSixBytes),
       "corrupt header"},
      {npy("{'descr': '<f4' 'fortran_order': False 'shape': (2, 3)}", kSixBytes), "corrupt header"},
      {npy(header("<f4", "False", "(2, 3)") + " x", kSixBytes), "corrupt header"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'shape': (2, 3)}", kSixBytes),
       "corrupt header"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'more': 1}", kSixBytes),
       "corrupt header"},
      {with_shape("(6)"), "corrupt header"},
      {with_shape("[2, 3]"), "corrupt header"},
      {with_shape("(2 3)"), "corrupt header"},
      {with_shape("(2,, 3)"), "corrupt header"},
      {with_shape("(,)"), "corrupt header"},
      {with_shape("(2, 3"), "corrupt header"},
      {with_shape("(-2, -3)"), "corrupt header"},
      {with_shape("(2.0, 3)"), "corrupt header"},
      {with_shape("(2L, 3L)"), "corrupt header"},
      {with_shape("(99999999999999999999,)"),
       "a size of 99999999999999999999 in its shape; allowed: at most 9223372036854775807"},
      {with_shape("(-99999999999999999999,)"), "corrupt header"},
      {with_shape("(9223372036854775807,)"), "less than 2^63 bytes of data"},
      {with_shape("(4294967296, 4294967296)"), "less than 2^63 bytes of data"},
      {with_shape("(4294967296, 4294967296, 4294967296, 4294967296)"), "less than 2^63 bytes"},
      {with_shape("(1000000000000,)"), "truncated: shape (1000000000000) needs 4000000000000"},
      {with_shape("(4294967296, 0)"), "trailing bytes"},
      {with_shape("()"), "trailing bytes"},
      {npy(header("<f8", "False", "(2,)"), bytes_of<double>({1, 1e39})), "element 1 = 1e+39"},
      {npy(header("<f8", "False", "(2,)"), bytes_of<double>({-9e307, 1})), "element 0 = -9"},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    store(path, cases[i].file);
    const std::string message = refusal([&] { read_npy(path); });
    INFO("case " << i << ": " << message);
    CHECK(message.starts_with(path + ": "));
    CHECK(contains(message, cases[i].expected));
    CHECK(contains(message, "allowed: "));
  }
}

TEST_CASE("what is not a file is refused", "[io]") {
  const Folder folder;
  CHECK(contains(refusal([&] { read_npy(folder / "none.npy"); }), "no such file"));
  CHECK(contains(refusal([&] { read_npy(folder / ""); }), "not a file"));
  CHECK(contains(refusal([&] { read_npy("/dev/null"); }), "/dev/null: not a file"));
  CHECK(contains(refusal([&] { read_npy(""); }), "no such file"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(contains(refusal([&] { read_npy(folder / "pipe"); }), "not a file"));
}

TEST_CASE("one changed or missing byte never crashes the reader", "[io]") {
  const Folder folder;
  const std::string path = folder / "a.npy";
  const std::string good = npy(header("<f4", "False", "(2, 3)"), kSixBytes);
  int accepted = 0;
  for (std::size_t at = 0; at < 128; ++at) {
    for (const char byte : {'\0', '9', '(', '\'', '\xff'}) {
      std::string file = good;
      file[at] = byte;
      store(path, file);
      accepted += refusal([&] { read_npy(path); }) == "accepted";
    }
    store(path, good.substr(0, at));
    CHECK(refusal([&] { read_npy(path); }) != "accepted");
  }
  CHECK(accepted <= 5 * 3);  // bytes that were so already: the version's 0 and the length's
}

TEST_CASE("arrays of attention have rank 2 or 4", "[io]") {
  const Folder folder;
  const std::string path = folder / "a.npy";
  for (const std::vector<std::int64_t>& shape :
       std::vector<std::vector<std::int64_t>>{{}, {1}, {1, 1, 1}, {1, 1, 1, 1, 1}}) {
    write_npy(path, shape, std::vector<float>{1});
    const std::string expected =
        fmt::format("{}: rank {}; allowed: [N,d] or [B,H,N,d]", path, shape.size());
    CHECK(refusal([&] { read_heads(path); }) == expected);
  }
  for (const std::vector<std::int64_t>& shape :
       std::vector<std::vector<std::int64_t>>{{1, 1}, {1, 1, 1, 1}}) {
    write_npy(path, shape, std::vector<float>{1});
    CHECK(read_heads(path).shape == shape);
  }
}

TEST_CASE("an output file appears whole or not at all", "[io]") {
  const Folder folder;
  const std::string path = folder / "o.npy";
  {
    const OutputFile never_committed = stage_npy(path, std::vector<std::int64_t>{6}, kSix);
    CHECK_FALSE(fs::exists(path));
  }
  CHECK(folder.files() == 0);

  store(path, "old");
  OutputFile file = stage_npy(path, std::vector<std::int64_t>{6}, kSix);
  CHECK(contents(path) == "old");
  OutputFile moved = std::move(file);
  moved.commit();
  CHECK(read_npy(path).values.size() == 6);
  CHECK(folder.files() == 1);

  fs::create_symlink("o.npy", folder / "link.npy");
  write_npy(folder / "link.npy", std::vector<std::int64_t>{1}, std::vector<float>{7});
  CHECK(fs::is_symlink(folder / "link.npy"));
  CHECK(read_npy(path).values == std::vector<float>{7});
}

TEST_CASE("an output file follows links to a file that is not there", "[io]") {
  const Folder folder;
  const std::string sub = folder / "sub";
  fs::create_directory(sub);
  fs::create_symlink("sub/second.npy", folder / "first.npy");
  fs::create_symlink("../new.npy", sub + "/second.npy");
  write_npy(folder / "first.npy", std::vector<std::int64_t>{1}, std::vector<float>{7});
  CHECK(fs::is_symlink(folder / "first.npy"));
  CHECK(fs::is_symlink(sub + "/second.npy"));
  CHECK(fs::is_regular_file(fs::symlink_status(folder / "new.npy")));
  CHECK(read_npy(folder / "new.npy").values == std::vector<float>{7});

  fs::create_symlink("none/o.npy", folder / "nowhere.npy");
  CHECK(contains(refusal([&] { check_output(folder / "nowhere.npy"); }), "folder does not exist"));
  fs::create_symlink("circle.npy", folder / "circle.npy");
  CHECK(contains(refusal([&] { check_output(folder / "circle.npy"); }), "links without end"));
  CHECK(fs::is_symlink(folder / "circle.npy"));
}

TEST_CASE("a signal leaves no temporary file", "[io]") {
  const Folder folder;
  const std::string path = folder / "o.npy";
  store(path, "old");
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const ::pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      remove_temporaries_on_signals();
      write_npy(path, std::vector<std::int64_t>{6}, kSix);  // one that is done, and stays
      const OutputFile file = stage_npy(path, std::vector<std::int64_t>{6}, kSix);
      if (folder.files() == 2) ::raise(signal);
      ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == signal);
    CHECK(folder.files() == 1);
    CHECK(read_npy(path).values.size() == 6);
  }
}

TEST_CASE("names that were meant", "[io]") {
  constexpr std::string_view kNames[] = {"01_naive_cpu", "02_naive_gpu", "03_tiled", "cpu"};
  CHECK(did_you_mean("03_tield", kNames) == "; did you mean 03_tiled?");
  CHECK(did_you_mean("tield", kNames) == "; did you mean 03_tiled?");
  CHECK(did_you_mean("naive", kNames) == "; did you mean 01_naive_cpu or 02_naive_gpu?");
  CHECK(did_you_mean("nave_gpu", kNames) == "; did you mean 02_naive_gpu?");
  CHECK(did_you_mean("cpi", kNames) == "; did you mean 01_naive_cpu or cpu?");
  for (const std::string_view other : {"", "nonsense", "99", "x"}) {
    CHECK(did_you_mean(other, kNames) == "");
  }
}

TEST_CASE("paths that cannot be written are refused before anything is", "[io]") {
  const Folder folder;
  fs::create_directory(folder / "sub");
  store(folder / "file", "");
  for (const std::string& path : {folder / "sub", folder / "sub/", folder / "none/o.npy",
                                  folder / "file/o.npy", "/dev/null"s, "/dev/full"s}) {
    const std::string message = refusal([&] { check_output(path); });
    INFO(message);
    CHECK(message.starts_with(path + ": "));
    CHECK(contains(message, "allowed: "));
    CHECK(refusal([&] { write_npy(path, {}, std::vector<float>{1}); }) == message);
  }
  CHECK(contains(refusal([] { check_output(""); }), "empty file name"));
  if (::geteuid() != 0) {  // root may write anywhere
    fs::permissions(folder / "sub", fs::perms::owner_read | fs::perms::owner_exec);
    CHECK(contains(refusal([&] { check_output(folder / "sub/o.npy"); }), "not writable"));
    fs::permissions(folder / "sub", fs::perms::owner_all);
  }
  CHECK(folder.files() == 2);
}

TEST_CASE("named workloads", "[io]") {
  std::set<std::string_view> names;
  for (const Workload& workload : workloads()) {
    INFO(workload.name);
    names.insert(workload.name);
    CHECK(&find_workload(workload.name) == &workload);
    CHECK(workload.has_twin() == (workload.on_cpu != workload.shape));
    const Shape& s = workload.on_cpu;
    CHECK(s.B * s.H * s.Nq * s.Nk * s.d <= std::int64_t{1} << 28);
    CHECK(s.d == workload.shape.d);
    // A window keeps its part of the keys.
    const Range all =
        keys_of_row(workload.mask, workload.shape.Nq / 2, workload.shape.Nq, workload.shape.Nk);
    const Range twin = keys_of_row(workload.mask_on_cpu, s.Nq / 2, s.Nq, s.Nk);
    CHECK(static_cast<double>(all.size() * s.Nk) ==
          Approx(static_cast<double>(twin.size() * workload.shape.Nk)).epsilon(0.01));
  }
  for (const Workload& workload : workloads()) {
    INFO(workload.name);
    const Shape& s = workload.shape;
    if (workload.offsets != nullptr) {
      const std::vector<std::int64_t> offsets = workload.offsets();
      CHECK(static_cast<std::int64_t>(offsets.size()) == s.B + 1);
      std::int64_t longest = 0;
      for (std::size_t b = 1; b < offsets.size(); ++b) {
        longest = std::max(longest, offsets[b] - offsets[b - 1]);
      }
      CHECK((s.Nq == longest && s.Nk == longest));
      CHECK((workload.on_cpu.B == s.B && workload.on_cpu.Nq == s.Nq));
    }
    if (workload.ranges != nullptr) {
      const std::vector<std::int64_t> ranges = workload.ranges();
      CHECK(static_cast<std::int64_t>(ranges.size()) == 2 * s.B * s.Nq);
      CHECK(*std::max_element(ranges.begin(), ranges.end()) == s.Nk);
      CHECK((workload.on_cpu.B == s.B && workload.on_cpu.Nq == s.Nq));
    }
    if (workload.mask_array != nullptr) {
      for (const std::int64_t N : {s.Nq, workload.on_cpu.Nq}) {
        CHECK(static_cast<std::int64_t>(workload.mask_array(N).size()) == N * N);
      }
      CHECK(s.Nq == s.Nk);
    }
  }
  CHECK(find_workload("swin_56_bias").bias == PairShape{1, 3, 49, 49});
  CHECK(find_workload("mpt_7b_2k").extra() == "ALiBi slopes");
  CHECK(find_workload("qwen25vl_window").offsets().back() == 74 * 74);
  CHECK(find_workload("swin_56").offsets().back() == 56 * 56);
  const auto [first, last] = std::pair(find_workload("pi0_prefill").ranges()[1],
                                       find_workload("pi0_prefill").ranges()[2 * 787 + 1]);
  CHECK((first == 787 && last == 788));
  CHECK(names.size() == workloads().size());
  CHECK(find_workload("vit_b16_224").shape == make_shape(1, 12, 197, 197, 64));
  CHECK(find_workload("mistral_7b_16k").mask == Mask{.before = 4095, .after = 0});
  CHECK(find_workload("gpt2_medium").shape == make_shape(64, 16, 1024, 1024, 64));
  const std::string message = refusal([] { find_workload("nonsense"); });
  CHECK(message.starts_with("--workload nonsense: allowed: vit_b16_224, "));
}

/// How many keys each row of a mask of N tokens sees.
std::vector<std::int64_t> keys_seen(const std::vector<std::uint8_t>& mask, std::int64_t N) {
  std::vector<std::int64_t> result;
  for (auto row = mask.begin(); row != mask.end(); row += N) {
    result.push_back(std::count(row, row + N, 1));
  }
  return result;
}

TEST_CASE("neighbourhoods have a size, also at an image's edges") {
  constexpr std::int64_t kHeight = 5, kWidth = 9, kTokens = kHeight * kWidth;
  const std::vector<std::uint8_t> mask = neighbourhood_mask({kHeight, kWidth, 3});
  CHECK(keys_seen(mask, kTokens) == std::vector<std::int64_t>(kTokens, 9));
  const auto sees = [&](std::int64_t y, std::int64_t x, std::int64_t key_y, std::int64_t key_x) {
    return mask.at(static_cast<std::size_t>((y * kWidth + x) * kTokens + key_y * kWidth + key_x)) !=
           0;
  };
  CHECK((sees(2, 4, 1, 3) && sees(2, 4, 3, 5)));  // with the token in the middle
  CHECK((sees(0, 0, 0, 0) && sees(0, 0, 2, 2)));
  CHECK((sees(4, 8, 2, 6) && sees(4, 8, 4, 8)));
  CHECK((sees(0, 8, 2, 6) && sees(3, 0, 2, 2)));
  CHECK(keys_seen(neighbourhood_mask({3, 3, 3}), 9) == std::vector<std::int64_t>(9, 9));
  CHECK(keys_seen(neighbourhood_mask({2, 2, 1}), 4) == std::vector<std::int64_t>(4, 1));
  for (const Neighbourhood& image : {Neighbourhood{5, 9, 2}, {5, 9, 7}, {5, 9, 0}, {5, 9, -1}}) {
    CHECK(refusal([&] { neighbourhood_mask(image); }) ==
          fmt::format("side = {}: allowed in an image of 5 x 9: odd, 1 to 5", image.side));
  }
}

TEST_CASE("BigBird's blocks see their neighbours, both ends and three more") {
  constexpr std::int64_t N = 4096, kBlock = 64, kBlocks = N / kBlock;
  const std::vector<std::uint8_t> mask = big_bird_mask(N);
  const std::vector<std::int64_t> seen = keys_seen(mask, N);
  const auto sees = [&](std::int64_t block, std::int64_t other) {
    return mask.at(static_cast<std::size_t>(block * kBlock * N + other * kBlock)) != 0;
  };
  bool differ = false;
  for (std::int64_t block = 0; block < kBlocks; ++block) {
    INFO("block " << block);
    const bool global = block == 0 || block == kBlocks - 1;
    const bool beside_one = block == 1 || block == kBlocks - 2;
    const std::int64_t blocks = global ? kBlocks : beside_one ? 7 : 8;
    for (std::int64_t row = 0; row < kBlock; ++row) {
      CHECK(seen.at(static_cast<std::size_t>(block * kBlock + row)) == blocks * kBlock);
    }
    CHECK((sees(block, 0) && sees(block, kBlocks - 1) && sees(block, block)));
    if (block > 0) CHECK((sees(block, block - 1) && sees(block - 1, block)));
    differ = differ || (block > 9 && sees(block, 5) != sees(9, 5));
  }
  CHECK(differ);
  CHECK(keys_seen(big_bird_mask(64), 64) == std::vector<std::int64_t>(64, 64));
  CHECK(refusal([] { big_bird_mask(100); }) == "tokens = 100: allowed: a multiple of 64");
  CHECK(refusal([] { big_bird_mask(0); }) == "tokens = 0: allowed: a multiple of 64");
}

/// Which segment each token stands in; empty if `order` is no permutation.
std::vector<std::size_t> segment_of_token(const Segments& segments, std::int64_t tokens) {
  std::vector<std::size_t> result(static_cast<std::size_t>(tokens), 0);
  for (std::size_t s = 1; s < segments.offsets.size(); ++s) {
    for (std::int64_t at = segments.offsets[s - 1]; at < segments.offsets[s]; ++at) {
      result.at(static_cast<std::size_t>(segments.order.at(static_cast<std::size_t>(at)))) = s;
    }
  }
  const bool all = segments.offsets.back() == tokens &&
                   std::find(result.begin(), result.end(), 0u) == result.end();
  return all ? result : std::vector<std::size_t>();
}

/// The number that Swin gives the place of a token in the rolled image, to compare within a window:
/// each axis is cut one window, and one shift, before its end.
std::int64_t region(const ImageWindows& image, std::int64_t row, std::int64_t column) {
  const auto part = [&](std::int64_t at, std::int64_t size) {
    return at < size - image.window ? 0 : at < size - image.shift ? 1 : 2;
  };
  return 3 * part(row, image.height) + part(column, image.width);
}

TEST_CASE("windows of an image: tokens share a segment if and only if they see each other",
          "[io]") {
  for (const ImageWindows& image :
       {ImageWindows{4, 4, 2, 0}, ImageWindows{4, 4, 2, 1}, ImageWindows{7, 5, 3, 0},
        ImageWindows{6, 9, 3, 2}, ImageWindows{7, 7, 7, 3}, ImageWindows{16, 16, 7, 0},
        ImageWindows{14, 21, 7, 3}, ImageWindows{1, 1, 8, 0}}) {
    const auto& [height, width, window, shift] = image;
    INFO(fmt::format("{} x {}, windows {}, shift {}", height, width, window, shift));
    const Segments segments = segments_of(image);
    const std::int64_t tokens = height * width;
    const std::vector<std::size_t> found = segment_of_token(segments, tokens);
    REQUIRE(found.size() == static_cast<std::size_t>(tokens));
    bool right = true, empty = false;
    for (std::size_t s = 1; s < segments.offsets.size(); ++s) {
      empty = empty || segments.offsets[s] == segments.offsets[s - 1];
    }
    for (std::int64_t a = 0; a < tokens; ++a) {
      for (std::int64_t b = 0; b < tokens; ++b) {
        const auto rolled = [&](std::int64_t at, std::int64_t size) {
          return (at + size - shift) % size;
        };
        const std::int64_t row_a = rolled(a / width, height), row_b = rolled(b / width, height);
        const std::int64_t column_a = rolled(a % width, width), column_b = rolled(b % width, width);
        const bool sees =
            row_a / window == row_b / window && column_a / window == column_b / window &&
            (shift == 0 || region(image, row_a, column_a) == region(image, row_b, column_b));
        right = right &&
                sees == (found[static_cast<std::size_t>(a)] == found[static_cast<std::size_t>(b)]);
      }
    }
    CHECK(right);
    CHECK_FALSE(empty);
  }
  CHECK(segments_of({4, 4, 2, 1}).offsets ==
        std::vector<std::int64_t>{0, 4, 6, 8, 10, 12, 13, 14, 15, 16});
  CHECK(ranges_of({0, 2, 2, 3}) == std::vector<std::int64_t>{0, 2, 0, 2, 2, 3});
  CHECK(refusal([] { segments_of({0, 4, 2, 0}); }) == "height = 0: allowed: 1 or more");
  CHECK(refusal([] {
          segments_of({4, 4, 2, 2});
        }) == "shift = 2: allowed: from 0 to less than the window, 2");
  CHECK(refusal([] {
          segments_of({4, 5, 2, 1});
        }) == "shift = 1: allowed with it: a window that divides 4 x 5, not 2");
}

TEST_CASE("numbers with units", "[io]") {
  CHECK(human_bytes(0) == "0 B");
  CHECK(human_bytes(1023) == "1023 B");
  CHECK(human_bytes(1024) == "1.00 KiB");
  CHECK(human_bytes(2359296) == "2.25 MiB");
  CHECK(human_bytes(1023 * 1024) == "1.00 MiB");
  CHECK(human_bytes(std::size_t{500} << 30) == "500 GiB");
  CHECK(human_bytes(std::numeric_limits<std::size_t>::max()) == "16.0 EiB");
  CHECK(human_seconds(0) == "0.00 ns");
  CHECK(human_seconds(8.5e-7) == "850 ns");
  CHECK(human_seconds(1.234e-3) == "1.23 ms");
  CHECK(human_seconds(9.999e-4) == "1.00 ms");
  CHECK(human_seconds(12.34) == "12.3 s");
  CHECK(human_seconds(12345) == "12345 s");
}

TEST_CASE("columns line up, whatever the alphabet", "[io]") {
  CHECK(display_width("dQ") == 2);
  CHECK(display_width("QKᵀ") == 3);
  CHECK(display_width("2 × 3 → ²") == 9);
  CHECK(display_width("\xf0\x9f") == 1);  // cut off in the middle
  Table table({{"step"}, {"bytes", Table::Align::kRight}});
  table.add_row({"QKᵀ", "7"});
  table.add_row({"x", "1234567"});
  CHECK(table.to_string() ==
        "step    bytes\n"
        "----  -------\n"
        "QKᵀ         7\n"
        "x     1234567\n");
  CHECK(contains(table.to_string(true), "\x1b[1m"));
}

}  // namespace
}  // namespace attn::io
