#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Sets up this machine, builds everything and runs all tests, then all of them again under
# AddressSanitizer and UndefinedBehaviorSanitizer. Exit status 0 only if everything passed.
set -euo pipefail
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
  cmake -S . -B build "${options[@]}" && cmake --build build --parallel "$cores"
}
build_sanitized() {
  cmake --preset asan "${options[@]}" && cmake --build --preset asan --parallel "$cores"
}
check_format() {
  find chapters common tests bench -regex '.*\.\(cpp\|hpp\|cu\|cuh\)' -print0 |
    xargs -0 "$format" --dry-run -Werror &&
    ! LC_ALL=C.UTF-8 grep -rnE '^.{101,}' chapters common tests bench notes \
      --include='*.[ch]pp' --include='*.cu' --include='*.cuh' --include='*.py' \
      --include='*.sh' --include='*.cmake' --include=CMakeLists.txt  # comments and Python, too
}

if check "build" build; then
  check "tests" ctest --test-dir build --output-on-failure --no-tests=error -j "$cores" || true
fi
if check "sanitized build" build_sanitized; then
  check "sanitized tests" ctest --preset asan -j "$cores" || true
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
exit "$failed"
