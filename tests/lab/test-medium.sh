# SPDX-License-Identifier: LGPL-2.1-or-later
# A medium in the drive of a guest that is protected: it stays protected, whatever would have to protect it anew is refused while it is in, and its host may be lost.
. "$(dirname "$0")/lib.sh"

iso=/var/lib/libvirt/images/medium.iso
trap 'end_clients; for h in a b; do "$LAB" exec $h rm -f $iso; done' EXIT

# shellcheck disable=SC2016 # the status is that of then
of_pair() { status a vm1 '"\(.state) \(.generation) \(.peer)"'; }
more_checkpoints() {
	local from
	from=$(status a vm1 .epoch)
	ftctl a set vm1 mode=passive || return
	until_true 5 eval "[ \"\$(status a vm1 .epoch)\" -gt $((from + 20)) ]" || return
	ftctl a set vm1 mode=colo
}

fresh
"$LAB" guest vm1 --devices-xml-extra "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><target dev='hdc' bus='ide'/><readonly/></disk>" || die "guest"
"$LAB" exec a truncate -s 1M $iso
enable a vm1 b
client l ledger
client_moves l 30
before=$(of_pair)
check "a medium is put in" "$LAB" virsh a change-media vm1 hdc $iso --insert --live
check "checkpoints are made with it in" more_checkpoints
same "it is the same pair" "$before" "$(of_pair)"
for verb in switchover test-failover test-restart-secondary 'migrate-secondary c'; do
	read -r verb to <<<"$verb"
	for host in a b; do
		# shellcheck disable=SC2086 # none, or one
		out=$(ftctl $host "$verb" vm1 ${to:-} 2>&1)
		status=$?
		echo "$out"
		check "$verb on $host is refused, and says what to do" eval '[ $status != 0 ] && [[ "$out" == *"eject its medium"* ]]'
	done
done
same "and it is still the same pair" "$before" "$(of_pair)"

check "it is taken out" "$LAB" virsh a change-media vm1 hdc --eject --live
check "test-restart-secondary" ftctl a test-restart-secondary vm1
check "migrate-secondary" ftctl b migrate-secondary vm1 c
comes 5 "protected by the third host" eval '[ "$(status a vm1 .peer)" = c ] && state_is a vm1 protected && state_is c vm1 protected'

"$LAB" virsh a change-media vm1 hdc $iso --insert --live || die "put it in again"
check "checkpoints are made with it in again" more_checkpoints
"$LAB" crash a
client_moves l 30
client_end l
check "its host is lost with the medium: nothing else is" nothing_lost l
"$LAB" boot a >/dev/null 2>&1
