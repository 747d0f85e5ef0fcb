#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: check-apparmor.sh SOURCE-DIR
# AppArmor's compiler takes what is installed for it, and what the manual tells to add (nothing is loaded into a kernel); and a guard's profile has every path that its Landlock rules have.
set -eu
export LC_ALL=C
profiles=$1/contrib/apparmor man=$1/man/ftd-security.7 isolation=$1/daemon/isolation.c
command -v apparmor_parser >/dev/null || { echo "there is no apparmor_parser"; exit 77; }
base=$(mktemp -d)
trap 'rm -rf "$base"' EXIT
fail() { echo "$*" >&2; exit 1; }

# compile FILE: its warnings are errors; that this kernel has no AppArmor, that nobody may write its cache, and that abstractions may be of a newer version, are none.
compile() {
	apparmor_parser --skip-kernel-load --skip-cache --skip-read-cache --warn=all --kernel-features "$base/abi/3.0" --base "$base" "$1" >"$base/said" 2>&1 || fail "$1: $(cat "$base/said")"
	! grep -vE '^(Cache read/write disabled|Warning from stdin .*parser\.conf|Skipping profile in )|features abi .* differs from policy' "$base/said" || fail "$1: apparmor_parser warns"
}

# Debian's own abstractions, and ours among them as they are installed.
cp -r /etc/apparmor.d/abi /etc/apparmor.d/abstractions /etc/apparmor.d/tunables "$base"
mkdir -p "$base/abstractions/libvirt-qemu.d" "$base/local"
cp "$profiles/libvirt-qemu" "$base/abstractions/libvirt-qemu.d/ftd"
cp "$profiles/ftd-guard" "$base/abstractions/ftd-guard"
cp "$profiles/usr.sbin.ftd" "$base/usr.sbin.ftd"
printf 'abi <abi/3.0>,\ninclude <tunables/global>\nprofile libvirt-x {\n  include <abstractions/base>\n  include <abstractions/libvirt-qemu.d>\n}\n' >"$base/libvirt-x"
compile "$base/libvirt-x"
compile "$base/usr.sbin.ftd"
# What operators are told to write into the two files of their own, by ftd-security(7).
awk '/^\.Ss/ { on = /AppArmor/ } on && /^\/data\//' "$man" >"$base/local/usr.sbin.ftd"
awk '/^\.Ss/ { on = /AppArmor/ } on && (/^\/mnt\// || /^\/etc\// || /^ptrace/)' "$man" >"$base/local/usr.sbin.ftd-guard"
[ "$(cat "$base"/local/* | wc -l)" = 6 ] || fail "ftd-security(7): its examples of rules have changed; this script does not know which file they are for"
compile "$base/usr.sbin.ftd"
[ "$(apparmor_parser --names --base "$base" "$base/usr.sbin.ftd" 2>/dev/null | sort | tr '\n' ' ')" = "ftd ftd-guard " ] || fail "usr.sbin.ftd: its profiles have other names"
# Each of the two files is in both profiles, or the guard cannot use what it is given.
[ "$(apparmor_parser --preprocess --base "$base" "$base/usr.sbin.ftd" 2>/dev/null | grep -c '^/mnt/arbiter/')" = 2 ] || fail "local/usr.sbin.ftd-guard is not in both profiles"

paths=$(sed -n '/library_files\[\] = {/,/};/p' "$isolation" | grep -oE '"/[^"]*"' | tr -d '"')
[ -n "$paths" ] || fail "$isolation: no list of paths was found; this script does not know where to look any more"
for path in $paths; do
	# abstractions/base has the few files of it that are read.
	[ "$path" != /proc/self ] || continue
	sed 's/^#.*//; s|{var/,}||' "$profiles/ftd-guard" | grep -qE "^$path(/\{,\*\*\})? m?rw?," || fail "contrib/apparmor/ftd-guard does not have $path, which isolation.c has"
done
