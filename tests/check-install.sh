#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: check-install.sh SOURCE-DIR BUILD-DIR PREFIX [--update]
# What `meson install` puts where, with its mode, is what tests/installed-files.txt says; and systemd understands its part of it.
set -eu
export LC_ALL=C
top=$1 build=$2 prefix=$3
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
umask 022

meson install -C "$build" --no-rebuild --quiet --destdir "$stage/root"
(cd "$stage/root" && find . ! -type d -printf '%m %P\n') | sed "s| ${prefix#/}/| PREFIX/|" | sort -k 2 >"$stage/list"
if [ "${4-}" = --update ]; then
	cp "$stage/list" "$top/tests/installed-files.txt"
	exit
fi
diff "$top/tests/installed-files.txt" "$stage/list" || {
	echo "if that is meant: tests/check-install.sh . build $prefix --update" >&2
	exit 1
}

root=$stage/root$prefix
# No option for a root of its own finds the program: the unit is looked at in place.
if command -v systemd-analyze >/dev/null; then
	sed "s|=$prefix/sbin/|=$root/sbin/|" "$root/lib/systemd/system/ftd.service" >"$stage/ftd.service"
	said=$(systemd-analyze verify --man=no --recursive-errors=no "$stage/ftd.service" 2>&1 | grep -F ftd.service || true)
	[ -z "$said" ] || { echo "$said" >&2; exit 1; }
fi
# Programs of systemd are not everywhere; where one is, it must be content.
if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers --root="$stage/root" "$root/lib/sysusers.d/ftd.conf" >/dev/null
	grep -q '^ftd:' "$stage/root/etc/group"
fi
if command -v systemd-tmpfiles >/dev/null && [ "$(id -u)" -eq 0 ]; then
	cp /etc/passwd "$stage/root/etc/passwd"
	grep -q '^root:' "$stage/root/etc/group" || echo root:x:0: >>"$stage/root/etc/group"
	systemd-tmpfiles --root="$stage/root" --create "$root/lib/tmpfiles.d/ftd.conf"
	[ "$(stat -c %a "$stage/root/var/lib/ftd")" = 700 ]
fi
if command -v apparmor_parser >/dev/null; then
	printf 'profile x {\n#include "%s"\n}\n' "$stage/root/etc/apparmor.d/abstractions/libvirt-qemu.d/ftd" >"$stage/profile"
	apparmor_parser -Q -K "$stage/profile" >/dev/null 2>"$stage/said" || { cat "$stage/said" >&2; exit 1; }
fi
if command -v journalctl >/dev/null; then
	mkdir -p "$stage/root/usr/lib/systemd/catalog" "$stage/root/var/lib/systemd/catalog"
	[ "$root" = "$stage/root/usr" ] || cp "$root/lib/systemd/catalog/ftd.catalog" "$stage/root/usr/lib/systemd/catalog/"
	journalctl --root="$stage/root" --update-catalog
fi
# Cockpit shows the page where that program is.
[ "$(jq -r '.conditions[0]["path-exists"]' "$root/share/cockpit/ftd/manifest.json")" = "$prefix/bin/ftctl" ]
"$root/sbin/ftd" --version >/dev/null
cat >"$stage/ftd.conf" <"$stage/root/etc/ftd/ftd.conf"
"$root/sbin/ftd" --check-config --config "$stage/ftd.conf"
# The same with every default written out.
sed -i 's/^#\([a-z]\)/\1/; /^arbiter=[em]/d' "$stage/ftd.conf"
"$root/sbin/ftd" --check-config --config "$stage/ftd.conf"
