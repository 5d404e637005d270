#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Times plain C++ on this computer's CPU: chapter 01 and all twins, and, where PyTorch can be
# imported, its scaled_dot_product_attention, size by size, so that what is compared ran one after
# the other. Then chapter 08's twin, the fastest, and PyTorch alone, at more sizes. First what the
# cores can do, and one new token with a long cache beside a copy.
#   bench/cpu.sh [FOLDER]
# writes chapters.json and pytorch.json to FOLDER; bench/results/<this CPU>/<date> by default. Set
# PYTHON to the Python that has PyTorch, BUILD to a build folder other than build. Takes half an
# hour; wants a computer that does nothing else.
set -euo pipefail
case ${1:-} in
  -h | --help) sed -n '/^# Times/,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit ;;
  -*) echo "bench/cpu.sh: $1: unknown; allowed: a folder, or --help" >&2; exit 2 ;;
esac
source "$(dirname "${BASH_SOURCE[0]}")/../tests/setup.sh" \
  libboost-context-dev libbenchmark-dev python3
build=${BUILD:-$root/build}
python=${PYTHON:-python3}

say "building attn_benchmarks (in $build)"
cmake -S "$root" -B "$build" "${options[@]}" >/dev/null
cmake --build "$build" --parallel "$cores" --target attn_benchmarks

cpu=$(LC_ALL=C lscpu | sed -n 's/^Model name: *//p' | head -n 1)
slug=$(tr -cs 'a-z0-9' '-' <<<"${cpu,,}" | sed 's/-*$//')
folder=${1:-$root/bench/results/cpu-$slug-$cores-cores/$(date +%F)}
commit=$(git -C "$root" describe --always --dirty --exclude '*' 2>/dev/null || echo unknown)
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT

has_pytorch=yes
if ! "$python" -c 'import torch' 2>/dev/null; then
  has_pytorch=no
  say "$python has no PyTorch: chapters only"
fi
load=$(cut -d ' ' -f 1 /proc/loadavg)
say "$cpu, $cores cores"
if [[ ${load%.*} -ge 1 ]]; then
  echo "Busy: $load processes ran or waited in the last minute. Times will be too long."
fi

say "what the cores can do at most, and one new token"
"$build/attn_benchmarks" --benchmark_filter='^cpu/(peak|copy)|/decode/' \
  --benchmark_out="$parts/chapters100.json" --benchmark_context=commit="$commit" \
  2>"$parts/log" | grep -E '_median|ERROR' ||
  { cat "$parts/log" >&2; exit 1; }
if [[ $has_pytorch == yes ]]; then
  "$python" "$root/bench/peers/pytorch_token.py" --threads "$cores" --out "$parts/pytorch100.json" \
    --context commit="$commit" | tail -n +4
fi

mapfile -t shapes < <("$build/attn_benchmarks" --list_shapes)
part=100  # three digits: the parts sort as they ran
for shape in "${shapes[@]}"; do
  part=$((part + 1))
  say "$shape ($((part - 100)) of ${#shapes[@]})"
  "$build/attn_benchmarks" --benchmark_filter="/$shape(/|\$)" \
    --benchmark_out="$parts/chapters$part.json" --benchmark_context=commit="$commit" \
    2>"$parts/log" | grep --line-buffered -E '_median|ERROR' | sed -u 's#/B:[^ ]*_median##' ||
    { cat "$parts/log" >&2; exit 1; }
  if [[ $has_pytorch == yes ]]; then
    "$python" "$root/bench/peers/pytorch.py" --device cpu --threads "$cores" --shape "$shape" \
      --out "$parts/pytorch$part.json" --context commit="$commit" | tail -n +4
  fi
done

mkdir -p "$folder"
"$root/bench/merge_results.py" --out "$folder/chapters.json" "$parts"/chapters*.json
if [[ $has_pytorch == yes ]]; then
  "$root/bench/merge_results.py" --out "$folder/pytorch.json" "$parts"/pytorch*.json
fi
say "written: $(cd "$folder" && echo "$PWD"/*.json)"
