#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Everything that needs a GPU, in one command of nine minutes and without a network: the GPU tests,
# compute-sanitizer, the benchmarks of all kernels, cuBLAS and PyTorch beside them, and the profiler
# ncu against the counts of the CPU machine, every step of every chapter.
#   bench/gpu.sh [--build FOLDER] [--out FOLDER] [--limit SECONDS] [--dry-run]
#     --build    where the programs are, or will be built if they are not there and nvcc is; build
#     --out      where results go; bench/results/<this GPU>/<date>
#     --limit    what all parts together may take, 540; a build before them is not counted
#     --dry-run  says what each part would do, and what it lacks
# PYTHON names the Python that has PyTorch. Programs built elsewhere may bring the libraries they
# need in FOLDER/lib. A part that fails or cannot run does not stop the others; the table at the end
# says what became of each. Benchmarks run size by size, each in a process of its own, and what is
# timed is in the result file at once: running out of time costs what was not timed yet, and that is
# named. Exit status 1 if a part failed. What they print is kept in gpu.log in the build folder.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build
out=
dry_run=no
all=540  # seconds for all parts
while [[ $# -gt 0 ]]; do
  case $1 in
    --build | --out)
      [[ $# -gt 1 ]] || { echo "gpu.sh: $1 needs a folder" >&2; exit 2; }
      if [[ $1 == --build ]]; then build=$2; else out=$2; fi
      shift 2 ;;
    --limit)
      [[ ${2:-} =~ ^[1-9][0-9]{0,5}$ ]] ||
        { echo "gpu.sh: --limit ${2:-}: allowed: a number of seconds, 1 to 999999" >&2; exit 2; }
      all=$2
      shift 2 ;;
    --dry-run) dry_run=yes; shift ;;
    -h | --help) sed -n '4,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "gpu.sh: $1: allowed: --build FOLDER, --out FOLDER, --limit SECONDS, --dry-run" >&2
      exit 2 ;;
  esac
done
build=$(realpath -m "$build")
python=${PYTHON:-python3}
cores=$(getconf _NPROCESSORS_ONLN)
deadline=$((SECONDS + 86400))  # of the build; the other parts' is set after it
log=$build/gpu.log
note=$(mktemp)  # one line that a part leaves for the table
clocks_pid=
trap 'rm -f "$note"; if [[ -n $clocks_pid ]]; then kill "$clocks_pid" 2>/dev/null || true; fi' EXIT
[[ -d $build/lib ]] && export LD_LIBRARY_PATH=$build/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
PATH=$PATH:/usr/local/cuda/bin:/usr/local/nvidia/bin

gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1 || true)
slug=$(tr -cs 'a-z0-9' '-' <<<"${gpu,,}" | sed 's/^nvidia-//; s/-*$//')
out=${out:-$root/bench/results/${slug:-no-gpu}/$(date +%F)}
commit=$(git -C "$root" describe --always --dirty --exclude '*' 2>/dev/null || echo unknown)
kernels=("$root"/chapters/*/*.cu)
mapfile -t chapters < <(printf '%s\n' "${kernels[@]%/*}" | sed 's#.*/##' | sort -u)

say() { printf '\n== %s\n' "$*"; }
has() { command -v "$1" >/dev/null; }
programs_of() { compgen -G "$build/$1" || true; }

# lack NEED...: the first of these needs that is not met, in words; nothing if all are.
lack() {
  local need
  for need in "$@"; do
    case $need in
      gpu) [[ -n $gpu ]] || { echo "no GPU: nvidia-smi names none"; return; } ;;
      torch)
        "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null ||
          { echo "$python has no PyTorch that sees a GPU"; return; } ;;
      ch*) [[ -n $(programs_of "$need") ]] || { echo "$need not built"; return; } ;;
      attn*) [[ -x $build/$need ]] || { echo "$need not built"; return; } ;;
      *) has "$need" || { echo "$need not found"; return; } ;;
    esac
  done
}

summary=()
failed=0
# part NAME SECONDS FUNCTION WHAT NEED...: runs one part within its time and notes what became of
# it.
part() {
  local name=$1 limit=$2 function=$3 what=$4 since=$SECONDS verdict="done" status=0 reason
  shift 4
  say "$name: $what"
  reason=$(lack "$@")
  limit=$((limit < deadline - SECONDS ? limit : deadline - SECONDS))
  if [[ -z $reason && $limit -lt 10 ]]; then reason="no time left"; fi
  if [[ -n $reason ]]; then
    verdict="not run"
  elif [[ $dry_run == yes ]]; then
    verdict="not run" reason="would run for at most $limit s"
  else
    : >"$note"
    export limit
    timeout --kill-after=5 "$limit" bash -c "set -euo pipefail; $function" 2>&1 |
      tee -a "$log" || status=${PIPESTATUS[0]}
    reason=$(tail -n 1 "$note")
    case $status in
      0) ;;
      77) verdict="not run" ;;
      124 | 137) verdict=FAILED reason="stopped after $limit s${reason:+; $reason}" ;;
      *) verdict=FAILED reason=${reason:-exit status $status} ;;
    esac
  fi
  [[ $verdict != FAILED ]] || failed=1
  if [[ $verdict == "not run" ]]; then echo "not run: $reason"; fi
  summary+=("$(printf '%-12s %-8s %4d s  %s' "$name" "$verdict" $((SECONDS - since)) "$reason")")
}

