# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034
#
# source setup.sh [PACKAGE...]
#
# For tests/run.sh and bench/compare.sh. Makes sure that a compiler, CMake, fmt and the given Debian
# packages are installed: installs what is missing if it may, else says how to and exits. Sets
#   root      the folder of the project
#   cores     how many processors a build may use
#   options   what cmake needs to be told on this machine
# and offers say, which prints a heading. New build folders are Ninja's where it is installed: make
# would start itself once per target and leave a processor idle at the end of each.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cores=$(getconf _NPROCESSORS_ONLN)
options=()

say() { printf '\n== %s\n' "$*"; }

# With apt (Debian 12, Ubuntu 24.04 and newer): everything is a package.
setup_with_apt() {
  local missing=() package
  for package in "$@"; do
    if [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
      missing+=("$package")
    fi
  done
  if [[ ${#missing[@]} -eq 0 ]]; then return; fi

  local may=no
  local line="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
  if [[ $(id -u) -eq 0 ]]; then
    may=yes
  elif command -v sudo >/dev/null; then
    line="sudo sh -c '$line'"
    if sudo -n true 2>/dev/null; then may=yes; fi
  else
    line="su -c '$line'"
  fi
  if [[ $may == yes ]]; then
    say "installing ${missing[*]}"
    if bash -c "$line"; then return; fi
  fi
  printf '\nMissing: %s\nRun this line, then start again:\n\n  %s\n\n' "${missing[*]}" "$line" >&2
  exit 1
}

# Without apt: the tools must be there; CMake finds the libraries, or downloads them.
setup_without_apt() {
  local missing=() tool
  for tool in g++ cmake make git patch python3; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  if [[ ${#missing[@]} -gt 0 ]]; then
    printf 'Missing: %s\nInstall them with your package manager, then start again.\n' \
      "${missing[*]}" >&2
    exit 1
  fi
  options+=(-DATTN_FETCH_DEPS=ON)
}

if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
  setup_with_apt g++ cmake make ninja-build libfmt-dev "$@"
else
  setup_without_apt
fi
if command -v ninja >/dev/null; then
  export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
fi
