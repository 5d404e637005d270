// SPDX-License-Identifier: MIT
#include "common/simt/machine/addr2line.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

namespace attn::simt {

void Addr2line::start() {
  if (socket_ >= 0) close(socket_);
  socket_ = -1;
  owner_ = getpid();
  std::array<int, 2> ends{};  // ours, its
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::vector<std::string> words = {"addr2line", "-a", "-C", "-f", "-i", "-e", file_};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error == 0) {
    socket_ = ends[0];
  } else {
    close(ends[0]);
  }
}

std::string Addr2line::ask(std::uintptr_t address) {
  if (owner_ != getpid()) start();
  // With -a an answer begins with its address. That of 0, two lines more, ends the one before.
  const std::string asked = fmt::format("{:#x}\n0\n", address);
  if (socket_ < 0 || send(socket_, asked.data(), asked.size(), MSG_NOSIGNAL) < 0) return {};
  constexpr std::string_view kNext = "\n0x0000000000000000\n";
  std::string text;
  std::size_t end = std::string::npos;
  const auto is_whole = [&] {
    end = text.find(kNext);
    return end != std::string::npos &&
           std::count(text.begin() + static_cast<std::ptrdiff_t>(end + kNext.size()), text.end(),
                      '\n') >= 2;
  };
  while (!is_whole()) {
    std::array<char, 1024> buffer;
    const ssize_t bytes = recv(socket_, buffer.data(), buffer.size(), 0);
    if (bytes <= 0) return {};
    text.append(buffer.data(), static_cast<std::size_t>(bytes));
  }
  const std::size_t begin = text.find('\n') + 1;  // behind its own address
  return text.substr(begin, end + 1 - begin);
}

}  // namespace attn::simt
