# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What the systems and workloads of the bench share. Globals: WORK (this run's files), SECONDS_EACH, GUEST (small or debian), CACHE.
#
# A system (systems/NAME.sh) defines
#   system_up             the guest of kind $GUEST answers at each of $SERVERS, as this system protects it (or not)
#   system_down           and nothing of it uses the machine any more
#   system_pauses FILE    writes the guest's stops into FILE from now on: lines "STOP TIME", "RESUME TIME" (optional)
#   system_counters       prints "NAME VALUE" lines, counted since whenever; measure() takes differences (optional)
#   system_pauses_end     ends that
#   protect               what PROTECT=later leaves to the workload (only systems that protect)
#   system_missing        prints why this system cannot be measured here, if so (optional)
#   system_gauges         prints "METRIC VALUE" lines (optional)
# A workload (workloads/NAME.sh) sets GUEST and defines
#   load ADDRESS          runs for about $SECONDS_EACH seconds and prints "METRIC VALUE" lines; "sample NAME MS" is one of many: all of them, of all rounds,
#                         give NAME_p50_ms, NAME_p99_ms, NAME_max_ms and how many there were, NAME_count
#   prepare ADDRESS       once per guest before it is measured (optional)

lab() { "$LAB" "$@"; }
on_lan() { lab exec lan "$@"; }
image_client() { on_lan chroot "$CACHE/image/root" "$@"; }	# a client from the Debian guest's own packages
median_of() { sort -g | awk '{ v[NR] = $1 } END { if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# percentile P...: of the numbers on stdin, by nearest rank: the smallest that P percent of all are not above. Of fewer than a hundred the 99th is the largest.
percentiles() {
	sort -g | awk -v want="$*" '{ v[NR] = $1 } END { n = split(want, p, " "); for (i = 1; i <= n; i++) { r = p[i] / 100 * NR; r = r > int(r) ? int(r) + 1 : r; printf "%s%.3f", (i > 1 ? " " : ""), (NR ? v[r < 1 ? 1 : r] : 0) }; print "" }'
}

# in_guest ADDRESS COMMAND: by the guest's agent; not over the name, for the native pair is not a guest of the lab
in_guest() {
	local out
	out=$(on_lan bash -c 'exec 3<>"/dev/tcp/$1/2" && printf "%s\n" "$2" >&3 && cat <&3' bash "$1" "$2") || return
	printf '%s\n' "$out" | sed '$d'
	[ "${out##*$'\n'}" = 'exit 0' ]
}

# timed_in_guest ADDRESS COMMAND: its output in TIMED_OUTPUT, and in GUEST_SHARE how much of the time meanwhile was the guest's: its clock stands while it does, so what
# is counted in there by seconds is more than what anybody out here gets. Connecting and starting a shell count as standing: a hundredth in a few seconds.
timed_in_guest() {
	local out start=$EPOCHREALTIME
	out=$(in_guest "$1" "cut -d ' ' -f 1 /proc/uptime; $2 && cut -d ' ' -f 1 /proc/uptime") || return
	GUEST_SHARE=$(awk -v a="$start" -v b="$EPOCHREALTIME" -v from="${out%%$'\n'*}" -v to="${out##*$'\n'}" 'BEGIN { s = (to - from) / (b - a); print s < 1 ? s : 1 }')
	out=${out#*$'\n'}
	TIMED_OUTPUT=${out%$'\n'*}
}

guest_memory() { case $GUEST in small) echo "${MEMORY:-256}" ;; debian) echo 512 ;; esac; }
guest_image() { [ "$GUEST" = small ] || echo "$CACHE/image/guest.raw"; }

# guest_start NAME HOST ADDRESS: a guest of the lab, running and answering
guest_start() {
	local args=("$1" --host "$2" --ip "$3" --memory "$(guest_memory)" --timeout 120)
	[ "$GUEST" = small ] || args+=(--image "$(guest_image)")
	lab guest "${args[@]}"
}

wait_echo() { on_lan "$CACHE/bin/lab-client" wait --guest "$1" --duration 120; }

