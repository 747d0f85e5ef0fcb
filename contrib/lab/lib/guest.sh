# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Guests: disks, domain XML, start, removal.

guest_options() {
	G_HOST=a G_MEMORY=256 G_VCPUS=1 G_DISKS=() G_IP='' G_NIC='' G_DEVICES='' G_IMAGE='' G_KERNEL='' G_INITRD='' G_APPEND='' G_TIMEOUT=60 G_SECOND=''
	G_NAME=${1:-}
	[[ $G_NAME =~ ^[a-zA-Z0-9][a-zA-Z0-9._-]*$ ]] || die 'usage: lab guest NAME [OPTION...] (see lab --help)'
	shift
	while [ $# -gt 0 ]; do
		need_value "$@"
		case $1 in
		--host) G_HOST=$2 ;;
		--memory) G_MEMORY=$2 ;;
		--vcpus) G_VCPUS=$2 ;;
		--disk) G_DISKS+=("$2") ;;
		--ip) G_IP=$2 ;;
		--second-nic) G_SECOND=$2 ;;
		--nic-xml-extra) G_NIC=$2 ;;
		--devices-xml-extra) G_DEVICES=$2 ;;
		--image) G_IMAGE=$2 ;;
		--kernel) G_KERNEL=$2 ;;
		--initrd) G_INITRD=$2 ;;
		--append) G_APPEND+=" $2" ;;
		--timeout) G_TIMEOUT=$2 ;;
		*) die "guest: unknown argument '$1' (see lab --help)" ;;
		esac
		shift 2
	done
	# The second time a guest keeps its address.
	[ -n "$G_IP" ] || G_IP=$(cat "$RUN/guests/$G_NAME.ip" 2>/dev/null || echo "$LAN_NET.10")
	[ ${#G_DISKS[@]} -gt 0 ] || [ -n "$G_IMAGE" ] || G_DISKS=(1G)
	[[ $G_IP == "$LAN_NET".* ]] || die "guest: --ip must be in $LAN_NET.0/24, the lab's LAN"
	if [ -n "$G_IMAGE$G_KERNEL$G_INITRD" ] && [ "$G_IMAGE" != "$CACHE/image/guest.raw" ]; then
		if [ -z "$G_KERNEL" ] || [ -z "$G_INITRD" ]; then die 'guest: --image needs --kernel and --initrd (but for the one "lab image" makes)'; fi
	fi
	local file
	for file in "$G_IMAGE" "$G_KERNEL" "$G_INITRD"; do
		[ -z "$file" ] || [ -r "$file" ] || die "guest: cannot read $file"
	done
}

guest_up() {
	local where
	guest_options "$@"
	host_need "$G_HOST" >/dev/null
	if where=$(guest_where "$G_NAME"); then
		G_HOST=$where
		say "guest $G_NAME: already running on host $where"
	else
		lock
		if ! host_run "$G_HOST" virsh -c qemu:///system dominfo "$G_NAME" >/dev/null 2>&1; then
			guest_make
		fi
		host_run "$G_HOST" virsh -q -c qemu:///system start "$G_NAME" >&2 ||
			die "guest $G_NAME did not start on host $G_HOST (virsh's message is above; QEMU's log: lab exec $G_HOST cat /var/log/libvirt/qemu/$G_NAME.log)"
		exec 9>&-
	fi
	guest_wait
	say "guest $G_NAME: answers at $G_IP"
}

# An image of one's own need not have an echo server: any answer, a refusal too, means that it is there.
guest_wait() {
	local args=(--guest "$G_IP" --duration "$G_TIMEOUT")
	[ ! -e "$STATE/guest-boot/$G_NAME-vmlinuz" ] || args+=(--any-answer)
	in_ns lan "$CACHE/bin/lab-client" wait "${args[@]}" ||
		die "guest $G_NAME does not answer at $G_IP after $G_TIMEOUT s; its console: lab exec $G_HOST cat /var/log/libvirt/qemu/$G_NAME-serial.log"
}

# The host where this guest runs; with a pair that is the first of the two.
guest_where() {
	local h
	for h in $(hosts_known); do
		host_pid "$h" >/dev/null || continue
		case $(host_run "$h" virsh -c qemu:///system domstate "$1" 2>/dev/null || true) in
		running | paused) echo "$h"; return ;;
		esac
	done
	return 1
}

guest_make() {
	local i
	say "guest $G_NAME: making its disks on host $G_HOST"
	guest_boot_files
	G_FILES=()
	[ -z "$G_IMAGE" ] || guest_disk_from "$G_IMAGE"
	for i in "${!G_DISKS[@]}"; do guest_disk_empty "${G_DISKS[i]}" "$i"; done
	mkdir -p "$RUN/guests"
	guest_xml >"$RUN/guests/$G_NAME.xml"
	echo "$G_IP" >"$RUN/guests/$G_NAME.ip"
	host_run "$G_HOST" virsh -q -c qemu:///system define /dev/stdin <"$RUN/guests/$G_NAME.xml" >&2 ||
		die "libvirt did not accept the guest's XML ($RUN/guests/$G_NAME.xml)"
}

guest_boot_files() {
	local h
	G_BOOT=/var/lib/libvirt/boot/ftd-guest
	[ -n "$G_KERNEL" ] || return 0
	G_BOOT=/var/lib/libvirt/boot/$G_NAME
	mkdir -p "$STATE/guest-boot"
	cp "$G_KERNEL" "$STATE/guest-boot/$G_NAME-vmlinuz"
	cp "$G_INITRD" "$STATE/guest-boot/$G_NAME-initrd"
	for h in $(hosts_known); do host_boot_files "$h"; done
}

# The next disk's path in the host: NAME-vda.qcow2, NAME-vdb.qcow2, ...
guest_next_disk() {
	local letters=abcdefghijklmnop
	[ ${#G_FILES[@]} -lt 16 ] || die 'guest: at most 16 disks'
	G_FILES+=("/var/lib/libvirt/images/$G_NAME-vd${letters:${#G_FILES[@]}:1}.qcow2")
}

guest_disk_from() {
	guest_next_disk
	local file=${G_FILES[-1]}
	cp --sparse=always "$1" "$STATE/$G_HOST$file.tmp"
	host_run "$G_HOST" qemu-img convert -O qcow2 "$file.tmp" "$file" || die "qemu-img could not read the image $1"
	rm "$STATE/$G_HOST$file.tmp"
}

# ext4 is made here, so the guest needs no mkfs.
guest_disk_empty() {
	guest_next_disk
	local file=${G_FILES[-1]} tmp
	tmp=$STATE/$G_HOST$file.tmp
	rm -f "$tmp"
	truncate -s "$1" "$tmp" || die "guest: '$1' is not a disk size (try 1G)"
	mkfs.ext4 -q -F -L "data$2" -N 4096 -E lazy_itable_init=0,lazy_journal_init=0 "$tmp" || die 'mkfs.ext4 failed'
	host_run "$G_HOST" qemu-img convert -O qcow2 "$file.tmp" "$file" || die 'qemu-img failed'
	rm "$tmp"
}

# cache='none' needs O_DIRECT, which some file systems (tmpfs) do not have.
guest_cache_mode() {
	local probe=$STATE/$G_HOST/var/lib/libvirt/images/.probe
	if dd if=/dev/zero of="$probe" bs=4096 count=1 oflag=direct 2>/dev/null; then echo none; else echo writeback; fi
	rm -f "$probe"
}

guest_xml() {
	local last=${G_IP##*.} cache file target append
	cache=$(guest_cache_mode)
	append="console=ttyS0 panic=-1 quiet tsc=unstable random.trust_cpu=1 ftd.ip=$G_IP ftd.ip6=$LAN_NET6:$(printf %x "$last")"
	[ -z "$G_IMAGE" ] || append+=' ftd.image=/dev/vda'
	[ -z "$G_KERNEL" ] || append="console=ttyS0 panic=-1 tsc=unstable random.trust_cpu=1 root=/dev/vda rw"
	append+="${G_SECOND:+ ftd.second-ip=$G_SECOND}$G_APPEND"
	cat <<-XML
		<domain type='qemu'>
		  <name>$G_NAME</name>
		  <memory unit='MiB'>$G_MEMORY</memory>
		  <vcpu>$G_VCPUS</vcpu>
		  <os>
		    <type arch='x86_64' machine='pc'>hvm</type>
		    <kernel>$G_BOOT-vmlinuz</kernel>
		    <initrd>$G_BOOT-initrd</initrd>
		    <cmdline>$append</cmdline>
		  </os>
		  <features><acpi/></features>
		  <cpu mode='custom' match='exact' check='none'><model fallback='forbid'>qemu64</model></cpu>
		  <clock offset='utc'/>
		  <on_poweroff>destroy</on_poweroff>
		  <on_reboot>restart</on_reboot>
		  <on_crash>destroy</on_crash>
		  <devices>
	XML
	for file in "${G_FILES[@]}"; do
		target=${file%.qcow2}
		cat <<-XML
			    <disk type='file' device='disk'>
			      <driver name='qemu' type='qcow2' cache='$cache' error_policy='stop' rerror_policy='stop'/>
			      <source file='$file'/>
			      <target dev='${target##*-}' bus='virtio'/>
			    </disk>
		XML
	done
	cat <<-XML
		    <controller type='usb' model='none'/>
		    <interface type='bridge'>
		      <mac address='52:54:00:99:00:$(printf %02x "$last")'/>
		      <source bridge='br0'/>
		      <model type='virtio'/>
		      <driver name='qemu'/>
		      $G_NIC
		    </interface>
	XML
	[ -z "$G_SECOND" ] || cat <<-XML
		    <interface type='bridge'>
		      <mac address='52:54:00:99:01:$(printf %02x "$last")'/>
		      <source bridge='br0'/>
		      <model type='virtio'/>
		      <driver name='qemu'/>
		    </interface>
	XML
	cat <<-XML
		    <serial type='file'><source path='/var/log/libvirt/qemu/$G_NAME-serial.log' append='on'/></serial>
		    <memballoon model='none'/>
		    $G_DEVICES
		  </devices>
		</domain>
	XML
}

guest_remove() {
	local name=${1:-} h
	[ $# -eq 1 ] || die 'usage: lab guest-rm NAME'
	for h in $(hosts_known); do
		if host_pid "$h" >/dev/null; then
			host_run "$h" virsh -q -c qemu:///system destroy "$name" >/dev/null 2>&1 || true
			host_run "$h" virsh -q -c qemu:///system undefine "$name" >/dev/null 2>&1 || true
		fi
		rm -f "$STATE/$h/var/lib/libvirt/images/$name"-vd?.qcow2*
		rm -f "$STATE/$h/var/lib/libvirt/boot/$name"-{vmlinuz,initrd}
	done
	rm -f "$RUN/guests/$name".{xml,ip} "$STATE/guest-boot/$name"-{vmlinuz,initrd}
	say "guest $name: removed"
}

# The guest's agent prints the command's output and then "exit N".
guest_run() {
	local ip line last=
	[ $# -eq 2 ] || die 'usage: lab guest-run NAME COMMAND'
	ip=$(cat "$RUN/guests/$1.ip" 2>/dev/null) || die "there is no guest $1"
	while IFS= read -r line; do
		[ -z "$last" ] || echo "${last#+}"
		last=+$line
	done < <(in_ns lan bash -c 'exec 3<>"/dev/tcp/$1/2" && printf "%s\n" "$2" >&3 && cat <&3' bash "$ip" "$2")
	[[ $last == +exit\ * ]] || die "guest $1: its agent does not answer at $ip"
	return "${last#+exit }"
}

# The pid file is libvirt's, and a pid in it is the host's own.
guest_kill() {
	[ $# -eq 2 ] || die 'kill-qemu needs a host and a guest'
	host_need "$1" >/dev/null
	host_run "$1" sh -c 'kill -9 "$(cat "/run/libvirt/qemu/$1.pid")"' sh "$2" || die "guest $2 has no QEMU on host $1"
	say "host $1: QEMU of $2 killed"
}
