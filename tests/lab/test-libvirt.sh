# SPDX-License-Identifier: LGPL-2.1-or-later
# What an administrator does to a protected domain with virsh, to libvirtd and to ftd, does what it does to any domain; and a failover still works after it.
. "$(dirname "$0")/lib.sh"

domstate() { "$LAB" virsh "$1" domstate vm1 2>/dev/null | head -n 1; }
is_off() { [ "$(domstate "$1")" = "shut off" ]; }
runs() { [ "$(domstate "$1")" = running ]; }
no_pair_dirs() { [ -z "$("$LAB" exec "$1" ls /run/ftd/pairs /var/lib/ftd/pairs 2>/dev/null | grep -v ':$' | tr -d '\n')" ]; }
gone_from() { ! "$LAB" virsh "$1" domstate vm1 >/dev/null 2>&1; }
answers() { "$LAB" client wait --duration "${1:-30}" >/dev/null 2>&1; }
# An epoch that nothing ends lasts up to max-epoch-ms, 10 s; the rest is for its commit, and for what $SECONDS rounds.
epoch_grows() {
	local from start=$EPOCHREALTIME
	from=$(status "$1" vm1 .committed_epoch)
	until_true 13 eval "[ \"\$(status $1 vm1 .committed_epoch)\" -gt $from ]"
	local result=$?
	echo "epoch $from of $1 was followed within $(((${EPOCHREALTIME/./} - ${start/./}) / 1000)) ms"
	return $result
}
kill_of() { "$LAB" exec "$1" sh -c "kill -$3 \$(cat $2)"; }
daemon_pid() { "$LAB" exec "$1" cat "/run/ftd-lab/$2.pid"; }
restarted() { local now; now=$(daemon_pid "$1" "$2" 2>/dev/null) && [ "$now" != "$3" ] && "$LAB" virsh "$1" version >/dev/null 2>&1 && ftctl "$1" status >/dev/null 2>&1; }

# ended_for_good TEXT: both copies are gone, nothing came back, nothing was left on the peer
ended_for_good() {
	comes 20 "$1: off on the primary's host" is_off a
	comes 10 "$1: the pair has ended" state_is a vm1 ended
	until_true 10 gone_from b
	sleep 2
	check "$1: nothing is resurrected" eval 'is_off a && gone_from b'
	check "$1: no leftovers" eval 'no_pair_dirs a && no_pair_dirs b'
}

fresh
"$LAB" guest vm1 --append unknown_nmi_panic=1 || die "guest"

for how in destroy shutdown; do
	enable a vm1 b
	sleep 1
	"$LAB" virsh a "$how" vm1 || die "virsh $how"
	ended_for_good "virsh $how"
	"$LAB" virsh a start vm1 || die "start after $how"
	check "virsh $how: starts again" answers 60
done

fit() { [ "$(status b vm1 .fit)" = true ]; }
enable a vm1 b
# In passive mode the copy stands between loads. A reset makes it PRELAUNCH then, in which QEMU does not survive a load. (For a minute after a reset more is done before
# each load, GUARD_REFRESH_NS, so this comes before all others.)
ftctl a set vm1 mode=passive || die "set mode=passive"
until_true 10 eval '[ "$("$LAB" virsh b qemu-monitor-command vm1 "{\"execute\":\"query-status\"}" | jq -r .return.status)" = paused ]'
"$LAB" virsh b reset vm1 || die "virsh reset on the standby"
comes 5 "the copy was reset while it stood: fit again" fit
check "the copy was reset while it stood: still protected" eval 'epoch_grows a && state_is a vm1 protected && state_is b vm1 protected'
ftctl a set vm1 mode=colo || die "set mode=colo"

# Both copies switch off at about the same time when a checkpoint falls between the power button and the poweroff.
check "the copy would survive its own poweroff" eval '"$LAB" virsh b dumpxml vm1 | grep "<on_poweroff>restart" >/dev/null'
for _ in 1 2 3; do
	"$LAB" virsh a reboot vm1 --mode acpi || die "virsh reboot"
	sleep 2
	check "virsh reboot: the guest comes back, protected" eval 'answers 60 && state_is a vm1 protected && state_is b vm1 protected'
done
"$LAB" virsh a reset vm1 || die "virsh reset"
sleep 2
check "virsh reset: the guest comes back, protected" eval 'answers 60 && state_is a vm1 protected && state_is b vm1 protected'
"$LAB" virsh a inject-nmi vm1 || die "inject-nmi"
sleep 2
check "panic with reboot: the guest comes back, protected" eval 'answers 60 && state_is a vm1 protected && state_is b vm1 protected'