# host_pids HOST NAME...: process ids in the host's own counting
host_pids() { lab exec "$1" pgrep -x "$2" | tr '\n' ' '; }
# CPU seconds used so far by these processes of a host. From schedstat, in ns: the times in stat come of looking who runs at each tick of the clock, and a process that
# wakes up for a moment by a timer wakes up where the ticks are.
host_cpu() {
	local h=$1
	shift
	[ $# -gt 0 ] || { echo 0; return; }	# not started yet: what it uses counts from its start
	lab exec "$h" sh -c 'for p; do cat /proc/$p/task/*/schedstat; done' sh "$@" 2>/dev/null | awk '{ s += $1 } END { printf "%.3f\n", s / 1e9 }'
}
host_rss() { # MiB, resident now
	local h=$1
	shift
	[ $# -gt 0 ] || { echo 0; return; }	# not started yet: what it uses counts from its start
	lab exec "$h" sh -c 'for p; do cat /proc/$p/status; done' sh "$@" 2>/dev/null | awk '/^VmRSS/ { s += $2 } END { printf "%.1f\n", s / 1024 }'
}
ft_bytes() { lab exec a cat /sys/class/net/ft0/statistics/tx_bytes /sys/class/net/ft0/statistics/rx_bytes | awk '{ s += $1 } END { printf "%.0f\n", s }'; }

# pause_metrics FILE START END: from STOP/RESUME pairs with their times, those that began while the load ran
pause_metrics() {
	awk -v a="$2" -v b="$3" '
		$1 == "STOP" { t = $2 }
		$1 == "RESUME" && t { if (t >= a && t <= b) { printf "sample pause %.3f\n", ($2 - t) * 1000; n++ } t = 0 }
		END { printf "epochs_per_s %.3f\n", n / (b - a) }' "$1"
}

# rows WORKLOAD SYSTEM: "METRIC VALUE" and "sample NAME VALUE" lines from stdin into this run's rows and samples
rows() {
	awk -v w="$1" -v s="$2" -v samples="$WORK/samples" '
		$NF !~ /^-?[0-9.]+([eE][-+]?[0-9]+)?$/ { next }
		NF == 3 && $1 == "sample" { print w, s, $2, $3 >>samples }
		NF == 2 { print w, s, $1, $2 }' >>"$WORK/rows"
}

# measure WORKLOAD SYSTEM: one measurement of the workload that is loaded, on the system that is up
measure() {
	local w=$1 s=$2 address n=0 start end took failed= pids=()
	rm -f "$WORK"/load-* "$WORK"/counters-* "$WORK/pauses" "$WORK/pauses.log"
	[ "$(type -t system_pauses)" != function ] || system_pauses "$WORK/pauses.log"
	{ [ "$(type -t system_counters)" != function ] || system_counters; } >"$WORK/counters-before"
	start=$(date +%s.%N)	# counters take a moment to read: what they count is divided by the time from one reading's end to the other's
	for address in "${SERVERS[@]}"; do
		load "$address" >"$WORK/load-$n" &
		pids+=($!)
		n=$((n + 1))
	done
	for n in "${pids[@]}"; do wait "$n" || failed=1; done
	end=$(date +%s.%N)
	{ [ "$(type -t system_counters)" != function ] || system_counters; } >"$WORK/counters-after"
	took=$(awk -v a="$start" -v b="$(date +%s.%N)" 'BEGIN { print b - a }')
	[ "$(type -t system_pauses_end)" != function ] || system_pauses_end
	[ -z "$failed" ] || { note "$w on $s: the load failed"; return 1; }
	{
		# Two servers under load at once: the mean of what each gave, the larger maximum.
		grep -h '^sample ' "$WORK"/load-*
		cat "$WORK"/load-* | awk 'NF == 2 { if (!($1 in n)) order[++k] = $1; n[$1]++; if ($1 ~ /_max_ms$/) { if ($2 > v[$1]) v[$1] = $2 } else v[$1] += $2 }
			END { for (i = 1; i <= k; i++) printf "%s %.3f\n", order[i], order[i] ~ /_max_ms$/ ? v[order[i]] : v[order[i]] / n[order[i]] }'
		join <(sort "$WORK/counters-before") <(sort "$WORK/counters-after") | awk -v s="$took" '
			{ d = $3 - $2; name = $1 }
			name ~ /_cpu_s$/ { sub(/_cpu_s$/, "_cpu_percent", name); printf "%s %.2f\n", name, 100 * d / s; next }
			name ~ /_bytes$/ { printf "%s_per_s %.0f\n", name, d / s; value[name] = d; next }
			{ value[name] = d }
			END {
				if (value["dirty_bytes"] > 0) printf "ft_link_per_dirty_byte %.3f\n", value["ft_link_bytes"] / value["dirty_bytes"]
				if (value["same"] + value["committed"] > 0) printf "released_same_percent %.1f\n", 100 * value["same"] / (value["same"] + value["committed"])
			}'
		[ ! -e "$WORK/pauses.log" ] || pause_metrics "$WORK/pauses.log" "$start" "$end"
	} >"$WORK/measured"
	# Figures of a pair that is none any more are an unprotected guest's.
	[ "$(type -t system_gauges)" != function ] || system_gauges >>"$WORK/measured" || { note "$w on $s: no longer protected, not counted"; return 1; }
	rows "$w" "$s" <"$WORK/measured"
}

note() { printf '%s\n' "$*" | tee -a "$WORK/notes" >&2; }
