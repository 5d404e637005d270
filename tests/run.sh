#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Sets up this machine, builds everything and runs the tests.
#   tests/run.sh           every chapter and program, on a quarter of the case table; some mutants
#   tests/run.sh --full    the whole case table for every chapter's default step and twin, a quarter
#                          for steps on the way there; all mutants; every program by nvcc (where
#                          there is nvcc), then the tests again under AddressSanitizer and
#                          UndefinedBehaviorSanitizer, of a chapter's steps the last
# nvcc compiles every kernel: for sm_80 and sm_90a where there is a GPU, elsewhere for sm_80, with
# --full for sm_90a.
# The summary at the end says what was left out. Exit status 0 only if everything passed.
set -euo pipefail
full=no
case $#:${1:-} in
  0:) ;;
  1:--full) full=yes ;;
  1:-h | 1:--help) sed -n '/^# Sets/,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit ;;
  *) echo "tests/run.sh: arguments '$*': allowed: none, --full, or --help" >&2; exit 2 ;;
esac
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" \
  libboost-context-dev libcli11-dev nlohmann-json3-dev catch2 libbenchmark-dev binutils patch \
  python3
cd "$root"
options+=(-DATTN_WERROR=ON)
started=$SECONDS
summary=()
failed=0

# check <name> <command...>: runs it and keeps its verdict for the summary.
check() {
  local name=$1 since=$SECONDS verdict=passed
  shift
  say "$name"
  "$@" || { verdict=FAILED; failed=1; }
  summary+=("$(printf '%-28s %-7s %4d s' "$name" "$verdict" $((SECONDS - since)))")
  [[ $verdict == passed ]]
}

# CI and readers have many versions of clang-format, and each formats a little differently.
clang_format_14() {
  local candidate
  for candidate in clang-format-14 clang-format; do
    if "$candidate" --version 2>/dev/null | grep -q 'version 14\.'; then
      echo "$candidate"
      return
    fi
  done
}

build() {
  cmake -S . -B build "${options[@]}" "$@" && cmake --build build --parallel "$cores"
}
# Without a GPU one architecture of nvcc's is enough to have every kernel compiled and judged; what
# both make of it, registers and spills, is in bench/results/ptxas.json.
architectures() {
  if nvidia-smi -L 2>/dev/null | grep -q GPU; then echo "80;90a"; else echo "$1"; fi
}
build_plain() {
  build -DATTN_ALL_TESTS=OFF -DCMAKE_CUDA_ARCHITECTURES="$(architectures 80)"
}
build_full() {
  build -DATTN_ALL_TESTS=ON -DCMAKE_CUDA_ARCHITECTURES="$(architectures 90a)"
}
build_sanitized() {
  cmake --preset asan "${options[@]}" && cmake --build --preset asan --parallel "$cores"
}
test_plain() {
  ATTN_THIN=1 ctest --test-dir build --output-on-failure --no-tests=error -j "$cores"
}
test_full() {
  ctest --test-dir build --output-on-failure --no-tests=error -j "$cores"
}
test_sanitized() {
  ATTN_THIN=1 ctest --preset asan -j "$cores"
}
check_format() {
  find chapters common tests bench -regex '.*\.\(cpp\|hpp\|cu\|cuh\)' -print0 |
    xargs -0 "$format" --dry-run -Werror &&
    ! LC_ALL=C.UTF-8 grep -rnE '^.{101,}' chapters common tests bench notes \
      --include='*.[ch]pp' --include='*.cu' --include='*.cuh' --include='*.py' \
      --include='*.sh' --include='*.cmake' --include=CMakeLists.txt  # comments and Python, too
}

if [[ $full == yes ]]; then
  if check "build" build_full; then
    check "tests" test_full || true
  fi
  if check "sanitized build" build_sanitized; then
    check "sanitized tests" test_sanitized || true
  fi
else
  if check "build" build_plain; then
    check "tests" test_plain || true
  fi
fi
format=$(clang_format_14)
if [[ -n $format ]]; then
  check "format" check_format || true
else
  summary+=("format                       not run: no clang-format 14")
fi

say "summary"
printf '%s\n' "${summary[@]}"
printf '%-28s %-7s %4d s\n' "in all" "$([[ $failed -eq 0 ]] && echo passed || echo FAILED)" \
  $((SECONDS - started))
if [[ $full == no ]]; then
  mutants=$(find tests/mutants tests/write_it -name '*.patch' | wc -l)
  tested=$(ctest --test-dir build -N -R '^mutant_|_hunt|^slip_' 2>/dev/null |
    grep -c 'Test *#' || true)
  printf '\nLeft out: three quarters of the case table, 70,000 heads among them'
  printf '; %d of %d mutants and slips' $((mutants - tested)) "$mutants"
  printf '; that counters are equal at -O0 and -O1; the sanitizers'
  if grep -q '^CMAKE_CUDA_COMPILER:.*nvcc' build/CMakeCache.txt &&
    grep -q '^CMAKE_CUDA_ARCHITECTURES:[A-Z]*=80$' build/CMakeCache.txt; then
    printf '; of nvcc, sm_90a, the exercises and the programs for a GPU'
  fi
  printf '.\nEverything: tests/run.sh --full\n'
fi
exit "$failed"
