#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Everything that needs a GPU, in one command of less than nine minutes and without a network: the
# GPU tests, compute-sanitizer, the benchmarks of all kernels, cuBLAS and PyTorch beside them, and
# the profiler ncu against the counts of the CPU machine.
#   bench/gpu.sh [--build FOLDER] [--out FOLDER] [--dry-run]
#     --build    where the programs are, or will be built if they are not there and nvcc is; build
#     --out      where results go; bench/results/<this GPU>/<date>
#     --dry-run  says what each part would do, and what it lacks
# PYTHON names the Python that has PyTorch. Programs built elsewhere may bring the libraries they
# need in FOLDER/lib. A part that fails or cannot run does not stop the others; the table at the end
# says what became of each. Exit status 1 if one failed. What they print is kept in gpu.log in the
# build folder.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build
out=
dry_run=no
while [[ $# -gt 0 ]]; do
  case $1 in
    --build | --out)
      [[ $# -gt 1 ]] || { echo "gpu.sh: $1 needs a folder" >&2; exit 2; }
      if [[ $1 == --build ]]; then build=$2; else out=$2; fi
      shift 2 ;;
    --dry-run) dry_run=yes; shift ;;
    -h | --help) sed -n '4,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "gpu.sh: $1: allowed: --build FOLDER, --out FOLDER, --dry-run" >&2; exit 2 ;;
  esac
done
build=$(realpath -m "$build")
python=${PYTHON:-python3}
cores=$(getconf _NPROCESSORS_ONLN)
deadline=$((SECONDS + 520))
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

# run_google NAME PROGRAM: times what the program times and writes NAME.json.
run_google() {
  local raw=$build/$1.raw.json
  rm -f "$raw"
  echo "nothing timed, see above" >"$note"
  "$build/$2" --time_limit=$((limit * 3 / 4)) --benchmark_out="$raw" \
    --benchmark_context=commit="$commit" | grep --line-buffered -E '_median|ERROR|skipped'
  "$root/bench/merge_results.py" --out "$out/$1.json" "$raw"
  echo "$out/$1.json" >"$note"
}
run_benchmarks() { run_google chapters attn_benchmarks-cuda; }
run_cublas() { run_google cublas attn_cublas-cuda; }

run_pytorch() {
  local shapes
  mapfile -t shapes < <("$build/attn_benchmarks-cuda" --list_shapes | sed 's/^/--shape=/')
  "$python" -u "$root/bench/peers/pytorch.py" --device cuda "${shapes[@]}" \
    --time-limit $((limit * 3 / 4)) --context commit="$commit" --out "$out/pytorch.json"
  echo "$out/pytorch.json" >"$note"
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

run_ncu() {
  local id run_pass text compared=0 bad=()
  for id in $chapter_list; do
    for run_pass in forward backward; do
      "$build/attn" trace "$id" --pass "$run_pass" --shape N=8,d=8 >/dev/null 2>&1 || continue
      echo "-- $id $run_pass"
      text=$("$root/bench/ncu_check.py" "$id" --pass "$run_pass" --shape N=256,d=64 \
        --attn "$build/attn" --attn-cuda "$build/attn-cuda" 2>&1) || bad+=("$id:$run_pass")
      echo "$text"
      if [[ $text == *"not compared: "* ]]; then
        echo "${text##*not compared: }" >"$note"
        exit 77
      fi
      compared=$((compared + 1))
    done
  done
  echo "$compared passes compared; counters differ in: ${bad[*]:-none}" >"$note"
  [[ ${#bad[@]} -eq 0 ]]
}

export root build out python cores note commit chapter_list="${chapters[*]}"
export -f say programs_of run_one_test run_google run_build run_tests run_benchmarks run_cublas \
  run_pytorch run_sanitizer run_ncu

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
  part build 240 run_build "the GPU programs, by cmake and nvcc" gpu cmake nvcc
fi
part tests 100 run_tests "every chapter's GPU tests, as ctest -L cuda does" gpu 'ch*_test_cuda'
part benchmarks 180 run_benchmarks "every step, checked and then timed" gpu \
  attn_benchmarks-cuda python3
part cublas 40 run_cublas "cuBLAS and a softmax, at the same sizes" gpu attn_cublas-cuda python3
part pytorch 70 run_pytorch "every back end of PyTorch, at the same sizes" gpu \
  attn_benchmarks-cuda torch
part sanitizer 80 run_sanitizer "compute-sanitizer's four tools on every step" gpu \
  attn_benchmarks-cuda compute-sanitizer
part ncu 50 run_ncu "the profiler's counters against the CPU machine's" gpu \
  attn attn-cuda ncu python3

say "summary after $SECONDS s"
printf '%s\n' "${summary[@]}" | if [[ -n $clocks_pid ]]; then tee "$out/parts.txt"; else cat; fi
exit "$failed"
