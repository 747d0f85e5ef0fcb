# SPDX-License-Identifier: LGPL-2.1-or-later
# The bench, in small: every system gives its rows. What the figures say is not looked at.
. "$(dirname "$0")/lib.sh"

bench=$(dirname "$0")/../bench/run
systems='unprotected twin native ftd-colo'
! ftctl a enable --help 2>&1 | grep -q -- --mode || systems+=' ftd-passive'

# On a lab of its own: this one's guests would share the machine with it, and its addresses are the same.
rows=$TEST_WORK/bench.json
FTD_LAB_PREFIX=ftdsmk- bash "$bench" --quick --only echo --json "$rows" || die "the bench ended with an error"
has() { [ "$(jq --arg s "$1" --arg m "$2" '[.rows[] | select(.workload == "echo" and .system == $s and .metric == $m and (.value | type) == "number")] | length' "$rows")" = 1 ]; }
for s in $systems; do
	for m in requests_per_s latency_p50_ms latency_p99_ms latency_max_ms; do check "$s has $m" has "$s" "$m"; done
done
for s in native ${systems#*native}; do
	for m in epochs_per_s pause_p50_ms pause_p99_ms ft_link_bytes_per_s; do check "$s has $m" has "$s" "$m"; done
done
for s in ${systems#*native}; do
	for m in guard_a_cpu_percent guard_b_cpu_percent guard_a_rss_mib guard_b_rss_mib; do check "$s has $m" has "$s" "$m"; done
done
