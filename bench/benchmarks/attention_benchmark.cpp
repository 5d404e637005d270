// SPDX-License-Identifier: MIT
#include "bench/benchmarks/attention_benchmark.hpp"

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "bench/benchmarks/implementations.hpp"
#include "bench/benchmarks/sample.hpp"
#include "bench/benchmarks/timer.hpp"
#include "chapters/chapters.hpp"
#include "common/memory.hpp"
#include "common/run/run.hpp"
#include "common/verify/check.hpp"
#include "common/verify/inputs.hpp"

namespace attn::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kSeed = 20260101;
// On the CPU: above this, one call an iteration and three repetitions are enough (a second of
// textbook loops and of twins);
constexpr double kLongFlops = 1e10, kLongTwinFlops = 1e11;
// and backward passes are timed up to here: textbook loops take about a second for 3e9, twins and
// PyTorch for 1e11, of which the check of the results takes many times as long.
constexpr double kMostBackwardFlops = 3e9, kMostTwinBackwardFlops = 2.2e10;

bool g_found_errors = false;
std::optional<Clock::time_point> g_deadline;

/// One thing to time.
struct Case {
  const Chapter* chapter;
  const Step* step;
  Pass pass;
  Problem problem;

  /// float32, or the first element of a pass that does not take it.
  Element element() const { return verify::elements_of(*step, pass).front(); }
};

std::string name_of(const Case& one) {
  return fmt::format("{}/{}/{}/{}", one.chapter->id, one.step->id, to_string(one.pass),
                     to_string(one.problem));
}

/// The inputs of a case, for both passes; those of the last shape asked for are kept, because the
/// cases of a problem follow each other.
const attn::Problem& inputs(const Case& one) {
  static std::map<Element, attn::Problem> kept;
  const Shape& shape = one.problem.shape;
  if (!kept.empty() && kept.begin()->second.shape != shape) kept.clear();
  const auto [found, first] = kept.try_emplace(one.element());
  attn::Problem& problem = found->second;
  if (first) {
    problem = verify::make_problem(
        {.shape = shape, .scale = default_scale(shape.d), .seed = kSeed, .element = one.element()},
        Pass::kBackward);
  }
  problem.mask = one.problem.mask;
  return problem;
}

/// Throws Error(kUnsupported) where a host workspace would push this computer into swapping.
void check_memory(const Case& one) {
  if (&memory_of(*one.chapter, *one.step) != &host_memory()) return;
  const auto bytes = static_cast<double>(workspace_bytes(*one.step, one.pass, one.problem.shape));
  const double all = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) *
                     static_cast<double>(::sysconf(_SC_PAGE_SIZE));
  if (bytes <= all / 2) return;
  throw Error(ErrorKind::kUnsupported,
              fmt::format("its workspace of {:.1f} GiB is more than half of this computer's {:.1f}",
                          bytes / 0x1p30, all / 0x1p30));
}

/// Throws Error(kUnsupported) where calls of this many seconds do not fit into the time limit.
void require_time(double call) {
  if (!g_deadline) return;
  const double left = std::chrono::duration<double>(*g_deadline - Clock::now()).count();
  if (!is_too_long(call, left)) return;
  throw Error(ErrorKind::kUnsupported,
              fmt::format("not timed: the time limit leaves {:.1f} s, less than eight calls of "
                          "{:.2g} s",
                          std::max(left, 0.0), call));
}

/// Prints what is wrong, and throws.
void require_right(const std::string& errors, const std::string& what) {
  if (errors.empty()) return;
  g_found_errors = true;
  fmt::print(stderr, "{} is wrong (seed {}):\n{}\n", what, kSeed, errors);
  throw Error(ErrorKind::kDeviceFailure, "wrong, so not timed");
}

/// O and LSE for a backward pass: by the forward pass of the chapter, or of the one that it
/// borrows; for a twin by a twin's, where there is one; checked.
Outputs forward_for(const Case& one) {
  const Chapter* chapter = one.chapter;
  for (const Chapter* other : implementations()) {
    if (other->id == one.chapter->forward_of) chapter = other;
  }
  const bool by_twin = is_twin(*one.chapter, *one.step) && chapter->twin != nullptr &&
                       chapter->twin->forward != nullptr;
  const Step* step = by_twin ? chapter->twin : default_step(*chapter, Pass::kForward);
  if (step == nullptr) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{} has no forward pass", chapter->id));
  }
  const attn::Problem& problem = inputs(one);
  Outputs outputs = run_forward(*chapter, *step, problem);
  require_right(find_errors(problem, Pass::kForward, outputs, {}, {}),
                fmt::format("{}: the forward pass of {} {}", name_of(one), chapter->id, step->id));
  return outputs;
}

