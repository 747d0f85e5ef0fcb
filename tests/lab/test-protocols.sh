# SPDX-License-Identifier: LGPL-2.1-or-later
# Power loss under everything at once: TCP, UDP and ICMP over IPv4 and IPv6, curl, wrk, what the guest downloads, and a second NIC. Nothing is reset, wrong or out of order.
. "$(dirname "$0")/lib.sh"

lan() { "$LAB" exec lan "$@"; }

fresh
"$LAB" guest vm1 --second-nic 10.99.1.10 || die "guest"
bridge=$(lan ip -o -4 addr show to 10.99.0.1 | awk '{ print $2 }')
lan ip addr replace 10.99.1.1/24 dev "$bridge" || die "an address in the second NIC's network"

for address in fd99::a 10.99.1.10; do
	"$LAB" client wait --guest "$address" --duration 20 || die "the guest does not answer at $address"
done

client l ledger
client echo6 echo --guest fd99::a
client http http --path /100k
client http6 http --path /100k --guest fd99::a
client chatter echo --interval-ms 0
client chatter6 echo --interval-ms 0 --guest fd99::a
client second echo --guest 10.99.1.10
client udp udp
client udp6 udp --guest fd99::a
client_moves l 30
ftctl a enable vm1 --peer b || die "enable"

# Each object is fetched whole, over a connection of its own, or curl says why not.
curl_loop() {
	local url=$1 out=$2
	while [ ! -e "$TEST_WORK/curl-stop" ]; do
		lan curl -sgS --max-time 20 -o /dev/null -w '%{http_code} %{size_download}\n' "$url" >>"$out" 2>&1 || echo "curl: status $?" >>"$out"
	done
}
rm -f "$TEST_WORK/curl-stop"
curl_loop 'http://10.99.0.10/100k' "$TEST_WORK/curl4" &
curl4=$!
curl_loop 'http://[fd99::a]/100k' "$TEST_WORK/curl6" &
curl6=$!
for v in 4 6; do
	url=http://10.99.0.10/100k
	[ $v = 4 ] || url='http://[fd99::a]/100k'
	lan sh -c 'wrk -t 1 -c 1 -d 120s --timeout 30s "$1" & echo $! >"$2"; wait' sh "$url" "$TEST_WORK/pid-wrk$v" >"$TEST_WORK/wrk$v" 2>&1 &
	eval "wrk$v=$!"
done

# The guest downloads: connections that it opens itself, one object after the other until it is told to stop, each one's sum to us.
mkdir -p "$TEST_WORK/www"
head -c 4000000 /dev/urandom >"$TEST_WORK/www/object"
lan sh -c 'busybox httpd -f -p "[::]:8080" -h "$1" & echo $! >"$2"; wait' sh "$TEST_WORK/www" "$TEST_WORK/pid-httpd" &
sum=$(md5sum <"$TEST_WORK/www/object")
until_true 10 lan curl -sgfo /dev/null http://10.99.0.1:8080/object || die "the LAN's own server does not answer"
"$LAB" guest-run vm1 "while [ ! -e /stop ]; do wget -q -O - http://10.99.0.1:8080/object | md5sum; done" >"$TEST_WORK/download4" 2>&1 &
download4=$!
"$LAB" guest-run vm1 "while [ ! -e /stop ]; do wget -q -O - 'http://[fd99::1]:8080/object' | md5sum; done" >"$TEST_WORK/download6" 2>&1 &
download6=$!

lan ping -n -i 0.1 -w 25 10.99.0.10 >"$TEST_WORK/ping4" 2>&1 &
ping4=$!
lan ping -n -i 0.1 -w 25 fd99::a >"$TEST_WORK/ping6" 2>&1 &
ping6=$!
client_moves l 100
before4=$(wc -l <"$TEST_WORK/ping4") before6=$(wc -l <"$TEST_WORK/ping6")
check "pings are answered" eval '[ "$before4" -gt 5 ] && [ "$before6" -gt 5 ]'

lines() { wc -l <"$TEST_WORK/$1"; }
until_true 30 eval '[ "$(lines download4)" -ge 1 ] && [ "$(lines download6)" -ge 1 ]'
downloads4=$(lines download4) downloads6=$(lines download6)
"$LAB" crash a
for c in l echo6 http http6 chatter chatter6 second; do client_moves "$c" 50; done
comes 30 "the guest's downloads go on" eval '[ "$(lines download4)" -gt $((downloads4 + 1)) ] && [ "$(lines download6)" -gt $((downloads6 + 1)) ]'
comes 20 "the survivor is solo" state_is b vm1 solo
touch "$TEST_WORK/curl-stop"
"$LAB" guest-run vm1 "touch /stop" >/dev/null
kill -INT "$(cat "$TEST_WORK/pid-wrk4")" "$(cat "$TEST_WORK/pid-wrk6")"
wait "$curl4" "$curl6" "$wrk4" "$wrk6" "$download4" "$download6"
wait "$ping4" "$ping6"

for c in l echo6 http http6 chatter chatter6 second udp udp6; do client_end "$c"; done
check "ledger over IPv4: no number lost, no connection reset" nothing_lost l
for c in echo6 http http6 chatter chatter6; do
	check "$c: no wrong answer, no connection reset" eval '[ "$(result '$c' ".connections_reset + .wrong")" = 0 ]'
done
check "the second NIC's connection goes on" eval '[ "$(result second ".connections_reset + .wrong")" = 0 ]'
for c in udp udp6; do
	check "$c: answers go on, in order and whole" eval '[ "$(result '$c' ".out_of_order + .wrong")" = 0 ] && [ "$(result '$c' .answered)" -gt 100 ]'
done
for c in curl4 curl6; do
	check "$c: every object whole ($(wc -l <"$TEST_WORK/$c"))" eval '[ -s "$TEST_WORK/'$c'" ] && ! grep -v "^200 102400$" "$TEST_WORK/'$c'"'
done
for c in wrk4 wrk6; do
	check "$c: no connection broke, no answer was late or wrong ($(sed -n 's/^ *\([0-9]*\) requests in.*/\1/p' "$TEST_WORK/$c") objects)" eval '
		[ "$(sed -n "s/^ *\([0-9]*\) requests in.*/\1/p" "$TEST_WORK/'$c'")" -ge 20 ] && ! grep -E "Socket errors|Non-2xx" "$TEST_WORK/'$c'"'
done
for c in download4 download6; do
	check "$c: every object as it is ($(grep -cxF "$sum" "$TEST_WORK/$c"))" eval '[ -s "$TEST_WORK/'$c'" ] && ! grep -vnxF "$sum" "$TEST_WORK/'$c'"'
done
for c in ping4 ping6; do
	check "$c goes on" eval '[ "$(grep -c "bytes from" "$TEST_WORK/'$c'")" -gt 15 ]'
done
tail -n 3 "$TEST_WORK/ping4" "$TEST_WORK/ping6"
cat "$TEST_WORK/wrk4" "$TEST_WORK/wrk6"
sort "$TEST_WORK/curl4" "$TEST_WORK/curl6" | uniq -c
