# SPDX-License-Identifier: LGPL-2.1-or-later
# QEMU of the primary is killed on a living host: the guard abdicates and the standby takes over at once.
. "$(dirname "$0")/lib.sh"

fresh
"$LAB" guest vm1 || die "guest"
client l ledger
client o open --connections 8
client_moves l 30
enable a vm1 b
client_moves l 100
check "the confined guards have what they need" eval "nothing_refused a && nothing_refused b"
"$LAB" kill-qemu a vm1 || die "kill-qemu"
client_moves l 100
comes 20 "the standby's host is solo" state_is b vm1 solo
check "the reason is the abdication" eval '[ "$(status b vm1 .reason)" = peer-abdicated ]'
client_end l
client_end o
check "no number lost, no connection reset" nothing_lost l
check "none was reset of those that were being opened" eval '[ "$(result o .connections_reset)" = 0 ] && [ "$(result o .answered)" -gt 100 ]'
comes 10 "no copy runs on the primary's host" eval '[ "$("$LAB" virsh a domstate vm1 | head -n 1)" = "shut off" ]'
