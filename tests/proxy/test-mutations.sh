#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: test-mutations.sh CC ROOT LIBRARY... [--only NAME]
# Takes the rules of `mutations` out of the proxy, one at a time, and demands that the test which is named there fails: a rule without a test that misses it
# is a rule in name only. The product knows nothing of it: a copy of the file is changed, compiled, and linked before the library that has the original.
set -uo pipefail

only=
if [ "${*: -2:1}" = --only ]; then
	only=${*: -1}
	set -- "${@:1:$#-2}"
fi
cc=$1 root=$2
shift 2
libraries=("$@")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
read -ra cflags <<<"-std=gnu17 -D_GNU_SOURCE -O0 -w $(pkg-config --cflags glib-2.0 cmocka)"
read -ra libs <<<"$(pkg-config --libs glib-2.0 cmocka libxxhash)"
ulimit -c 0

# change FILE OLD NEW: prints the file with its one line OLD replaced
change() {
	OLD=$2 NEW=$3 awk '$0 == ENVIRON["OLD"] { n++; print ENVIRON["NEW"]; next } { print } END { exit n != 1 }' "$1"
}

# try NAME FILE TEST FUNCTION OLD NEW: 0 when the function fails without the rule
try() {
	local name=$1 file=$2 test=$3 function=$4 dir=$work/$1 sources=()
	mkdir -p "$dir/proxy"
	change "$root/proxy/$file" "$5" "$6" >"$dir/proxy/$file" || { echo "$name: proxy/$file does not have that line, or twice"; return 1; }
	case $file in
	*.h) sources=("$root"/proxy/*.c) ;;
	*) sources=("$dir/proxy/$file") ;;
	esac
	"$cc" "${cflags[@]}" -I"$dir" -I"$root" -o "$dir/test" "$root/tests/proxy/$test.c" "${sources[@]}" "${libraries[@]}" "${libs[@]}" 2>"$dir/errors" ||
		{ echo "$name: does not compile"; head -n 3 "$dir/errors"; return 1; }
	{ timeout 60 "$dir/test" >"$dir/out" 2>&1; } 2>/dev/null && { echo "$name: $test does not miss it"; return 1; }
	# A test that ended the process, or never ended, is the last one that began.
	grep -q "FAILED.*] $function\$" "$dir/out" || [ "$(sed -n 's/^\[ RUN *\] //p' "$dir/out" | tail -n 1)" = "$function" ] ||
		{ echo "$name: not $function, but $(grep -o 'FAILED.*' "$dir/out" | head -n 1) misses it"; return 1; }
	printf '%-22s %s\n' "$name" "$test $function"
}

bad=0 n=0 jobs=()
while IFS= read -r line; do
	case $line in
	'#'* | '') continue ;;
	esac
	name=${line%%:*}
	read -r file test function
	IFS= read -r old
	IFS= read -r new
	[ -z "$only" ] || [ "$only" = "$name" ] || continue
	n=$((n + 1))
	try "$name" "$file" "$test" "$function" "${old#-}" "${new#+}" &
	jobs+=($!)
	if [ ${#jobs[@]} -ge 2 ]; then
		wait "${jobs[0]}" || bad=$((bad + 1))
		jobs=("${jobs[@]:1}")
	fi
done <"$root/tests/proxy/mutations"
for job in "${jobs[@]}"; do
	wait "$job" || bad=$((bad + 1))
done
echo "$n rules taken out, $bad not missed"
[ "$n" -gt 0 ] && [ "$bad" -eq 0 ]
