# SPDX-License-Identifier: LGPL-2.1-or-later
# The standby's host dies, or only falls silent: the primary goes on, loses no write, and can be protected again; in a pool by itself, even if its own host was started anew.
. "$(dirname "$0")/lib.sh"

# pool [hosts=NAMES]
pool() {
	for h in a b; do
		"$LAB" exec "$h" sed -i "/^hosts *=/d${1:+; s/^\\[ftd\\]/&\\n$1/}" /etc/ftd/ftd.conf
		"$LAB" restart-ftd "$h"
	done
	for h in a b; do until_true 10 ftctl "$h" status >/dev/null; done
}
lost_end() {
	pool
	end_clients
}

fresh
"$LAB" guest vm1 || die "guest"
before=$(qemu_picture a vm1)
client l ledger
client_moves l 30
enable a vm1 b
client_moves l 50
"$LAB" crash b
client_moves l 100
comes 20 "power loss of the standby: the primary goes on alone" state_is a vm1 solo
same "QEMU is as it was" "$before" "$(qemu_picture a vm1)"
"$LAB" boot b
until_true 10 ftctl b status >/dev/null
enable a vm1 b
check "protected again" state_is a vm1 protected
client_moves l 50
"$LAB" cut ft-b
client_moves l 100
comes 20 "silence of the standby: one side goes on alone" eval 'state_is a vm1 solo || state_is b vm1 solo'
"$LAB" heal ft-b
client_moves l 50
client_end l
check "no number lost, no connection reset" nothing_lost l

alone=a
state_is a vm1 solo || alone=b
other=$(echo ab | tr -d $alone)
comes 20 "the other one has given up its copy" eval '! "$LAB" virsh $other domstate vm1 2>/dev/null | grep -q running'
trap lost_end EXIT
pool hosts=a,b
comes 40 "with a pool it is protected again by itself" eval 'state_is $alone vm1 protected && state_is $other vm1 protected'
"$LAB" crash $other
comes 20 "the standby is lost once more, and the pair is no more" eval 'state_is $alone vm1 solo && [ "$(status $alone vm1 .ended_at)" -gt 0 ] 2>/dev/null'
"$LAB" crash $alone
"$LAB" boot $alone
until_true 10 ftctl $alone status >/dev/null
check "its own host was started anew: it is known what became of the pair" state_is $alone vm1 solo
comes 20 "the domain is started" eval '"$LAB" virsh $alone start vm1 >/dev/null 2>&1; "$LAB" virsh $alone domstate vm1 | grep -q running'
"$LAB" boot $other
comes 60 "it is protected again by the host that is back, without a word" eval 'state_is $alone vm1 protected && state_is $other vm1 protected'
check "that is not wanted any more" ftctl $alone disable vm1
"$LAB" restart-ftd $alone
sleep 3
check "nor after a restart" eval 'state_is $alone vm1 solo || state_is $alone vm1 ended'
