# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What is made once and kept: the hosts' root file system, the guest's kernel and initrd, the compiled helpers.

ROOT_VERSION=1		# raise it when the recipe of the root changes
GUEST_VERSION=2		# ... of the guest
ROOT_SUITES='forky sid'	# Debian testing has QEMU >= 11.0, which COLO needs under TCG; unstable when testing's mirror is in trouble
ROOT_PACKAGES='qemu-system-x86 qemu-utils libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients libvirt-clients-qemu
	iproute2 libjson-c5 libglib2.0-0t64 libgnutls30t64 libnbd0 libsystemd0 libxxhash0 libcurl4-gnutls libseccomp2 libcap-ng0 procps'
KERNEL_PACKAGE=linux-image-cloud-amd64

# program:package:what for
TOOLS='debootstrap:debootstrap:to build the root file system of the hosts
ip:iproute2:for network namespaces
nsenter:util-linux:to run commands in hosts
certtool:gnutls-bin:to make certificates
busybox:busybox-static:for the guest
depmod:kmod:to find the guest kernel'\''s modules
cpio:cpio:to pack the guest'\''s initrd
mkfs.ext4:e2fsprogs:to make guest disks
curl:curl:to ask etcd
virsh:libvirt-clients:to reach the hosts from outside
gcc:gcc:to compile the guest'\''s server and the clients'