/// A case with its arrays, ready to be timed: found right, and warm.
class Prepared {
 public:
  explicit Prepared(const Case& one)
      : case_(one),
        forward_(one.pass == Pass::kBackward ? forward_for(one) : Outputs{}),
        run_(*one.chapter, *one.step, one.pass, inputs(one), forward_.o, forward_.lse, {}) {
    const Clock::time_point begin = Clock::now();
    run_.call();
    const double first = std::chrono::duration<double>(Clock::now() - begin).count();
    require_time(first);
    require_right(find_errors(inputs(one), one.pass, run_.collect(), forward_.o, forward_.lse),
                  name_of(one));
    double total = first > 1 ? first : 0;  // so long a call has warmed whatever can be warm
    for (int calls = 0; calls < 100 && total < 0.05; ++calls) total += seconds();
  }

  /// Seconds of one call.
  double seconds() {
    return timer_.seconds([this] {
      if (case_.pass == Pass::kForward) {
        forward(*case_.chapter, *case_.step, run_.element(), run_.forward_args());
      } else {
        backward(*case_.chapter, *case_.step, run_.element(), run_.backward_args());
      }
    });
  }

 private:
  Case case_;
  Outputs forward_;
  Run run_;
  Timer timer_;
};

/// A case that is timed in several repetitions: prepared at the first, and freed when the next case
/// begins.
class Subject {
 public:
  explicit Subject(const Case& one) : case_(one) {}

  void measure(benchmark::State& state) {
    if (current_ != this) {
      if (current_ != nullptr) current_->prepared_.reset();
      current_ = this;
      prepare();
    }
    if (prepared_ == nullptr) {
      state.SkipWithError(problem_.c_str());
      return;
    }
    for (auto _ : state) state.SetIterationTime(prepared_->seconds());
    state.counters["FLOP/s"] = benchmark::Counter(flops(case_.problem, case_.pass),
                                                  benchmark::Counter::kIsIterationInvariantRate);
    state.counters["workspace_bytes"] =
        static_cast<double>(workspace_bytes(*case_.step, case_.pass, case_.problem.shape));
  }

 private:
  void prepare() {
    try {
      if (g_deadline && Clock::now() > *g_deadline) {
        throw Error(ErrorKind::kUnsupported, "not run: the time limit is over");
      }
      check_memory(case_);
      prepared_ = std::make_unique<Prepared>(case_);
    } catch (const Error& error) {
      problem_ = error.what();
    } catch (const std::bad_alloc&) {
      problem_ = "not enough memory";
    }
  }

  static inline Subject* current_ = nullptr;

  Case case_;
  std::unique_ptr<Prepared> prepared_;
  std::string problem_;
};

void add(const Case& one, bool is_default) {
  const bool has_pass =
      one.pass == Pass::kForward ? one.step->forward != nullptr : one.step->backward != nullptr;
  const bool on_host = &memory_of(*one.chapter, *one.step) == &host_memory();
  if (!has_pass || on_host == on_gpu()) return;
  const double work = flops(one.problem, one.pass);
  const bool twin = is_twin(*one.chapter, *one.step);
  const bool too_long =
      one.pass == Pass::kBackward && work > (twin ? kMostTwinBackwardFlops : kMostBackwardFlops);
  if (on_host && is_default && too_long) return;
  auto* benchmark = benchmark::RegisterBenchmark(
      name_of(one).c_str(), [subject = std::make_shared<Subject>(one)](benchmark::State& state) {
        subject->measure(state);
      });
  benchmark->Unit(benchmark::kMillisecond)->UseManualTime();
  if (on_host && work > (twin ? kLongTwinFlops : kLongFlops))
    benchmark->Iterations(1)->Repetitions(3);
}

/// The fastest twin, chapter 08's, at the sizes that are there for it and PyTorch.
void add_peer_problems([[maybe_unused]] Pass pass) {
#if ATTN_HAS_DEVICE
  const Chapter& chapter = chapters::ch08_register_tiles();
  for (const Problem& problem : peer_problems()) add({&chapter, chapter.twin, pass, problem}, true);
#endif
}

}  // namespace

void add_benchmarks(const std::vector<Problem>& problems, std::optional<double> time_limit) {
  if (time_limit) {
    g_deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                    std::chrono::duration<double>(*time_limit));
  }
  const std::span<const Problem> all =
      problems.empty() ? default_problems(on_gpu()) : std::span<const Problem>(problems);
  for (const Problem& problem : all) {
    for (const Chapter* chapter : implementations()) {
      for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
        for (const Step& step : chapter->steps) {
          add({chapter, &step, pass, problem}, problems.empty());
        }
        for (const Step* twin : twins_of(*chapter)) {
          add({chapter, twin, pass, problem}, problems.empty());
        }
      }
    }
  }
  if (problems.empty() && !on_gpu()) {
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) add_peer_problems(pass);
  }
}

bool found_errors() { return g_found_errors; }

}  // namespace attn::bench
