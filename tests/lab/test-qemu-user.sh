# SPDX-License-Identifier: LGPL-2.1-or-later
# Libvirt as distributions set it up: QEMU runs as a user of its own, and libvirt gives it the files that it may open.
. "$(dirname "$0")/lib.sh"

# user HOST NAME: from the next start of a domain on
user() {
	"$LAB" exec "$1" sh -c "sed -i 's/^user = .*/user = \"$2\"/; s/^group = .*/group = \"$2\"/; s/^dynamic_ownership = .*/dynamic_ownership = $([ "$2" = root ]; echo $?)/' /etc/libvirt/qemu.conf
		kill \$(cat /run/ftd-lab/libvirtd.pid)"
	until_true 10 "$LAB" virsh "$1" list >/dev/null 2>&1
}
undo() {
	end_clients
	fresh
	for h in a b; do user $h root; done
} >/dev/null 2>&1
trap undo EXIT

runs_as() { [ "$("$LAB" exec "$1" sh -c 'stat -c %U /run/ftd/pairs/*/qemu; ps -o user:20= -C qemu-system-x86_64' | sort -u)" = libvirt-qemu ]; }

fresh
for h in a b; do user $h libvirt-qemu; done
"$LAB" guest vm1 || die "guest"
client l ledger
client_moves l 30
enable a vm1 b
check "both run as libvirt's user" eval 'runs_as a && runs_as b'
dir=/run/ftd/pairs/$("$LAB" virsh b domuuid vm1 | head -n 1)
as_nobody() { "$LAB" exec b setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
check "another user sees nothing of it" eval '"$LAB" exec b test -e $dir/qemu/qmp.sock && ! as_nobody test -e $dir/qemu/qmp.sock && ! as_nobody cat $dir/guard.json'
client_moves l 100
"$LAB" crash a
client_moves l 100
until_true 20 state_is b vm1 solo
"$LAB" boot a || die "boot a"
user a libvirt-qemu
until_true 10 ftctl a status >/dev/null
enable b vm1 a
client_moves l 50
check "protected towards the host that was lost" state_is a vm1 protected
"$LAB" kill-qemu b vm1 || die "kill-qemu"
client_moves l 100
comes 20 "and back" state_is a vm1 solo
client_end l
check "no number lost, no connection reset" nothing_lost l
