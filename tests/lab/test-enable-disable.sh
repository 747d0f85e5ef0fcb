# SPDX-License-Identifier: LGPL-2.1-or-later
# enable and disable leave no trace on either host; the guest and its clients notice neither.
. "$(dirname "$0")/lib.sh"

fresh
"$LAB" guest vm1 || die "guest"
qemu_before=$(qemu_picture a vm1)
peer_before=$(host_picture b)
client l ledger
client_moves l 30
for round in 1 2; do
	enable a vm1 b
	check "round $round: protected on the primary's host" state_is a vm1 protected
	check "round $round: protected on the standby's host" state_is b vm1 protected
	client_moves l 50
	ftctl a disable vm1 || die "disable"
	client_moves l 30
	same "round $round: QEMU is as it was" "$qemu_before" "$(qemu_picture a vm1)"
	until_true 10 eval '[ "$peer_before" = "$(host_picture b)" ]'
	same "round $round: the peer is as it was" "$peer_before" "$(host_picture b)"
done
client_end l
check "no number lost, no connection reset" nothing_lost l
