// SPDX-License-Identifier: MIT
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace attn::simt {

/// The tool addr2line, started once and asked one address after the other: what takes it long is to
/// read what the compiler has written about a program. It ends when this process does.
class Addr2line {
 public:
  /// For a program or a library. Starts nothing yet.
  explicit Addr2line(std::string file) : file_(std::move(file)) {}
  Addr2line(const Addr2line&) = delete;
  Addr2line& operator=(const Addr2line&) = delete;

  /// What it says of an address, counted from where the file is loaded: for each function inlined
  /// there, the innermost first, a line with its name and one with "file:line". Empty without that
  /// tool.
  std::string ask(std::uintptr_t address);

 private:
  void start();

  std::string file_;
  pid_t owner_ = 0;  // the process that has started it; a forked one starts its own
  int socket_ = -1;  // its input and output; -1: there is none
};

}  // namespace attn::simt
