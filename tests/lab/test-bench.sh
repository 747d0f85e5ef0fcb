# SPDX-License-Identifier: LGPL-2.1-or-later
# The bench, in small: every workload gives its rows, with every system that has such a one. What the figures say is not looked at.
. "$(dirname "$0")/lib.sh"

bench=$(dirname "$0")/../bench/run
ftd='ftd-colo ftd-passive'
protecting="native $ftd"
all="unprotected twin $protecting"

# On a lab of its own: this one's guests would share the machine with it, and its addresses are the same.
rows=$TEST_WORK/bench.json
FTD_LAB_PREFIX=ftdsmk- bash "$bench" --quick --seconds 1 --json "$rows" >"$TEST_WORK/bench.out" 2>&1 || { cat "$TEST_WORK/bench.out"; die "the bench ended with an error"; }

missing() {	# WORKLOAD SYSTEMS METRIC...
	local w=$1 s m
	for s in $2; do
		for m in "${@:3}"; do
			[ "$(jq --arg w "$w" --arg s "$s" --arg m "$m" '[.rows[] | select(.workload == $w and .system == $s and .metric == $m and (.value | type) == "number")] | length' "$rows")" = 1 ] || printf '%s: %s; ' "$s" "$m"
		done
	done
}
# gives WORKLOAD SYSTEMS METRIC...: a check, that tells what is not there
gives() {
	local not
	not=$(missing "$@")
	check "$1 gives ${*:3}" [ -z "$not" ]
	[ -z "$not" ] || echo "  not there: $not"
}

latency='latency_p50_ms latency_p99_ms latency_max_ms'
# shellcheck disable=SC2086 # a list
{
	for w in echo echo50 http http1m redis-set redis-get dirty10 dirty50 dirty200; do gives $w "$all" requests_per_s $latency; done
	gives pgbench "$all" transactions_per_s $latency
	for w in disk-sequential disk-random disk-sync; do gives $w "$all" operations_per_s throughput_mib_per_s $latency; done
	for w in protect256 protect1024; do gives $w "$protecting" protect_s $latency; done
}
for w in idle echo echo50 http http1m redis-set redis-get pgbench dirty10 dirty50 dirty200 disk-sequential disk-random disk-sync; do
	gives $w "$protecting" epochs_per_s ft_link_bytes_per_s
	gives $w "$ftd" guard_a_cpu_percent guard_b_cpu_percent guard_a_rss_mib guard_b_rss_mib
done
# Under load each checkpoint of passive mode follows the one before.
for w in http redis-set pgbench dirty50; do gives $w ftd-passive pause_p50_ms pause_p99_ms pause_max_ms pause_count; done
for w in failover-qemu failover-power; do gives $w "$ftd" gap_p50_ms gap_max_ms; done
