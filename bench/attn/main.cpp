// SPDX-License-Identifier: MIT
//
// attn: checks, compares and runs the chapters. attn-cuda is the same program with the kernels
// compiled by nvcc.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "bench/attn/commands.hpp"
#include "chapters/chapters.hpp"
#include "common/attention.hpp"
#include "common/io/output_file.hpp"

namespace attn::cli {
namespace {

/// One line on standard error, whatever the message holds.
ExitStatus complain(std::string message, ExitStatus status) {
  std::replace_if(
      message.begin(), message.end(),
      [](char c) { return std::iscntrl(static_cast<unsigned char>(c)) != 0; }, ' ');
  fmt::print(stderr, "attn: {}\n", message);
  return status;
}

ExitStatus status_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kBadArgument:
      return kBadUsage;
    case ErrorKind::kUnsupported:
      return kNotSupported;
    case ErrorKind::kDeviceFailure:
      break;
  }
  return kFailedVerification;
}

/// An empty value would read as an option that was not given.
void refuse_empty_arguments(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const bool option = argument.starts_with("--") && argument.find('=') + 1 == argument.size();
    if (argument.empty() || option) {
      throw Error(ErrorKind::kBadArgument,
                  fmt::format("{}: an empty value; allowed: a value, or nothing at all",
                              option ? argv[i] : argv[i - 1]));
    }
  }
}

/// CLI11's message; for an unknown argument, that argument, whatever else is missing; for a missing
/// chapter, the chapters there are.
std::string explain(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> unknown = app.remaining(true);
  if (unknown.empty() && std::string_view(error.what()).starts_with("CHAPTER is required")) {
    try {
      chapters::find("");
    } catch (const Error& missing) {
      return missing.what();
    }
  }
  return fmt::format("{}; `attn --help` and `attn COMMAND --help` say what is allowed",
                     unknown.empty() ? error.what() : unknown.front() + ": unknown");
}

int run(int argc, char** argv) {
  CLI::App app("FlashAttention, chapter by chapter: checks, compares and runs the chapters.",
               "attn");
  app.require_subcommand(1);
  app.set_version_flag("--version", "attn " ATTN_VERSION);
  app.footer(
      "Exit status: 0 success; 1 a result is wrong, a detector fired, the device failed, or\n"
      "standard output could not be written; 2 a wrong argument or file; 3 the chapter does not\n"
      "do this. For all but 0, and but for what a check or a comparison found wrong, one line on\n"
      "standard error says why.");
  Action chosen;
  add_check_command(app, chosen);
  add_compare_command(app, chosen);
  add_list_commands(app, chosen);
  add_run_command(app, chosen);
  add_draw_command(app, chosen);
  add_trace_command(app, chosen);
  add_tune_command(app, chosen);
  constexpr const char* kLostOutput = "standard output: it could not be written";
  try {
    refuse_empty_arguments(argc, argv);
    app.parse(argc, argv);
    const ExitStatus status = chosen();
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
      return complain(kLostOutput, kFailedVerification);
    }
    return status;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    return complain(explain(app, error), kBadUsage);
  } catch (const Error& error) {
    return complain(error.what(), status_of(error.kind()));
  } catch (const std::system_error&) {
    if (std::ferror(stdout) == 0) throw;
    return complain(kLostOutput, kFailedVerification);  // before the end, by fmt::print
  } catch (const std::bad_alloc&) {
    return complain("not enough memory for arrays of these sizes; allowed: smaller ones",
                    kBadUsage);
  }
}

}  // namespace
}  // namespace attn::cli

int main(int argc, char** argv) {
  attn::io::remove_temporaries_on_signals();
  return attn::cli::run(argc, argv);
}