# Nobody asks the guest for anything: there is a checkpoint because the copy needs one.
repairs() { status a vm1 '.checkpoints_by_reason["copy-unfit"]'; }
# A checkpoint of another reason that is just then on its way mends the copy as well, and is not counted as one for it: such a reset shows nothing, and is made again.
for _ in 1 2 3; do
	until_true 20 fit
	sleep 1
	before=$(repairs)
	"$LAB" virsh b reset vm1 || die "virsh reset on the standby"
	! until_true 3 eval '[ "$(repairs)" -gt "$before" ] && fit' || break
	status a vm1 .checkpoints_by_reason
	fit || break
done
check "the copy was reset: a checkpoint at once makes it fit" eval '[ "$(repairs)" -gt "$before" ] && fit'
check "the copy was reset: still protected" eval 'state_is a vm1 protected && state_is b vm1 protected'

suspended() { [ "$(status a vm1 .suspended)" = true ]; }
# One that comes while a checkpoint stops the guest is lost, and has to be said again (ftd(8)).
suspend() {
	for _ in 1 2 3; do
		"$LAB" virsh a suspend vm1 || die "suspend"
		! until_true 3 suspended || return 0
		echo "a checkpoint has had its way with it"
	done
}
client l ledger
client_moves l 30
for round in 1 2; do
	suspend
	check "suspend $round: ftd holds it" suspended
	before=$(client_answered l)
	sleep 3
	check "suspend $round: no output" eval '[ "$(domstate a)" = paused ] && [ "$(client_answered l)" -le $((before + 2)) ]'
	check "suspend $round: still protected" eval 'state_is a vm1 protected && state_is b vm1 protected'
	[ "$round" = 1 ] || "$LAB" restart-ftd a	# the guard notices by itself when ftd was not there to tell
	"$LAB" virsh a resume vm1 || die "resume"
	client_moves l 50
	check "resume $round: runs and makes checkpoints" eval 'until_true 5 eval "! suspended" && epoch_grows a'
done

"$LAB" virsh a "suspend vm1; resume vm1"	# libvirt refuses the second where a checkpoint has had its way with the first
client_moves l 50
check "suspended and resumed at once: runs and makes checkpoints" eval 'until_true 5 eval "! suspended" && epoch_grows a'

for h in a b; do
	old=$(daemon_pid "$h" libvirtd)
	kill_of "$h" /run/ftd-lab/libvirtd.pid 9
	until_true 20 restarted "$h" libvirtd "$old"
	client_moves l 50
	check "libvirtd killed on $h: protected" eval 'state_is a vm1 protected && state_is b vm1 protected && epoch_grows a'
	old=$(daemon_pid "$h" ftd)
	"$LAB" restart-ftd "$h"
	until_true 20 restarted "$h" ftd "$old"
	check "ftd restarted on $h: protected" eval 'state_is a vm1 protected && state_is b vm1 protected && epoch_grows a'
	old=$(daemon_pid "$h" ftd)
	kill_of "$h" /run/ftd-lab/ftd.pid 9
	until_true 20 restarted "$h" ftd "$old"
	check "ftd killed on $h: protected" eval 'state_is a vm1 protected && state_is b vm1 protected && epoch_grows a'
	client_moves l 50
done

# The copy has followed all those reboots. Without KVM that takes more than loads: QEMU does not drop translations of code that they replace.
check "after the guest's reboots: the copy is fit" until_true 10 fit

# ftd is stopped on both hosts: the guards alone carry out the failover; ftd cleans up when it is back.
for h in a b; do kill_of "$h" /run/ftd-lab/ftd.pid STOP; done
"$LAB" kill-qemu a vm1 || die "kill-qemu"
client_moves l 100
for h in a b; do kill_of "$h" /run/ftd-lab/ftd.pid CONT; done
comes 20 "failover without ftd: solo" state_is b vm1 solo
until_true 20 eval 'no_pair_dirs a && no_pair_dirs b'
check "failover without ftd: cleaned up afterwards" eval 'no_pair_dirs a && no_pair_dirs b && is_off a'
client_end l
check "ledger: no number lost, no connection reset" nothing_lost l
check "the survivor switches off as it was told to" eval '"$LAB" virsh b dumpxml vm1 | grep "<on_poweroff>destroy" >/dev/null'
