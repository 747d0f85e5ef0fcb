# SPDX-License-Identifier: LGPL-2.1-or-later
# Protection that is suspended outlives a restart of either host, and begins again where it is asked for.
. "$(dirname "$0")/lib.sh"

reboot() {
	"$LAB" crash "$1"
	"$LAB" boot "$1" || die "boot $1"
	until_true 10 ftctl "$1" status >/dev/null
}
both_protected() { state_is a vm1 protected && state_is b vm1 protected; }

fresh
"$LAB" guest vm1 || die "guest"
enable a vm1 b
check "suspend" ftctl a suspend vm1
reboot a
"$LAB" virsh a start vm1 || die "start"
"$LAB" client wait --duration 60 >/dev/null || die "the guest does not answer"
check "the primary's host was restarted: resume, asked for on the other one" ftctl b resume vm1
comes 5 "protected" both_protected

check "suspend, asked for on the standby's host" ftctl b suspend vm1
reboot a
"$LAB" virsh a start vm1 || die "start"
"$LAB" client wait --duration 60 >/dev/null || die "the guest does not answer"
reboot b
out=$(ftctl b resume vm1 2>&1)
status=$?
echo "$out"
check "both were restarted: the other one does not know of it" eval '[ $status = 14 ] && [[ "$out" == *"say it on the host where it runs"* ]]'
check "resume where it runs" ftctl a resume vm1
comes 5 "protected" both_protected
ftctl a disable vm1 || not_ok "disable"
