// SPDX-License-Identifier: MIT
//
// One function for each command of `attn`, each in a file of its own. It declares the command's
// options and, where the command was chosen, sets what main() runs after parsing.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace attn::cli {

/// Exit status of `attn`.
enum ExitStatus {
  kSuccess = 0,
  kFailedVerification = 1,  ///< a result is wrong, a detector fired, or the device failed
  kBadUsage = 2,            ///< a wrong argument or input file; one line on standard error names it
  kNotSupported = 3,        ///< the chapter does not do this; one line on standard error
};

/// The chosen command: returns an ExitStatus, or throws attn::Error.
using Action = std::function<ExitStatus()>;

void add_check_command(CLI::App& app, Action& chosen);
void add_compare_command(CLI::App& app, Action& chosen);
void add_draw_command(CLI::App& app, Action& chosen);
void add_list_commands(CLI::App& app, Action& chosen);  ///< list, workloads
void add_run_command(CLI::App& app, Action& chosen);
void add_trace_command(CLI::App& app, Action& chosen);
void add_tune_command(CLI::App& app, Action& chosen);

}  // namespace attn::cli
