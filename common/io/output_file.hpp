// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

namespace attn::io {

/// The file that writing to `path` makes or replaces: symbolic links are followed, also one to a
/// file that is not yet there. Throws Error(kBadArgument) where links go in a circle.
std::filesystem::path resolve_output(const std::string& path);

/// Throws Error(kBadArgument) if no file can be written at `path`: its folder is missing or not
/// writable, or something other than a regular file has that name. Writes nothing.
void check_output(const std::string& path);

/// From now on a program that is interrupted, terminated or hung up on removes its temporary files
/// (OutputFile) before it dies of the signal. For main().
void remove_temporaries_on_signals();

/// A file that appears under its name whole or not at all: written beside it under a temporary
/// name, renamed by commit(), removed by the destructor or a signal if that never happened.
/// Every member throws Error(kBadArgument) that names the path.
class OutputFile {
 public:
  explicit OutputFile(std::string path);
  ~OutputFile();
  OutputFile(OutputFile&& other) noexcept;

  void write(const void* from, std::size_t bytes);
  /// Flushes to the file system, so that a full disk shows before the first commit() of several.
  void close();
  void commit();

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  [[noreturn]] void fail(const char* what) const;
  void forget_temporary();

  std::string path_;       // as given, for messages
  std::string target_;     // with symbolic links followed
  std::string temporary_;  // empty once committed
  std::unique_ptr<std::FILE, Closer> file_;
};

}  // namespace attn::io
