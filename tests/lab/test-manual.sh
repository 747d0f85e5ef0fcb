# SPDX-License-Identifier: LGPL-2.1-or-later
# Without an arbiter but the operator: nobody goes on alone until it is said, planned changes need no second word, and the host that comes back waits.
. "$(dirname "$0")/lib.sh"

manual_end() {
	for h in a b c; do
		ftctl "$h" failover --force --yes vm1 >/dev/null 2>&1
		ftctl "$h" disable vm1 >/dev/null 2>&1
	done
	"$LAB" arbiter file >/dev/null 2>&1
	for p in "$TEST_WORK"/pid-*; do [ -e "$p" ] && kill -9 "$(cat "$p")" 2>/dev/null; done
	rm -f "$TEST_WORK"/pid-*
}

fresh
"$LAB" arbiter manual || die "arbiter manual"
trap manual_end EXIT
for h in a b c; do until_true 10 ftctl "$h" status >/dev/null; done

"$LAB" guest vm1 || die "guest"
client l ledger
client_moves l 30
words=$(ftctl a check vm1 --peer b 2>&1)
status=$?
check "check warns and refuses nothing" eval '[ $status = 0 ] && grep -q "arbiter .*warning .*arbiter-manual: the arbiter is manual" <<<"$words"'
enable a vm1 b
client_moves l 50
words=$(ftctl a failover --force --yes vm1 2>&1)
status=$?
check "a word that nobody waits for is refused" eval '[ $status = 2 ] && grep -q "waits for nobody" <<<"$words"'
check "and still protected" state_is a vm1 protected

"$LAB" crash a
until_true 10 state_is b vm1 deciding
sleep 1
before=$(client_answered l)
sleep 3
check "power loss: nobody goes on alone" state_is b vm1 deciding
same "output is held" "$before" "$(client_answered l)"
words=$(ftctl b failover --force vm1 </dev/null 2>&1)
status=$?
check "no terminal and no --yes: refused" eval '[ $status = 2 ] && grep -q -- "--yes" <<<"$words"'
check "failover --force on the host that shall go on" ftctl b failover --force --yes vm1
client_moves l 100
check "it is solo" state_is b vm1 solo

"$LAB" boot a || die "boot a"
until_true 10 ftctl a status >/dev/null
until_true 10 state_is a vm1 orphan
sleep 3
check "the host that comes back waits" state_is a vm1 orphan
enable b vm1 a
check "protected again, by the host that came back" state_is b vm1 protected
client_moves l 50

check "a planned failover needs no second word" ftctl b failover vm1
client_moves l 50
comes 20 "it runs on the other host" state_is a vm1 solo
enable a vm1 b
client_moves l 50
check "a planned end neither" ftctl a disable vm1
client_moves l 50

enable a vm1 c
client_moves l 50
client_end l
check "no number lost, no connection reset" nothing_lost l
"$LAB" virsh a destroy vm1 >/dev/null 2>&1
comes 20 "a domain that is destroyed on purpose waits for nobody" state_is a vm1 ended
