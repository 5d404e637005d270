// SPDX-License-Identifier: MIT
//
// dump_counters            prints the counters of every scenario, for comparison between builds
// dump_counters --widths   prints the accesses that each chapter's kernels made, with tabs:
//                          chapter, kernel, access ("global load", ...), bytes per lane
#include <fmt/format.h>

#include <set>
#include <string_view>

#include "tests/simt/scenarios.hpp"

int main(int argc, char** argv) {
  const bool widths = argc == 2 && std::string_view(argv[1]) == "--widths";
  if (argc > 1 && !widths) {
    fmt::print(stderr, "arguments: allowed: none, or --widths\n");
    return 2;
  }
  std::set<std::string> lines;
  for (const attn::simt_test::Scenario& scenario : attn::simt_test::run_scenarios()) {
    if (!widths) fmt::print("{}", to_text(scenario));
    if (scenario.chapter.empty()) continue;
    for (const attn::simt::LaunchRecord& launch : scenario.launches) {
      for (const attn::simt::SiteTraffic& site : launch.sites) {
        lines.insert(fmt::format("{}\t{}\t{}\t{}\n", scenario.chapter, launch.kernel, site.access,
                                 site.lane_bytes));
      }
    }
  }
  if (widths) {
    for (const std::string& line : lines) fmt::print("{}", line);
  }
  return 0;
}
