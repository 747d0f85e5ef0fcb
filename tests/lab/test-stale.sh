# SPDX-License-Identifier: LGPL-2.1-or-later
# A host that lost does not start its old copy again, neither before nor after ftd knows; and it may be a standby again.
. "$(dirname "$0")/lib.sh"

start_refused() {	# HOST PATTERN
	local said
	said=$("$LAB" virsh "$1" start vm1 2>&1) && return 1
	echo "$said"
	grep -F "$2" <<<"$said" >/dev/null
}
marked() { "$LAB" exec "$1" test -e "/var/lib/ftd/stale/$uuid.json" 2>/dev/null; }

fresh
"$LAB" guest vm1 || die "guest"
uuid=$("$LAB" virsh a domuuid vm1 | tr -d '[:space:]')
# An earlier domain of that name left its marker everywhere: nobody is to take it for this one's.
for h in a b; do
	"$LAB" exec "$h" sh -c 'mkdir -p /var/lib/ftd/stale && echo "{\"domain\": \"vm1\", \"uuid\": \"00000000-0000-4000-8000-000000000001\"}" >/var/lib/ftd/stale/00000000-0000-4000-8000-000000000001.json'
done
enable a vm1 b
check "nobody starts the running standby's definition" eval '! "$LAB" virsh b start vm1 >/dev/null 2>&1'
"$LAB" exec b true
"$LAB" crash a
until_true 20 state_is b vm1 solo
"$LAB" exec b true
"$LAB" boot a || die "boot a"
check "start is refused while it is not settled, or after it" start_refused a "ftd: "
comes 20 "ftd knows that the copy is stale" marked a
"$LAB" exec a sh -c 'kill -STOP $(cat /run/ftd-lab/ftd.pid)'
check "start is refused without ftd, and the message names the host" start_refused a "host b has the newest one"
"$LAB" exec a sh -c 'kill -CONT $(cat /run/ftd-lab/ftd.pid)'
enable b vm1 a
check "it may be a standby again" state_is a vm1 protected
ftctl b disable vm1 || die "disable"
until_true 10 eval '! state_is a vm1 protected'
check "... and is stale again after that" eval 'until_true 10 marked a && start_refused a "host b has the newest one"'
enable b vm1 a
"$LAB" kill-qemu b vm1 || die "kill-qemu"
until_true 20 state_is a vm1 solo
until_true 10 eval '! marked a'
check "the one that took over is the newest" eval '! marked a && until_true 10 marked b'
"$LAB" virsh a destroy vm1 || die "destroy"
check "it starts again here, not there" eval '"$LAB" virsh a start vm1 >/dev/null && start_refused b "host a has the newest one"'
"$LAB" virsh a destroy vm1
ftctl b forget vm1 || die "forget"
check "forget allows it" eval '"$LAB" virsh b start vm1 >/dev/null'
"$LAB" virsh b destroy vm1 >/dev/null
