#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Writes the book as a site that works offline: lessons and notes in reading order, with search.
#   notes/site.sh [FOLDER]     FOLDER is build/site by default; an older site in it is replaced
# The first run installs Sphinx and its theme below build/, never elsewhere.
# Exit status 0; 1 a page is wrong; 2 bad usage; 3 the tools cannot be installed.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wanted=$root/notes/site/requirements.txt
tools=$root/build/site-tools

fail() { printf 'notes/site.sh: %s\n' "$2" >&2; exit "$1"; }

case $#:${1:-} in
  1:-h | 1:--help) sed -n '/^# Writes/,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit ;;
  0: | 1:[!-]*) folder=${1:-$root/build/site} ;;
  *) fail 2 "arguments '$*': allowed: a folder, --help, or none" ;;
esac
if [[ -e $folder && ! -e $folder/.buildinfo && -n $(ls -A "$folder") ]]; then
  fail 2 "FOLDER $folder: it holds something else; allowed: a new or empty folder, an older site"
fi

if ! cmp -s "$wanted" "$tools/installed.txt"; then
  command -v python3 >/dev/null || fail 3 "python3: not found; needed: Python 3.10 or newer"
  mkdir -p "$root/build"
  rm -rf "$tools"
  python3 -m venv "$tools" >/dev/null ||
    fail 3 "python3 -m venv failed; needed: Python's module venv (apt-get install python3-venv)"
  "$tools/bin/pip" install --quiet --disable-pip-version-check --retries 1 \
    --requirement "$wanted" 2>"$tools/pip.log" ||
    fail 3 "cannot install notes/site/requirements.txt (no network?): $(tail -1 "$tools/pip.log")"
  cp "$wanted" "$tools/installed.txt"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$tools/bin/python" "$root/notes/site/book.py" "$work/pages"
"$tools/bin/sphinx-build" --quiet --fail-on-warning --keep-going --conf-dir "$root/notes/site" \
  --doctree-dir "$work/doctrees" "$work/pages" "$work/site" 2>&1 | sed "s#$work/pages/##" >&2 ||
  fail 1 "the site is not written: see the lines above"
rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
mv "$work/site" "$folder"
printf 'open %s/index.html\n' "$(cd "$folder" && pwd)"
