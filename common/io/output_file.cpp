// SPDX-License-Identifier: MIT
#include "common/io/output_file.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
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

fs::path folder_of(const fs::path& path) {
  const fs::path folder = path.parent_path();
  return folder.empty() ? fs::path(".") : folder;
}

/// A temporary file that a signal would leave behind, where a signal handler may look it up: in
/// memory that exists from the start, without a lock. There is room for more files than attn
/// writes; one without room would be left behind.
struct Temporary {
  enum State { kFree, kTaken, kSet };
  std::atomic<State> state = kFree;
  std::array<char, PATH_MAX> path{};
};
std::array<Temporary, 16> g_temporaries;

void remember(const std::string& path) {
  for (Temporary& entry : g_temporaries) {
    Temporary::State expected = Temporary::kFree;
    if (path.size() >= entry.path.size()) return;
    if (!entry.state.compare_exchange_strong(expected, Temporary::kTaken)) continue;
    std::memcpy(entry.path.data(), path.c_str(), path.size() + 1);
    entry.state = Temporary::kSet;
    return;
  }
}

void forget(const std::string& path) {
  for (Temporary& entry : g_temporaries) {
    if (entry.state != Temporary::kSet || path != entry.path.data()) continue;
    entry.state = Temporary::kFree;
    return;
  }
}

void remove_temporaries(int signal) {
  for (Temporary& entry : g_temporaries) {
    if (entry.state == Temporary::kSet) ::unlink(entry.path.data());
  }
  ::raise(signal);  // SA_RESETHAND: as if there had been no handler
}

}  // namespace

void remove_temporaries_on_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) != 0 || action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = remove_temporaries;
    action.sa_flags = SA_RESETHAND | SA_NODEFER;
    ::sigaction(signal, &action, nullptr);
  }
}

fs::path resolve_output(const std::string& path) {
  constexpr int kMostLinks = 40;  // as Linux has it
  fs::path target = path;
  for (int links = 0; links < kMostLinks; ++links) {
    std::error_code error;
    const fs::path next = fs::read_symlink(target, error);
    if (error) return target;  // not a link, or not there
    target = next.is_absolute() ? next : folder_of(target) / next;
  }
  bad(path, "a link that leads to links without end; allowed: a new path, or a regular file");
}

void check_output(const std::string& path) {
  std::error_code error;
  if (path.empty()) bad("''", "an empty file name; allowed: the path of a file to write");
  const fs::file_status status = fs::status(path, error);
  if (fs::exists(status) ? !fs::is_regular_file(status) : fs::path(path).filename().empty()) {
    bad(path, "not a file; allowed: a new path, or a regular file to replace");
  }
  const fs::path folder = folder_of(resolve_output(path));
  if (!fs::is_directory(folder, error)) {
    bad(path, "its folder does not exist; allowed: a path in an existing folder");
  }
  if (::access(folder.c_str(), W_OK) != 0) {
    bad(path, "its folder is not writable; allowed: a path in a writable folder");
  }
}

OutputFile::OutputFile(std::string path) : path_(std::move(path)) {
  check_output(path_);
  target_ = resolve_output(path_).string();
  temporary_ = fmt::format("{}.{}.tmp", target_, ::getpid());
  remember(temporary_);  // before it exists, so that there is no moment at which it is left behind
  file_.reset(std::fopen(temporary_.c_str(), "wbx"));  // x: never an existing file
  if (!file_) {
    forget_temporary();
    fail("cannot be written");
  }
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      target_(std::move(other.target_)),
      temporary_(std::exchange(other.temporary_, {})),
      file_(std::move(other.file_)) {}

OutputFile::~OutputFile() {
  if (temporary_.empty()) return;
  ::unlink(temporary_.c_str());
  forget_temporary();
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
  forget_temporary();
}

void OutputFile::forget_temporary() {
  forget(temporary_);
  temporary_.clear();
}

void OutputFile::fail(const char* what) const {
  bad(path_, fmt::format("{} ({}); allowed: a writable path with room for it", what,
                         std::strerror(errno)));
}

}  // namespace attn::io
