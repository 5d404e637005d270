// SPDX-License-Identifier: MIT
//
// What a long command says on the way where standard error is a file: plain lines, now and then.
#include "bench/attn/progress.hpp"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

#include "tests/catch.hpp"

namespace attn::cli {
namespace {

using std::chrono::milliseconds;

/// Standard error goes into a file for as long as it lives.
class Captured {
 public:
  Captured() {
    std::fflush(stderr);
    ::dup2(::fileno(file_), STDERR_FILENO);
  }
  ~Captured() {
    ::dup2(before_, STDERR_FILENO);
    ::close(before_);
    std::fclose(file_);
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;

  std::string text() const {
    std::string all;
    std::rewind(file_);
    for (int c = std::fgetc(file_); c != EOF; c = std::fgetc(file_)) {
      all.push_back(static_cast<char>(c));
    }
    return all;
  }

 private:
  int before_ = ::dup(STDERR_FILENO);
  std::FILE* file_ = std::tmpfile();
};

TEST_CASE("progress without a terminal: a plain line now and then, the first one not at once") {
  const Captured captured;
  Progress progress(milliseconds(200));
  progress.show("case 1 of 9");  // a short command says nothing
  std::this_thread::sleep_for(milliseconds(220));
  progress.show("case 2 of 9");
  progress.show("case 3 of 9");
  progress.clear();
  CHECK(captured.text() == "case 2 of 9\n");
}

TEST_CASE("progress without a terminal: a new stage is always said") {
  const Captured captured;
  Progress progress(milliseconds(60'000));
  progress.stage("02_naive_gpu");
  progress.stage("03_tiled");
  CHECK(captured.text() == "02_naive_gpu\n03_tiled\n");
}

TEST_CASE("progress without a terminal: ten seconds, if nothing else is asked for") {
  const Captured captured;
  Progress progress;
  std::this_thread::sleep_for(milliseconds(500));
  progress.show("case 1 of 9");
  CHECK(captured.text().empty());
}

}  // namespace
}  // namespace attn::cli
