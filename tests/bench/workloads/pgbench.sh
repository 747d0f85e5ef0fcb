# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# pgbench's own transactions (TPC-B like) by 4 clients.
GUEST=debian
load() {
	local bin
	bin=$(cd "$CACHE/image/root" && echo usr/lib/postgresql/*/bin)
	mkdir -p "$CACHE/image/root/tmp/bench-$1"
	rm -f "$CACHE/image/root/tmp/bench-$1"/*
	image_client "/$bin/pgbench" -n -h "$1" -U postgres -c 4 -T "$SECONDS_EACH" -l --log-prefix "/tmp/bench-$1/log" bench | sed -n 's/^tps = \([0-9.]*\).*/transactions_per_s \1/p'
	cat "$CACHE/image/root/tmp/bench-$1"/log* | awk '{ printf "%.3f\n", $3 / 1000 }' | percentiles 50 99 100 |
		awk '{ printf "latency_p50_ms %s\nlatency_p99_ms %s\nlatency_max_ms %s\n", $1, $2, $3 }'
}
