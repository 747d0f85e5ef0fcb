# SPDX-License-Identifier: LGPL-2.1-or-later
# The arbiter is a real etcd of three members. Its outage costs nothing while the pair is healthy; one member is not missed; without any of them output is
# held and nobody goes on alone, and when they come back it goes on without loss.
. "$(dirname "$0")/lib.sh"

# The other tests find the lab as they know it.
etcd_end() {
	"$LAB" etcd start >/dev/null 2>&1
	for h in a b c; do ftctl "$h" disable vm1 >/dev/null 2>&1; done
	"$LAB" arbiter file >/dev/null 2>&1
	for p in "$TEST_WORK"/pid-*; do [ -e "$p" ] && kill -9 "$(cat "$p")" 2>/dev/null; done
	rm -f "$TEST_WORK"/pid-*
}

fresh
"$LAB" up --hosts 3 --etcd || die "etcd"
trap etcd_end EXIT
for h in a b c; do until_true 10 ftctl "$h" status >/dev/null; done

"$LAB" guest vm1 || die "guest"
client l ledger
client_moves l 30

enable a vm1 b
check "status names the arbiter" eval '[[ "$(status a vm1 .arbiter)" == etcd:* ]]'
client_moves l 50
# Another file, as administration's tools write them: a confined guard does not see the new one.
"$LAB" exec b sh -c 'cp /etc/hosts /etc/hosts.before; grep -v etcd /etc/hosts >/etc/hosts.new; mv /etc/hosts.new /etc/hosts'
check "the members' names cannot be looked up any more" eval '! "$LAB" exec b getent hosts etcd1'
"$LAB" crash a
client_moves l 100
comes 20 "power loss with three members: the standby goes on" state_is b vm1 solo
"$LAB" exec b mv /etc/hosts.before /etc/hosts
"$LAB" boot a || die "boot a"
until_true 10 ftctl a status >/dev/null

# The member that is asked first.
"$LAB" etcd stop 1
enable b vm1 a
check "protected with one member down" state_is b vm1 protected
client_moves l 50
"$LAB" crash b
client_moves l 100
comes 20 "power loss with one member down: the standby goes on" state_is a vm1 solo
"$LAB" etcd start 1
"$LAB" boot b || die "boot b"
until_true 10 ftctl b status >/dev/null

enable a vm1 b
client_moves l 50
"$LAB" etcd stop
client_moves l 100
check "protected while all members are down" state_is a vm1 protected
"$LAB" crash a
until_true 10 state_is b vm1 deciding
sleep 1
before=$(client_answered l)
sleep 5
check "power loss with all members down: nobody goes on alone" state_is b vm1 deciding
same "output is held" "$before" "$(client_answered l)"
"$LAB" etcd start
"$LAB" etcd wait || die "etcd wait"
client_moves l 100
comes 20 "they come back: the standby goes on" state_is b vm1 solo

"$LAB" boot a || die "boot a"
until_true 10 ftctl a status >/dev/null

# -- the pool is who has registered there
pool() {	# SETTING, or nothing
	for h in a b c; do
		"$LAB" exec "$h" sed -i "/^hosts=/d${1:+; s/^\\[ftd\\]/&\\n$1/}" /etc/ftd/ftd.conf
		"$LAB" restart-ftd "$h"
	done
	for h in a b c; do until_true 10 eval "ftctl $h status >/dev/null 2>&1"; done
}
hosts_up() { [ "$(ftctl "$1" hosts --json | jq -r '[.[] | select(.reachable) | .name] | sort | join(",")')" = "$2" ]; }
enable b vm1 a
client_moves l 50
pool hosts=etcd
check "the pair is not touched by it" state_is b vm1 protected
comes 20 "three hosts have registered" eval 'hosts_up a a,b,c && hosts_up b a,b,c && hosts_up c a,b,c'
"$LAB" etcd stop
check "without etcd the pool is what it was" hosts_up b a,b,c
"$LAB" etcd start
"$LAB" etcd wait || die "etcd wait"
client_moves l 50
"$LAB" crash b
client_moves l 100
comes 60 "power loss: it is protected again by a host that has registered" eval 'state_is a vm1 protected && state_is c vm1 protected'
"$LAB" boot b || die "boot b"
until_true 10 ftctl b status >/dev/null
ftctl a disable vm1 || not_ok "disable"
pool

enable a vm1 b
client_moves l 50
ftctl a failover vm1 || not_ok "failover"
comes 20 "and moves" state_is b vm1 solo
enable b vm1 a
client_moves l 50
"$LAB" cut etcd
"$LAB" cut ft-a
until_true 10 state_is b vm1 deciding
sleep 1
before=$(client_answered l)
sleep 3
check "both hosts alive, parted, without arbiter: neither goes on alone" eval 'state_is a vm1 deciding && state_is b vm1 deciding'
same "output is held on both" "$before" "$(client_answered l)"
"$LAB" heal etcd-a
client_moves l 100
comes 20 "the one that reaches it again goes on" state_is a vm1 solo
"$LAB" heal etcd
# Fenced is what its guard says before it ends; then ftd asks the arbiter what becomes of the copy, and only what is found then stays.
comes 20 "the other one's pair ends" eval '[ "$(status b vm1 .ended_at)" -gt 0 ] 2>/dev/null'
last=$(status b vm1 .state)
check "it never goes on" eval '[ "$last" = fenced ] || [ "$last" = ended ]'
"$LAB" heal ft
client_moves l 50
client_end l
check "no number lost, no connection reset" nothing_lost l
