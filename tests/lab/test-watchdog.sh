# SPDX-License-Identifier: LGPL-2.1-or-later
# A guard that hangs for ever, on either side: the other side goes on, and ftd ends the hanging one.
. "$(dirname "$0")/lib.sh"

hang() { "$LAB" exec "$1" sh -c 'kill -STOP $(cat /run/ftd/pairs/*/guard.pid)'; }
killed_by_watchdog() { "$LAB" exec "$1" sh -c 'tail -n 40 /var/log/ftd.log | grep "watchdog:"' >/dev/null; }
off() { ! "$LAB" virsh "$1" domstate vm1 2>/dev/null | grep -E 'running|paused' >/dev/null; }	# paused: it hung in the middle of a checkpoint
no_guards() { ! "$LAB" exec "$1" pgrep ftd-guard >/dev/null; }

fresh
"$LAB" guest vm1 || die "guest"
client l ledger
client_moves l 30
enable a vm1 b
client_moves l 50
hang b
client_moves l 100
comes 20 "standby's guard hangs: the primary goes on alone" state_is a vm1 solo
until_true 20 eval "no_guards b && off b" || true
check "standby's guard hangs: the watchdog ends it" eval 'killed_by_watchdog b && no_guards b && off b'
enable a vm1 b
client_moves l 50
hang a
client_moves l 100
comes 20 "primary's guard hangs: the standby takes over" state_is b vm1 solo
until_true 20 eval "no_guards a && off a" || true
check "primary's guard hangs: the watchdog ends it and its copy" eval 'killed_by_watchdog a && no_guards a && off a'
client_end l
check "no number lost, no connection reset" nothing_lost l
