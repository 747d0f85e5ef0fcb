# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Settings, messages, and the book of what this lab made: only what is written there is ever killed or removed.

PREFIX=${FTD_LAB_PREFIX:-ftdlab-}
_suffix=
[ "$PREFIX" = ftdlab- ] || _suffix=.${PREFIX%-}
CACHE=${FTD_LAB_CACHE:-/var/cache/ftd-lab}
STATE=${FTD_LAB_STATE:-/var/lib/ftd-lab$_suffix}
RUN=/run/ftd-lab$_suffix
BUILD=${FTD_BUILD:-$(readlink -m "$LAB_DIR/../../build")}
HOSTS=(a b c d e)

LAN_NET=10.99.0
LAN_NET6=fd99:
FT_NET=10.98.0
ETCD_NET=10.97.0

say() { printf 'lab: %s\n' "$*" >&2; }

# The lab's own errors have a status of their own, so that they differ from those of the command in `lab exec`.
LAB_ERROR=125
die() { printf 'lab: error: %s\n' "$*" >&2; exit $LAB_ERROR; }

# No error is silent: what ends the lab without die() is told here.
on_error() {
	local status=$1 where=$2
	[ "$status" -eq "$LAB_ERROR" ] || printf 'lab: error: a command failed (status %s) at %s\n' "$status" "$where" >&2
	exit "$LAB_ERROR"
}
set -E
trap 'on_error $? "${BASH_SOURCE[0]##*/}:$LINENO"' ERR

need_value() { [ $# -ge 2 ] || die "$1 needs a value (see lab --help)"; }

# One lab command that changes the set of hosts at a time. Long-lived children must not inherit fd 9.
lock() {
	mkdir -p "$RUN"
	exec 9>"$RUN/lock"
	flock -w 120 9 || die "another lab command has been holding $RUN/lock for two minutes"
}

# a -> 1, b -> 2, ...
host_number() {
	local i
	for i in "${!HOSTS[@]}"; do
		[ "${HOSTS[i]}" = "$1" ] && { echo $((i + 1)); return; }
	done
	die "there is no host '$1': hosts are ${HOSTS[*]}"
}

# Everything in $RUN is about the running kernel. Where /run is not a tmpfs it outlives a reboot: forget it then.
state_init() {
	local boot
	boot=$(cat /proc/sys/kernel/random/boot_id)
	if [ -e "$RUN/boot-id" ] && [ "$(cat "$RUN/boot-id")" != "$boot" ]; then
		say 'the machine was rebooted since the lab was up: starting afresh'
		forget_namespaces
		find "$RUN" -mindepth 1 -maxdepth 1 ! -name lock -exec rm -rf {} +
	fi
	echo "$boot" >"$RUN/boot-id"
	mkdir -p "$RUN" "$STATE/arbiter"
	echo 'Made by the ftd lab; "lab down" removes it.' >"$STATE/.ftd-lab"
}

state_remove() {
	[ -e "$STATE/.ftd-lab" ] || return 0
	rm -rf --one-file-system "$STATE"
}

# A pid file holds "PID STARTTIME": a recycled pid has another start time.
pid_write() {
	echo "$2 $(pid_start "$2")" >"$1"
}

pid_start() {
	local stat
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
	# shellcheck disable=SC2086 # split on purpose: field 22, counted after the command's closing bracket
	set -- ${stat##*) }
	echo "${20}"
}

# Prints the pid when the process of that pid file is alive.
pid_read() {
	local pid start
	{ read -r pid start <"$1"; } 2>/dev/null || return 1
	[ "$(pid_start "$pid")" = "$start" ] && pid_running "$pid" || return 1
	echo "$pid"
}

# Not gone and not a zombie. (A pid 1 becomes a zombie only after everything in its pid namespace has ended.)
pid_running() {
	local stat
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
	case ${stat##*) } in
	[ZX]*) return 1 ;;
	esac
}

pid_kill() {
	local pid
	pid=$(pid_read "$1") || return 0
	kill -9 "$pid" 2>/dev/null || return 0
	while pid_running "$pid"; do sleep 0.002; done
}

# wait_until SECONDS COMMAND...
wait_until() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.05
	done
}
