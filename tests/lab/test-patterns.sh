# SPDX-License-Identifier: LGPL-2.1-or-later
# Flows by pattern: bypassed, never compared; set from either host, while clients talk, kept through the end of a host and of its daemon.
. "$(dirname "$0")/lib.sh"

flow() { ftctl "$1" flows vm1 --json | jq -r "[.[] | select(.source | endswith(\":$2\"))] | map($3) | add // 0"; }
treated() { [ "$(ftctl "$1" flows vm1 --json | jq -r "[.[] | select(.source | endswith(\":$2\")) | .treatment] | first")" = "$3" ]; }
settings() { status "$1" vm1 '[.bypass, .never_compare, .mode_setting] | join(" ")'; }

fresh
"$LAB" guest vm1 || die "guest"
client l ledger
client e echo
client_moves l 30
check "a pattern that is none is refused, by name" grep -q 'bypass: "tcp:7x" is not a flow pattern' <<<"$(ftctl a enable vm1 --peer b --bypass tcp:22,tcp:7x 2>&1)"
check "and nothing is left of it" eval '! "$LAB" virsh a dumpxml vm1 | grep -q org.ftd'
ftctl a enable vm1 --peer b --bypass udp:9,tcp:7 --bypass icmp --mode colo || die "enable"
client_moves e 50
check "what is named is bypassed" treated a 7 bypass
# What the client counts is up to a second old, so some of its answers were given before the pair was one.
until_true 10 eval '[ "$(flow a 7 .bypassed)" -ge 50 ]'
check "its packets leave uncompared" eval '[ "$(flow a 7 .bypassed)" -ge 50 ] && [ "$(flow a 7 ".same + .committed")" = 0 ]'
# The copy was just born: until it is warm, its answers may come too late for the first packets.
check "the rest is compared" until_true 20 eval 'treated a 1000 compare && [ "$(flow a 1000 .same)" -gt 0 ]'

# From the standby's host; and the other way round.
check "set on the standby's host" ftctl b set vm1 bypass=
until_true 5 treated a 7 compare
bypassed=$(flow a 7 .bypassed) same=$(flow a 7 .same)
client_moves e 50
check "compared again" eval '[ "$(flow a 7 .bypassed)" = "$bypassed" ] && [ "$(flow a 7 .same)" -gt "$same" ]'
ftctl b set vm1 never-compare=tcp:1000 || die "set"
check "the primary's host says what holds" eval '[ "$(settings a)" = " tcp:1000 colo" ]'
until_true 5 treated a 1000 never-compare
same=$(flow a 1000 .same) committed=$(flow a 1000 .committed)
client_moves l 30
check "never compared: by commit only" eval '[ "$(flow a 1000 .same)" = "$same" ] && [ "$(flow a 1000 .committed)" -gt "$committed" ]'
check "a bad pattern changes nothing" eval '! ftctl a set vm1 bypass=udp:70000 && [ "$(settings a)" = " tcp:1000 colo" ]'
check "nor does what is no setting" eval '! ftctl a set vm1 colour=red'
ftctl a set vm1 bypass=icmp never-compare=tcp:1000,udp:5 mode=passive || die "set"
"$LAB" restart-ftd a || die "restart-ftd"
until_true 10 eval 'ftctl a status >/dev/null 2>&1'
check "a daemon that was restarted knows them" eval '[ "$(settings a)" = "icmp tcp:1000,udp:5 passive" ]'

"$LAB" crash a
client_moves l 50
until_true 20 state_is b vm1 solo
"$LAB" boot a || die "boot a"
until_true 10 eval 'ftctl a status >/dev/null 2>&1'
enable b vm1 a
check "the host that has taken over has kept them" eval '[ "$(settings b)" = "icmp tcp:1000,udp:5 passive" ]'
client_end l
client_end e
check "ledger: no number lost, no connection reset" nothing_lost l
check "echo: no wrong answer, no connection reset" eval '[ "$(result e ".connections_reset + .wrong")" = 0 ]'
