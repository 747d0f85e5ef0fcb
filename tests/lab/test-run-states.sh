# SPDX-License-Identifier: LGPL-2.1-or-later
# States of QEMU in which a checkpoint would abort it: the guest has suspended itself to RAM, or has panicked and is kept. The guest is left to stand, and nothing is lost.
. "$(dirname "$0")/lib.sh"

qemu_is() { [ "$(timeout 10 "$LAB" virsh "$1" qemu-monitor-command vm1 '{"execute":"query-status"}' | jq -r .return.status)" = "$2" ]; }
suspended() { [ "$(status a vm1 .suspended)" = true ]; }
fit() { [ "$(status b vm1 .fit)" = true ]; }
both_protected() { state_is a vm1 protected && state_is b vm1 protected; }
settings() { "$LAB" exec a sh -c "cp -n /etc/ftd/ftd.conf /etc/ftd/ftd.conf.before; cp /etc/ftd/ftd.conf.before /etc/ftd/ftd.conf; $1"; "$LAB" restart-ftd a; until_true 10 eval 'ftctl a status >/dev/null 2>&1'; }
trap 'settings true; end_clients' EXIT

fresh
"$LAB" guest vm1 --append unknown_nmi_panic=1 --devices-xml-extra "<panic model='isa'/>" || die "guest"
"$LAB" exec a sh -c 'virsh dumpxml --inactive vm1 | sed "s,<on_crash>destroy,<on_crash>preserve," >/tmp/preserve.xml && virsh define /tmp/preserve.xml' || die "on_crash"
"$LAB" virsh a destroy vm1 && "$LAB" virsh a start vm1 && "$LAB" client wait --duration 60 >/dev/null || die "start"
enable a vm1 b

client l ledger
client_moves l 30
for round in 1 2; do
	"$LAB" guest-run vm1 '(sleep 0.2; echo mem >/sys/power/state) >/dev/null 2>&1 &' || die "suspend to RAM"
	comes 10 "S3 $round: the guest is left to stand" suspended
	sleep 11	# max-epoch-ms, and some
	check "S3 $round: QEMU is as it was" qemu_is a suspended
	"$LAB" virsh a dompmwakeup vm1 || die "dompmwakeup"
	client_moves l 30
	comes 10 "S3 $round: awake, the copy is fit" eval '! suspended && fit'
	check "S3 $round: protected" both_protected
done
client_end l
check "S3: no number lost, no connection reset" nothing_lost l

settings 'printf "[guard]\non-panic=follow\n" >>/etc/ftd/ftd.conf'
"$LAB" virsh a inject-nmi vm1 || die "inject-nmi"
comes 10 "panic, followed and kept: the guest is left to stand" suspended
sleep 11
check "panic, followed and kept: QEMU is as it was" qemu_is a guest-panicked
check "panic, followed and kept: nobody has taken over" both_protected
"$LAB" virsh a reset vm1 && "$LAB" virsh a resume vm1 || die "reset"
check "... and reset: the guest comes back, protected" eval '"$LAB" client wait --duration 60 >/dev/null && both_protected'
ftctl a disable vm1 || not_ok "disable"
