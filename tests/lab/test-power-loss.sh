# SPDX-License-Identifier: LGPL-2.1-or-later
# The primary's host dies, the pair is made again towards the repaired host, and its host dies again: TCP connections through all of it, and many that begin and end all the time.
. "$(dirname "$0")/lib.sh"

fresh
"$LAB" guest vm1 || die "guest"
client l ledger
client e echo
client o open --connections 8
client_moves l 30
enable a vm1 b
client_moves l 100
client_mark l
"$LAB" crash a
client_moves l 100
info=$("$LAB" virsh b dominfo vm1)
check "the survivor is a running, persistent domain" eval 'grep -q "Persistent: *yes" <<<"$info" && grep -q "State: *running" <<<"$info"'
comes 20 "status says solo" state_is b vm1 solo
"$LAB" boot a || die "boot a"
until_true 10 ftctl a status >/dev/null
enable b vm1 a
check "protected again, towards the repaired host" state_is b vm1 protected
client_moves l 100
"$LAB" crash b
client_moves l 100
comes 20 "the second survivor is solo" state_is a vm1 solo
"$LAB" boot b
enable a vm1 c
check "protected once more, towards a third host" state_is a vm1 protected
client_moves l 50
client_end l
client_end e
client_end o
check "ledger: no number lost, no connection reset" nothing_lost l
check "echo: no connection reset" eval '[ "$(result e .connections_reset)" = 0 ]'
check "none was reset of those that were being opened" eval '[ "$(result o .connections_reset)" = 0 ] && [ "$(result o .answered)" -gt 500 ]'
