#!/bin/sh
# SPDX-License-Identifier: MIT
#
# refuse_remarks.sh COMPILER ARGUMENTS...: runs nvcc. Where a kernel uses wgmma wrongly
# (accumulators read before the wait, a missing fence), ptxas repairs it, by running the products
# one after the other, and says so in a remark numbered C75xx, which no switch turns into an error.
# Here it is one.
remarks=$("$@" 2>&1)
status=$?
[ -z "$remarks" ] || printf '%s\n' "$remarks" >&2
case $remarks in
  *"(C75"*)
    echo "refused: ptxas has repaired a wgmma (C75xx above), which costs its speed" >&2
    exit 1 ;;
esac
exit $status
