// SPDX-License-Identifier: MIT
//
// finish [CHAPTER]: runs all that a reader has written, or what belongs to one chapter, on a part
// of each case table, and prints one table: what is reached, which medals, what is next.
// ATTN_FINISH lists the programs and their files: "ch03_write=chapters/.../write_it.cu,...";
// ATTN_HUNTS the kernels with a bug to be found, "ch01_hunt,...": named only, nothing is written.
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/io/table.hpp"

namespace {

struct Exercise {
  std::string program, file;
};

struct Result {
  bool done = false;
  std::string reached, medal, next;
};

std::vector<Exercise> exercises() {
  std::vector<Exercise> list;
  std::string_view rest = ATTN_FINISH;
  while (!rest.empty()) {
    const std::string_view entry = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), entry.size() + 1));
    const std::size_t equals = entry.find('=');
    list.push_back({std::string(entry.substr(0, equals)), std::string(entry.substr(equals + 1))});
  }
  return list;
}

/// "build/ch03_hunt, build/ch04_hunt", of one chapter ("03") or of all ("").
std::string hunts(const std::string& only) {
  std::string text;
  std::string_view rest = ATTN_HUNTS;
  while (!rest.empty()) {
    const std::string_view hunt = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), hunt.size() + 1));
    if (!only.empty() && !hunt.starts_with("ch" + only + "_")) continue;
    text += fmt::format("{}build/{}", text.empty() ? "" : ", ", hunt);
  }
  return text;
}

/// All that a program prints, and its exit status; nothing if it cannot be started.
std::optional<std::pair<int, std::string>> output_of(const std::filesystem::path& program) {
  if (access(program.c_str(), X_OK) != 0) return std::nullopt;
  std::FILE* pipe = popen(fmt::format("'{}' 2>/dev/null", program.string()).c_str(), "r");
  if (pipe == nullptr) return std::nullopt;
  std::string text;
  char buffer[4096];
  while (const std::size_t n = std::fread(buffer, 1, sizeof(buffer), pipe)) text.append(buffer, n);
  const int status = pclose(pipe);
  return std::pair(WIFEXITED(status) ? WEXITSTATUS(status) : 2, text);
}

/// The text between `from` and `to`, behind the last `from` before the first `to`, without the
/// spaces at its end; "" where there is none.
std::string between(std::string_view text, std::string_view from, std::string_view to) {
  const std::size_t end = text.find(to, std::min(text.find(from), text.size()));
  if (end == std::string_view::npos) return "";
  const std::size_t begin = text.rfind(from, end) + from.size();
  const std::string_view found = text.substr(begin, end - begin);
  return std::string(found.substr(0, found.find_last_not_of(' ') + 1));
}

Result result_of(const Exercise& exercise, const std::filesystem::path& folder) {
  const auto output = output_of(folder / exercise.program);
  if (!output) return {false, "not built", "", "cmake --build build --target " + exercise.program};
  const auto& [status, text] = *output;
  Result result{status == 0, status == 0 ? "all" : "", between(text, "medal: ", "\n"), ""};
  const std::string stages = between(text, ": ", " stages reached");
  if (!stages.empty()) {
    result.reached = "stage " + stages;
    result.next = between(text, "stage ", " WRONG");
  } else if (status != 0) {
    const std::string wrong = between(text, "WRONG in ", " cases run");
    result.reached = wrong.empty() ? "right, but too costly" : "wrong in " + wrong + " cases";
    result.next = wrong.empty() ? between(text, "goal not met, ", ";") : "a right result";
  }
  if (result.done && result.medal != "gold" && !result.medal.empty()) {
    result.next = between(text, "goal not met, ", ";");
  }
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string only = argc > 1 ? argv[1] : "";
  std::vector<Exercise> list;
  for (const Exercise& exercise : exercises()) {
    if (only.empty() || exercise.program.starts_with("ch" + only + "_")) list.push_back(exercise);
  }
  if (argc > 2 || list.empty()) {
    fmt::print(stderr, "finish: {}: allowed is a chapter's two digits, as 03, or nothing\n",
               argv[argc - 1]);
    return 2;
  }
  setenv("ATTN_THIN", "1", 1);  // a quarter of the case table
  const std::filesystem::path folder = std::filesystem::canonical("/proc/self/exe").parent_path();
  attn::io::Table table({{"program"}, {"reached"}, {"medal"}, {"next"}});
  std::size_t done = 0;
  std::optional<Exercise> next;
  for (const Exercise& exercise : list) {
    if (isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\033[K  {} ...", exercise.program);
    const Result result = result_of(exercise, folder);
    done += result.done ? 1 : 0;
    if (!result.done && !next) next = exercise;
    table.add_row({exercise.program, result.reached, result.medal, result.next});
  }
  if (isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\033[K");
  fmt::print("{}\n{} of {} done.", table.to_string(), done, list.size());
  if (next) fmt::print(" Next: {}, then build/{}.", next->file, next->program);
  fmt::print("\n");
  if (const std::string list_of_hunts = hunts(only); !list_of_hunts.empty()) {
    fmt::print("A bug to hunt, as the lesson tells: {}.\n", list_of_hunts);
  }
  return next ? 1 : 0;
}
