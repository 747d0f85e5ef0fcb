# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by the test-bad-*.sh: refusals. Each has an exit status of its own in ftctl(1), names the cause and the way out, and leaves both hosts as they were.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MANUAL=$(dirname "${BASH_SOURCE[0]}")/../../man/ftctl.1
VARIANTS=/var/lib/ftd-test	# emulators of our own, in a host

# The exit status that the manual promises for an error's name.
status_of() { sed -n "s/^\.It \([0-9]*\) Pq $1\$/\1/p" "$MANUAL"; }

# says WHAT NAME PATTERN STATUS OUTPUT: the verb's end is the documented one
says() {
	echo "$5"
	if [ "$4" = "$(status_of "$2")" ] && grep -qE "$3" <<<"$5"; then
		ok "$1: $2 ($4)"
	else
		printf 'exit status %s, not %s of %s; or nothing like "%s" in the above\n' "$4" "$(status_of "$2")" "$2" "$3"
		not_ok "$1: $2"
	fi
}

# refused WHAT NAME PATTERN HOST DOMAIN PEER: by check and enable alike, within a bounded time, and nothing has changed.
# VERBS: which are asked; enable alone where each takes a time-out.
refused() {
	local what=$1 name=$2 pattern=$3 host=$4 domain=$5 peer=$6 qemu_before peer_before verb out status started
	qemu_before=$(qemu_picture "$host" "$domain" 2>&1)
	peer_before=$(host_picture "$peer" 2>&1)
	for verb in ${VERBS:-check enable}; do
		started=$SECONDS
		out=$(ftctl "$host" "$verb" "$domain" --peer "$peer" 2>&1)
		status=$?
		says "$what: $verb" "$name" "$pattern" "$status" "$out"
		[ $((SECONDS - started)) -le "${PATIENCE:-8}" ] || not_ok "$what: $verb took $((SECONDS - started)) s"
	done
	same "$what: QEMU is as it was" "$qemu_before" "$(qemu_picture "$host" "$domain" 2>&1)"
	same "$what: the peer is as it was" "$peer_before" "$(host_picture "$peer" 2>&1)"
}

# odd HOST NAME <DEVICES: a domain that only runs its firmware, started with these devices. ODD_MEMORY (MiB), ODD_EMULATOR, ODD_UUID, ODD_OS (XML in <os>), ODD_MORE (XML),
# ODD_USB (XML; no USB without).
odd() {
	"$LAB" virsh "$1" create /dev/stdin >/dev/null <<XML
<domain type='qemu'>
  <name>$2</name>
  ${ODD_UUID:+<uuid>$ODD_UUID</uuid>}
  <memory unit='MiB'>${ODD_MEMORY:-32}</memory>
  ${ODD_MORE:-}
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type>${ODD_OS:-}</os>
  <devices>
    ${ODD_EMULATOR:+<emulator>$ODD_EMULATOR</emulator>}
    ${ODD_USB:-<controller type='usb' model='none'/>}
    <memballoon model='none'/>
$(cat)
  </devices>
</domain>
XML
}
odd_end() { "$LAB" virsh "$1" destroy "$2" >/dev/null 2>&1; }

# refused_device WHAT NAME PATTERN <DEVICES
refused_device() {
	odd a odd || die "$1: the domain did not start"
	refused "$1" "$2" "$3" a odd b
	odd_end a odd
}

# image HOST PATH SIZE [OPTION...]
image() {
	local host=$1 path=$2 size=$3
	shift 3
	"$LAB" exec "$host" qemu-img create -q -f qcow2 "$@" "$path" "$size"
}
nic() { printf "<interface type='bridge'><source bridge='br0'/><model type='%s'/>%s</interface>\n" "$1" "${2:-}"; }
disk() { printf "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/><target dev='vda' bus='virtio'/>%s</disk>\n" "$1" "${2:-}"; }

# other_qemu HOST: the QEMU of this machine's own distribution at $VARIANTS/qemu-other there, with the libraries it was built for. False when it is the host's version.
other_qemu() {
	local cache=${FTD_LAB_CACHE:-/var/cache/ftd-lab}/other-qemu lib=lib/x86_64-linux-gnu
	[ -e "$cache/complete" ] || fetch_other_qemu "$cache" || return
	[ "$(cat "$cache/complete")" != "$("$LAB" exec "$1" qemu-system-x86_64 --version | head -n 1)" ] || return
	tar -C "$cache/root" -c . | "$LAB" exec "$1" sh -c "mkdir -p $VARIANTS/other && tar -C $VARIANTS/other -x"
	"$LAB" exec "$1" sh -c "cat >$VARIANTS/qemu-other && chmod 755 $VARIANTS/qemu-other" <<SCRIPT
#!/bin/sh
r=$VARIANTS/other
QEMU_MODULE_DIR=\$r/usr/$lib/qemu exec \$r/$lib/ld-linux-x86-64.so.2 --library-path \$r/$lib:\$r/usr/$lib \$r/usr/bin/qemu-system-x86_64 \\
	-L \$r/usr/share/qemu -L \$r/usr/share/seabios -L \$r/usr/lib/ipxe/qemu "\$@"
SCRIPT
}

# 43 MB, once; what apt installs on this machine is not touched.
fetch_other_qemu() (
	rm -rf --one-file-system "$1"
	mkdir -p "$1/debs/partial" "$1/all" "$1/root" && cd "$1" && : >status || exit
	apt-get -q -o Dir::State::status="$1/status" -o Dir::Cache::archives="$1/debs" -y --no-install-recommends --download-only install qemu-system-x86 || exit
	for deb in debs/*.deb; do dpkg-deb -x "$deb" all || exit; done
	cd all && tar -c lib/x86_64-linux-gnu usr/lib/x86_64-linux-gnu usr/share/qemu usr/share/seabios usr/lib/ipxe usr/bin/qemu-system-x86_64 |
		tar -C ../root -x || exit
	cd .. && rm -r all debs
	LD_LIBRARY_PATH=root/lib/x86_64-linux-gnu:root/usr/lib/x86_64-linux-gnu root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 \
		root/usr/bin/qemu-system-x86_64 --version | head -n 1 >complete
) >&2
