// SPDX-License-Identifier: MIT
#include "common/io/output_file.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "common/attention.hpp"

namespace attn::io {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void bad(const std::string& path, const std::string& message) {
  throw Error(ErrorKind::kBadArgument, fmt::format("{}: {}", path, message));
}

fs::path folder_of(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  return folder.empty() ? fs::path(".") : folder;
}

}  // namespace

void check_output(const std::string& path) {
  std::error_code error;
  if (path.empty()) bad("''", "an empty file name; allowed: the path of a file to write");
  const fs::file_status status = fs::status(path, error);
  if (fs::exists(status) ? !fs::is_regular_file(status) : fs::path(path).filename().empty()) {
    bad(path, "not a file; allowed: a new path, or a regular file to replace");
  }
  const fs::path folder = folder_of(path);
  if (!fs::is_directory(folder, error)) {
    bad(path, "its folder does not exist; allowed: a path in an existing folder");
  }
  if (::access(folder.c_str(), W_OK) != 0) {
    bad(path, "its folder is not writable; allowed: a path in a writable folder");
  }
}

OutputFile::OutputFile(std::string path) : path_(std::move(path)) {
  check_output(path_);
  std::error_code error;
  const fs::path target = fs::weakly_canonical(path_, error);
  target_ = error ? path_ : target.string();
  temporary_ = fmt::format("{}.{}.tmp", target_, ::getpid());
  file_.reset(std::fopen(temporary_.c_str(), "wbx"));  // x: never an existing file
  if (!file_) {
    temporary_.clear();
    fail("cannot be written");
  }
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      target_(std::move(other.target_)),
      temporary_(std::exchange(other.temporary_, {})),
      file_(std::move(other.file_)) {}

OutputFile::~OutputFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void OutputFile::write(const void* from, std::size_t bytes) {
  if (bytes > 0 && std::fwrite(from, 1, bytes, file_.get()) != bytes) fail("cannot be written");
}

void OutputFile::close() {
  if (file_ && std::fclose(file_.release()) != 0) fail("cannot be written");
}

void OutputFile::commit() {
  close();
  if (std::rename(temporary_.c_str(), target_.c_str()) != 0) fail("cannot be replaced");
  temporary_.clear();
}

void OutputFile::fail(const char* what) const {
  bad(path_, fmt::format("{} ({}); allowed: a writable path with room for it", what,
                         std::strerror(errno)));
}

}  // namespace attn::io
