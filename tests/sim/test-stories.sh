#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: test-stories.sh SIM [--update]
# Plays every story and compares it with its transcript, STORY.txt beside this script. --update writes the transcripts anew: read the difference.
set -uo pipefail

sim=$1
here=$(dirname "$(readlink -f "$0")")
bad=0
while read -r name; do
	if ! out=$("$sim" --story "$name"); then
		echo "$name: a rule was violated"
		bad=1
	fi
	if [ "${2:-}" = --update ]; then
		printf '%s\n' "$out" >"$here/$name.txt"
	elif ! diff -u "$here/$name.txt" <(printf '%s\n' "$out"); then
		bad=1
	fi
done < <("$sim" --list-stories)
exit $bad
