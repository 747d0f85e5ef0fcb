#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: test-breaks.sh SIM
# Every rule that can be switched off must be missed by the simulator: a check that no break trips checks nothing.
set -uo pipefail

sim=$1
bad=0
n=0
# A seed that a g_assert() of the product ended leaves its world behind.
export ASAN_OPTIONS=detect_leaks=0
while read -r name _; do
	n=$((n + 1))
	if ! out=$("$sim" --break "$name" --seeds 5000 2>/dev/null); then
		echo "$name: not found in 5000 seeds"
		bad=$((bad + 1))
	else
		printf '%-18s %s\n' "$name" "$(head -n 1 <<<"$out")"
	fi
done < <("$sim" --list-breaks)
echo "$n breaks, $bad not found"
[ "$n" -ge 12 ] && [ "$bad" -eq 0 ]
