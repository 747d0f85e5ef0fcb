# SPDX-License-Identifier: LGPL-2.1-or-later
# Domains that cannot be protected, each refused for its own reason, unchanged.
. "$(dirname "$0")/bad.sh"

images=/var/lib/libvirt/images
fresh
"$LAB" exec a mkdir -p "$VARIANTS"
trap '"$LAB" exec a sh -c "rm -rf $VARIANTS $images/odd*" >/dev/null 2>&1' EXIT

# -- the words
refused "unknown domain" NoDomain 'no domain nosuch .*virsh list' a nosuch b
out=$(ftctl a enable vm1 2>&1)
says "no --peer: enable" Usage '[-]-peer HOST' $? "$out"
out=$(ftctl a enable --peer b 2>&1)
says "no domain" Usage 'usage: ftctl enable DOMAIN' $? "$out"

# -- the domain
odd a odd </dev/null || die "odd"
refused "the peer is this host" Usage 'another host than a' a odd a
refused "the peer is this host by its address" Usage 'another host than a' a odd 10.98.0.1
"$LAB" virsh a dumpxml odd --inactive >"$TEST_WORK/odd.xml"
odd_end a odd
"$LAB" virsh a define /dev/stdin <"$TEST_WORK/odd.xml" >/dev/null || die "define"
refused "not running" NotRunning 'not running.*virsh start odd' a odd b
"$LAB" virsh a undefine odd >/dev/null

# -- the table
odd a odd </dev/null || die "odd"
out=$(ftctl a check odd)
check "without a peer the domain alone is looked at" eval '[ $? = 0 ] && grep -q "^peer .* unknown  not looked at without a peer" <<<"$out"'
out=$(ftctl a check odd --peer b --json)
status=$?
jq -c '.[]' <<<"$out"
check "each requirement has its row, in order, and nothing is refused or unknown" test "$status/$(jq -r 'map(.requirement) | unique | length' <<<"$out")/$(
	jq -r 'map(select(.state == "refused" or .state == "unknown")) | length' <<<"$out")" = 0/19/0
check "the link was measured" eval 'jq -e "map(select(.requirement == \"link\" and (.found | test(\"[0-9] (ms|MiB/s)\")))) | length > 0" <<<"$out"'
"$LAB" exec b chmod -x /etc/libvirt/hooks/qemu.d/ftd
check "a hook that libvirt cannot run is told, and is no obstacle" eval 'ftctl a check odd --peer b | grep -q "^hook .* warning .*b has no /etc/libvirt/hooks/qemu.d/ftd"'
"$LAB" exec b chmod +x /etc/libvirt/hooks/qemu.d/ftd
check "the ports of guards are open" eval 'jq -e "map(select(.requirement == \"ports\" and .state == \"ok\")) | length == 1" <<<"$out"'
odd_end a odd

# -- NICs
nic virtio "<driver name='qemu' queues='2'/>" | refused_device "multiqueue" NicMultiqueue 'net0 has 2 queues.*remove queues='
nic rtl8139 | refused_device "a model that is not supported" NicModel 'rtl8139; use virtio'
echo "<interface type='user'><model type='virtio'/></interface>" | refused_device "user networking" NicModel 'type user; only bridge'

for _ in $(seq 9); do nic virtio; done | refused_device "more NICs than a guard carries" Limit 'odd has more than 16 disks or 8 interfaces; remove some'

# There is no vhost where there is no /dev/vhost-net. What is looked for is that file among QEMU's open ones, so one of that name is passed to it (a double):
# a file in a mount that is gone has its path from there.
nic virtio | odd a odd
check "a virtio NIC that says nothing of vhost, and has none, is no obstacle" ftctl a check odd --peer b
# shellcheck disable=SC2016 # expanded in there
unshare --mount sh -c 'mount -t tmpfs root /mnt && mkdir /mnt/dev && : >/mnt/dev/vhost-net && exec 3</mnt/dev/vhost-net &&
	virsh -c "$1" qemu-monitor-command odd "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"vhost\"}}" --pass-fds 3' \
	sh "qemu+unix:///system?socket=/proc/$(host_pid a)/root/run/libvirt/libvirt-sock" >/dev/null || die "pass an fd"
