// SPDX-License-Identifier: MIT
#include "common/simt/draw/sheet.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "common/attention.hpp"
#include "common/simt/draw/banks_picture.hpp"
#include "common/simt/machine/options.hpp"

namespace attn::simt::draw {
namespace {

constexpr std::ptrdiff_t kPanelsOfALine = 3;
constexpr std::size_t kListed = 12;  // places in a message

[[noreturn]] void bad(const std::string& message) { throw Error(ErrorKind::kBadArgument, message); }

/// "forward.cu:32, forward.cu:33 and 7 more"
std::string list(const std::vector<std::string>& names) {
  if (names.size() <= kListed) return fmt::format("{}", fmt::join(names, ", "));
  return fmt::format("{} and {} more", fmt::join(std::span(names).first(kListed), ", "),
                     names.size() - kListed);
}

template <class T>
void add_once(std::vector<T>& values, T value) {
  if (std::find(values.begin(), values.end(), value) == values.end()) {
    values.push_back(std::move(value));
  }
}

}  // namespace

What parse_what(std::string_view text, std::string_view also) {
  if (text == "touches") return What::kTouches;
  if (text == "warp") return What::kWarp;
  if (text == "timeline") return What::kTimeline;
  if (text == "phases") return What::kPhases;
  bad(fmt::format("{}: allowed: touches, warp, timeline, phases{}", text, also));
}

Sheet::~Sheet() { end(); }

void Sheet::begin(std::string title, std::string subtitle, std::vector<KnownArray> known,
                  std::string line, std::vector<std::string> only) {
  Run run;
  run.title = std::move(title);
  run.subtitle = std::move(subtitle);
  run.line = std::move(line);
  run.only = only;
  switch (what_) {
    case What::kTouches:
      run.touches = std::make_unique<Touches>(std::move(known), std::move(only));
      options().observer = run.touches.get();
      break;
    case What::kWarp:
      run.requests = std::make_unique<WorstRequests>(std::move(known));
      options().observer = run.requests.get();
      break;
    case What::kTimeline:
      run.timeline = std::make_unique<Timeline>();
      options().observer = run.timeline.get();
      break;
    case What::kPhases:
      run.phases = std::make_unique<Phases>(std::move(known));
      options().observer = run.phases.get();
      break;
  }
  runs_.push_back(std::move(run));
}

void Sheet::end() { options().observer = nullptr; }

std::string Sheet::svg(const std::string& note, const std::string& command) const {
  switch (what_) {
    case What::kTouches:
      return touches(note, command);
    case What::kWarp:
      return requests(note, command);
    case What::kPhases:
      return phases(note, command);
    default:
      return timelines(note, command);
  }
}

std::string Sheet::touches(const std::string& note, const std::string& command) const {
  std::vector<TouchesPanel> panels;
  for (const Run& run : runs_) {
    if (run.touches->ticks() == 0) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("{}: nothing to draw, no kernel touches global memory", run.title));
    }
    for (const std::string& name : run.only) {
      const auto& seen = run.touches->names();
      const auto is_it = [&name](const std::string& other) { return same_name(name, other); };
      if (std::any_of(seen.begin(), seen.end(), is_it)) continue;
      std::vector<std::string> names;
      for (const std::string& other : seen) add_once(names, other);
      bad(fmt::format("{} {}: {} touches no such array; allowed: {}", names_.arrays, name,
                      run.title, list(names)));
    }
    panels.push_back({run.title, run.subtitle, run.touches.get()});
  }
  return draw_touches(panels, note, command);
}

/// The accesses of the run's line, worst first.
std::vector<RequestPanel> Sheet::panels_of(const Run& run) const {
  const std::vector<SeenAccess> accesses = run.requests->accesses();
  std::vector<std::string> places;
  std::vector<std::string> arrays;
  std::vector<RequestPanel> panels;
  const std::string title = run.subtitle.empty() ? run.title : run.title + " " + run.subtitle;
  bool here = false;
  for (const SeenAccess& seen : accesses) {
    if (!seen.file.empty()) add_once(places, place_of(seen));
    if (place_of(seen) != std::filesystem::path(run.line).filename()) continue;
    here = true;
    const std::string array = seen.space == Space::kShared ? "shared" : seen.array;
    add_once(arrays, array);
    const auto is_it = [&array](const std::string& name) { return same_name(name, array); };
    if (!run.only.empty() && std::none_of(run.only.begin(), run.only.end(), is_it)) continue;
    panels.push_back({title, seen});
  }
  if (accesses.empty()) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("{}: nothing to draw, no kernel accesses memory", title));
  }
  if (!here) {
    bad(fmt::format("{}{}: {}; allowed: {}", names_.line, run.line.empty() ? "" : " " + run.line,
                    run.line.empty() ? "missing; a picture of a warp needs FILE:LINE"
                                     : "no access to memory in " + title,
                    list(places)));
  }
  if (panels.empty()) {
    bad(fmt::format("{} {}: {} does not touch it; allowed: {}", names_.arrays,
                    fmt::join(run.only, ","), run.line, list(arrays)));
  }
  std::stable_sort(panels.begin(), panels.end(),
                   [](const auto& a, const auto& b) { return a.access.worst > b.access.worst; });
  // A cp.async that loads from many arrays shows what it stores, too.
  const auto shared = std::find_if(panels.begin(), panels.end(), [](const RequestPanel& panel) {
    return panel.access.space == Space::kShared;
  });
  const auto last = panels.begin() + std::min(kPanelsOfALine, std::ssize(panels)) - 1;
  if (shared != panels.end() && shared > last) std::rotate(last, shared, shared + 1);
  panels.erase(last + 1, panels.end());
  return panels;
}

std::string Sheet::requests(const std::string& note, const std::string& command) const {
  std::vector<RequestPanel> panels;
  for (const Run& run : runs_) {
    for (RequestPanel& panel : panels_of(run)) panels.push_back(std::move(panel));
  }
  return draw_requests(panels, note, command);
}

std::string Sheet::timelines(const std::string& note, const std::string& command) const {
  std::vector<TimelinePanel> panels;
  for (const Run& run : runs_) {
    const Timeline::Block& block = run.timeline->block();
    const std::string title = run.subtitle.empty() ? run.title : run.title + " " + run.subtitle;
    if (block.barriers == 0) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("{}: nothing to draw, no kernel waits at a __syncthreads", title));
    }
    panels.push_back({title, &block});
  }
  return draw_timelines(panels, note, command);
}

std::string Sheet::phases(const std::string& note, const std::string& command) const {
  std::vector<PhasesPanel> panels;
  for (const Run& run : runs_) {
    const Phases::Block& block = run.phases->block();
    const std::string title = run.subtitle.empty() ? run.title : run.title + " " + run.subtitle;
    if (block.barriers.empty()) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("{}: nothing to draw, no kernel has an mbarrier", title));
    }
    panels.push_back({title, &block});
  }
  return draw_phases(panels, note, command);
}

}  // namespace attn::simt::draw
