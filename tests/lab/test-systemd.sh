# SPDX-License-Identifier: LGPL-2.1-or-later
# A host whose pid 1 is systemd, ftd by its own unit: a pair does not notice what is done to the daemon.
. "$(dirname "$0")/lib.sh"

on_a() { "$LAB" exec a "$@"; }
guard_of_a() { on_a sh -c 'cat /run/ftd/pairs/*/guard.pid'; }
ftd_of_a() { on_a systemctl show -P MainPID ftd; }
in_own_scope() { on_a sh -c "cat /proc/\$(cat /run/ftd/pairs/*/guard.pid)/cgroup" | grep -q '/ftd-guard-.*\.scope$'; }
no_scope() { [ -z "$(on_a systemctl list-units --no-legend --all 'ftd-guard-*.scope')" ]; }
journal_has() { on_a journalctl -q -o cat "MESSAGE_ID=$1" FTD_DOMAIN=vm1 | grep -q .; }
message_id() { sed -nE "s/^\t\{ \"$1\", [3-6], \"([0-9a-f]{32})\" \},/\1/p" "$(dirname "$LAB")/../../daemon/event-kinds.c"; }
other_ftd() { [ "$(ftd_of_a)" != "$1" ] && state_is a vm1 protected; }

fresh
"$LAB" crash a
"$LAB" boot a --systemd || die "boot a --systemd"
comes 10 "the unit's ftd is ready (sd_notify)" on_a systemctl -q is-active ftd
"$LAB" guest vm1 || die "guest"
client l ledger
client_moves l 30
enable a vm1 b
client_moves l 30
guard=$(guard_of_a)
ftd=$(ftd_of_a)
check "the guard runs in a scope of its own" in_own_scope
check "the guard has real-time priority under the unit's limits" eval "on_a chrt -p $guard | grep -q SCHED_RR"
check "the confined guard has what it needs" nothing_refused a
check "the journal has the event by its MESSAGE_ID and domain" journal_has "$(message_id protected)"

on_a systemctl restart ftd
until_true 10 other_ftd "$ftd"
check "systemctl restart ftd: another daemon finds the same guard, protected" eval "other_ftd $ftd && [ \$(guard_of_a) = $guard ]"
client_moves l 30

# A daemon that hangs. The unit's patience would take longer than this test.
on_a mkdir -p /run/systemd/system/ftd.service.d
on_a sh -c 'printf "[Service]\nWatchdogSec=1s\n" >/run/systemd/system/ftd.service.d/watchdog.conf; systemctl daemon-reload; systemctl restart ftd'
until_true 10 state_is a vm1 protected
ftd=$(ftd_of_a)
sleep 2
check "a daemon that turns is left alone by systemd's watchdog" [ "$(ftd_of_a)" = "$ftd" ]
on_a kill -STOP "$ftd"
until_true 15 other_ftd "$ftd"
check "a daemon that hangs is started anew, the guard stays" eval "other_ftd $ftd && [ \$(guard_of_a) = $guard ]"

on_a systemctl stop ftd
client_moves l 30
check "without its daemon the guard goes on" on_a kill -0 "$guard"
"$LAB" crash b
client_moves l 60
on_a systemctl start ftd
comes 10 "the standby's host is lost while ftd is stopped: the guard settles it, ftd finds the end" state_is a vm1 solo
comes 5 "the guard's scope is gone with it" no_scope
client_end l
check "no number lost, no connection reset" nothing_lost l
"$LAB" crash a
