# SPDX-License-Identifier: LGPL-2.1-or-later
# What an operator looks at: metrics over both sockets, the live screen, the report of a pair that lives and of one that has failed over.
. "$(dirname "$0")/lib.sh"

# The hosts have no curl: this machine's, through a host's first process.
scrape() {	# HOST [CURL-OPTION...]
	local host=$1
	shift
	curl -sS --max-time 10 --unix-socket "/proc/$(host_pid "$host")/root/run/ftd/metrics.sock" "$@" http://localhost/metrics
}
inside() {	# HOST COMMAND...: in its network
	local host=$1
	shift
	nsenter -t "$(host_pid "$host")" -n "$@"
}

fresh
"$LAB" exec a sh -c 'cp /etc/ftd/ftd.conf /etc/ftd/ftd.conf.lab; sed "s/^\[ftd\]/&\nmetrics-listen=127.0.0.1:9768/" /etc/ftd/ftd.conf.lab >/etc/ftd/ftd.conf'
trap '"$LAB" boot a >/dev/null 2>&1; "$LAB" exec a sh -c "mv /etc/ftd/ftd.conf.lab /etc/ftd/ftd.conf"; "$LAB" restart-ftd a; for p in "$TEST_WORK"/pid-*; do [ -e "$p" ] && kill -9 "$(cat "$p")" 2>/dev/null; done' EXIT
"$LAB" restart-ftd a
until_true 10 ftctl a status >/dev/null
"$LAB" guest vm1 || die "guest"
client l ledger
client_moves l 30
enable a vm1 b
enabled=$SECONDS
client_moves l 50

# -- metrics
scrape a >"$TEST_WORK/metrics"
check "metrics of the primary's host: promtool has no objection" eval 'promtool check metrics <"$TEST_WORK/metrics"'
check "and they say that it is protected" grep -qF 'ftd_pair_protected{domain="vm1",role="primary"} 1' "$TEST_WORK/metrics"
# What the client counts is up to a second old, so some of its answers were given before the pair was one.
output_counted() { scrape a | awk '/^ftd_released_packets_total/ { n += $NF } END { exit !(n > 50) }'; }
check "the guest's output is counted" until_true 10 output_counted
scrape b -H 'Accept: application/openmetrics-text' >"$TEST_WORK/metrics-b"
check "OpenMetrics of the standby's host" eval 'grep -qF "ftd_standby_fit{domain=\"vm1\",role=\"standby\"} 1" "$TEST_WORK/metrics-b" && [ "$(tail -n 1 "$TEST_WORK/metrics-b")" = "# EOF" ]'
check "over loopback too" eval 'inside a curl -sS --max-time 10 http://127.0.0.1:9768/metrics | grep "^ftd_pairs 1"'
check "but not from elsewhere" eval '! inside b curl -sS --max-time 3 http://10.98.0.1:9768/metrics'
check "what is not metrics is not found" test "$(inside a curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:9768/etc/shadow)" = 404
inside a bash -c 'for i in $(seq 40); do curl -sS --max-time 10 -o /dev/null http://127.0.0.1:9768/metrics & done; wait'
check "forty at once do not harm the pair" state_is a vm1 protected
# shellcheck disable=SC2016 # expanded in the host
inside a timeout 5 bash -c 'for i in $(seq 40); do exec {fd}<>/dev/tcp/127.0.0.1/9768; done; sleep 3' 2>/dev/null
check "nor do forty that say nothing" eval 'scrape a | grep "^ftd_pairs 1"'

# -- the live screen, on a terminal that script(1) makes
timeout -s INT 5 script -qec "$LAB ftctl a status --watch" "$TEST_WORK/screen" </dev/null >/dev/null
check "status --watch shows the pair with its rates" eval 'grep -aqE "vm1 +.*protected.* -> b +(colo|passive) +[0-9]+ +[0-9.]+ +[0-9.]+/[0-9.]+ +[0-9.]+ +[0-9.]+[kM]?" "$TEST_WORK/screen" || { cat -v "$TEST_WORK/screen"; false; }'

# -- the report
ftctl a report vm1 >"$TEST_WORK/report.html"
check "the report is well-formed" xmllint --noout "$TEST_WORK/report.html"
check "and draws epochs" eval '[ "$(grep -o "<rect class=\"mean\"" "$TEST_WORK/report.html" | wc -l)" -gt 10 ]'
epochs() { ftctl "$1" report vm1 --json | jq '[.history.spans[][0]] | add'; }
check "whose sum is what status says" eval 'e=$(epochs a) && s=$(status a vm1 .epochs) && [ "$e" -gt 3 ] && [ $((s - e)) -ge 0 ] && [ $((s - e)) -lt 100 ]'
check "the standby's side has one, too" eval '[ "$(epochs b)" -gt 1 ]'
sleep $((SECONDS - enabled < 17 ? 17 - (SECONDS - enabled) : 0))	# ftd asks its guards every 15 s
"$LAB" crash a
until_true 20 state_is b vm1 solo
client_moves l 20
ftctl b report vm1 >"$TEST_WORK/after.html"
check "the report of the survivor is well-formed" xmllint --noout "$TEST_WORK/after.html"
check "and shows the failover on its timeline" eval 'grep -q "class=\"mark bad\"" "$TEST_WORK/after.html" && grep -q "<td class=\"bad\">took-over</td>" "$TEST_WORK/after.html"'
check "with the loads before it" eval '[ "$(epochs b)" -gt 1 ]'
# The guard of a pair that is over ends, and ftd asks the arbiter before it says so itself.
alone() { scrape b >"$TEST_WORK/metrics-solo" && grep -q '^ftd_pair_state{domain="vm1",role="standby",state="solo"' "$TEST_WORK/metrics-solo"; }
check "its metrics say that it is alone" eval 'until_true 10 alone || { grep "^ftd_pair" "$TEST_WORK/metrics-solo"; false; }'

client_end l
check "no number lost, no connection reset" nothing_lost l
