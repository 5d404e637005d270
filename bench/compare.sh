#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Sets up this machine, builds the program `attn` and compares all chapters:
#   bench/compare.sh [arguments of attn compare]      for example --workload vit_b16_224
# Where nvcc and a GPU are present, `attn-cuda` then does the same on the GPU; the file named by
# --json holds the last of the two.
set -euo pipefail
case ${1:-} in
  -h | --help) sed -n '/^# Sets/,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit ;;
esac
source "$(dirname "${BASH_SOURCE[0]}")/../tests/setup.sh" \
  libboost-context-dev libcli11-dev nlohmann-json3-dev
build=$root/build

say "building (in $build)"
cmake -S "$root" -B "$build" "${options[@]}"
cmake --build "$build" --parallel "$cores" --target attn

say "attn compare $*"
"$build/attn" compare "$@"

has_nvcc() { grep -q '^CMAKE_CUDA_COMPILER:.*nvcc' "$build/CMakeCache.txt"; }
has_gpu() { nvidia-smi -L 2>/dev/null | grep -q GPU; }
if has_nvcc && has_gpu; then
  cmake --build "$build" --parallel "$cores" --target attn-cuda
  say "attn-cuda compare $*"
  "$build/attn-cuda" compare "$@"
fi
