# SPDX-License-Identifier: LGPL-2.1-or-later
# Garbage on every socket, and torn state files: ftd and a protected pair do not mind.
. "$(dirname "$0")/bad.sh"

# throw HOST TO: standard input is written to the peer port of a host (TO: its name) or to a unix socket (a path); what comes back is printed, for 3 s at most
throw() {
	"$LAB" exec "$1" perl -MIO::Socket::INET -MIO::Socket::UNIX -e '
		$SIG{PIPE} = "IGNORE";
		$to = shift;
		$s = $to =~ m{/} ? IO::Socket::UNIX->new(Peer => $to) : IO::Socket::INET->new(PeerAddr => $to, PeerPort => 7768);
		die "$to: $!\n" unless $s;
		binmode STDIN;
		$s->blocking(0);
		while (sysread STDIN, $b, 65536) {
			for ($n = 0; $n < length $b;) {
				$w = "";
				vec($w, fileno $s, 1) = 1;
				$r = "";
				vec($r, fileno $s, 1) = 1;
				select $r, $w, undef, 3 or last;
				sysread $s, $drop, 65536 if vec($r, fileno $s, 1);
				$k = syswrite $s, $b, length($b) - $n, $n;
				exit if !defined $k && !$!{EAGAIN};
				$n += $k // 0;
			}
		}
		shutdown $s, 1;
		$r = "";
		vec($r, fileno $s, 1) = 1;
		print $b while select($x = $r, undef, undef, 3) && sysread $s, $b, 65536;' "$2"
}

# pile HOST TO N: N connections that say half a TLS hello and then nothing, until killed
pile() {
	"$LAB" exec "$1" perl -MIO::Socket::INET -e '
		for (1 .. $ARGV[1]) {
			$s = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => 7768) or die;
			syswrite $s, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
			push @all, $s;
		}
		print "ready\n";
		sleep 60;' "$2" "$3"
}

pids() {	# of ftd and the guards: nothing may have been started again
	local h
	for h in a b; do "$LAB" exec "$h" sh -c 'cat /run/ftd-lab/ftd.pid /run/ftd/pairs/*/guard.pid'; done
}
unharmed() {	# WHAT
	local p
	p=$(pids)
	[ "$p" = "$pids" ] || { printf 'before: %s\nnow: %s\n' "$pids" "$p"; not_ok "$1: a process was started again"; }
	if state_is a vm1 protected && state_is b vm1 protected; then ok "$1: still protected"; else not_ok "$1: still protected"; fi
}

fresh
"$LAB" guest vm1 --disk 256M || die "guest"
uuid=$("$LAB" virsh a domuuid vm1 | head -n 1)
client l ledger
enable a vm1 b
client_moves l 20
pids=$(pids)
varlink=/run/ftd/ftd.sock
control=/run/ftd/pairs/$uuid/guard.sock

for to in "a $varlink" "a $control" "b $control" "c a" "c b"; do
	read -r host at <<<"$to"
	head -c 4096 /dev/urandom | throw "$host" "$at" >/dev/null
	head -c 10M /dev/urandom | throw "$host" "$at" >/dev/null
	: | throw "$host" "$at" >/dev/null
	unharmed "random bytes to $at"
done
for to in "a $varlink" "a $control" "b $control"; do
	read -r host at <<<"$to"
	# What Varlink calls a message, and still is none: each ended by its NUL, two in one write, and one that never ends.
	for text in '{' '[]' 'null' '""' '{"method":7}' '{"method":"x"}' '{"method":"org.ftd.Guard.Start","parameters":[]}' '{"method":"org.ftd.Enable","parameters":{"domain":{}}}' \
		'{"method":"org.ftd.Status","parameters":{"domain":"\ud800"}}' '{"parameters":{}}' "$(printf '[%.0s' $(seq 5000))"; do
		printf '%s\0%s\0' "$text" "$text" | throw "$host" "$at" >/dev/null
	done
	{ printf '{"method":"'; head -c 10M /dev/zero | tr '\0' x; } | throw "$host" "$at" >/dev/null
	unharmed "JSON that is no call to $at"
done
out=$(printf '{"method":"org.ftd.Nothing"}\0' | throw a $varlink | tr '\0' '\n')
check "a method that is not there is told so" grep -q MethodNotFound <<<"$out"
printf 'GET / HTTP/1.0\r\n\r\n' | throw c a >/dev/null
unharmed "HTTP to the peer port"

# More half open connections than ftd takes at once; they are given up, and meanwhile the pair goes on.
pile c b 100 >"$TEST_WORK/pile" &
echo $! >"$TEST_WORK/pid-pile"
until_true 5 grep -q ready "$TEST_WORK/pile"
client_moves l 20
unharmed "100 half TLS hellos to b"
odd c odd </dev/null || die "odd"
check "they are given up after some seconds" until_true 10 ftctl c check odd --peer b
odd_end c odd

# -- torn files
"$LAB" exec a sh -c "cd /var/lib/ftd/pairs && head -c 40 $uuid.made.json >t && cat t >$uuid.made.json && head -c 10 $uuid.json >t && cat t >$uuid.json; rm t"
"$LAB" exec b sh -c "cd /var/lib/ftd/pairs && : >$uuid.made.json && : >$uuid.json"
"$LAB" restart-ftd a
"$LAB" restart-ftd b
until_true 5 state_is a vm1 protected
until_true 5 state_is b vm1 protected
pids=$(pids)
unharmed "torn files, and ftd started again"
ftctl a disable vm1 || not_ok "disable"
client_moves l 20
check "no overlay is left" "$LAB" exec b sh -c '! ls /var/lib/libvirt/images | grep ftd'
check "nothing is left in the state directories" test "$("$LAB" exec a ls /var/lib/ftd/pairs)$("$LAB" exec b ls /var/lib/ftd/pairs)" = ""
enable a vm1 b
client_moves l 20
client_end l
check "no number lost, no connection reset" nothing_lost l
