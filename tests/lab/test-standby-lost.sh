# SPDX-License-Identifier: LGPL-2.1-or-later
# The standby's host dies, or only falls silent: the primary goes on, loses no write, and can be protected again.
. "$(dirname "$0")/lib.sh"

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
