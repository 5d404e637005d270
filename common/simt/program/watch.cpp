// SPDX-License-Identifier: MIT
//
// In every program of attn_add_cuda_program(): switches the detectors and the tracer on before
// main(), and prints to stderr what they saw when the program ends.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/memory.hpp"
#include "common/simt/counters.hpp"
#include "common/simt/options.hpp"

namespace attn::simt {
namespace {

std::string to_string(dim3 d) { return fmt::format("({},{},{})", d.x, d.y, d.z); }

/// Launches of one kernel with one shape, summed.
struct Summary {
  std::size_t launches = 0;
  Traffic traffic;
  std::vector<SiteTraffic> sites;
};

void add(Summary& sum, const LaunchRecord& launch) {
  ++sum.launches;
  sum.traffic += launch.traffic;
  for (const SiteTraffic& site : launch.sites) {
    const auto same = std::find_if(sum.sites.begin(), sum.sites.end(), [&](const SiteTraffic& s) {
      return s.file == site.file && s.line == site.line && s.access == site.access &&
             s.lane_bytes == site.lane_bytes;
    });
    if (same == sum.sites.end()) {
      sum.sites.push_back(site);
      continue;
    }
    same->bytes += site.bytes;
    same->requests += site.requests;
    same->sectors += site.sectors;
    same->wavefronts += site.wavefronts;
    same->wavefronts_ideal += site.wavefronts_ideal;
  }
}

void print(const std::string& title, const Summary& sum) {
  fmt::print(stderr, "\n{}, {} launch{}\n", title, sum.launches, sum.launches == 1 ? "" : "es");
  fmt::print(stderr, "  {:24} {:16} {:>10} {:>14} {:>14}\n", "line", "access", "requests",
             "sectors", "wavefronts");
  for (const SiteTraffic& site : sum.sites) {
    const std::string place =
        fmt::format("{}:{}", std::filesystem::path(site.file).filename().string(), site.line);
    fmt::print(stderr, "  {:24} {:16} {:10} {:14} {:14}\n", place, site.access, site.requests,
               site.sectors, site.wavefronts);
  }
  fmt::print(stderr, "  barriers {}, special functions {}\n", sum.traffic.barriers,
             sum.traffic.special_functions);
}

class Watch {
 public:
  Watch() {
    const char* setting = std::getenv("ATTN_WATCH");
    on_ = setting == nullptr || std::string_view(setting) != "0";
    options().detectors = options().tracer = on_;
    take_launches();  // what these keep is made now, so that it is there until the end
    device_memory().take_detections();
  }
  ~Watch() {
    if (!on_) return;
    std::fflush(stdout);
    const std::vector<Detection> detections = device_memory().take_detections();
    for (const Detection& detection : detections) {
      fmt::print(stderr, "\n{}\n", attn::to_string(detection));
    }
    fmt::print(stderr, "\n{} report{}; what the kernels' accesses cost:\n",
               detections.empty() ? "no" : std::to_string(detections.size()),
               detections.size() == 1 ? "" : "s");
    std::vector<std::pair<std::string, Summary>> kernels;  // in the order of their first launch
    for (const LaunchRecord& launch : take_launches()) {
      const std::string title = fmt::format("{}: grid {}, block {}", launch.kernel,
                                            to_string(launch.grid), to_string(launch.block));
      const auto known = std::find_if(kernels.begin(), kernels.end(),
                                      [&](const auto& entry) { return entry.first == title; });
      add(known == kernels.end() ? kernels.emplace_back(title, Summary{}).second : known->second,
          launch);
    }
    for (const auto& [title, sum] : kernels) print(title, sum);
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  bool on_ = false;
};

const Watch watch;

}  // namespace
}  // namespace attn::simt
