# SPDX-License-Identifier: LGPL-2.1-or-later
# The modes: output by commit only, switched while clients talk, and a host's end in each of them; auto gives comparing up when it does not pay.
. "$(dirname "$0")/lib.sh"

mode_is() { [ "$(status "$1" vm1 .mode)" = "$2" ]; }
released() { status "$1" vm1 ".released_$2"; }

fresh
"$LAB" guest vm1 || die "guest"
client l ledger
client e echo
client_moves l 30
ftctl a enable vm1 --peer b --mode passive || die "enable"
until_true 10 mode_is a passive
check "passive, because it was asked for" eval 'mode_is a passive && [ "$(status a vm1 .mode_reason)" = configured ]'
check "the standby knows" until_true 5 mode_is b passive
client_moves l 50
same_before=$(released a same)
epochs=$(status a vm1 .epochs)
client_moves l 100
check "nothing leaves by comparison" eval '[ "$(released a same)" = "$same_before" ]'
epochs=$(($(status a vm1 .epochs) - epochs))
loads=$(status b vm1 .loads)
check "checkpoints are many, loads are few ($epochs, $loads)" eval '[ "$epochs" -gt 30 ] && [ "$loads" -lt "$epochs" ]'
check "the copy stands" until_true 5 eval '"$LAB" exec b virsh -c qemu:///system domstate vm1 2>/dev/null | grep -q paused'

check "an unknown mode is refused" eval '! ftctl a set vm1 mode=fast'
check "live, from the standby's host: colo" ftctl b set vm1 mode=colo
until_true 10 mode_is a colo
client_moves l 100
check "output leaves by comparison again" eval '[ "$(released a same)" -gt "$same_before" ]'
for mode in passive colo passive; do
	ftctl a set vm1 mode=$mode >/dev/null
	client_moves l 30
done
check "and passive once more" until_true 10 mode_is a passive

client_mark l
"$LAB" crash a
client_moves l 100
comes 20 "power loss in passive mode: the survivor is solo" state_is b vm1 solo
"$LAB" boot a || die "boot a"
until_true 10 ftctl a status >/dev/null

ftctl b enable vm1 --peer a --mode auto || die "enable"
check "auto begins with comparing" eval '[ "$(status b vm1 .mode_setting)" = auto ]'
client_moves l 100
"$LAB" crash b
client_moves l 100
comes 20 "power loss in auto mode: the survivor is solo" state_is a vm1 solo
client_end l
client_end e
check "ledger: no number lost, no connection reset" nothing_lost l
check "echo: no wrong answer, no connection reset" eval '[ "$(result e ".connections_reset + .wrong")" = 0 ]'
