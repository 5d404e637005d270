// SPDX-License-Identifier: MIT
//
// A picture of one run, or of two beside each other: what `attn draw` and ATTN_DRAW make.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/simt/draw/phases.hpp"
#include "common/simt/draw/requests.hpp"
#include "common/simt/draw/timeline.hpp"
#include "common/simt/draw/touches.hpp"

namespace attn::simt::draw {

enum class What { kTouches, kWarp, kTimeline, kPhases };

/// "touches", "warp", "timeline" or "phases". Throws Error(kBadArgument); `also`: what the message
/// adds to what is allowed.
What parse_what(std::string_view text, std::string_view also = {});

/// What the options are called, for messages.
struct OptionNames {
  std::string line, arrays;
};

class Sheet {
 public:
  Sheet(What what, OptionNames names) : what_(what), names_(std::move(names)) {}
  ~Sheet();
  Sheet(const Sheet&) = delete;
  Sheet& operator=(const Sheet&) = delete;

  /// The next run is watched from here on, until end() or another begin(). `line`: "forward.cu:32",
  /// for a picture of a warp; `only`: the arrays to draw, all if it is empty.
  void begin(std::string title, std::string subtitle, std::vector<KnownArray> known,
             std::string line, std::vector<std::string> only);
  void end();

  /// The file. Throws Error(kBadArgument) where a line accesses no memory or an array is not
  /// touched, Error(kUnsupported) where there is nothing to draw.
  std::string svg(const std::string& note, const std::string& command) const;

 private:
  struct Run {
    std::string title, subtitle, line;
    std::vector<std::string> only;
    std::unique_ptr<Touches> touches;         // whichever
    std::unique_ptr<WorstRequests> requests;  // the picture
    std::unique_ptr<Timeline> timeline;       // needs
    std::unique_ptr<Phases> phases;
  };
  std::string touches(const std::string& note, const std::string& command) const;
  std::string requests(const std::string& note, const std::string& command) const;
  std::string timelines(const std::string& note, const std::string& command) const;
  std::string phases(const std::string& note, const std::string& command) const;
  std::vector<RequestPanel> panels_of(const Run& run) const;

  What what_;
  OptionNames names_;
  std::vector<Run> runs_;
};

}  // namespace attn::simt::draw