install_tools() {
	local program package why missing=()
	while IFS=: read -r program package why; do
		if ! command -v "$program" >/dev/null; then
			say "installing $package ($why)"
			missing+=("$package")
		fi
	done <<<"$TOOLS"
	if [ ! -e /usr/include/stdio.h ]; then
		say 'installing libc6-dev (to compile the guest'\''s server)'
		missing+=(libc6-dev)
	fi
	if command -v busybox >/dev/null && ldd "$(command -v busybox)" >/dev/null 2>&1; then
		say 'installing busybox-static (the guest needs a statically linked busybox)'
		missing+=(busybox-static)
	fi
	[ ${#missing[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null ||
		die "these are missing and there is no apt-get to install them: ${missing[*]} (Debian's package names)"
	apt_install "${missing[@]}" || { apt-get update -q && apt_install "${missing[@]}"; } ||
		die "apt-get could not install ${missing[*]} (its messages are above)"
}

apt_install() { DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >&2; }

make_cache() {
	mkdir -p "$CACHE/bin"
	exec 8>"$CACHE/lock"
	flock 8
	make_root
	make_programs
	make_guest
	exec 8>&-
}

# The Debian mirror this machine uses itself, from its deb822 or one-line sources: the first archive that is not the security one.
debian_mirror() {
	# Any of these files may be missing.
	{ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null || true; } |
		sed -nE 's/^URIs:[[:space:]]*//p; s/^deb +(\[[^]]*\] +)?([^ ]+) .*/\2/p' | tr ' ' '\n' |
		awk '/\/debian\/?$/ && !found { print; found = 1 }'
}

make_root() {
	local uri suite
	[ "$(cat "$CACHE/root/.ftd-lab-version" 2>/dev/null)" = "$ROOT_VERSION" ] && return
	uri=$(debian_mirror)
	[ -n "$uri" ] || die 'found no Debian mirror in the apt sources (/etc/apt/sources.list*): the hosts need Debian testing from one'
	for suite in $ROOT_SUITES $ROOT_SUITES; do
		say "building the hosts' root file system (Debian $suite; about two minutes, log: $CACHE/root.log)"
		if build_root "$suite" "$uri" "$CACHE/root.new" >"$CACHE/root.log" 2>&1 </dev/null; then
			rm -rf --one-file-system "$CACHE/root"
			mv "$CACHE/root.new" "$CACHE/root"
			return
		fi
		say "that failed: $(grep -E '^(E|W):' "$CACHE/root.log" | tail -n 1)"
	done
	die "could not build the root file system from $uri; the last lines of $CACHE/root.log:
$(tail -n 5 "$CACHE/root.log")"
}

# debootstrap --include of these packages fails (systemd's pre-dependencies), so apt installs them afterwards.
# Older debootstraps do not know the newer suites: all of them are like sid.
build_root() {
	local suite=$1 uri=$2 root=$3
	# shellcheck disable=SC2086 # a list
	debian_root "$suite" "$uri" "$root" $ROOT_PACKAGES || return
	chroot "$root" qemu-system-x86_64 --version && chroot "$root" libvirtd --version || return
	mkdir -p "$root/usr/lib/ftd-build" "$root/srv/ftd-arbiter"
	finish_root "$root"
	echo "$ROOT_VERSION" >"$root/.ftd-lab-version"
}

# debian_root SUITE URI ROOT PACKAGE...
debian_root() {
	local suite=$1 uri=$2 root=$3
	shift 3
	umount -l "$root/proc" "$root/sys" 2>/dev/null	# debootstrap was interrupted
	rm -rf --one-file-system "$root"
	debootstrap --variant=minbase "$suite" "$root" "$uri" /usr/share/debootstrap/scripts/sid || return
	# No services are started by the packages' scripts.
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" && chmod +x "$root/usr/sbin/policy-rc.d" || return
	cp /etc/apt/apt.conf.d/* "$root/etc/apt/apt.conf.d/" 2>/dev/null
	cp -L /etc/resolv.conf "$root/etc/resolv.conf"
	chroot "$root" apt-get update || return
	DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -y --no-install-recommends "$@"
}

finish_root() {
	local root=$1
	chroot "$root" apt-get clean
	rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/usr/share/{doc,man,locale}/*
	rm -f "$root/etc/machine-id"
}

make_programs() {
	compile guest-server -static
	compile guest-agent -static
	compile guest-dirty -static
	compile lab-client -static
	compile lab-wire -static
}

compile() {
	local out=$CACHE/bin/$1 source=$LAB_DIR/$1.c
	[ -x "$out" ] && [ "$out" -nt "$source" ] && [ "$out" -nt "$LAB_DIR/pattern.h" ] && return
	gcc -std=gnu17 -O2 -Wall -Wextra -D_GNU_SOURCE "${@:2}" -o "$out.new" "$source" >&2 || die "could not compile $source"
	mv "$out.new" "$out"
}

make_guest() {
	local version
	version="$GUEST_VERSION $(cat "$LAB_DIR/guest-init" "$CACHE"/bin/guest-{server,agent,dirty} | cksum)"
	[ "$(cat "$CACHE/guest/version" 2>/dev/null)" = "$version" ] && return
	make_kernel
	say 'packing the guest'
	mkdir -p "$CACHE/guest"
	rm -f "$CACHE/guest/version"
	build_initrd "$CACHE/guest/initrd"
	cp "$CACHE"/kernel/boot/vmlinuz-* "$CACHE/guest/vmlinuz"
	echo "$version" >"$CACHE/guest/version"
}

# The distribution's kernel, unpacked beside the machine's own instead of installed.
make_kernel() {
	local name new=$CACHE/kernel.new
	[ -e "$CACHE/kernel/boot" ] && return
	rm -rf "$new"
	mkdir -p "$new"
	kernel_download "$new" || { apt-get update -q >&2 && kernel_download "$new"; } ||
		die "apt-get could not download the guest's kernel ($KERNEL_PACKAGE); its messages are above"
	name=$(echo "$new"/*.deb)
	dpkg-deb -x "$name" "$new"
	rm "$name"
	# Where /lib is merged into /usr, modules are below usr/lib.
	[ ! -d "$new/usr/lib/modules" ] || ln -sfn usr/lib "$new/lib"
	name=$(basename "$new"/lib/modules/*)
	depmod -b "$new" "$name"
	mv "$new" "$CACHE/kernel"
}

kernel_download() (
	name=$(apt-cache depends "$KERNEL_PACKAGE" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
	[ -n "$name" ] || return
	say "downloading the guest's kernel ($name)"
	cd "$1" && apt-get download -q "$name" >&2 2>/dev/null
)

build_initrd() {
	local out=$1 kernel t module file
	kernel=$(basename "$CACHE"/kernel/lib/modules/*)
	t=$(mktemp -d "$CACHE/initrd.XXXXXX")
	mkdir -p "$t"/{bin,proc,sys,dev,data,lib/modules}
	cp "$(command -v busybox)" "$t/bin/busybox"
	cp "$CACHE"/bin/guest-{server,agent,dirty} "$t/bin/"
	install -m 0755 "$LAB_DIR/guest-init" "$t/init"
	for module in virtio_pci virtio_net virtio_blk ext4 button evdev pvpanic-mmio; do
		modprobe -d "$CACHE/kernel" -S "$kernel" -D "$module" 2>/dev/null || true
	done | awk '/^insmod/ && !seen[$2]++ { print $2 }' >"$t/modules"
	while read -r file; do
		module=$(basename "$file")
		case $file in
		*.xz) xz -dc "$file" >"$t/lib/modules/${module%.xz}" ;;
		*.zst) zstd -qdc "$file" >"$t/lib/modules/${module%.zst}" ;;
		*) cp "$file" "$t/lib/modules/" ;;
		esac
		basename "$file" | sed -E 's/\.(xz|zst)$//' >>"$t/lib/modules/order"
	done <"$t/modules"
	rm "$t/modules"
	(cd "$t" && find . | cpio -o -H newc --quiet | gzip) >"$out"
	rm -rf "$t"
}