refused "vhost" NicVhost "net0 uses vhost.*<driver name='qemu'/>" a odd b
odd_end a odd

# -- devices
echo "<shmem name='odd'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>" |
	refused_device "shared memory" Device 'device shmem.* is not known to survive.*remove it'
echo "<filesystem type='mount' accessmode='squash'><source dir='/var/tmp'/><target dir='odd'/></filesystem>" |
	refused_device "a shared directory" Device 'device filesystem.*remove it'

echo "<redirdev bus='usb' type='tcp'><source mode='bind' host='127.0.0.1' service='4000'/><protocol type='raw'/></redirdev>" |
	ODD_USB="<controller type='usb' model='piix3-uhci'/>" refused_device "a device of another machine's" Device 'device redirdev.* belongs to this host; remove it'

# BIOS where UEFI would be: what counts is the file for the variables.
"$LAB" exec a truncate -s 64K $images/odd.fd
ODD_MORE='<features><acpi/></features>' ODD_OS="<loader readonly='yes' type='pflash'>/usr/share/seabios/bios-256k.bin</loader><nvram>$images/odd.fd</nvram>" \
	refused_device "variables of UEFI" Device 'UEFI keeps variables in .*odd.fd.*stateless' </dev/null
ODD_MORE='<memoryBacking><source type="memfd"/><access mode="shared"/></memoryBacking>' refused_device "shared memory of the guest" Device \
	'not plain memory: memfd, shared; remove it' </dev/null

# -- disks
image a $images/odd.qcow2 16M
image a $images/odd-base.qcow2 16M
image a $images/odd-overlay.qcow2 16M -b $images/odd-base.qcow2 -F qcow2
disk $images/odd-overlay.qcow2 | refused_device "a backing file" DiskKind 'vda has a backing file.*virsh blockcommit'
image a $images/odd-inside.qcow2 16M
"$LAB" exec a qemu-img snapshot -c before $images/odd-inside.qcow2
disk $images/odd-inside.qcow2 | refused_device "a snapshot inside of the image" DiskKind 'vda has snapshots inside of its image.*virsh snapshot-delete'
"$LAB" exec a rm $images/odd-inside.qcow2
"$LAB" exec a truncate -s 16M $images/odd.raw
echo "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='$images/odd.raw'/><target dev='vda' bus='virtio'/><shareable/></disk>" |
	 refused_device "a shareable disk" DiskKind 'vda is shareable'
disk $images/odd.qcow2 '<readonly/>' | refused_device "a read-only disk" DiskKind 'vda is read-only.*make it writable'
echo "<disk type='file' device='cdrom'><driver name='qemu' type='qcow2'/><source file='$images/odd.qcow2'/><target dev='hda' bus='ide'/></disk>" |
	refused_device "a medium in a drive" DiskKind 'hda is neither.*eject'
disk $images/odd.qcow2 | odd a odd || die "odd"
"$LAB" virsh a blockcopy odd vda $images/odd-copy.qcow2 --transient-job >/dev/null || die "blockcopy"
refused "a block job" DiskKind 'block job' a odd b
odd_end a odd

# -- QEMU. Its double without COLO: the same QEMU in which the word x-colo is another one.
"$LAB" exec a sh -c "LC_ALL=C sed 's/\x00x-colo\x00/\x00x-none\x00/g' /usr/bin/qemu-system-x86_64 >$VARIANTS/qemu-without-colo && chmod 755 $VARIANTS/qemu-without-colo"
ODD_EMULATOR=$VARIANTS/qemu-without-colo refused_device "QEMU without x-colo (a double)" QemuNoColo 'built without COLO \(x-colo\); use one' </dev/null
