// SPDX-License-Identifier: MIT
#include "common/exercise/trial.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <exception>
#include <fstream>
#include <utility>

#include "common/simt/machine/options.hpp"

namespace attn::exercise {
namespace {

constexpr unsigned char kUnwritten = 0xFF;
constexpr std::int64_t kSteps = 20'000'000;  // of a block: plenty for the small problems here

/// Where a report says it happened, taken apart.
struct Parties {
  bool writes = false, other_writes = false;
  std::string array;  // "sQ"; empty if it has no name
  int thread = 0, other_thread = 0;
  std::string other_file;
  int other_line = 0;
};

bool is_between_warps(const Parties& parties) {
  return parties.thread / 32 != parties.other_thread / 32;
}

/// `text` behind the first `mark`; empty if there is none.
std::string_view behind(std::string_view text, std::string_view mark) {
  const std::size_t found = text.find(mark);
  return found == std::string_view::npos ? std::string_view() : text.substr(found + mark.size());
}

/// Its leading digits.
int number_of(std::string_view text) {
  int number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

/// Of a report about two accesses or one: "write of sQ[0][1]; thread (1,0,0) has a read of it at
/// write_it.cu:70, and nothing orders the two", "read of 4 bytes: o[8], 1 past ...".
Parties parties_of(const Detection& detection) {
  Parties parties;
  const std::string_view what = detection.what;
  parties.writes = what.starts_with("write");
  parties.other_writes = what.find("has a write of it") != std::string_view::npos;
  std::string_view name = behind(what, " bytes: ");
  if (name.empty()) name = behind(what, " of ");
  const std::size_t end = name.find_first_of("[;,");
  if (end != std::string_view::npos && name[end] == '[') parties.array = name.substr(0, end);
  parties.thread = number_of(behind(detection.thread, "("));
  parties.other_thread =
      number_of(behind(what, "; thread (")) + 32 * number_of(behind(what, "; a thread of warp "));
  const std::string_view place = behind(what, " of it at ");
  const std::size_t colon = place.find(':');
  if (colon != std::string_view::npos) {
    parties.other_file = place.substr(0, colon);
    parties.other_line = number_of(place.substr(colon + 1));
  }
  return parties;
}

/// The array that a report is about; null if it has no name.
const SharedArray* array_of(const Detection& detection, const std::vector<SharedArray>& arrays) {
  const std::string name = parties_of(detection).array;
  const auto array =
      std::ranges::find_if(arrays, [&name](const SharedArray& one) { return one.name == name; });
  return array == arrays.end() ? nullptr : &*array;
}

/// Whether it happened in the checker's show_tile or show_rows.
bool is_shown(const Detection& detection) { return detection.file.ends_with("show_tile.cuh"); }

bool is_beyond_shared(const Detection& detection) {
  return detection.kind == "out of bounds" &&
         detection.what.find("dynamic shared memory") != std::string::npos;
}

/// Puts names in the place of "dynamic shared memory at byte 132 (float 33)" and "sQ (float 33)".
std::string with_names(std::string what, const std::vector<SharedArray>& arrays) {
  const std::string mark = "(float ";
  const std::size_t open = what.find(mark);
  if (open == std::string::npos || open == 0) return what;
  const std::size_t begin = what.find(" of ") + 4;
  const std::size_t end = what.find(')', open) + 1;
  const std::string before = what.substr(begin, open - 1 - begin);
  std::int64_t element = number_of(std::string_view(what).substr(open + mark.size()));
  for (const SharedArray& array : arrays) {
    if (before != array.name) {
      if (!before.starts_with("dynamic ")) continue;
      if (element >= array.rows * array.stride) {
        element -= array.rows * array.stride;
        continue;
      }
    }
    const std::string place =
        array.stride == 1
            ? fmt::format("{}[{}]", array.name, element)
            : fmt::format("{}[{}][{}]", array.name, element / array.stride, element % array.stride);
    return what.replace(begin, end - begin, place);
  }
  return what;
}

/// Puts names in the place of "m and l[3]", and says how long the parts are where one is too short.
std::string with_names(std::string what, const Parts& parts) {
  const std::string mark = fmt::format("{}[", parts.whole);
  const std::size_t begin = parts.whole.empty() ? std::string::npos : what.find(mark);
  if (begin == std::string::npos) return what;
  const std::int64_t element = number_of(std::string_view(what).substr(begin + mark.size()));
  const std::int64_t part =
      std::min<std::int64_t>(element / parts.floats, std::ssize(parts.names) - 1);
  const std::string place = fmt::format("{}[{}]", parts.names[static_cast<std::size_t>(part)],
                                        element - part * parts.floats);
  if (what.find(" past the last") == std::string::npos) {
    return what.replace(begin, what.find(']', begin) + 1 - begin, place);
  }
  return fmt::format("{}{}; {} have {} {} each", what.substr(0, begin), place,
                     fmt::join(parts.names, " and "), parts.floats,
                     parts.floats == 1 ? "element" : "elements");
}

/// Whether a tile is read and overwritten, and the write belongs to a later round of the loop. Had
/// it been the same round's, its first round would have read what nobody had written.
bool of_next_round(const Detection& race, const Parties& parties,
                   const std::vector<SharedArray>& arrays,
                   const std::vector<Detection>& detections) {
  const bool tile = std::ranges::any_of(
      arrays, [&](const SharedArray& one) { return one.tile && one.name == parties.array; });
  if (!tile || parties.writes == parties.other_writes) return false;
  for (const Detection& other : detections) {
    if (other.kind == "uninitialised read" && parties_of(other).array == parties.array) {
      return false;
    }
  }
  if (is_between_warps(parties)) return true;
  // A warp's lanes go on together: what comes later is further on, or in the next round.
  const bool backwards = race.file != parties.other_file || race.line < parties.other_line;
  return parties.writes && backwards;
}

/// A line of a source file without its indent; empty if it cannot be read.
std::string source_line(const std::string& name, int wanted) {
  std::ifstream file(name);
  std::string line;
  for (int number = 0; number < wanted; ++number) {
    if (!std::getline(file, line)) return {};
  }
  line.erase(0, line.find_first_not_of(' '));
  return line;
}

/// What to say where one of a race's lines names another array than the one that it is about.
std::string stray_index(const Detection& race, const Parties& parties,
                        const std::vector<SharedArray>& arrays) {
  const std::pair<std::string, int> places[] = {{race.file, race.line},
                                                {parties.other_file, parties.other_line}};
  for (const auto& [file, number] : places) {
    const std::string line = source_line(file, number);
    if (parties.array.empty() || line.find(parties.array) != std::string::npos) continue;
    for (const SharedArray& one : arrays) {
      if (line.find(fmt::format("{}[", one.name)) == std::string::npos) continue;
      return fmt::format(" Or has the index of {0} in line {1} run out of {0} into {2}?", one.name,
                         number, parties.array);
    }
  }
  return {};
}

std::string meaning_of_race(const Detection& race, const std::vector<SharedArray>& arrays,
                            const std::vector<Detection>& detections) {
  const Parties parties = parties_of(race);
  const std::string place = parties.array.empty() ? "one place in memory" : parties.array;
  if (parties.writes && parties.other_writes) {
    return fmt::format(
        "Two threads write different numbers into the same element of {}, and nothing says who "
        "comes last. Each element has one thread that writes it: do two threads, or two warps, "
        "take the same one? If one of the two is to come later, a barrier is missing.",
        place);
  }
  if (of_next_round(race, parties, arrays, detections)) {
    return fmt::format(
        "The next round of the loop already loads {0}, while others still read {0} of this round: "
        "a barrier is missing at the round's end.",
        place);
  }
  return fmt::format(
      "One thread writes an element of {}, another reads it, and no barrier is between them: which "
      "of the two comes first is luck. __syncthreads between all warps, __syncwarp between the "
      "lanes of one.{}",
      place, stray_index(race, parties, arrays));
}

/// A race in which `show`, the checker's show_tile or show_rows, reads what others write.
std::string meaning_of_shown_race(const Detection& race, std::string_view show) {
  const Parties parties = parties_of(race);
  if (show == "show_tile") {
    return "show_tile reads the tile while others still write it: a barrier is missing between "
           "the two.";
  }
  if (!is_between_warps(parties)) {
    return "show_rows reads the row while other lanes of the warp still write it: a __syncwarp is "
           "missing between the two.";
  }
  return fmt::format(
      "Row {} of {} is warp {}'s, but a thread of warp {} has computed an element of it: each warp "
      "computes the rows that it reads.",
      number_of(behind(race.what, "[")), parties.array, parties.thread / 32,
      parties.other_thread / 32);
}

std::string meaning_of_unwritten(const Detection& detection, const std::vector<SharedArray>& arrays,
                                 bool no_keys) {
  const SharedArray* array = array_of(detection, arrays);
  const bool named = array != nullptr;
  if (named && array->handed) {
    return fmt::format(
        "The kernel reads an element of {} that nobody has written yet. One warp leaves it there "
        "for the other: between the two stands a barrier to which both warps come, outside of "
        "every if that depends on the warp.",
        array->name);
  }
  if (named || detection.what.find("shared") != std::string::npos) {
    return fmt::format(
        "The kernel reads an element of {} that nobody has written yet. Does the loop that fills "
        "it reach this element, does this thread have an element at all{}? And: what other threads "
        "write is complete only behind a barrier.",
        named ? array->name : "shared memory",
        named && array->tile ? ", or has a warp left before it loaded its share" : "");
  }
  if (no_keys) {
    return "The kernel reads a number that nobody has written yet: without a key (Nk = 0) the loop "
           "over them never runs, and what is written there is not there behind it.";
  }
  return "The kernel reads a number that nobody has written yet. On the first visit nothing is "
         "in HBM; and what other threads write is complete only behind a barrier.";
}

/// "sQ (2, 33), sO (4)"
std::string sizes_of(const std::vector<SharedArray>& arrays) {
  std::string text;
  for (const SharedArray& one : arrays) {
    text += fmt::format("{}{} ({}{})", text.empty() ? "" : ", ", one.name, one.rows,
                        one.stride == 1 ? "" : fmt::format(", {}", one.stride));
  }
  return text;
}

/// What a report usually means, in one sentence. `show`: show_tile or show_rows.
std::string meaning(const Detection& detection, const std::vector<SharedArray>& arrays,
                    const std::vector<Detection>& detections, std::string_view show, bool no_keys) {
  const bool shown = is_shown(detection);
  if (detection.kind == "uninitialised read" && shown) {
    return fmt::format(
        "{} has met an element of the tile that nobody has written. Does the loop over the tile "
        "reach all its elements, and is a barrier behind it?",
        show);
  }
  if (detection.kind == "uninitialised read") {
    return meaning_of_unwritten(detection, arrays, no_keys);
  }
  if (detection.kind == "race" && shown) return meaning_of_shown_race(detection, show);
  if (detection.kind == "race") return meaning_of_race(detection, arrays, detections);
  if (detection.kind == "race between blocks") {
    return "Two blocks use one place in memory, and one of them writes. Does each block add its "
           "head's (or tile's) offset?";
  }
  if (is_beyond_shared(detection)) {
    return fmt::format(
        "An index is beyond the end of shared memory, which holds {}. Does a loop over rows or "
        "keys go further than these?",
        sizes_of(arrays));
  }
  if (detection.kind == "out of bounds") {
    return "An index is beyond the end of its array. At the edge, a tile has fewer rows or "
           "columns; and a thread for which there is no element has nothing to do.";
  }
  if (detection.kind == kEndlessKernel) {
    return "The kernel does not end. Does the loop's variable grow?";
  }
  if (detection.file.ends_with("warp_reduce.cuh")) {
    return "Not all lanes come to the same warp_max or warp_sum. Does the kernel call one inside "
           "an if, or behind a continue or return that some lanes take?";
  }
  return "Not all threads come to the same barrier or shuffle. Is one inside an if, or behind a "
         "return?";
}

/// "  line  gO[i * d + c] = ...;": the line of the reader's file; empty if it cannot be read.
std::string line_of(const Detection& detection) {
  const Parties parties = parties_of(detection);
  const std::string line = is_shown(detection) && !parties.other_file.empty()
                               ? source_line(parties.other_file, parties.other_line)
                               : source_line(detection.file, detection.line);
  return line.empty() ? line : fmt::format("  line  {}\n", line);
}

/// What to do about reports of a kind.
std::string_view hint_for(std::string_view kind) {
  if (kind == "race") {
    return "  For the array that the report names write down, in the order of the code, who "
           "writes\n"
           "  it and who reads it, over two rounds of the loop. Wherever a write and a read by\n"
           "  another thread follow each other, in either order, a barrier stands between.\n";
  }
  if (kind == "race between blocks") {
    return "  Which blocks share this array, and which rows of it are a block's own? Take the\n"
           "  block's number out of the report and compute the index by hand.\n";
  }
  if (kind == "uninitialised read") {
    return "  Who should have written this element: the same thread, some lines above? Then its\n"
           "  loop or its if leaves it out. Another thread? Then a barrier comes first. Nobody, "
           "on\n"
           "  the first visit? Then do not read it there.\n";
  }
  if (kind == "out of bounds") {
    return "  Put the block and the thread of the report into the line that it names, and compute\n"
           "  the index: which of its parts is too large? For small tiles most threads have no\n"
           "  element.\n";
  }
  if (kind == kEndlessKernel)
    return "  Write down the loop's variable for its first three rounds.\n";
  return "  Which threads come to this line, and which have gone around it? A barrier, a "
         "__syncwarp\n"
         "  or a shuffle stands where all of them come by: outside of every if that depends on "
         "the\n"
         "  thread, and in front of every return.\n";
}

}  // namespace

float unwritten() { return std::bit_cast<float>(0xFFFFFFFFu); }

bool is_unwritten(float value) { return std::bit_cast<std::uint32_t>(value) == 0xFFFFFFFFu; }

const float* Trial::input(std::string_view name, const std::vector<float>& values) {
  buffers_.emplace_back(device_memory(), std::string(name), values.size() * sizeof(float),
                        std::size_t{0});
  if (!values.empty()) buffers_.back().write(values.data());
  return buffers_.back().floats();
}

float* Trial::output(std::string_view name, std::int64_t floats) {
  if (name == "show_rows") show_ = name;
  const auto bytes = static_cast<std::size_t>(floats) * sizeof(float);
  buffers_.emplace_back(device_memory(), std::string(name), bytes, std::size_t{0});
  buffers_.back().fill_undefined(kUnwritten);
  return buffers_.back().floats();
}

std::vector<Trouble> Trial::run(const std::function<void()>& launch) {
  Memory& memory = device_memory();
  memory.take_detections();
  memory.watch(true);
  simt::options().steps = kSteps;
  std::string thrown;
  try {
    launch();
    memory.synchronize();
  } catch (const std::exception& error) {
    thrown = fmt::format("The launch failed: {}\n", error.what());
  }
  simt::options().steps = 0;
  memory.watch(false);
  std::vector<Detection> detections = memory.take_detections();
  for (Detection& detection : detections) {
    detection.what = with_names(with_names(detection.what, shared_), parts_);
    const SharedArray* array = array_of(detection, shared_);
    if (is_beyond_shared(detection)) {
      detection.advice = "The launch is given: which of the line's indices is too large?";
    } else if (detection.kind == "uninitialised read" && array != nullptr && array->handed) {
      detection.advice = "Who writes it, and which barrier do both pass on the way?";
    } else if (detection.kind == "race" && is_shown(detection) && show_ == "show_rows" &&
               is_between_warps(parties_of(detection))) {
      detection.advice = "A __syncwarp does not reach beyond the warp: which rows are its own?";
    }
  }
  const bool no_keys = std::ranges::any_of(
      buffers_, [](const GuardedBuffer& buffer) { return buffer.bytes() == 0; });
  std::vector<Trouble> troubles;
  for (const Detection& detection : detections) {
    if (detection.kind == "same value") doubled_.push_back(detection.what);
    if (detection.warning) continue;
    const std::string means = meaning(detection, shared_, detections, show_, no_keys);
    troubles.push_back(
        {.text = fmt::format("{}\n\n{}\n{}", means, to_string(detection), line_of(detection)),
         .array = parties_of(detection).array,
         .hint = std::string(hint_for(detection.kind))});
  }
  if (!thrown.empty() && !troubles.empty()) troubles.back().stopped = true;
  if (!troubles.empty()) return troubles;
  for (const GuardedBuffer& buffer : buffers_) {
    for (const std::string& damage : buffer.check()) thrown += damage + "\n";
  }
  if (!thrown.empty())
    troubles.push_back({.text = thrown, .array = "", .hint = "", .stopped = true});
  return troubles;
}

bool Trial::stored_twice(std::string_view name) const {
  return std::ranges::any_of(doubled_,
                             [start = fmt::format("write of {}[", name)](const std::string& what) {
                               return what.starts_with(start);
                             });
}

std::vector<float> Trial::read(const float* array) const {
  for (const GuardedBuffer& buffer : buffers_) {
    if (buffer.floats() != array) continue;
    std::vector<float> values(buffer.bytes() / sizeof(float));
    if (!values.empty()) buffer.read(values.data());
    return values;
  }
  return {};
}

}  // namespace attn::exercise
