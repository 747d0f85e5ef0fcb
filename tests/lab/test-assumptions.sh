# SPDX-License-Identifier: LGPL-2.1-or-later
# What we believe of QEMU and libvirt (tests/assumptions), asked of those in the lab. No older QEMU can be asked here: below 11.0 COLO takes KVM.
. "$(dirname "$0")/lib.sh"

programs=${FTD_BUILD:-$(dirname "$0")/../../build}/tests/assumptions
cache=${FTD_LAB_CACHE:-/var/cache/ftd-lab}
lib=lib/x86_64-linux-gnu

# other_root NAME ROOT: QEMU of that root, with the libraries it was built for, as a program of this one
other_root() {
	local tool
	mkdir -p "$TEST_WORK/$1"
	for tool in qemu-system-x86_64 qemu-img; do
		cat >"$TEST_WORK/$1/$tool" <<-SCRIPT
			#!/bin/sh
			r=$2
			case $tool in *system*) set -- -L \$r/usr/share/qemu -L \$r/usr/share/seabios -L \$r/usr/lib/ipxe/qemu "\$@" ;; esac
			QEMU_MODULE_DIR=\$r/usr/$lib/qemu exec \$r/$lib/ld-linux-x86-64.so.2 --library-path \$r/$lib:\$r/usr/$lib \$r/usr/bin/$tool "\$@"
		SCRIPT
		chmod 755 "$TEST_WORK/$1/$tool"
	done
}

# holds PROGRAM
holds() {
	local status
	"$programs/$1" >"$TEST_WORK/said" 2>&1
	status=$?
	grep -vE '^\[ +(RUN|OK) ' "$TEST_WORK/said" | tail -n 30
	if [ $status -eq 77 ] || grep -q '^\[ *SKIPPED' "$TEST_WORK/said"; then
		not_ok "$1 was skipped"
	else
		check "$1" test $status -eq 0
	fi
}

fresh
other_root lab "$cache/root"
export FTD_TEST_QEMU=$TEST_WORK/lab/qemu-system-x86_64
# A host's pid 1 stands where its root can be seen.
pid=$("$LAB" status | awk '$1 == "a" { print $3 }')
export FTD_TEST_LIBVIRT_URI="qemu+unix:///system?socket=/proc/$pid/root/run/libvirt/libvirt-sock"
"$FTD_TEST_QEMU" --version | head -n 1
for program in disk-mirror colo-stream assumption-qmp-recipes assumption-qmp-libvirt; do holds $program; done