run_build() {
  cmake -S "$root" -B "$build" -DATTN_CUDA=ON
  local target wanted=(attn attn-cuda attn_benchmarks-cuda attn_cublas-cuda) missing=()
  wanted+=(attn_shared_widths-cuda)
  for id in $chapter_list; do wanted+=("ch${id:0:2}_test_cuda"); done
  for target in "${wanted[@]}"; do
    cmake --build "$build" --parallel "$cores" --target "$target" || missing+=("$target")
  done
  if [[ ${#missing[@]} -gt 0 ]]; then echo "not built: ${missing[*]}" >"$note"; fi
  [[ -x $build/attn_benchmarks-cuda ]]
}

# One test program: its output only if it fails. For xargs.
run_one_test() {
  local text
  if text=$("$1" 2>&1); then
    echo "passed: ${1##*/}: $(tail -n 1 <<<"$text")"
  else
    printf '%s\nFAILED: %s\n' "$text" "${1##*/}"
    return 1
  fi
}

run_tests() {
  local programs
  mapfile -t programs < <(programs_of "ch*_test_cuda")
  echo "a test failed, see above" >"$note"
  # One at a time: a program that counts the GPU's free memory must be alone with it.
  printf '%s\0' "${programs[@]}" | xargs -0 -n 1 bash -c 'run_one_test "$1"' _
  if [[ -x $build/attn-cuda ]]; then "$python" "$root/tests/cli_test.py" "$build/attn-cuda"; fi
  echo "${#programs[@]} programs" >"$note"
}

# run_google NAME PROGRAM [MORE...]: times what the program times, one process for each of its
# sizes and before them for each of MORE, a part of a benchmark's name. NAME.json grows by each. A
# size may take half of what is left, so that a few slow kernels do not cost all later sizes.
run_google() {
  local name=$1 program=$2 size raw left status lost=() late=() parts=()
  local folder=$build/$name.parts
  shift 2
  rm -rf "$folder"
  mkdir -p "$folder"
  echo "nothing timed, see above" >"$note"
  for size in "$@" $("$build/$program" --list_shapes); do
    left=$((limit - 3 - SECONDS))  # SECONDS counts from the start of this part
    if [[ $left -lt 3 ]]; then late+=("$size"); continue; fi
    raw=$folder/$((100 + ${#parts[@]})).json
    status=0
    timeout --kill-after=2 "$left" "$build/$program" --benchmark_filter="/$size(/|\$)" \
      --time_limit=$(((left + 1) / 2)) --benchmark_out="$raw" --benchmark_context=commit="$commit" |
      { grep --line-buffered -E '_median|ERROR|skipped' || true; } || status=$?
    if "$root/bench/merge_results.py" --out "$out/$name.json" "${parts[@]}" "$raw"; then
      parts+=("$raw")
    fi
    if [[ $status -ne 0 ]]; then lost+=("$size (status $status)"); fi
  done
  {
    if [[ ${#parts[@]} -gt 0 ]]; then printf '%s' "$out/$name.json, ${#parts[@]} sizes"; fi
    if [[ ${#late[@]} -gt 0 ]]; then printf '; no time left for %s' "${late[*]}"; fi
    if [[ ${#lost[@]} -gt 0 ]]; then printf '; failed: %s' "${lost[*]}"; fi
    echo
  } | sed 's/^; //' >"$note"
  [[ ${#lost[@]} -eq 0 && ${#parts[@]} -gt 0 ]]
}
run_benchmarks() { run_google chapters attn_benchmarks-cuda; }
run_cublas() { run_google cublas attn_cublas-cuda sgemm; }

run_pytorch() {
  local shapes
  mapfile -t shapes < <("$build/attn_benchmarks-cuda" --list_shapes | sed 's/^/--shape=/')
  "$python" -u "$root/bench/peers/pytorch.py" --device cuda "${shapes[@]}" \
    --time-limit $((limit * 9 / 10)) --context commit="$commit" --out "$out/pytorch.json"
  echo "$out/pytorch.json" >"$note"
}

run_widths() {
  local json=$out/shared/widths.json  # report.py takes $out/*.json for times
  mkdir -p "$out/shared"
  "$build/attn_shared_widths-cuda" "$json"
  echo "$json" >"$note"
  if has ncu; then  # wavefronts as the profiler counts them: five launches for each row
    ncu --metrics l1tex__data_pipe_lsu_wavefronts_mem_shared.sum "$build/attn_shared_widths-cuda" |
      grep -E 'access_kernel|wavefronts' || true
  fi
}

# Every kernel at a ragged size, once; the results are checked as well.
run_sanitizer() {
  local tool bad=()
  for tool in memcheck racecheck initcheck synccheck; do
    echo "-- $tool"
    timeout $((limit / 4)) compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$build/attn_benchmarks-cuda" --shape=B:1/H:2/N:77/d:40/causal \
      --benchmark_repetitions=1 --benchmark_min_time=1e-9 2>&1 |
      { grep -vE '^(CPU Caches|Run on|  L)' || true; } || bad+=("$tool")
  done
  if [[ ${#bad[@]} -gt 0 ]]; then echo "errors from ${bad[*]}" >"$note"; fi
  [[ ${#bad[@]} -eq 0 ]]
}

# Every kernel of every chapter: "chapter step pass", a line each.
kernel_passes() {
  "$build/attn" list --json | "$python" -c '
import json, sys
for chapter in json.load(sys.stdin)["chapters"]:
    for step in chapter["steps"]:
        for run_pass in ("forward", "backward"):
            if step[run_pass] and step["runs_on"] != "host":
                print(chapter["id"], step["id"], run_pass)'
}

run_ncu() {
  local id step run_pass text compared=0 bad=() late=()
  while read -r id step run_pass; do
    if [[ $((limit - SECONDS)) -lt 8 ]]; then late+=("$id:$step:$run_pass"); continue; fi
    echo "-- $id $step $run_pass"
    text=$("$root/bench/ncu_check.py" "$id" --step "$step" --pass "$run_pass" \
      --shape N=256,d=64 --attn "$build/attn" --attn-cuda "$build/attn-cuda" 2>&1 </dev/null) ||
      bad+=("$id:$step:$run_pass")
    echo "$text"
    if [[ $text == *"not compared: "* ]]; then
      echo "${text##*not compared: }" >"$note"
      exit 77
    fi
    compared=$((compared + 1))
    echo "$compared passes compared; counters differ in: ${bad[*]:-none}" >"$note"
  done < <(kernel_passes)
  if [[ $compared -eq 0 ]]; then echo "nothing compared" >"$note"; return 1; fi
  if [[ ${#late[@]} -gt 0 ]]; then
    echo "$(cat "$note"); no time left for ${late[*]}" >"$note"
  fi
  [[ ${#bad[@]} -eq 0 ]]
}

export root build out python cores note commit chapter_list="${chapters[*]}"
export -f say programs_of run_one_test run_google run_build run_tests run_benchmarks run_cublas \
  run_pytorch run_widths run_sanitizer kernel_passes run_ncu

say "${gpu:-no GPU}; programs in $build; results in $out"
if [[ -n $gpu && $dry_run == no ]]; then
  mkdir -p "$build" "$out"
  : >"$log"
  reasons=clocks_event_reasons.active  # an older driver's name is below
  nvidia-smi --query-gpu="$reasons" --format=csv >/dev/null 2>&1 ||
    reasons=clocks_throttle_reasons.active
  nvidia-smi --loop-ms=1000 --format=csv,nounits \
    --query-gpu="timestamp,clocks.sm,clocks.mem,temperature.gpu,power.draw,$reasons" \
    >"$out/clocks.csv" 2>/dev/null &
  clocks_pid=$!
fi
if [[ -x $build/attn_benchmarks-cuda ]]; then
  summary+=("build        not run     0 s  the programs are there")
else
  part build 3600 run_build "the GPU programs, by cmake and nvcc" gpu cmake nvcc
fi
since=$SECONDS
deadline=$((since + all))
# of N: N thousandths of what all parts may take.
of() { echo $((all * $1 / 1000)); }
part tests "$(of 170)" run_tests "every chapter's GPU tests, as ctest -L cuda does" gpu \
  'ch*_test_cuda'
part benchmarks "$(of 310)" run_benchmarks "every step, checked and then timed" gpu \
  attn_benchmarks-cuda python3
part cublas "$(of 90)" run_cublas "cuBLAS and a softmax, and SGEMM" gpu attn_cublas-cuda python3
part pytorch "$(of 130)" run_pytorch "every back end of PyTorch, at the same sizes" gpu \
  attn_benchmarks-cuda torch
part widths 20 run_widths "wide accesses to shared memory, beside the rule for them" gpu \
  attn_shared_widths-cuda
part sanitizer "$(of 120)" run_sanitizer "compute-sanitizer's four tools on every step" gpu \
  attn_benchmarks-cuda compute-sanitizer
part ncu "$(of 180)" run_ncu "the profiler's counters against the CPU machine's" gpu \
  attn attn-cuda ncu "$python"

say "summary after $((SECONDS - since)) s"
printf '%s\n' "${summary[@]}" | if [[ -n $clocks_pid ]]; then tee "$out/parts.txt"; else cat; fi
exit "$failed"
