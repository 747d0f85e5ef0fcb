# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by the lab tests. What a test shows it says with ok/not_ok; everything else it prints is only seen when something failed.
# shellcheck shell=bash
set -uo pipefail

: "${LAB:?run through tests/lab/run}" "${TEST_WORK:?}"

# No client outlives its test. A test with a trap of its own calls it there.
end_clients() {
	local p
	for p in "$TEST_WORK"/pid-*; do [ -e "$p" ] && kill -9 "$(cat "$p")" 2>/dev/null; done
	rm -f "$TEST_WORK"/pid-*
}
trap end_clients EXIT

ok() { echo "ok $*"; }
not_ok() { echo "not ok $*"; }
die() {
	not_ok "$*"
	logs
	exit 1
}

# check TEXT COMMAND...: ok when the command succeeds
check() {
	local text=$1
	shift
	if "$@"; then ok "$text"; else not_ok "$text"; fi
}

# same TEXT BEFORE AFTER
same() {
	if [ "$2" = "$3" ]; then
		ok "$1"
	else
		diff <(echo "$2") <(echo "$3")
		not_ok "$1"
	fi
}

# The last words of every daemon, guard and QEMU, for a failing test; those of the host that most tests begin with last, for only the end of a long log is told.
logs() {
	local h
	for h in c b a; do
		echo "--- $h"
		"$LAB" exec "$h" sh -c 'tail -n 10 /var/log/ftd.log; for f in /var/log/libvirt/qemu/*.log; do tail -n 2 "$f"; done; tail -n 15 /run/ftd/pairs/*/guard.log' 2>/dev/null
	done
}

# comes SECONDS TEXT COMMAND...: ok when the command succeeds once within SECONDS. A state that passes (a guard's last word, while ftd cleans up after it)
# is seen once, and is not asked for again.
comes() {
	local seconds=$1 text=$2
	shift 2
	check "$text" until_true "$seconds" "$@"
}

# until_true SECONDS COMMAND...
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

ftctl() { "$LAB" ftctl "$@"; }

# status HOST DOMAIN JQ: one member of the domain's status
status() { ftctl "$1" status "$2" --json 2>/dev/null | jq -r "if type == \"array\" then .[0] else . end | $3" 2>/dev/null; }
state_is() { [ "$(status "$1" "$2" .state)" = "$3" ]; }

enable() {	# HOST DOMAIN PEER
	ftctl "$1" enable "$2" --peer "$3" || die "ftctl $1 enable $2 --peer $3"
}

# All hosts up, no domain anywhere, no pair left over.
fresh() {
	local h d
	for h in a b c; do "$LAB" boot "$h" >/dev/null 2>&1; done
	"$LAB" heal ft >/dev/null 2>&1
	for h in a b c; do
		"$LAB" pki "$h" good >/dev/null 2>&1
		until_true 5 eval "ftctl $h status >/dev/null 2>&1"	# it was started again
		for d in $("$LAB" virsh "$h" list --all --name 2>/dev/null); do
			ftctl "$h" disable "$d" >/dev/null 2>&1
			"$LAB" virsh "$h" destroy "$d" >/dev/null 2>&1
		done
	done
	for h in a b c; do
		for d in $("$LAB" virsh "$h" list --all --name 2>/dev/null); do
			"$LAB" guest-rm "$d" >/dev/null 2>&1
		done
	done
}

# client NAME KIND OPTIONS...: in the background; client_end NAME prints its result
client() {
	local name=$1
	shift
	: >"$TEST_WORK/progress-$name"	# not the count of an earlier test's client
	"$LAB" client "$@" --duration 600 --progress --json >"$TEST_WORK/client-$name" 2>"$TEST_WORK/progress-$name" &
	echo $! >"$TEST_WORK/pid-$name"
}
client_answered() { sed -n 's/.*: \([0-9]*\) answered.*/\1/p' "$TEST_WORK/progress-$1" | tail -n 1; }
client_moves() {	# NAME N: at least N more answers within 30 s
	local from to
	from=$(client_answered "$1")
	to=$((${from:-0} + $2))
	until_true 30 eval "[ \"\$(client_answered $1)\" -ge $to ] 2>/dev/null" || die "client $1 gets no answers: $(tail -n 2 "$TEST_WORK/progress-$1")"
}
client_mark() { kill -USR1 "$(cat "$TEST_WORK/pid-$1")"; }
client_end() {
	kill -INT "$(cat "$TEST_WORK/pid-$1")"
	for _ in $(seq 100); do
		kill -0 "$(cat "$TEST_WORK/pid-$1")" 2>/dev/null || break
		sleep 0.1
	done
	tail -n 1 "$TEST_WORK/client-$1" | tee "$TEST_WORK/result-$1"
}
result() { jq -r "$2" "$TEST_WORK/result-$1"; }

# The process whose namespaces are the host's: for programs of this machine's that look into them.
host_pid() { "$LAB" status | awk -v h="$1" '$1 == h { print $3 }'; }

# HOST: its guards have all that they ask for, confined as they are
nothing_refused() {
	"$LAB" exec "$1" sh -c 'cat /run/ftd/pairs/*/guard.log' >"$TEST_WORK/guard.log" && ! grep -E 'was refused|will be lost|no Landlock' "$TEST_WORK/guard.log"
}

nothing_lost() {	# NAME
	[ "$(result "$1" '.lost + .out_of_order + .doubled + .connections_reset')" = 0 ]
}

# qmp HOST DOMAIN COMMAND: the "return" member
qmp() { "$LAB" virsh "$1" qemu-monitor-command "$2" "{\"execute\":\"$3\"${4:+,\"arguments\":$4}}" | jq -cS .return; }

# What ftd may have added to a QEMU, and could have left there. One call: it is asked often.
qemu_picture() {
	local q commands=
	for q in '"query-named-block-nodes"' '"query-chardev"' '"qom-list","arguments":{"path":"/objects"}' '"query-block-jobs"' \
		'"query-migrate-capabilities"' '"query-migrate-parameters"' '"query-status"'; do
		commands+="qemu-monitor-command $2 '{\"execute\":$q}';"
	done
	"$LAB" virsh "$1" "$commands" | jq -cS '.return |
		if type == "object" and has("running") then .status
		elif type != "array" or length == 0 then .
		elif .[0] | has("node-name") then map({node: ."node-name", drv, file, ro}) | sort_by(.node)
		elif .[0] | has("filename") then map({"label": .label, "file": (.filename | sub("[0-9]+$"; ""))}) | sort_by(.["label"])
		elif .[0] | has("capability") then map(select(.state)) | sort_by(.capability)
		elif .[0] | has("name") then sort_by(.name)
		else . end'
}

# Files that ftd may make on a host.
host_picture() {
	"$LAB" exec "$1" sh -c 'ls -1 /var/lib/libvirt/images /run/ftd/pairs /var/lib/ftd/pairs 2>/dev/null; pgrep -l ftd-guard'
	"$LAB" virsh "$1" list --all --name
}
