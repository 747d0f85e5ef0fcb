#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: test-breaks.sh SIM [SEEDS]
# Every rule that can be switched off must be missed by the simulator: a check that no break trips checks nothing.
set -uo pipefail

# A seed that a g_assert() of the product ended leaves its world behind.
export ASAN_OPTIONS=detect_leaks=0 SIM=$1 SEEDS=${2:-6000}

try() {
	local out
	if out=$("$SIM" --break "$1" --seeds "$SEEDS" 2>/dev/null); then
		printf '%-18s %s\n' "$1" "$(grep -m 1 '^seed' <<<"$out")"
	else
		echo "$1: not found in $SEEDS seeds"
		return 1
	fi
}
export -f try

mapfile -t names < <("$SIM" --list-breaks | cut -d ' ' -f 1)
printf '%s\n' "${names[@]}" | xargs -P "$(nproc)" -I NAME bash -c 'try NAME'
missed=$?
echo "${#names[@]} breaks"
[ "${#names[@]}" -ge 12 ] && [ "$missed" -eq 0 ]
